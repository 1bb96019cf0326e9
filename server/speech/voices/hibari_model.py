"""The package ``hibari-tts``: a sentence to sound, with the time of each word and phone.

Everything it needs is in its wheel. Only the voice that is there, or that an operator has put into
its folder, is opened: nothing is ever downloaded. Its durations run 50 ms behind its sound, as
measured against forced alignment, and are moved back by that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline import onnx_runtime
from server.speech.voices.hibari_sound import (
    RATE,
    Spoken,
    Word,
    levelled,
    lowered,
    phone_times,
    trimmed,
    word_times,
)

UNIT: Final = 600  # samples of one step of its durations
BEHIND_S: Final = 0.05
DURATIONS: Final = "/Clip_output_0"
LONGEST: Final = 400  # phonemes that it was trained for
SEED: Final = 7  # of the noise in its sound: a sentence sounds the same each time
PRONOUNCED: Final = {  # names that its lexicon reads otherwise
    "Mira": "mˈɪɹə",
    "Amara": "əmˈɑɹə",
    "Lucía": "lusˈiə",
    "Lucia": "lusˈiə",
}


class HibariMissing(RuntimeError):
    """The package, or the voice asked for, is not installed; the message says what to do."""


class HibariModel:
    """One voice, loaded. Not thread-safe: it belongs to one thread."""

    def __init__(self, voice: str) -> None:
        """Blocking, seconds. Raises ``HibariMissing``."""
        runtime = onnx_runtime.load()  # before the package imports it
        try:
            from hibari import dsp, g2p, voices
        except ImportError as failure:
            raise HibariMissing(
                f"hibari-tts is not installed ({failure}): pip install hibari-tts"
            ) from failure
        self._dsp = dsp
        self.british = bool(voices.VOICES[voice]["british"])
        self._session = _session(runtime, _file(voices, voice))
        self._g2p = g2p.G2P(british=self.british)
        vocabulary = Path(g2p.ASSETS, "vocab.json").read_text("utf-8")
        self._vocabulary: dict[str, int] = json.loads(vocabulary)

    def speak(self, sentence: str, lower: bool = False) -> Iterator[Spoken]:
        """The sentence, in one piece unless it is very long. ``lower`` makes it a man's voice.

        Blocking: a hundredth of the time that it sounds.
        """
        for words in _groups(self._words(sentence)):
            yield trimmed(self._say(words, lower))

    def _words(self, sentence: str) -> list[Word]:
        from hibari.g2p import normalize

        read = normalize(sentence)
        for name, phonemes in PRONOUNCED.items():
            read = re.sub(rf"\b{name}\b", f"[{name}](/{phonemes}/)", read)
        tokens = self._g2p.phonemize_tokens(self._g2p.tokenize(read))
        known = [(t.text, t.phonemes or "", t.whitespace) for t in tokens]
        return [Word(text, phonemes + (" " if space else "")) for text, phonemes, space in known]

    def _say(self, words: list[Word], lower: bool) -> Spoken:
        letters = [(i, c) for i, w in enumerate(words) for c in w.phonemes if c in self._vocabulary]
        while letters and letters[-1][1] == " ":
            letters.pop()
        ids = [0, *(self._vocabulary[c] for _, c in letters), 0]
        asked = {"ids": np.array([ids], np.int64), "speed": np.ones(1, np.float32)}
        *spectrum, durations = self._session.run(None, asked)
        *bands, pitch = (part[0] for part in spectrum)
        if lower:
            bands, pitch = lowered(bands, pitch)
        sound = self._dsp.synth(*bands, pitch, np.random.default_rng(SEED))
        pcm = levelled(sound)
        ends = np.cumsum(durations.reshape(-1)) * UNIT / RATE - BEHIND_S
        edges = np.clip(ends, 0, len(pcm) / RATE).tolist()
        return Spoken(
            pcm, tuple(word_times(words, letters, edges)), tuple(phone_times(letters, edges))
        )


def _file(voices: Any, voice: str) -> str:
    try:
        return str(voices.voice_path(voice, download_missing=False))
    except FileNotFoundError as missing:
        raise HibariMissing(
            f"the voice {voice} is not in the package and is not downloaded by itself: put its"
            f" file at {missing}, or use the voice {voices.DEFAULT}"
        ) from missing


def _session(runtime: Any, path: str) -> Any:
    """The graph with its durations as one more output."""
    import onnx

    graph = onnx.load(path)
    kind = onnx.TensorProto.FLOAT
    graph.graph.output.append(onnx.helper.make_tensor_value_info(DURATIONS, kind, None))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    bare = graph.SerializeToString()
    return runtime.InferenceSession(bare, options, providers=["CPUExecutionProvider"])


def _groups(words: list[Word]) -> list[list[Word]]:
    """Words in stretches of at most ``LONGEST`` phonemes; none without sound."""
    groups: list[list[Word]] = [[]]
    for word in words:
        if sum(len(w.phonemes) for w in groups[-1]) + len(word.phonemes) > LONGEST:
            groups.append([])
        groups[-1].append(Word(word.text, word.phonemes[:LONGEST]))
    return [group for group in groups if any(w.phonemes.strip() for w in group)]
