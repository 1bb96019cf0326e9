"""``AvatarPipeline``: one model, many avatars and streams, batched.

Loads weights, enrols pictures, opens live streams (the causal schedule) and renders speech of any
length (the parallel one). Every way in asks for a ``ConsentGrant``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.anchor import IdentityAnchor, build_anchor
from pipeline.audio import AudioStream
from pipeline.avatars import find_avatar
from pipeline.config import SAMPLE_RATE, SAMPLES_PER_FRAME, ModelConfig, load_config
from pipeline.consent import ConsentGrant
from pipeline.continuum import Trace
from pipeline.draw import Painter
from pipeline.errors import LandmarksMissing
from pipeline.fit import Fit, Landmarks
from pipeline.generator import Generator, load_generator
from pipeline.performance import Denoiser, Performance, causal_plan, parallel_plan
from pipeline.picture import Picture, hash_picture, load_picture
from pipeline.reference import REF_DIM
from pipeline.stream import Avatar, AvatarFrame, AvatarStream
from pipeline.vae import MotionDecoder

DEFAULT_SIZE: Final = (512, 512)
Speech = NDArray[np.float32]


class AvatarEngine:
    """Steps many live streams of one model with one batched forward per noise level."""

    def __init__(self, config: ModelConfig, denoiser: Denoiser) -> None:
        self._config, self._denoiser = config, denoiser

    def advance(self, streams: Sequence[AvatarStream]) -> list[Tensor]:
        """Fresh latents (C, hop, 1, P) of streams that are ``ready``; nothing is painted."""
        for stream in streams:
            stream.grant.check()
            stream.hear()
        performances = [stream.performance for stream in streams]
        plans = [causal_plan(self._config, p.position) for p in performances]
        return self._denoiser.advance(performances, plans)

    def step(self, streams: Sequence[AvatarStream]) -> list[list[AvatarFrame]]:
        """One tick of every stream that is ready; an empty list for each of the others."""
        ready = [stream for stream in streams if stream.ready]
        fresh = dict(zip(map(id, ready), self.advance(ready), strict=True)) if ready else {}
        return [list(s.paint(fresh[id(s)])) if id(s) in fresh else [] for s in streams]


class AvatarPipeline:
    """A loaded model. ``load`` is the way to get one."""

    def __init__(self, config: ModelConfig, model: Generator, device: str, reason: str) -> None:
        self.config, self.model = config, model
        self.device, self.reason = device, reason
        with torch.inference_mode():
            self._null_prompt = model.text([""])[0]
        self._denoiser = Denoiser(model.dit, config, self._null_prompt)
        self.engine = AvatarEngine(config, self._denoiser)

    @classmethod
    def load(cls, name: str = "mini", weights: Path | None = None) -> AvatarPipeline:
        """Load a bundled model. ``device`` and ``reason`` of the result say where it runs and why.

        Raises ``ModelUnknown`` or ``ModelDamaged``.
        """
        config = load_config(name)
        model = load_generator(config, REF_DIM, weights)
        cores = len(os.sched_getaffinity(0))
        reason = f"{config.name} is a CPU model; {cores} cores, torch on {torch.get_num_threads()}"
        return cls(config, model, "cpu", reason)

    # -- identities --------------------------------------------------------------------------

    def bundled(
        self, name: str, grant: ConsentGrant, *, size: tuple[int, int] = DEFAULT_SIZE
    ) -> Avatar:
        """Enrol a bundled avatar at a frame size (width, height), from its exact fit.

        Raises ``UnknownAvatar``, ``AvatarDamaged``, or a ``ConsentError``.
        """
        found = find_avatar(name)
        file = hash_picture(found.reference)
        grant.check(image_sha256=file.sha256)
        picture = load_picture(file)
        fit = Fit.from_json(found.fit.read_text("utf-8"))
        anchor = build_anchor(picture.pixels, fit, *size, alpha=found.mask())
        return Avatar(name, file.sha256, anchor)

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: Landmarks | None = None,
        size: tuple[int, int] = DEFAULT_SIZE,
    ) -> Avatar:
        """Enrol somebody's own picture from its landmarks (px), at a frame size (width, height).

        Raises a ``ConsentError`` before anything is computed, then a ``PictureError``.
        """
        grant.check(image_sha256=image.sha256)
        if landmarks is None:
            raise LandmarksMissing(
                "this picture has no landmarks: put them into a JSON file beside it, "
                "docs/avatars.md says how"
            )
        fit = fit_landmarks(image.pixels, landmarks)
        anchor = build_anchor(image.pixels, fit, *size, alpha=image.alpha)
        return Avatar(grant.avatar, image.sha256, anchor)

    # -- performances ------------------------------------------------------------------------

    def open(
        self, avatar: Avatar, grant: ConsentGrant, prompt: str = "", seed: int = 0
    ) -> AvatarStream:
        """A live stream of the avatar (causal schedule). Raises a ``ConsentError``."""
        grant.check(image_sha256=avatar.image_sha256)
        performance = self._performance(avatar, prompt, seed, self.config.continuum.trace)
        painter = Painter(avatar.anchor)
        return AvatarStream(avatar, grant, self.model, performance, painter, self.engine.advance)

    def render(
        self,
        avatar: Avatar,
        grant: ConsentGrant,
        speech: Iterable[Speech],
        prompt: str = "",
        seed: int = 0,
        schedule: str = "parallel",
    ) -> Iterator[AvatarFrame]:
        """Frames of a whole recording, in order, the last one covering its last sample.

        ``speech`` is pulled lazily, in float32 mono 16 kHz pieces of any length; memory does not
        grow with it. Raises a ``ConsentError``, also while it runs.
        """
        grant.check(image_sha256=avatar.image_sha256)
        if schedule == "causal":
            return self._render_causal(self.open(avatar, grant, prompt, seed), speech)
        if schedule == "parallel":
            performance = self._performance(avatar, prompt, seed, (1.0,) * len(self._levels))
            return self._render_parallel(avatar, grant, performance, speech)
        raise ValueError(f"schedule must be 'parallel' or 'causal', not {schedule!r}")

    @property
    def _levels(self) -> tuple[float, ...]:
        return self._denoiser.levels[:-1]

    def _performance(
        self, avatar: Avatar, prompt: str, seed: int, strength: Sequence[float]
    ) -> Performance:
        with torch.inference_mode():
            tokens = self.model.text([prompt])[0]
        reference = torch.from_numpy(avatar.anchor.reference)
        return Performance(self.config, reference, tokens, seed, Trace(strength))

    def _render_causal(
        self, stream: AvatarStream, speech: Iterable[Speech]
    ) -> Iterator[AvatarFrame]:
        for piece in speech:
            stream.push(piece)
            while stream.ready:
                yield from stream.step()
        frames = -(-stream.samples_pushed // SAMPLES_PER_FRAME)
        stream.flush()
        while stream.ready:
            yield from (frame for frame in stream.step() if frame.index < frames)

    def _render_parallel(
        self,
        avatar: Avatar,
        grant: ConsentGrant,
        performance: Performance,
        speech: Iterable[Speech],
    ) -> Iterator[AvatarFrame]:
        ears = _Ears(self.model, self.config, speech)
        return _painted(avatar.anchor, self._states(performance, ears, grant))

    def _states(
        self, performance: Performance, ears: _Ears, grant: ConsentGrant
    ) -> Iterator[NDArray[np.float32]]:
        """Body states of the whole recording, a window of chunks at a time."""
        decoder, config, index = MotionDecoder(self.model.vae), self.config, 0
        reach = parallel_plan(config, 0, None).chunks[-1].stop
        while True:
            remaining = ears.hear(performance, performance.position + reach)
            if remaining is not None and remaining <= 0:
                return
            grant.check()
            plan = parallel_plan(config, performance.position, remaining)
            latents = self._denoiser.advance([performance], [plan])[0]
            for state in decoder.push(latents).numpy():
                if remaining is None or index < ears.total_frames:
                    yield state
                index += 1


class _Ears:
    """Pulls speech just far enough ahead of a performance."""

    def __init__(self, model: Generator, config: ModelConfig, speech: Iterable[Speech]) -> None:
        self._stream = AudioStream(model.audio, config.audio.mel_bands)
        self._config, self._pieces = config, _split(speech)
        self._samples, self._ended = 0, False

    @property
    def total_frames(self) -> int:
        return -(-self._samples // SAMPLES_PER_FRAME)

    @property
    def total_latents(self) -> int:
        return -(-self._samples // self._config.samples_per_latent)

    def hear(self, performance: Performance, until: int) -> int | None:
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


def _split(speech: Iterable[Speech]) -> Iterator[Speech]:
    """The same speech in pieces of at most a second."""
    for block in speech:
        for start in range(0, len(block), SAMPLE_RATE):
            yield block[start : start + SAMPLE_RATE]


def _painted(
    anchor: IdentityAnchor, states: Iterable[NDArray[np.float32]]
) -> Iterator[AvatarFrame]:
    """Paint states in order on two threads of one painter each (the kernels release the GIL)."""
    painters = [Painter(anchor), Painter(anchor)]
    pools = [ThreadPoolExecutor(1, f"paint-{i}") for i in range(len(painters))]
    queue: deque[Future[NDArray[np.uint8]]] = deque()

    def frame(index: int) -> AvatarFrame:
        return AvatarFrame(queue.popleft().result(), index, index * SAMPLES_PER_FRAME)

    painted = 0
    try:
        for k, state in enumerate(states):
            queue.append(pools[k % 2].submit(painters[k % 2].paint, state))
            if len(queue) > 2 * len(painters):
                yield frame(painted)
                painted += 1
        while queue:
            yield frame(painted)
            painted += 1
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
