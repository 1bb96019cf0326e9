"""The engine of ``mini``: one tick of many live streams, with one batched forward a noise level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from pipeline import interface
from pipeline.interface import AvatarFrame, native
from pipeline.models.mini.chunk_plan import Plan, causal_plan
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState, NewLatents
from pipeline.models.mini.stream import AvatarStream
from pipeline.streaming.isolation import attempt, batched, then


class AvatarEngine:
    """Steps many live streams of one model with one batched forward per noise level."""

    def __init__(self, config: ModelConfig, denoiser: Denoiser) -> None:
        self._config, self._denoiser = config, denoiser

    def step(self, streams: Sequence[interface.AvatarStream]) -> list[Iterable[AvatarFrame]]:
        """One tick of every stream that is ready, no frames for each of the others.

        Frames are painted as they are taken. What a stream raises, at whichever stage, is raised
        when its own frames are taken, and changes nothing for the others.
        """
        ready = [native(stream, AvatarStream) for stream in streams if stream.ready]
        made = dict(zip(map(id, ready), self._tick(ready), strict=True))
        return [made.get(id(stream), ()) for stream in streams]

    def _tick(self, streams: Sequence[AvatarStream]) -> list[Iterable[AvatarFrame]]:
        heard = [attempt(partial(self._hear, stream)) for stream in streams]
        made = batched(self._denoise, heard)
        return [then(new, stream.show) for stream, new in zip(streams, made, strict=True)]

    def _hear(self, stream: AvatarStream) -> tuple[GenerationState, Plan]:
        stream.grant.check()
        stream.hear()
        return stream.performance, causal_plan(self._config, stream.performance.position)

    def _denoise(self, due: Sequence[tuple[GenerationState, Plan]]) -> list[NewLatents]:
        performances, plans = zip(*due, strict=True)
        return self._denoiser.denoise(performances, plans)
