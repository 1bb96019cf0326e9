"""A past of constant size at the noise level that is being denoised, old keys merged into few.

As LiveAct runs. Every step of the schedule has a memory of its own: a block sees what the blocks
before it were *at the same level*, so nothing goes through the transformer once more when it is
clean. Between the first latents and the newest ones, ``merge`` neighbouring keys become one by a
learned weight per channel, or by their mean where the file has no weights; what was merged is
merged again with the next block, so the past fades and never grows. Places are those in the memory:
there is no position to run out of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipeline.attention.cache import AttentionCache
from pipeline.models.wan.generation.chunked import (
    GenerationSetup,
    GenerationState,
    NewLatents,
    Span,
)
from pipeline.models.wan.generation.denoise import Branches, Prompts, guided_branches
from pipeline.models.wan.generation.forward import ForwardRequest, Generation
from pipeline.models.wan.generation.guided_velocity import GuidedVelocity, LatentPositions
from pipeline.models.wan.model_cards import Recipe
from pipeline.models.wan.network.audio_conditioning import KeyValue, frame_windows, latent_steps
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.condition import beside_b, frames_of
from pipeline.models.wan.network.dit import Speech, WanDiT


@dataclass(slots=True)
class MergedPast:
    """Keys and values of one stream at one noise level, in latents.

    ``weights`` of each block, (H, D, merge), for keys and values alike; ``room`` is what the past
    may take beside a new block.
    """

    room: int
    sink: int
    newest: int
    weights: list[Tensor]
    held: int = 0
    blocks: list[KeyValue] = field(default_factory=list)  # each (B, H, held S, D)
    next: tuple[int, list[KeyValue]] | None = None  # the same with the block in hand

    def places(self, start: int, fresh: int) -> Tensor:
        """Rotary times of what is held and of ``fresh`` new latents, wherever they begin."""
        return torch.arange(self.held + fresh)

    def past(self, block: int, fresh: int) -> KeyValue | None:
        """What block ``block`` remembers."""
        return self.blocks[block] if self.blocks else None

    def keep(self, start: int, fresh: int, own: Sequence[KeyValue]) -> None:
        """Take in new latents, for ``go_on``, and merge the middle where the next block would find
        no room."""
        self.kept(start, fresh, own)()

    def kept(self, start: int, fresh: int, own: Sequence[KeyValue]) -> Callable[[], None]:
        """What ``keep`` remembers, once this is called."""
        total = self.held + fresh
        crowded = total > self.room
        kept = []
        for i, pair in enumerate(own):
            k, v = pair
            if self.blocks:
                k, v = (torch.cat(both, dim=2) for both in zip(self.blocks[i], pair, strict=True))
            size = k.shape[2] // total
            kept.append((self._merged(k, i, size), self._merged(v, i, size)) if crowded else (k, v))
        middle = (total - self.sink - self.newest) // self.weights[0].shape[-1]
        held = self.sink + middle + self.newest if crowded else total

        def take() -> None:
            self.next = held, kept

        return take

    def go_on(self) -> None:
        """The block in hand is done: it belongs to the past. Until then it can be begun again."""
        if self.next is not None:
            (self.held, self.blocks), self.next = self.next, None

    def _merged(self, x: Tensor, block: int, size: int) -> Tensor:
        """(B, H, N, D), ``size`` tokens a latent, with the middle merged."""
        first, last = self.sink * size, x.shape[2] - self.newest * size
        weight = self.weights[block].to(x)
        groups = x[:, :, first:last].unflatten(2, (-1, weight.shape[-1]))  # (B, H, n, merge, D)
        middle = torch.einsum("bhnmd,hdm->bhnd", groups, weight)
        return torch.cat([x[:, :, :first], middle, x[:, :, last:]], dim=2)


def merge_weights(dit: WanDiT, merge: int) -> list[Tensor]:
    """(H, D, merge) of every block, on the device: the keys' convolution, which the published
    program applies to values too, or a mean."""
    config, device = dit.config, dit.patch_embedding.weight.device
    if config.memory not in (None, merge):
        raise ValueError(f"the recipe merges {merge} keys, the weights {config.memory}")
    shape = (config.heads, config.head_dim, merge)
    if config.memory is None:
        return [torch.full(shape, 1.0 / merge, device=device)] * config.depth
    named = dict(dit.blocks.named_parameters())
    return [named[f"{i}.self_attn.memory_proj_k.weight"].detach().to(device).view(shape)
            for i in range(config.depth)]  # fmt: skip


class MergedPerformance(GenerationState):
    """Blocks of latents, the first one as long as the past; each step has its own memory."""

    def __init__(self, score: GenerationSetup, prompts: Prompts, recipe: Recipe) -> None:
        if score.dit.config.layout != "B" or score.pace.reuse:
            raise ValueError("a merged past is for layout B, and attention is never reused in it")
        self.prompts = prompts
        self._score, self._block = score, recipe.block
        self._room = recipe.window - recipe.block
        self._mods = score.modulations()
        weights = merge_weights(score.dit, recipe.merge)
        self._pasts = [MergedPast(self._room, recipe.sink, recipe.newest, weights)
                       for _ in range(score.schedule.steps)]  # fmt: skip
        self._start = 0

    @property
    def hop(self) -> int:
        """Frames by which each span after the first goes further."""
        return 4 * self._block

    @property
    def ahead(self) -> int:
        """Frames that are heard beyond those that a turn gives: half a window of speech."""
        return int(self._score.dit.config.audio.window // 2)  # type: ignore[union-attr]

    @property
    def _length(self) -> int:
        return self._block if self._start else self._room

    def span(self) -> Span:
        """The frames of the next block, and those that its first and last one hear as well."""
        first, last = frames_of(self._start), frames_of(self._start + self._length)
        return Span(max(first - self.ahead, 0), last + self.ahead)

    def turn(self, features: Tensor) -> Generation[NewLatents]:
        """Speech features (frames of the span, C) -> the block's clean latents."""
        score, start, count = self._score, self._start, self._length
        speech = self._hear(features[None].to(score.device))
        branches = guided_branches(
            score.dit, score.guidance, self.prompts, score.reference.tokens, speech
        )
        if len(branches.conditions) != 1:
            raise ValueError("a memory keeps one branch: guidance must be 1 for text and audio")
        conditions = [replace(hint, deaf=0 if start else 1) for hint in branches.conditions[0]]
        branches = Branches([conditions], branches.weights)
        velocity = _Remembering(self._pasts, score.dit, branches, self._side(), self._mods,
                                score.pace, LatentPositions(start, self._pasts[0]))  # fmt: skip
        clean = yield from velocity.clean(
            score.schedule, lambda draw: score.noise(start, count, draw)
        )
        for past in self._pasts:
            past.go_on()
        self._start += count
        return NewLatents(clean)

    def _side(self) -> Tensor:
        """The reference's clip goes with the first block; what follows stands at its end."""
        clip = self._score.reference.video
        if clip is None or clip.shape[2] != self._room + self._block:
            raise ValueError(f"the reference needs a clip of {self._room + self._block} latents")
        side = beside_b(clip)
        return side[:, :, self._room :] if self._start else side[:, :, : self._room]

    def _hear(self, rows: Tensor) -> Speech:
        frames = frames_of(self._start + self._length) - frames_of(self._start)
        lead = frames_of(self._start) - self.span().start
        window = self._score.dit.config.audio.window  # type: ignore[union-attr]
        windows = frame_windows(rows, window)[:, lead : lead + frames]
        if windows.shape[1] != frames:
            raise ValueError(f"{rows.shape[1]} frames of speech for a span of {frames}")
        if self._start == 0:
            return latent_steps(windows)
        first, later = latent_steps(torch.cat([windows[:, :1], windows], dim=1))
        return first[:, :0], later  # none of these latents is a clip's first


class _Remembering(GuidedVelocity):
    """A field of which every step has its own past, and leaves its own keys there."""

    def __init__(self, pasts: Sequence[MergedPast], *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._pasts = pasts

    def _step(
        self, x: Tensor, step: int, conditions: list[BlockCondition], kept: AttentionCache | None
    ) -> ForwardRequest:
        return replace(super()._step(x, step, conditions, kept), ring=self._pasts[step], keep=True)
