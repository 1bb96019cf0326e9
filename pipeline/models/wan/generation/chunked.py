"""What one performance remembers, and how it goes on, in latents alone. Two ways are here:

    RingPerformance    block-causal checkpoints: keys and values of the past in a ring
    ChunkPerformance   bidirectional checkpoints, chunk after chunk: the last latents of one are
                       written into the next, as they are or, as published, decoded and encoded
                       again (``recode``). Where the recipe says ``video`` they are the next one's
                       conditioning video too, and are written in at the noise level of the step.
                       With a ``window`` of several chunks these are one batch and harmonised at
                       equal noise level (Neural Continuum Sync), before the next window goes on
                       from their end.

A rolling window is in ``rolling.py``, a merged past in ``merged.py``; ``recipes.py`` chooses.
A latent k of a performance covers video frames 4k - 3 ... 4k, latent 0 the reference alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pipeline.diffusion.chunks import Chunk
from pipeline.diffusion.continuum import harmonise
from pipeline.diffusion.sampling import latent_noise
from pipeline.models.wan.config import AttendedAudio
from pipeline.models.wan.generation.denoise import (
    Known,
    Prompts,
    answered,
    guided_branches,
    timestep,
)
from pipeline.models.wan.generation.forward import Generation, answer
from pipeline.models.wan.generation.guided_velocity import (
    AccelerationPlan,
    GuidedVelocity,
    LatentPositions,
)
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.audio_conditioning import frame_windows, group_frames, latent_steps
from pipeline.models.wan.network.condition import Reference, beside, beside_b, frames_of
from pipeline.models.wan.network.dit import Modulation, Speech, WanDiT
from pipeline.models.wan.network.kv_ring import KvRing


@dataclass(frozen=True, slots=True)
class Span:
    """Video frames [start, stop) whose speech the next advance needs."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class NewLatents:
    """New clean latents (1, 16, T, h, w). With a ``lead`` the video restarts: it is decoded first,
    by a decoder that forgot, and its frames are not shown again."""

    latents: Tensor
    lead: Tensor | None = None


class GenerationState(Protocol):
    """One speaker's generator. ``prompts`` may be exchanged between advances."""

    prompts: Prompts

    @property
    def hop(self) -> int: ...
    @property
    def ahead(self) -> int:
        """Frames that a turn hears beyond those that it gives."""
        return 0

    def span(self) -> Span: ...
    def turn(self, features: Tensor) -> Generation[NewLatents]: ...

    @torch.no_grad()
    def advance(self, features: Tensor) -> NewLatents:
        """A turn by itself; ``together`` runs those of several."""
        return answered(self.turn(features), answer)


@dataclass(frozen=True, slots=True)
class GenerationSetup:
    """What does not change while a performance goes on."""

    dit: WanDiT
    schedule: Schedule
    guidance: Guidance
    reference: Reference
    seed: int
    pace: AccelerationPlan = field(default_factory=AccelerationPlan)
    areas: Tensor | None = None  # (3, S) of two people who speak, and the background

    @torch.no_grad()
    def modulations(self) -> list[Modulation]:
        """What every noise level of the schedule tells the transformer, level 0 at the end."""
        self.pace.check(self.schedule.steps, self.dit.config.depth)
        like = self.reference.latent
        return [self.dit.modulation(timestep(level, self.schedule, like, (1,)))
                for level in self.schedule.levels]  # fmt: skip

    @property
    def device(self) -> torch.device:
        return self.dit.patch_embedding.weight.device

    def noise(self, start: int, latents: int, draw: int) -> Tensor:
        """(1, 16, T, h, w), by absolute latent."""
        _, channels, _, height, width = self.reference.latent.shape
        drawn = latent_noise(self.seed, start, (channels, latents, height, width), draw)[None]
        if draw == 0:
            drawn = drawn * self.schedule.spread
        if self.device.type == "cuda":
            drawn = drawn.pin_memory()  # so that the copy does not wait for what the device does
        return drawn.to(self.device, non_blocking=True)


class RingPerformance(GenerationState):
    """Blocks of latents under a ring of the past, as LiveTalk runs."""

    def __init__(self, score: GenerationSetup, prompts: Prompts, block: int, ring: KvRing) -> None:
        self.prompts = prompts
        self._score, self._block, self._ring = score, block, ring
        self._mods = score.modulations()
        self._start = 0

    @property
    def hop(self) -> int:
        """Frames by which each span after the first goes further."""
        return 4 * self._block

    def span(self) -> Span:
        """The frames of the next block."""
        return Span(frames_of(self._start), frames_of(self._start + self._block))

    def turn(self, features: Tensor) -> Generation[NewLatents]:
        """Speech features (frames of the span, C) -> the block's clean latents."""
        score, start, count = self._score, self._start, self._block
        opening = start == 0
        audio = group_frames(features[None].to(score.device), opening)
        branches = guided_branches(
            score.dit, score.guidance, self.prompts, score.reference.tokens, audio
        )
        if len(branches.conditions) != 1:
            raise ValueError("a ring keeps one branch: guidance must be 1 for text and audio")
        given = torch.arange(start, start + count, device=score.device) == 0
        side = beside(score.dit.config, score.reference, given)
        place = LatentPositions(start, self._ring)
        velocity = GuidedVelocity(score.dit, branches, side, self._mods, score.pace, place)
        known = Known(score.reference.latent) if opening else None
        noises = partial(score.noise, start, count)
        clean = yield from velocity.clean(score.schedule, noises, known)
        yield velocity.remember(clean)
        self._start += count
        return NewLatents(clean)


Recode = Callable[[], Reference]  # the last frames shown, encoded as a clip of their own


