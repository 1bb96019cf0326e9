"""flite through ctypes: concatenated and statistical English speech with its segment times.

Pronunciation, segment ends, stress and pitch accents are read from the utterance itself. The
statistical voices (slt, rms, awb) and the diphone voice kal16 are loaded from their libraries.
"""

import ctypes as C
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.voices.clips import Phone
from training.voices.spoken import Spoken, is_vowel, lay, starred, to_16k

VOICES = ("slt", "rms", "awb", "kal16")
IPA = {
    "aa": "ɑː", "ae": "æ", "ah": "ʌ", "ao": "ɔː", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ",
    "eh": "ɛ", "er": "ɜː", "ey": "eɪ", "ih": "ɪ", "iy": "iː", "ow": "oʊ", "oy": "ɔɪ", "uh": "ʊ",
    "uw": "uː", "b": "b", "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "el": "əl", "em": "m",
    "en": "n", "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "jh": "dʒ", "k": "k", "l": "l", "m": "m",
    "n": "n", "nx": "n", "ng": "ŋ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ",
    "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "pau": "", "h#": "", "brth": "", "#": "",
}  # fmt: skip
_SYLLABLE = "R:SylStructure.parent."
_WORD = _SYLLABLE + "parent."


@dataclass(frozen=True, slots=True)
class Manner:
    """How flite is told to speak."""

    stretch: float = 1.0  # of every duration
    pitch: float = 1.0  # factor on the fundamental
    lean: float = 1.0  # further stretch of emphasised words


class _Wave(C.Structure):
    _fields_ = (
        ("type", C.c_char_p),
        ("sample_rate", C.c_int),
        ("num_samples", C.c_int),
        ("num_channels", C.c_int),
        ("samples", C.POINTER(C.c_short)),
    )


class Flite:
    """The library and its voices. Raises OSError where flite is not installed."""

    def __init__(self) -> None:
        self._lib = C.CDLL("libflite.so.1", C.RTLD_GLOBAL)
        for name in ("usenglish", "cmulex"):
            C.CDLL(f"libflite_{name}.so.1", C.RTLD_GLOBAL)
        self._lib.flite_init()
        self._declare()
        self._voices = {name: self._load(name) for name in VOICES}

    def _declare(self) -> None:
        pointer, text, number = C.c_void_p, C.c_char_p, C.c_float
        shapes: dict[str, tuple[object, list[object]]] = {
            "new_utterance": (pointer, []),
            "utt_set_input_text": (pointer, [pointer, text]),
            "utt_init": (pointer, [pointer, pointer]),
            "default_tokenization": (pointer, [pointer]),
            "utt_synth_tokens": (pointer, [pointer]),
            "utt_wave": (C.POINTER(_Wave), [pointer]),
            "utt_relation": (pointer, [pointer, text]),
            "delete_utterance": (None, [pointer]),
            "relation_head": (pointer, [pointer]),
            "item_next": (pointer, [pointer]),
            "item_set_float": (None, [pointer, text, number]),
            "ffeature_string": (text, [pointer, text]),
            "ffeature_float": (number, [pointer, text]),
            "feat_set_float": (None, [pointer, text, number]),
        }
        for name, (result, arguments) in shapes.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments

    def _load(self, name: str) -> int:
        register = getattr(C.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
        register.restype, register.argtypes = C.c_void_p, [C.c_char_p]
        return int(register(None))

    def speak(self, text: str, voice: str, manner: Manner) -> Spoken:
        """Speak `text`, in which *stars* mark emphasised words.

        Raises ValueError when there is no such voice.
        """
        if voice not in self._voices:
            raise ValueError(f"flite has no voice {voice!r}; it has {', '.join(VOICES)}")
        utterance = self._lib.new_utterance()
        try:
            return self._speak(utterance, text, self._voices[voice], manner)
        finally:
            self._lib.delete_utterance(utterance)

    def _speak(self, utterance: int, text: str, voice: int, manner: Manner) -> Spoken:
        lib = self._lib
        plain = text.replace("*", "").encode("ascii", "replace")
        lib.utt_set_input_text(utterance, plain)
        lib.utt_init(utterance, voice)
        features = C.cast(utterance, C.POINTER(C.c_void_p))[0]  # the utterance's first field
        lib.feat_set_float(features, b"f0_shift", manner.pitch)
        lib.default_tokenization(utterance)
        leaned = starred(text)
        for i, token in enumerate(self._items(utterance, b"Token")):
            stretch = manner.stretch * (manner.lean if i in leaned else 1.0)
            lib.item_set_float(token, b"local_duration_stretch", stretch)
            lib.item_set_float(token, b"order", i)
        lib.utt_synth_tokens(utterance)
        wave = lib.utt_wave(utterance).contents
        audio = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)) / 32768
        sound = to_16k(audio.astype(np.float32), wave.sample_rate)
        return self._read(utterance, sound, leaned)

    def _read(self, utterance: int, audio: NDArray[np.float32], leaned: set[int]) -> Spoken:
        phones, ends, word, before = [], [], -1, ""
        for item in self._items(utterance, b"Segment"):
            ipa = IPA[self._text(item, "name")]
            ends.append(self._lib.ffeature_float(item, b"end") * 16_000)
            if ipa == "":
                phones.append(Phone(0, 1, ""))
                continue
            name = self._text(item, _WORD + "name")
            token = int(self._lib.ffeature_float(item, (_WORD + "R:Token.parent.order").encode()))
            key = f"{token} {name} {self._text(item, _WORD + 'p.name')}"
            word, before = (word, before) if key == before else (word + 1, key)
            stress = int(self._text(item, _SYLLABLE + "stress") == "1") if is_vowel(ipa) else 0
            phones.append(Phone(0, 1, ipa, stress, word, token in leaned))
        return Spoken(audio, lay(ends, phones, len(audio)))

    def _text(self, item: int, path: str) -> str:
        return str(self._lib.ffeature_string(item, path.encode()).decode())

    def _items(self, utterance: int, relation: bytes) -> list[int]:
        items = []
        item = self._lib.relation_head(self._lib.utt_relation(utterance, relation))
        while item:
            items.append(item)
            item = self._lib.item_next(item)
        return items


@cache
def engine() -> Flite:
    """The one engine of this process."""
    return Flite()
