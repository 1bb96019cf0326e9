"""espeak-ng through ctypes: formant speech in dozens of languages, with exact phone positions.

The library keeps one voice and one stream of events for a whole process and is not
thread-safe: use one process for each speaker that talks at a time. A phone's event marks its
release, so the closure before a stop, which the library renders as silence, is given back
to the stop. Stress is absent from the events; it comes from the library's phoneme trace, which
is aligned with them.
"""

import ctypes as C
import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from training.voices.clips import SAMPLE_RATE, Phone
from training.voices.spoken import STOPS, Spoken, is_vowel, lay, split_ipa, to_16k

LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS, _PHONEME_EVENTS_IPA = 2, 3
_WORD, _PHONEME = 1, 7
_UTF8_SSML = 0x11
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_SHORTEST_PAUSE_S = 0.06  # a shorter gap is the closure of a stop or the tail of a phone
_LONGEST_CLOSURE_S = 0.1
_QUIET = 0.12  # of the peak of the phone before a closure


class _Id(C.Union):
    _fields_ = (("number", C.c_int), ("name", C.c_char_p), ("string", C.c_char * 8))


class _Event(C.Structure):
    _fields_ = (
        ("type", C.c_int),
        ("unique", C.c_uint),
        ("text_position", C.c_int),
        ("length", C.c_int),
        ("audio_ms", C.c_int),
        ("sample", C.c_int),
        ("user", C.c_void_p),
        ("id", _Id),
    )


_CALLBACK = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Manner:
    """How espeak is told to speak."""

    rate: int = 170  # words a minute, 80 to 450
    pitch: int = 50  # 0 to 99
    pitch_range: int = 50  # 0 to 99, 0 is a monotone
    volume: int = 100  # 0 to 200
    word_gap: int = 0  # units of 10 ms
    level: str = "strong"  # of SSML emphasis


@dataclass(slots=True)
class _Recording:
    audio: list[NDArray[np.int16]] = field(default_factory=list)
    phones: list[tuple[int, str, int]] = field(default_factory=list)  # sample, ipa, word
    words: list[int] = field(default_factory=list)  # character positions, from 1


class Espeak:
    """The library of this process. Raises OSError where libespeak-ng is not installed."""

    def __init__(self) -> None:
        self._lib = C.CDLL(LIBRARY)
        self._rate = int(self._lib.espeak_Initialize(_SYNCHRONOUS, 200, None, _PHONEME_EVENTS_IPA))
        if self._rate <= 0:
            raise OSError("libespeak-ng found no data; install the package espeak-ng-data")
        self._recording = _Recording()
        self._callback = _CALLBACK(self._receive)  # the library keeps the address only
        self._lib.espeak_SetSynthCallback(self._callback)
        self._trace = _Trace(self._lib)
        self._voice = ""

    def speak(self, text: str, voice: str, manner: Manner) -> Spoken:
        """Speak `text`, in which *stars* mark emphasised words.

        Raises ValueError when espeak has no such voice ("en-us", "de+f2", ...).
        """
        self._prepare(voice, manner)
        source, spans = _ssml(text, manner.level)
        self._recording = recording = _Recording()
        encoded = source.encode()
        self._lib.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8_SSML, None, None)
        trace = self._trace.read()
        if not recording.audio:
            raise ValueError(f"espeak said nothing for {text!r} with voice {voice!r}")
        audio = np.concatenate(recording.audio)
        leaned = [any(a < at <= b for a, b in spans) for at in recording.words]
        phones, starts = _phones(recording, leaned, trace)
        starts = _close_stops(audio, self._rate, phones, starts)
        return _spoken(audio, self._rate, phones, starts)

    def _prepare(self, voice: str, manner: Manner) -> None:
        if voice != self._voice:
            if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak has no voice {voice!r}; see espeak-ng --voices")
            self._voice = voice
        settings = {
            _RATE: manner.rate,
            _VOLUME: manner.volume,
            _PITCH: manner.pitch,
            _RANGE: manner.pitch_range,
            _WORD_GAP: manner.word_gap,
        }
        for parameter, value in settings.items():
            self._lib.espeak_SetParameter(parameter, value, 0)

    def _receive(self, samples: "C._Pointer[C.c_short]", count: int, events: object) -> int:
        heard = self._recording
        if count > 0:
            heard.audio.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while (event := events[i]).type:  # type: ignore[index]
            if event.type == _WORD and event.length > 0:
                heard.words.append(event.text_position)
            elif event.type == _PHONEME:
                name = bytes(event.id.string).split(b"\0")[0].decode(errors="ignore")
                heard.phones.append((event.sample, name, len(heard.words) - 1))
            i += 1
        return 0


