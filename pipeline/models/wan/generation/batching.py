"""Several streams of one checkpoint as one batch: their forwards, and their latents' decoding.

Streams that ask for forwards of the same shape at the same rotary places are answered together,
whatever else differs between them: prompt, speech, picture, noise level, what their rings hold. The
others go apart. A group is cut into batches of 1, 2, 4 ... streams, so that few shapes have to be
compiled or recorded. Every stream gets what it would get alone, to rounding. A batch that fails is
asked for again one by one, and a stream that fails then fails alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from pipeline.attention.cache import JointCache
from pipeline.models.wan.generation.forward import ForwardRequest, Generation, answer, join
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.dit import Modulation
from pipeline.models.wan.network.kv_ring import JointRing
from pipeline.models.wan.vae.autoencoder import VaeDecoder
from pipeline.streaming.isolation import Failed, batched

T = TypeVar("T")


class FrameDecoder(Protocol):
    """Latents to frames in [-1, 1], remembering."""

    def reset(self) -> None: ...
    def push(self, latents: Tensor) -> Tensor: ...


@torch.no_grad()
def together(turns: Sequence[Generation[T]], most: int) -> list[T | Failed]:
    """What each turn returns, or raises; at most ``most`` of them in one forward."""
    pending: dict[int, ForwardRequest] = {}
    done: dict[int, T | Failed] = {}
    batch = Batch()

    def go_on(i: int, sent: Tensor | Failed | None) -> None:
        try:
            pending[i] = _resume(turns[i], sent)
        except StopIteration as end:
            done[i] = end.value
        except Exception as error:
            done[i] = Failed(error)

    for i in range(len(turns)):
        go_on(i, None)
    while pending:
        asked, pending = pending, {}
        for group in grouped({i: kind(ask) for i, ask in asked.items()}, most):
            fields = batched(batch.answer, [asked[i] for i in group])
            for i, field in zip(group, fields, strict=True):
                go_on(i, field)
    return [done[i] for i in range(len(turns))]


def _resume(turn: Generation[T], sent: Tensor | Failed | None) -> ForwardRequest:
    """What a turn asks for next, now that it is told this."""
    if sent is None:
        return next(turn)
    return turn.throw(sent.error) if isinstance(sent, Failed) else turn.send(sent)


def grouped(kinds: dict[int, Hashable], most: int) -> Iterator[list[int]]:
    """The keys by their kind, in groups of 1, 2, 4 ... but at most ``most``, large ones first."""
    by_kind: dict[Hashable, list[int]] = {}
    for key, kind in kinds.items():
        by_kind.setdefault(kind, []).append(key)
    for keys in by_kind.values():
        while keys:
            size = 1 << (min(len(keys), most).bit_length() - 1)
            yield keys[:size]
            keys = keys[size:]


def kind(ask: ForwardRequest) -> Hashable:
    """What has to agree between forwards that are to be one."""
    short = ask.shortcut
    reuse = None if short.reuse is None else (short.step, short.reuse.state)
    return (id(ask.dit), ask.x.shape[1:], ask.x.dtype, ask.places, ask.mod.head.shape[1:],
            ask.conditions[0].deaf, ask.conditions[0].areas is None, ask.ring is None, ask.keep,
            short.attend, reuse, id(ask.graphs))  # fmt: skip


class Batch:
    """Joins forwards, and caches the streams' conditions, which are the same at every step."""

    def __init__(self) -> None:
        self._conditions: dict[
            tuple[int, ...], tuple[list[list[BlockCondition]], list[BlockCondition]]
        ] = {}

    def answer(self, asks: Sequence[ForwardRequest]) -> list[Tensor]:
        """The velocity of each, from one forward."""
        if len(asks) == 1:
            return [answer(asks[0])]
        rows = [len(ask.x) for ask in asks]
        return list(answer(self._joined(asks, rows)).split(rows))

    def _joined(self, asks: Sequence[ForwardRequest], rows: list[int]) -> ForwardRequest:
        first = asks[0]
        caches = [ask.shortcut.reuse for ask in asks if ask.shortcut.reuse is not None]
        rings = [(ask.ring, ask.start, count) for ask, count in zip(asks, rows, strict=True)
                 if ask.ring is not None]  # fmt: skip
        conditions = [ask.conditions for ask in asks]
        key = tuple(map(id, conditions))
        if key not in self._conditions:
            # with the lists, so that no id is used again
            self._conditions[key] = conditions, join(conditions)
        return replace(
            first,
            x=torch.cat([ask.x for ask in asks]),
            mod=_levels([ask.mod for ask in asks], rows),
            conditions=self._conditions[key][1],
            shortcut=replace(first.shortcut, reuse=JointCache(caches, rows) if caches else None),
            ring=JointRing(rings) if rings else None,
        )


def _levels(mods: Sequence[Modulation], rows: Sequence[int]) -> Modulation:
    """Modulation of every row of a batch."""
    if all(mod is mods[0] for mod in mods) and len(mods[0].head) == 1:
        return mods[0]

    def cat(parts: Sequence[Tensor]) -> Tensor:
        wide = (p.expand(n, *p.shape[1:]) for p, n in zip(parts, rows, strict=True))
        return torch.cat(list(wide))

    blocks = [cat(parts) for parts in zip(*(mod.blocks for mod in mods), strict=True)]
    return Modulation(blocks, cat([mod.head for mod in mods]))


@torch.no_grad()
def decode_together(
    rows: Sequence[tuple[FrameDecoder, Tensor]], most: int
) -> list[Tensor | Failed]:
    """What each decoder would push of its latents alone: its new frames, or what it raises. Latents
    of the same shape at the same place of their videos are one batch, where the decoder is torch's.
    """
    kinds = {i: _place(decoder, latents.shape) for i, (decoder, latents) in enumerate(rows)}
    frames: dict[int, Tensor | Failed] = {}
    for group in grouped(kinds, most):
        made = batched(_decode, [rows[i] for i in group])
        frames |= dict(zip(group, made, strict=True))
    return [frames[i] for i in range(len(rows))]


def _place(decoder: FrameDecoder, shape: torch.Size) -> Hashable:
    if isinstance(decoder, VaeDecoder):
        return decoder.step, shape, bool(decoder.past)
    return id(decoder)


def _decode(rows: Sequence[tuple[FrameDecoder, Tensor]]) -> list[Tensor]:
    """One decoder pushes alone, several of torch's as one; they remember when all is computed."""
    own = [decoder for decoder, _ in rows if isinstance(decoder, VaeDecoder)]
    if len(rows) == 1 or len(own) < len(rows):
        return [decoder.push(latents) for decoder, latents in rows]
    return _decode_joined(own, torch.cat([latents for _, latents in rows]))


def _decode_joined(decoders: Sequence[VaeDecoder], latents: Tensor) -> list[Tensor]:
    step = decoders[0].step
    past = {layer: torch.cat([d.past[layer] for d in decoders]) for layer in decoders[0].past}
    frames = torch.cat([step(latent, past) for latent in latents.split(1, dim=2)], dim=2)
    for row, decoder in enumerate(decoders):
        decoder.past = {layer: value[row : row + 1] for layer, value in past.items()}
    return list(frames.split(1))
