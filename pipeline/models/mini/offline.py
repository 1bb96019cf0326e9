"""A recording of any length to body states, by either schedule, in bounded memory.

Speech is read just far enough ahead: a window of chunks for the parallel schedule, one step for the
causal one, which uses no more future audio than a live call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.diffusion.continuum import OverlapTrace
from pipeline.interface import SCHEDULES
from pipeline.models.mini.audio import AudioStream
from pipeline.models.mini.chunk_plan import Plan, causal_plan, parallel_plan
from pipeline.models.mini.config import SAMPLES_PER_FRAME, ModelConfig
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.onnx.runtime import Networks
from pipeline.models.mini.vae import MotionDecoder

PIECE: Final = 12_800  # samples heard at a time where nothing is live
Speech = NDArray[np.float32]
State = NDArray[np.float32]


def trace_for(config: ModelConfig, schedule: str) -> OverlapTrace:
    """What one call of the denoiser leaves for the next: all of a window's tail, whose speech was
    known, but of a speculation only what ``continuum.trace`` says."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    if schedule == "parallel":
        return OverlapTrace((1.0,) * config.schedule.steps)
    return OverlapTrace(config.continuum.trace, config.continuum.hold)


def states(
    model: Networks,
    denoiser: Denoiser,
    performance: GenerationState,
    speech: Iterable[Speech],
    schedule: str = "parallel",
    check: Callable[[], None] = lambda: None,
) -> Iterator[State]:
    """Body states (88,) of a recording at 25 fps, the last one covering its last sample.

    ``speech`` yields float32 mono 16 kHz pieces of any length. ``check`` is called before every
    batch of chunks and stops the performance by raising.
    """
    config, decoder, index = model.config, MotionDecoder(model.vae, model.config.motion.ease), 0
    causal = schedule == "causal"
    ears = SpeechReader(model, speech, config.samples_per_latent if causal else PIECE)
    reach = config.chunks.live_hop if causal else parallel_plan(config, 0, None).chunks[-1].stop
    while True:
        remaining = ears.hear(performance, performance.position + reach)
        if remaining is not None and remaining <= 0:
            return
        check()
        plan = _plan(config, performance, remaining, causal)
        latents = denoiser.advance([performance], [plan])[0]
        for state in decoder.push(latents).numpy():
            if remaining is None or index < ears.total_frames:
                yield state
            index += 1


def _plan(
    config: ModelConfig, performance: GenerationState, remaining: int | None, causal: bool
) -> Plan:
    if causal:
        return causal_plan(config, performance.position)
    return parallel_plan(config, performance.position, remaining)


class SpeechReader:
    """Pulls speech just far enough ahead of a performance, ``piece`` samples at a time."""

    def __init__(self, model: Networks, speech: Iterable[Speech], piece: int) -> None:
        self._config = model.config
        self._stream = AudioStream(model.audio, model.config.audio.mel_bands)
        self._pieces = _split(speech, piece)
        self._samples, self._ended = 0, False

    @property
    def total_frames(self) -> int:
        """Frames of all speech so far, the last one perhaps begun only."""
        return -(-self._samples // SAMPLES_PER_FRAME)

    @property
    def total_latents(self) -> int:
        """Latents of all speech so far, the last one perhaps begun only."""
        return -(-self._samples // self._config.samples_per_latent)

    def hear(self, performance: GenerationState, until: int) -> int | None:
        """Embed speech up to latent ``until``; at its end, returns how many latents remain."""
        while performance.audio.end < until and not self._ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                piece = self._padding()
            else:
                self._samples += len(piece)
            performance.audio.append(self._stream.push(piece))
        return self.total_latents - performance.position if self._ended else None

    def _padding(self) -> Speech:
        """Silence, so that the last chunk knows what follows the last word."""
        latents = self.total_latents + self._config.chunks.length
        whole = latents * self._config.samples_per_latent + self._config.look_ahead_samples
        return np.zeros(whole - self._samples, np.float32)


def _split(speech: Iterable[Speech], piece: int) -> Iterator[Speech]:
    for block in speech:
        for start in range(0, len(block), piece):
            yield block[start : start + piece]
