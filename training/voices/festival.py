"""festival through a pipe: HTS and diphone English with its segment times.

One festival process serves one process of ours; it is asked in Scheme and answers with lines.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from training.voices.clips import SAMPLE_RATE, Phone
from training.voices.flite import IPA
from training.voices.spoken import Spoken, is_vowel, lay, starred, to_16k

VOICES = {
    "slt-hts": "voice_cmu_us_slt_arctic_hts",
    "ked": "voice_ked_diphone",
}
_PACKAGES = "festival festvox-us-slt-hts festvox-kdlpc16k"
_LATE_S = {"slt-hts": 0.008, "ked": 0.0}  # how far the sound lags behind the segments, measured
_SHOW = """
(define (continuum_number item name n)
  (if item
    (begin (item.set_feat item name n)
           (continuum_number (item.next item) name (+ n 1)))))
(define (continuum_speak text path)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (continuum_number (utt.relation.first utt 'Token) "token_order" 0)
    (continuum_number (utt.relation.first utt 'Word) "word_order" 0)
    (mapcar (lambda (s)
        (format t "%s %f %s %s %s\\n" (item.name s) (item.feat s 'end)
          (item.feat s "R:SylStructure.parent.stress")
          (item.feat s "R:SylStructure.parent.parent.word_order")
          (item.feat s "R:SylStructure.parent.parent.R:Token.parent.token_order")))
      (utt.relation.items utt 'Segment))
    (utt.save.wave utt path 'riff)))
"""
_END = "continuum-end"


@dataclass(frozen=True, slots=True)
class Manner:
    """How festival is told to speak."""

    stretch: float = 1.0  # of every duration
    pitch: float = 0.0  # standard deviations above the voice's mean; diphone voices only
    pitch_range: float = 1.0  # factor on the spread of pitch; diphone voices only


class Festival:
    """A festival process. Raises OSError where it or its voices are not installed."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                ["festival", "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError as error:
            raise OSError(f"festival is missing; install {_PACKAGES}") from error
        self._folder = tempfile.TemporaryDirectory(prefix="festival-")
        self._ask(_SHOW)
        self._voice = ""

    def speak(self, text: str, voice: str, manner: Manner) -> Spoken:
        """Speak `text`, in which *stars* mark emphasised words.

        Raises ValueError when there is no such voice, or festival fails on the text.
        """
        if voice not in VOICES:
            raise ValueError(f"festival has no voice {voice!r}; it has {', '.join(VOICES)}")
        self._prepare(voice, manner)
        path = Path(self._folder.name, "utterance.wav")
        plain = text.replace("*", "").replace("\\", " ").replace('"', " ")
        lines = self._ask(f'(continuum_speak "{plain}" "{path}")')
        rows = [fields for line in lines if len(fields := line.split()) == 5]
        if not rows or not path.exists():
            raise ValueError(f"festival failed on {text!r}: {' '.join(lines)[:200]}")
        rate, pcm = wavfile.read(path)
        path.unlink()
        # The diphone voice overflows its 16 bits; what wraps round is continuous once unwrapped.
        whole = np.unwrap(pcm.astype(np.float64), period=65536) / 32768
        audio = to_16k(whole.astype(np.float32), int(rate))
        return _read(rows, audio, starred(text), _LATE_S[voice])

    def _prepare(self, voice: str, manner: Manner) -> None:
        if voice != self._voice:
            answer = " ".join(self._ask(f"({VOICES[voice]})"))
            if "ERROR" in answer:
                raise OSError(f"festival lacks {voice!r}; install {_PACKAGES}: {answer[:200]}")
            self._voice = voice
        if voice == "slt-hts":
            base = "cmu_us_slt_arctic_hts::hts_engine_params"
            speed = f'(list "-r" {1 / manner.stretch:.4f})'
            self._ask(f"(set! hts_engine_params (append {base} (list {speed})))")
            return
        mean, spread = 105, 15
        self._ask(f"(Parameter.set 'Duration_Stretch {manner.stretch:.4f})")
        self._ask(
            f"(set! int_lr_params '((target_f0_mean {mean + spread * manner.pitch:.1f})"
            f" (target_f0_std {spread * manner.pitch_range:.1f})"
            " (model_f0_mean 170) (model_f0_std 34)))"
        )

    def _ask(self, scheme: str) -> list[str]:
        pipe, answer = self._process.stdin, self._process.stdout
        if pipe is None or answer is None:
            raise OSError("festival has no pipe")
        question = f'{scheme}\n(format t "\\n{_END}\\n")\n(fflush nil)\n'
        pipe.write(question.encode("latin-1", "replace"))
        pipe.flush()
        lines: list[str] = []
        while (line := answer.readline().decode("latin-1")).strip() != _END:
            if not line:
                raise OSError(f"festival ended: {' '.join(lines)[:200]}")
            lines.append(line.strip())
        return [line for line in lines if line]


def _read(
    rows: list[list[str]], audio: NDArray[np.float32], leaned: set[int], late_s: float
) -> Spoken:
    phones, ends = [], []
    for name, end, stress, word, token in rows:
        ipa = IPA[name]
        ends.append((float(end) + late_s) * SAMPLE_RATE)
        if ipa == "":
            phones.append(Phone(0, 1, ""))
            continue
        stressed = int(is_vowel(ipa) and stress == "1")
        phones.append(Phone(0, 1, ipa, stressed, int(word), int(token) in leaned))
    return Spoken(audio, lay(ends, phones, len(audio)))


@cache
def engine() -> Festival:
    """The one engine of this process."""
    return Festival()
