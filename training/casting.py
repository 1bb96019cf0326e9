"""Who speaks: engines, voices, throats and manners, and which voices are held out."""

from dataclasses import dataclass

import numpy as np

from training import espeak, flite
from training.timbre import Timbre

ENGLISH = ("en-us", "en", "en-gb-x-rp", "en-us-nyc", "en-029", "en-gb-x-gbclan")
ENGLISH_HELD_OUT = ("en-us", "en-gb-scotland", "en-gb-x-gbcwmd")
OTHERS = {
    "de": ("de",), "es": ("es", "es-419"), "fr": ("fr", "fr-be", "fr-ch"), "it": ("it",),
    "nl": ("nl",), "pl": ("pl",), "ru": ("ru",), "tr": ("tr",),
}  # fmt: skip
OTHERS_HELD_OUT = {"pt": ("pt-br", "pt"), "sv": ("sv",)}
VARIANTS = (
    "m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt4",
    "adam", "Alex", "Alicia", "Andrea", "Andy", "antonio", "aunty", "belinda", "benjamin", "boris",
    "caleb", "david", "Denis", "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "grandma",
    "grandpa", "Henrique", "Hugo", "iven", "iven2", "iven4", "Jacky", "john", "kaukovalta", "Lee",
    "linda", "marcelo", "Marco", "Mario", "max", "Michael", "michel", "miguel", "Mike", "norbert",
    "pablo", "pedro", "rob", "robert", "sandro", "shelby", "steph", "steph3", "travis", "victor",
    "anika", "zac",
)  # fmt: skip
VARIANTS_HELD_OUT = ("f4", "m5", "klatt3", "Annie", "paul", "quincy", "iven3", "steph2")
FLITE = ("slt", "awb", "kal16")
FLITE_HELD_OUT = ("rms",)


@dataclass(frozen=True, slots=True)
class Role:
    """One speaker, the same for the whole of a clip."""

    engine: str  # "espeak", "flite"
    name: str  # as the engine calls it
    language: str  # of `texts`
    timbre: Timbre
    pitch: float  # 0 to 1, low to high within what suits the voice
    rate: float  # factor on the speed of speech

    @property
    def voice(self) -> str:
        return f"{self.engine}/{self.name}~{self.timbre.stretch:.2f}"


def cast(rng: np.random.Generator, *, heldout: bool = False) -> Role:
    """Draw a speaker: 60 % English, and two fifths of the English from flite."""
    if rng.random() < 0.6:
        return _english(rng, heldout)
    languages = OTHERS_HELD_OUT if heldout else OTHERS
    language = str(rng.choice(list(languages)))
    return _espeak(language, languages[language], rng, heldout)


def _english(rng: np.random.Generator, heldout: bool) -> Role:
    if rng.random() < 0.4:
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
    rate, spread, lean = {
        "flat": (0.97, 0.02, 1.0),
        "plain": (1.0, 0.06, 1.12),
        "emphatic": (1.02, 0.12, 1.3),
    }[delivery]
    return flite.Manner(
        stretch=float(1.05 / (role.rate * rate * rng.lognormal(0, spread))),
        pitch=float(0.8 + 0.45 * role.pitch + rng.normal(0, 0.02)),
        lean=lean,
    )