class _Trace:
    """The library's own phoneme trace, captured in memory."""

    def __init__(self, lib: C.CDLL) -> None:
        self._libc = C.CDLL(None)
        self._libc.open_memstream.restype = C.c_void_p
        self._libc.open_memstream.argtypes = [C.c_void_p, C.c_void_p]
        self._text, self._size = C.c_char_p(), C.c_size_t()
        stream = self._libc.open_memstream(C.byref(self._text), C.byref(self._size))
        self._stream = C.c_void_p(stream)
        lib.espeak_SetPhonemeTrace(3 | ord("_") << 8, self._stream)

    def read(self) -> list[tuple[str, int]]:
        """The phones since the last call, each with its own stress mark."""
        self._libc.fflush(self._stream)
        text = C.string_at(self._text, self._size.value).decode(errors="ignore")
        self._libc.fseek(self._stream, C.c_long(0), 0)
        marks = {"ˈ": 1, "ˌ": 2}
        tokens = [token for token in re.split(r"[_\s]+", text) if token]
        return [(token.strip("ˈˌ"), marks.get(token[0], 0)) for token in tokens]


@cache
def engine() -> Espeak:
    """The one engine of this process."""
    return Espeak()


def _ssml(text: str, level: str) -> tuple[str, list[tuple[int, int]]]:
    """The SSML of a text and the character spans of its emphasised words."""
    source, spans = "<speak>", []
    for i, part in enumerate(text.split("*")):
        if i % 2:
            source += f'<emphasis level="{level}">'
            spans.append((len(source), len(source) + len(escape(part))))
            source += escape(part) + "</emphasis>"
        else:
            source += escape(part)
    return source + "</speak>", spans


def _phones(
    heard: _Recording, leaned: list[bool], trace: list[tuple[str, int]]
) -> tuple[list[Phone], list[int]]:
    """Phones with stress, word and emphasis (their times are dummies) and their starts."""
    stress = _align_stress([name for _, name, _ in heard.phones if name], trace)
    phones, starts, at = [], [], 0
    for sample, name, word in heard.phones:
        if name:
            emphasis = word >= 0 and leaned[word]
            phones.append(Phone(0, 1, name, stress[at], max(word, 0), emphasis))
            at += 1
        else:
            phones.append(Phone(0, 1, ""))
        starts.append(sample)
    return phones, starts


def _align_stress(names: list[str], trace: list[tuple[str, int]]) -> list[int]:
    stress = [0] * len(names)
    matcher = SequenceMatcher(None, names, [name for name, _ in trace], autojunk=False)
    for a, b, size in matcher.get_matching_blocks():
        for i in range(size):
            stress[a + i] = trace[b + i][1]
    return stress


def _close_stops(
    audio: NDArray[np.int16], rate: int, phones: list[Phone], starts: list[int]
) -> list[int]:
    """Move the start of each stop back over the quiet before its event.

    Quiet is a small share of the phone before, not zero: some voices carry an echo.
    """
    closed = list(starts)
    for i in range(1, len(phones)):
        if phones[i].ipa[:1] not in STOPS or not phones[i].ipa or not phones[i - 1].ipa:
            continue
        before = np.abs(audio[starts[i - 1] : starts[i]].astype(np.int32))
        loud = np.flatnonzero(before > max(1.0, _QUIET * float(before.max(initial=0))))
        start = starts[i - 1] + int(loud[-1]) + 1 if len(loud) else starts[i]
        closed[i] = max(start, starts[i] - round(_LONGEST_CLOSURE_S * rate))
    return closed


def _spoken(audio: NDArray[np.int16], rate: int, phones: list[Phone], starts: list[int]) -> Spoken:
    sound = to_16k((audio / 32768).astype(np.float32), rate)
    scale = SAMPLE_RATE / rate
    ends = [*starts[1:], len(audio)]
    whole, stops = [Phone(0, 1, "")], [starts[0] * scale if starts else len(sound)]
    for phone, start, end in _absorb_gaps(phones, starts, ends, _SHORTEST_PAUSE_S * rate):
        parts = split_ipa(phone.ipa)
        if phone.ipa == "":
            parts = [""]
        elif not parts:  # a mark of the phone before, such as ʲ
            stops[-1] = end * scale
        for i, part in enumerate(parts):
            emphasis = phone.emphasis and part != ""
            stress = phone.stress if is_vowel(part) else 0
            whole.append(Phone(0, 1, part, stress, phone.word, emphasis))
            stops.append((start + (end - start) * (i + 1) / len(parts)) * scale)
    return Spoken(sound, lay(stops, whole, len(sound)))


def _absorb_gaps(
    phones: list[Phone], starts: list[int], ends: list[int], shortest: float
) -> list[tuple[Phone, int, int]]:
    """Give gaps too short for a pause to the stop that follows, or else to the phone before."""
    given: list[tuple[Phone, int, int]] = []
    waiting: int | None = None  # where a gap began that the next stop will take
    for i, (phone, start, end) in enumerate(zip(phones, starts, ends, strict=True)):
        if phone.ipa == "" and end - start < shortest and 0 < i < len(phones) - 1:
            if phones[i + 1].ipa[:1] in STOPS and phones[i + 1].ipa:
                waiting = start
            else:
                given[-1] = (given[-1][0], given[-1][1], end)
            continue
        given.append((phone, start if waiting is None else waiting, end))
        waiting = None
    return given
