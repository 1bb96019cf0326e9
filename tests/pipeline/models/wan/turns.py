"""Taking the turns of a performance by hand: to the end, or given up on the way."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from pipeline.models.wan.generation.chunked import GenerationState
from pipeline.models.wan.generation.forward import ForwardRequest, Generation, answer

T = TypeVar("T")


@torch.no_grad()
def taken(turn: Generation[T]) -> tuple[list[ForwardRequest], T]:
    """What a turn asked for, each answered, and what it returned."""
    asks: list[ForwardRequest] = []
    try:
        ask = next(turn)
        while True:
            asks.append(ask)
            ask = turn.send(answer(ask))
    except StopIteration as end:
        return asks, end.value


@torch.no_grad()
def given_up(turn: Generation[T], asks: int) -> None:
    """A turn that fails when it has asked so often."""
    ask = next(turn)
    for _ in range(asks - 1):
        ask = turn.send(answer(ask))
    turn.close()


def retried(run: GenerationState, channels: int, failures: list[tuple[int, ...]]) -> list[Tensor]:
    """The latents of a turn for each of ``failures``, after having been given up that often, at
    those asks."""
    out = []
    for turn, fails in enumerate(failures):
        span = run.span()
        heard = torch.full((span.stop - span.start, channels), 0.1 * turn)
        for asks in fails:
            given_up(run.turn(heard), asks)
        out.append(run.advance(heard).latents)
    return out
