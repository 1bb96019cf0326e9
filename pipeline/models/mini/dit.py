"""The diffusion transformer: joint attention over latents, reference, audio and prompt.

Letters: B batch, C latent channels, L latents of the chunk, M latents of context, P part tokens,
A audio embeddings (M + L), D width, N tokens.

One sequence in two halves. *Condition* tokens (reference, prompt, clean past latents, audio) attend
to each other; *noisy* tokens (the chunk) attend to everything. The condition therefore does not
depend on the noise level: its keys and values are computed once a chunk, and the three steps run
over the noisy tokens alone (lossless). adaLN modulation takes a timestep per latent (Peebles & Xie
2023), from one shared projection with a learned table per block (Chen et al. 2023). Rotary
positions count latents from the start of the chunk; reference and prompt have a fixed one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.attention import attend, rotary_table, rotate
from pipeline.models.mini.config import DitConfig

REFERENCE_TOKENS: Final = 2
KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Condition:
    """A chunk's condition. Embeddings are encoded; ``audio`` covers context and chunk."""

    reference: Tensor  # (B, R)
    prompt: Tensor  # (B, tokens, D)
    context: Tensor  # (B, C, M, 1, P) the latents just before the chunk
    context_valid: Tensor  # bool (B, M), False where they are not known (yet)
    audio: Tensor  # (B, M + L, A)
    audio_known: Tensor  # bool (B, M + L)


