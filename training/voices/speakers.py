"""Who speaks: engines, voices, throats and manners, and which voices are held out."""

from dataclasses import dataclass, replace

import numpy as np

from training.voices import espeak, festival, flite
from training.voices.timbre import Timbre

ENGLISH = ("en-us", "en", "en-gb-x-rp", "en-us-nyc", "en-029", "en-gb-x-gbclan")
ENGLISH_HELD_OUT = ("en-us", "en-gb-scotland", "en-gb-x-gbcwmd")
OTHERS = {
    "de": ("de",), "es": ("es", "es-419"), "fr": ("fr", "fr-be", "fr-ch"), "it": ("it",),
    "nl": ("nl",), "pl": ("pl",), "ru": ("ru",), "tr": ("tr",),
}  # fmt: skip
OTHERS_HELD_OUT = {"pt": ("pt-br", "pt"), "sv": ("sv",)}
# Not here: variants whose emphasised words crash espeak-ng 1.51 (grandpa, m5, john, Annie, ...).
VARIANTS = (
    "m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt4",
    "adam", "Alex", "Andy", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "Denis",
    "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "grandma", "Henrique", "Hugo", "iven",
    "iven2", "iven4", "Jacky", "kaukovalta", "Lee", "linda", "marcelo", "Mario", "max", "Michael",
    "michel", "miguel", "Mike", "rob", "robert", "sandro", "shelby", "steph", "steph3", "travis",
    "victor", "zac",
)  # fmt: skip
VARIANTS_HELD_OUT = ("f4", "klatt3", "paul", "quincy", "iven3", "steph2")
FLITE = ("slt", "awb", "kal16")
FLITE_HELD_OUT = ("rms",)
FESTIVAL = ("slt-hts", "slt-hts", "ked")
_SPEED_IS_PITCH = frozenset({"slt-hts", "awb", "rms"})  # engines that move no pitch themselves


@dataclass(frozen=True, slots=True)
class Role:
    """One speaker, the same for the whole of a clip."""

    engine: str  # "espeak", "flite", "festival"
    name: str  # as the engine calls it
    language: str  # of `texts`
    timbre: Timbre
    pitch: float  # 0 to 1, low to high within what suits the voice
    rate: float  # factor on the speed of speech

    @property
    def faster(self) -> float:
        """How much faster the speech is played to move its pitch; the engine speaks slower."""
        return 0.88 + 0.28 * self.pitch if self.name in _SPEED_IS_PITCH else 1.0

    @property
    def throat(self) -> Timbre:
        """The timbre that remains to be given, when playing faster has moved the formants."""
        stretch = float(np.clip(self.timbre.stretch / self.faster, 0.75, 1.3))
        return replace(self.timbre, stretch=stretch)

    @property
    def voice(self) -> str:
        return f"{self.engine}/{self.name}~{self.timbre.stretch:.2f}"


def cast(rng: np.random.Generator, *, heldout: bool = False) -> Role:
    """Draw a speaker: 60 % English, half of it by flite and festival; all else by espeak."""
    if rng.random() < 0.6:
        return _english(rng, heldout)
    languages = OTHERS_HELD_OUT if heldout else OTHERS
    language = str(rng.choice(list(languages)))
    return _espeak(language, languages[language], rng, heldout)


def _english(rng: np.random.Generator, heldout: bool) -> Role:
    engine = str(rng.choice(["flite", "festival", "espeak"], p=[0.33, 0.17, 0.5]))
    if engine == "festival" and not heldout:
        name = str(rng.choice(FESTIVAL))
        return Role("festival", name, "en", _timbre(rng), rng.random(), _rate(rng))
    if engine != "espeak":
        name = str(rng.choice(FLITE_HELD_OUT if heldout else FLITE))
        return Role("flite", name, "en", _timbre(rng), rng.random(), _rate(rng))
    return _espeak("en", ENGLISH_HELD_OUT if heldout else ENGLISH, rng, heldout)


def _espeak(
    language: str, accents: tuple[str, ...], rng: np.random.Generator, heldout: bool
) -> Role:
    variant = str(rng.choice(VARIANTS_HELD_OUT if heldout else VARIANTS))
    name = f"{rng.choice(accents)}+{variant}"
    return Role("espeak", name, language, _timbre(rng), rng.random(), _rate(rng))


def _timbre(rng: np.random.Generator) -> Timbre:
    if rng.random() < 0.2:
        return Timbre()
    stretch = float(np.clip(rng.normal(1.0, 0.08), 0.82, 1.22))
    breath = rng.uniform(0.1, 0.8) if rng.random() < 0.4 else 0.0
    return Timbre(round(stretch, 2), rng.normal(0, 1.2), breath)


def _rate(rng: np.random.Generator) -> float:
    return float(np.clip(rng.lognormal(0, 0.15), 0.7, 1.45))


def espeak_manner(role: Role, delivery: str, rng: np.random.Generator) -> espeak.Manner:
    """How a sentence of this delivery is spoken by espeak."""
    low, high, rate, spread, loud = {
        "flat": (0, 22, 0.95, 0.02, 80),
        "plain": (35, 65, 1.0, 0.06, 100),
        "emphatic": (75, 99, 1.03, 0.15, 120),
    }[delivery]
    return espeak.Manner(
        rate=int(np.clip(165 * role.rate * rate * rng.lognormal(0, spread), 90, 300)),
        pitch=int(np.clip(25 + 50 * role.pitch + rng.normal(0, 3), 5, 95)),
        pitch_range=int(rng.integers(low, high + 1)),
        volume=loud,
        level="strong" if delivery == "emphatic" else "moderate",
    )


def flite_manner(role: Role, delivery: str, rng: np.random.Generator) -> flite.Manner:
    """How a sentence of this delivery is spoken by flite."""
    pitch = 1.0 if role.faster != 1.0 else 0.8 + 0.45 * role.pitch + rng.normal(0, 0.02)
    lean = {"flat": 1.0, "plain": 1.12, "emphatic": 1.3}[delivery]
    return flite.Manner(_stretch(role, delivery, rng), float(pitch), lean)


def festival_manner(role: Role, delivery: str, rng: np.random.Generator) -> festival.Manner:
    """How a sentence of this delivery is spoken by festival."""
    spread = {"flat": 0.3, "plain": 1.0, "emphatic": 2.0}[delivery]
    pitch = 3 * role.pitch - 1.5 + rng.normal(0, 0.2)
    return festival.Manner(_stretch(role, delivery, rng), float(pitch), spread)


def _stretch(role: Role, delivery: str, rng: np.random.Generator) -> float:
    rate, spread = {"flat": (0.97, 0.02), "plain": (1.0, 0.06), "emphatic": (1.02, 0.12)}[delivery]
    return float(1.05 * role.faster / (role.rate * rate * rng.lognormal(0, spread)))
