"""``AvatarStream``: push speech, take frames. Holds everything that one stream remembers.

Time is counted in 16 kHz samples pushed since the stream began, whether used or skipped. Not
thread-safe: one thread at a time pushes and steps a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.consent import ConsentGrant
from pipeline.interface import AvatarFrame, Cue
from pipeline.media.label import Label
from pipeline.models.mini.audio import AudioStream
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.body_direction import BodyDirection
from pipeline.models.mini.config import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.models.mini.drift import DriftMonitor
from pipeline.models.mini.vae import MotionDecoder
from pipeline.streaming.speech_backlog import SpeechBacklog

if TYPE_CHECKING:
    from pipeline.models.mini.generation_state import GenerationState, NewLatents
    from pipeline.models.mini.onnx.runtime import Networks
    from pipeline.models.mini.painter import FrameRenderer

State = NDArray[np.float32]


class AvatarStream:
    """One avatar performing. Built by ``AvatarPipeline.open`` from a consent grant."""

    frame_rate: Final = FRAME_RATE
    samples_per_frame: Final = SAMPLES_PER_FRAME

    def __init__(
        self,
        avatar: Avatar,
        grant: ConsentGrant,
        model: Networks,
        performance: GenerationState,
        painter: FrameRenderer,
        tick: Callable[[list[AvatarStream]], list[Iterable[AvatarFrame]]],
        label: Label | None = None,
    ) -> None:
        grant.check(image_sha256=avatar.image_sha256)
        self.avatar, self.grant = avatar, grant
        self.performance = performance
        self._model, self._painter, self._tick = model, painter, tick
        self._label = label or Label()
        self._audio = AudioStream(model.audio, model.config.audio.mel_bands)
        self._decoder = MotionDecoder(model.vae, model.config.motion.ease)
        self._body = BodyDirection(avatar.anchor.fit.state)
        self._backlog = SpeechBacklog()
        self._drift = DriftMonitor(painter.paint(avatar.anchor.rest_state))

    # -- speech in ---------------------------------------------------------------------------

    def push(self, pcm: NDArray[np.float32]) -> None:
        """Add float32 mono speech at 16 kHz, (N,), as ``SpeechBacklog.push`` does."""
        self._backlog.push(pcm)

    def skip(self, samples: int) -> int:
        """Drop up to ``samples`` of waiting speech unheard, in whole latents; returns how many.

        Frame numbers jump over what was dropped.
        """
        return self._backlog.skip(samples, self._model.config.samples_per_latent)

    def interrupt(self) -> None:
        """Drop all waiting speech and the speculative chunk; the avatar falls silent.

        Audio that was embedded beyond the finished frames, and a rest shorter than a latent, are
        replaced by silence.
        """
        self.skip(len(self._backlog))
        self._backlog.silence()
        self.performance.interrupt()
        self._audio.reset()
        ahead = (
            self._backlog.heard - self.performance.position * self._model.config.samples_per_latent
        )
        self.performance.audio.append(self._audio.push(np.zeros(ahead, np.float32)))

    def flush(self) -> None:
        """Pad with silence so that every sample pushed so far gets its frames."""
        config = self._model.config
        due = self.samples_pushed - self._backlog.skipped
        steps = -(-due // self.samples_per_step)
        wanted = steps * self.samples_per_step + config.look_ahead_samples
        self.push(np.zeros(max(0, wanted - due), np.float32))

    def set_prompt(self, prompt: str) -> None:
        """Change the style from the next chunk on."""
        self.performance.prompt = self._model.text([prompt])[0].detach()

    def set_gesture(self, scale: float) -> None:
        """How much the body moves from the next step on, 0..1.5."""
        self._body.scale = scale

    def cue(self, cue: Cue) -> None:
        """Perform a gesture or an emotion."""
        self._body.cue(cue, self.media_time)

    # -- frames out --------------------------------------------------------------------------

    @property
    def samples_per_step(self) -> int:
        """Media time that one ``step`` makes."""
        return self._model.config.chunks.live_hop * self._model.config.samples_per_latent

    @property
    def look_ahead(self) -> int:
        """Samples behind the last frame of a step that must have been pushed too."""
        return self._model.config.look_ahead_samples

    @property
    def needs(self) -> int:
        """``samples_pushed`` from which on the next ``step`` generates."""
        return self.media_time + self.samples_per_step + self.look_ahead

    @property
    def samples_pushed(self) -> int:
        """Media time of the next sample to be pushed."""
        return self._backlog.pushed

    @property
    def media_time(self) -> int:
        """Media time up to which frames were generated."""
        made = self.performance.position * self._model.config.samples_per_latent
        return self._backlog.skipped + made

    @property
    def backlog(self) -> int:
        """Samples that wait to be performed."""
        return self.samples_pushed - self.media_time

    @property
    def ready(self) -> bool:
        """Whether ``step`` would generate."""
        return not self._backlog.closed and self.samples_pushed >= self.needs

    def step(self) -> Iterator[AvatarFrame]:
        """One causal tick: the frames of the next hop, painted one by one, or nothing if not
        ``ready``. Raises a ``ConsentError`` once the grant no longer holds.
        """
        yield from self._tick([self])[0]

    # -- a step, in the hands of the engine ---------------------------------------------------

    def hear(self) -> None:
        """Embed the waiting speech that the next tick can use."""
        config = self._model.config
        chunks, samples = config.chunks, config.samples_per_latent
        reach = (self.performance.position + chunks.live_hop + chunks.live_tail) * samples
        wanted = reach + config.look_ahead_samples - self._backlog.heard
        self.performance.audio.append(self._audio.push(self._backlog.take(wanted)))

    def show(self, made: NewLatents) -> Iterator[AvatarFrame]:
        """Remember and decode what was made, at once; its frames, drawn as they are taken."""
        states = self._decoder.push(self.performance.commit(made)).numpy()
        return self._paint(states, self.media_time // SAMPLES_PER_FRAME - len(states))

    def _paint(self, states: NDArray[np.float32], first: int) -> Iterator[AvatarFrame]:
        for index, state in enumerate(states, first):
            seen = self._body(state, index)
            image, matte = self._painter.marked(seen, self._label, self.avatar.transparent)
            if index % FRAME_RATE == 0:
                self._drift.see(image)
            yield AvatarFrame(image, index, index * SAMPLES_PER_FRAME, matte)

    # -- what is known of it ------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """What an operator watches: ``backlog_s``, ``skipped_s``, ``colour_drift``, ..."""
        return {
            "backlog_s": self.backlog / SAMPLE_RATE,
            "skipped_s": self._backlog.skipped / SAMPLE_RATE,
            **self._drift.metrics(),
        }

    def close(self) -> None:
        """End the performance; idempotent."""
        self._backlog.close()
