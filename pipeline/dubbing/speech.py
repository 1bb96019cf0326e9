"""What the mouth does: the bundled generator's mouth units for new speech, at any frame rate.

Speech is read as it is needed. Where it is silent for longer than a stop consonant the mouth rests
closed, from ``CLOSING`` after the last sound on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.mini.config import FRAME_RATE, SAMPLES_PER_FRAME
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.offline import states, trace_for
from pipeline.models.mini.pipeline import AvatarPipeline
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit, reference_vector
from pipeline.models.mini.rig.state import MOUTH, SLICES, neutral

F32 = NDArray[np.float32]
Speech = NDArray[np.float32]

QUIET: Final = 10 ** (-32 / 20)  # of the loudest speech so far: below is silence
_FLOOR: Final = 10 ** (-56 / 20)  # of full scale
_STOP: Final = 5  # frames: shorter silences belong to the speech around them
CLOSING: Final = 2  # frames in which a mouth opens or closes at the edge of speech


class Loudness:
    """Pieces of speech on their way to the generator, and how loud each video frame of them is."""

    def __init__(self, speech: Iterable[Speech]) -> None:
        self._speech = speech
        self._rest = np.zeros(0, np.float32)
        self._peak = _FLOOR / QUIET
        self._voiced: list[bool] = []
        self.first = 0  # the frame that the first of ``_voiced`` is

    def pieces(self) -> Iterator[Speech]:
        for piece in self._speech:
            joined = np.concatenate([self._rest, piece])
            whole = len(joined) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            for block in joined[:whole].reshape(-1, SAMPLES_PER_FRAME):
                self._hear(block)
            self._rest = joined[whole:]
            yield piece
        if len(self._rest):
            self._hear(self._rest)

    def _hear(self, block: Speech) -> None:
        parts = np.array_split(block, 4)  # a word may begin within a frame
        loud = max(float(np.sqrt(np.square(part).mean())) for part in parts if len(part))
        self._peak = max(loud, self._peak * 0.9995)
        self._voiced.append(loud > QUIET * self._peak)

    def activity(self, frame: int) -> float:
        """How far the mouth of a frame belongs to speech, 0 in silence to 1."""
        reach = _STOP + CLOSING
        near = [self._is(k) for k in range(frame - reach, frame + reach + 1)]
        near = _bridged(near, _STOP)
        gap = min((abs(k - reach) for k, voiced in enumerate(near) if voiced), default=reach)
        return max(0.0, 1.0 - gap / (CLOSING + 1))

    def _is(self, frame: int) -> bool:
        k = frame - self.first
        return 0 <= k < len(self._voiced) and self._voiced[k]

    def forget(self, before: int) -> None:
        """Drops what lies before a frame."""
        drop = max(0, before - self.first)
        del self._voiced[:drop]
        self.first += drop


def _bridged(voiced: list[bool], longest: int) -> list[bool]:
    """Silences of up to ``longest`` frames between speech count as speech."""
    out, last = list(voiced), -1
    for k, on in enumerate(voiced):
        if on:
            if last >= 0 and k - last - 1 <= longest:
                out[last:k] = [True] * (k - last)
            last = k
    return out


class MouthMotion:
    """Mouth units (29,) and activity at any time of the new speech, asked in order."""

    def __init__(self, made: Iterator[F32], loudness: Loudness, usual: F32) -> None:
        self.usual = usual  # mouth units (29,) of speech on average
        self._made, self._loudness = made, loudness
        self._frames: list[tuple[F32, float]] = []
        self._first, self._ended = 0, False

    def at(self, time_s: float) -> tuple[F32, float]:
        """Between two frames of the generator; silent before the speech and behind it."""
        place = time_s * FRAME_RATE
        low = int(np.floor(place))
        (a, loud_a), (b, loud_b) = self._frame(low), self._frame(low + 1)
        share = np.float32(place - low)
        self._forget(low - 1)
        return a + share * (b - a), float(loud_a + share * (loud_b - loud_a))

    def _frame(self, k: int) -> tuple[F32, float]:
        while not self._ended and k >= self._first + len(self._frames):
            state = next(self._made, None)
            if state is None:
                self._ended = True
                break
            number = self._first + len(self._frames)
            active = self._loudness.activity(number)
            self._frames.append((state[SLICES["mouth"]] * np.float32(active), active))
        if self._first <= k < self._first + len(self._frames):
            return self._frames[k - self._first]
        return np.zeros(len(MOUTH), np.float32), 0.0

    def _forget(self, before: int) -> None:
        drop = min(max(0, before - self._first), len(self._frames))
        del self._frames[:drop]
        self._first += drop
        self._loudness.forget(self._first - 64)


def mouth_motion(
    pipeline: AvatarPipeline, speech: Iterable[Speech], seed: int, check: Callable[[], None]
) -> MouthMotion:
    """Motion for float32 mono 16 kHz pieces. ``check`` is called before every batch of chunks."""
    loudness = Loudness(speech)
    config = pipeline.config
    with torch.inference_mode():
        prompt = pipeline.model.text([""])[0]
    performance = GenerationState(
        config, torch.from_numpy(_somebody()), prompt, seed,
        trace_for(config, "parallel"), config.motion.spread("parallel"),
    )  # fmt: skip
    made = states(pipeline.networks, pipeline.denoiser, performance, loudness.pieces(), check=check)
    usual = pipeline.model.vae.state_mean.numpy()[SLICES["mouth"]]
    return MouthMotion(made, loudness, usual)


def _somebody() -> F32:
    """An average person who looks into the camera: of the body nothing is used but the mouth."""
    body = bundled_body()
    shape = np.asarray(body.shape(), np.float32)
    camera = Camera(focal=2.5, distance=2.6, look_y=1.45, center_y=0.5)
    return reference_vector(
        Fit(shape, neutral(), camera, frozenset({"top_long", "bottom"})), camera
    )