@dataclass(frozen=True, slots=True)
class ConditionCache:
    """Keys and values of the condition tokens per block, and the audio under each noisy token.

    ``attended`` is what attention gave in each block at the last step that computed it.
    """

    blocks: list[KeyValue]
    valid: Tensor  # bool (B, N_condition)
    audio: Tensor  # (B, L, P, D)
    attended: dict[int, Tensor] = field(default_factory=dict)


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoids of t in [0, 1]: (B, L) -> (B, L, dim)."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = 1000.0 * t[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Block(nn.Module):
    """adaLN-modulated attention and MLP."""

    def __init__(self, dim: int, heads: int, ffn_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.RMSNorm(dim // heads, eps=1e-6)
        self.k_norm = nn.RMSNorm(dim // heads, eps=1e-6)
        self.out = nn.Linear(dim, dim)
        self.up = nn.Linear(dim, ffn_ratio * dim)
        self.down = nn.Linear(ffn_ratio * dim, dim)

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)

    def keys(self, x: Tensor, mod: Tensor, table: KeyValue) -> KeyValue:
        """Keys and values only, for tokens whose outputs are not used."""
        shift, scale = (mod + self.modulation).unbind(-2)[:2]
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        dim = x.shape[-1]
        k, v = F.linear(h, self.qkv.weight[dim:], self.qkv.bias[dim:]).chunk(2, dim=-1)
        return rotate(self.k_norm(self._split(k)), table), self._split(v)

    def attention(
        self,
        x: Tensor,
        mod: Tensor,
        table: KeyValue,
        past: KeyValue | None,
        valid: Tensor | None,
    ) -> tuple[Tensor, KeyValue]:
        """x (B, N, D), mod (B, N or 1, 6, D); attends to ``past`` and itself."""
        shift, scale = (mod + self.modulation).unbind(-2)[:2]
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        q, k, v = (self._split(y) for y in self.qkv(h).chunk(3, dim=-1))  # (B, H, N, D / H)
        q, k = rotate(self.q_norm(q), table), rotate(self.k_norm(k), table)
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        return self.out(attend(q, k, v, valid).transpose(1, 2).flatten(2)), own

    def forward(self, x: Tensor, mod: Tensor, attended: Tensor) -> Tensor:
        """The residual stream (B, N, D) after what ``attention`` gave and the MLP."""
        gate1, shift, scale, gate2 = (mod + self.modulation).unbind(-2)[2:]
        x = x + gate1 * attended
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        out: Tensor = x + gate2 * self.down(F.gelu(self.up(h), approximate="tanh"))
        return out


class DiT(nn.Module):
    """Velocity of a chunk's noisy latents under a condition."""

    def __init__(
        self, config: DitConfig, channels: int, parts: int, audio_dim: int, reference_dim: int
    ) -> None:
        super().__init__()
        dim = config.dim
        self.config, self.dim, self.parts = config, dim, parts
        self.latent_in = nn.Linear(channels, dim)
        self.part = nn.Parameter(torch.randn(parts, dim) * 0.02)
        self.clean = nn.Parameter(torch.zeros(dim))
        self.reference_in = nn.Linear(reference_dim, REFERENCE_TOKENS * dim)
        self.audio_token = nn.Linear(audio_dim, dim)
        self.audio_under = nn.Linear(audio_dim, parts * dim)
        self.audio_unknown = nn.Parameter(torch.zeros(audio_dim))
        self.time = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.modulate = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.heads, config.ffn_ratio) for _ in range(config.depth)
        )
        self.head_modulation = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.head = nn.Linear(dim, channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def stack(self) -> list[Block]:
        """The blocks, in order."""
        return [cast(Block, block) for block in self.blocks]

    def _table(self, positions: Tensor) -> KeyValue:
        return rotary_table(positions, self.dim // self.config.heads, self.config.theta)

    def _latent_tokens(self, latents: Tensor) -> Tensor:
        """(B, C, L, 1, P) -> (B, L, P, D)."""
        tokens: Tensor = self.latent_in(latents[:, :, :, 0].permute(0, 2, 3, 1))
        return tokens + self.part

    def timestep(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t (B, L) -> block modulation (B, L, 6, D) and time embedding (B, L, D)."""
        embedded = self.time(timestep_embedding(t, 256))
        return self.modulate(F.silu(embedded)).unflatten(-1, (6, -1)), embedded

    def condition(self, c: Condition) -> ConditionCache:
        """Encode what does not depend on the noise level."""
        batch, _, past, _, parts = c.context.shape
        length = c.audio.shape[1] - past
        audio = torch.where(c.audio_known[..., None], c.audio, self.audio_unknown)
        tokens = torch.cat(
            [
                self.reference_in(c.reference).unflatten(1, (REFERENCE_TOKENS, -1)),
                c.prompt,
                self.audio_token(audio),
                (self._latent_tokens(c.context) + self.clean).flatten(1, 2),
            ],
            dim=1,
        )
        fixed = tokens.shape[1] - audio.shape[1] - past * parts
        valid = torch.cat(
            [
                torch.ones(batch, fixed + past + length, dtype=torch.bool, device=tokens.device),
                c.context_valid.repeat_interleave(parts, dim=1),
            ],
            dim=1,
        )
        table = self._table(self.condition_positions(fixed, past, length, parts, tokens))
        mod, _ = self.timestep(tokens.new_zeros(batch, 1))
        *inner, last = self.stack
        blocks: list[KeyValue] = []
        for block in inner:
            attended, own = block.attention(tokens, mod, table, None, valid)
            tokens = block(tokens, mod, attended)
            blocks.append(own)
        blocks.append(last.keys(tokens, mod, table))
        under = self.audio_under(audio[:, past:]).unflatten(-1, (parts, -1))
        return ConditionCache(blocks, valid, under)

    @staticmethod
    def condition_positions(fixed: int, past: int, length: int, parts: int, like: Tensor) -> Tensor:
        """Rotary positions of the condition tokens (S,), on the device of ``like``."""
        times = torch.arange(-past, length, device=like.device)
        anchor = times.new_full((fixed,), -past - 4)
        return torch.cat([anchor, times, times[:past].repeat_interleave(parts)])

    def forward(
        self, x: Tensor, t: Tensor, cache: ConditionCache, reuse: Collection[int] = ()
    ) -> Tensor:
        """Velocity (B, C, L, 1, P) of ``x`` at noise levels ``t`` (B, L).

        Blocks in ``reuse`` take what attention gave them at the last step that computed it.
        """
        batch, _, length, _, parts = x.shape
        tokens = (self._latent_tokens(x) + cache.audio).flatten(1, 2)  # (B, L * P, D)
        mod, embedded = self.timestep(t)
        mod = mod.repeat_interleave(parts, dim=1)
        times = torch.arange(length, device=x.device).repeat_interleave(parts)
        table = self._table(times)
        own = torch.ones(batch, length * parts, dtype=torch.bool, device=x.device)
        valid = torch.cat([cache.valid, own], dim=1)
        for i, (block, past) in enumerate(zip(self.stack, cache.blocks, strict=True)):
            if i not in reuse:
                cache.attended[i], _ = block.attention(tokens, mod, table, past, valid)
            tokens = block(tokens, mod, cache.attended[i])
        shift, scale = (embedded[:, :, None] + self.head_modulation).chunk(2, dim=2)
        h = F.layer_norm(tokens, tokens.shape[-1:]).unflatten(1, (length, parts))
        out: Tensor = self.head(h * (1 + scale) + shift)  # (B, L, P, C)
        return out.permute(0, 3, 1, 2)[:, :, :, None]

    def velocity(
        self, x: Tensor, level: float, cache: ConditionCache, reuse: Collection[int] = ()
    ) -> Tensor:
        """Velocity of ``x`` (B, C, L, 1, P), all of it at one noise level."""
        t = x.new_full((x.shape[0], x.shape[2]), level)
        out: Tensor = self(x, t, cache, reuse)
        return out