class ChunkPerformance(GenerationState):
    """Chunks of ``length`` latents that overlap by ``overlap``; ``window`` of them at once.

    In layout B a frame hears its neighbours: those before the chunk always, those behind it where
    ``speech_ahead`` says that they are known; else the last one stands for them.
    """

    def __init__(
        self,
        score: GenerationSetup,
        prompts: Prompts,
        length: int,
        overlap: int,
        window: int = 1,
        recode: Recode | None = None,
        *,
        video: bool = False,
        speech_ahead: bool = False,
    ) -> None:
        if not 0 < 2 * overlap <= length or window < 1:
            raise ValueError(f"overlap {overlap} must be 1 to half of {length}, and window "
                             f"{window} at least 1")  # fmt: skip
        self.prompts = prompts
        self._score, self._length, self._overlap = score, length, overlap
        self._window, self._recode, self._video = window, recode, video
        audio = score.dit.config.audio
        self._reach = audio.window // 2 if isinstance(audio, AttendedAudio) else 0
        self._ahead = self._reach if speech_ahead else 0
        self._mods = score.modulations()
        self._end = 0  # latents that are final
        self._tail = score.reference.latent  # the last of them, written into the next chunk

    def _chunks(self) -> list[Chunk]:
        start = max(self._end - self._overlap, 0)
        hop, last = self._length - self._overlap, self._window - 1
        return [
            Chunk(start + k * hop, self._length, self._overlap if k else 0,
                  self._overlap if k < last else 0)
            for k in range(self._window)
        ]  # fmt: skip

    @property
    def hop(self) -> int:
        """Frames by which each span after the first goes further."""
        return 4 * self._window * (self._length - self._overlap)

    @property
    def ahead(self) -> int:
        """Frames that are heard beyond those that a turn gives."""
        return self._ahead

    def span(self) -> Span:
        """The frames of the next chunks, those that are known already among them, and those that
        their first and last frames hear besides."""
        chunks = self._chunks()
        first, stop = 4 * chunks[0].start, frames_of(chunks[-1].stop)
        return Span(max(first - self._reach, 0), stop + self._ahead)

    def turn(self, features: Tensor) -> Generation[NewLatents]:
        """Speech features (frames of the span, C), of two people (2, frames, C), -> the new clean
        latents."""
        score, chunks = self._score, self._chunks()
        audio = self._hear(features.to(score.device), chunks)
        past = self._past()
        picture = past if self._video else score.reference
        branches = guided_branches(
            score.dit, score.guidance, self.prompts, picture.tokens, audio, score.areas
        )
        side = torch.cat([self._beside(past if k == 0 else None) for k in range(len(chunks))])

        velocity = GuidedVelocity(score.dit, branches, side, self._mods, score.pace)

        def noise(draw: int) -> Tensor:
            return torch.cat([score.noise(c.start, c.length, draw) for c in chunks])

        x = yield from velocity.clean(score.schedule, noise, self._known(past),
                                      lambda x0: harmonise(x0, chunks))  # fmt: skip
        lead = past.latent if self._recode and self._end else None
        return NewLatents(self._commit(x, chunks), lead)

    def _past(self) -> Reference:
        """What the first chunk goes on from: the picture, or the last latents of the one before,
        as they are or encoded again."""
        reference, tail = self._score.reference, self._tail
        if not self._end:
            return reference
        if self._recode:
            return self._recode()
        clip = reference.video
        if clip is not None:
            clip = torch.cat([tail, clip[:, :, tail.shape[2] :]], dim=2)
        return replace(reference, latent=tail, video=clip)

    def _known(self, past: Reference) -> Known | None:
        """What is written into the first chunk. A conditioning video tells the first one enough."""
        if not self._video:
            return Known(past.latent)
        if not self._end:
            return None
        start, count = self._chunks()[0].start, past.latent.shape[2]
        return Known(past.latent, partial(self._score.noise, start, count))

    def _hear(self, features: Tensor, chunks: list[Chunk]) -> Speech:
        """Speech of each chunk as its transformer wants it; a chunk begins like a clip."""
        span, size = self.span(), 4 * self._length - 3
        if features.shape[-2] != span.stop - span.start:
            raise ValueError(f"{features.shape[-2]} frames of speech for a span of "
                             f"{span.stop - span.start}")  # fmt: skip
        audio = self._score.dit.config.audio
        cuts = [slice(at := 4 * c.start - span.start, at + size) for c in chunks]
        if not isinstance(audio, AttendedAudio):
            return group_frames(torch.stack([features[cut] for cut in cuts]))
        if features.ndim == 2:
            windows = frame_windows(features[None], audio.window)[0]
            return latent_steps(torch.stack([windows[cut] for cut in cuts]))
        persons = frame_windows(features, audio.window)  # (2, frames, window, C)
        apart = [latent_steps(persons[:, cut]) for cut in cuts]
        return torch.stack([a for a, _ in apart]), torch.stack([b for _, b in apart])

    def _beside(self, past: Reference | None) -> Tensor:
        """Beside a chunk's noise, of which ``past`` is given."""
        score, known = self._score, 0 if past is None else past.latent.shape[2]
        if self._video and past is not None and past.video is not None:
            return beside_b(past.video, known)
        given = torch.arange(self._length, device=score.device) < known
        return beside(score.dit.config, score.reference, given)

    def _commit(self, x: Tensor, chunks: list[Chunk]) -> Tensor:
        pieces, covered = [], self._end
        for row, chunk in enumerate(chunks):
            pieces.append(x[row : row + 1, :, covered - chunk.start :])
            covered = chunk.stop
        fresh = torch.cat(pieces, dim=2)
        self._tail = torch.cat([self._tail, fresh], dim=2)[:, :, -self._overlap :]
        self._end = covered
        return fresh
