"""One block of the Wan transformer: self-attention, text and image, audio, feed-forward.

Letters: B batch, H heads, T latents, S tokens of one latent, N = T S tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.attention.exact import Attend, attend
from pipeline.models.wan.config import AttendedAudio, WanConfig
from pipeline.models.wan.network import speakers
from pipeline.models.wan.network.audio_conditioning import AudioCrossAttention, KeyValue
from pipeline.models.wan.network.layers import (
    LayerNorm,
    RmsNorm,
    Table,
    gated,
    join_heads,
    modulate,
    rotate_pairs,
    split_heads,
)


@dataclass(frozen=True, slots=True)
class Causal:
    """Latents see their own block of ``block`` and those before it: all of them, or (``window``
    > 0) the first ``sink`` and the newest, ``window`` in all with their own."""

    block: int
    window: int = 0
    sink: int = 0

    def seen(self, start: int, total: int) -> list[int]:
        """Latents that the block starting at ``start`` attends to."""
        stop = min(start + self.block, total)
        low = max(stop - (self.window - self.sink), 0) if self.window else 0
        return [i for i in range(stop) if i < self.sink or i >= low]


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the tokens of a forward sit and what they may attend to."""

    table: Table  # of past and own tokens, (M, D / H / 2)
    frames: int  # own latents
    causal: Causal | None = None
    attend: Attend = attend  # how they do it


class Attention(nn.Module):
    """The layers of attention whose queries and keys are normalised."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RmsNorm(dim, config.eps), RmsNorm(dim, config.eps)


class SelfAttention(Attention):
    def __init__(self, config: WanConfig) -> None:
        super().__init__(config)
        dim = config.dim
        if config.memory is not None:
            self.memory_proj_k, self.memory_proj_v = (
                nn.Conv1d(dim, dim, config.memory, config.memory, groups=dim, bias=False)
                for _ in range(2)
            )

    def forward(
        self, x: Tensor, reach: Reach, past: KeyValue | None, areas: Tensor | None = None
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """x (B, N, D); returns the output, own keys (not rotated) and values, and where each token
        listens, (B, N), of two people whose ``areas`` (B, 3, S) are given."""
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(x)), self.v(x)
        q, k, v = (split_heads(y, self.heads) for y in (q, k, v))
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        newest = (reach.table[0][-q.shape[2] :], reach.table[1][-q.shape[2] :])
        q, k = rotate_pairs(q, newest), rotate_pairs(k, reach.table)
        places = None
        if areas is not None:
            first = k[:, :, k.shape[2] - q.shape[2] :][:, :, : q.shape[2] // reach.frames]
            places = speakers.places(speakers.likeness(q, first, areas))
        if reach.causal is None:
            return self.o(join_heads(reach.attend(q, k, v))), own, places
        out = _block_causal(q, k, v, reach.frames, reach.causal)
        return self.o(join_heads(out)), own, places


def _block_causal(q: Tensor, k: Tensor, v: Tensor, frames: int, causal: Causal) -> Tensor:
    """Block by block, so that no mask of all tokens by all tokens is ever held."""
    size = q.shape[2] // frames
    tokens = torch.arange(size, device=q.device)
    out = []
    for start in range(0, frames, causal.block):
        seen = torch.tensor(causal.seen(start, frames), device=q.device)
        index = (seen[:, None] * size + tokens).flatten()
        own = q[:, :, start * size : (start + causal.block) * size]
        out.append(attend(own, k[:, :, index], v[:, :, index]))
    return torch.cat(out, dim=2)


class CrossAttention(Attention):
    """Attention to the text and, where there is one, to the image; one query, one sum."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__(config)
        dim = config.dim
        if config.image_dim is not None:
            self.k_img, self.v_img = nn.Linear(dim, dim), nn.Linear(dim, dim)
            self.norm_k_img = RmsNorm(dim, config.eps)

    def prepare_text(self, text: Tensor) -> KeyValue:
        """Embedded text (B, 512, D) -> keys and values."""
        k, v = self.norm_k(self.k(text)), self.v(text)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def prepare_image(self, image: Tensor) -> KeyValue:
        """Embedded image (B, 257, D) -> keys and values."""
        k, v = self.norm_k_img(self.k_img(image)), self.v_img(image)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def forward(self, x: Tensor, text: KeyValue, image: KeyValue | None) -> Tensor:
        q = split_heads(self.norm_q(self.q(x)), self.heads)
        heard = join_heads(attend(q, *text))
        if image is not None:
            heard = heard + join_heads(attend(q, *image))
        return self.o(heard)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class BlockCondition:
    """The condition of one block."""

    text: KeyValue
    image: KeyValue | None = None
    added: Tensor | None = None  # (B, T, D), layout A
    audio: KeyValue | None = None  # layout B
    deaf: int = 0  # first latents that hear nothing of it
    areas: Tensor | None = None  # (B, 3, S) of two people and the background, layout B


Passed = tuple[Tensor, Tensor, KeyValue | None]  # tokens, what attention gave, own keys and values


class Block(nn.Module):
    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim, eps = config.dim, config.eps
        self.norm1 = LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config)
        self.norm3 = LayerNorm(dim, eps=eps)
        self.cross_attn = CrossAttention(config)
        self.norm2 = LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(dim, config.ffn_dim), nn.GELU("tanh"), nn.Linear(config.ffn_dim, dim)
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        if isinstance(config.audio, AttendedAudio):
            self.norm_x = LayerNorm(dim, eps=eps)
            self.audio_cross_attn = AudioCrossAttention(config, config.audio.token_dim)

    def modulated(self, mod: Tensor) -> Tensor:
        """The block's own modulation on top of the projected time, float32 (B, T or 1, 6, D)."""
        return self.modulation.float()[:, None] + mod

    def forward(
        self,
        x: Tensor,
        mod: Tensor,
        hint: BlockCondition,
        reach: Reach,
        past: KeyValue | None = None,
        attended: Tensor | None = None,
    ) -> Passed:
        """x (B, N, D), which holds ``hint.added`` already, ``mod`` from ``modulated``. With what
        self-attention gave at another step, ``attended``, it is not computed again."""
        shift1, scale1, gate1, shift2, scale2, gate2 = mod.unbind(2)  # each (B, T or 1, D)
        own = places = None
        if attended is None:
            h = modulate(x, self.norm1, shift1, scale1)
            attended, own, places = self.self_attn(h, reach, past, hint.areas)
        x = gated(x, attended, gate1)
        x = x + self.cross_attn(self.norm3(x), hint.text, hint.image)
        if hint.audio is not None:
            heard = self.audio_cross_attn(self.norm_x(x), hint.audio, places)
            if hint.deaf:
                heard = heard.unflatten(1, (reach.frames, -1))
                heard = F.pad(heard[:, hint.deaf :], (0, 0, 0, 0, hint.deaf, 0)).flatten(1, 2)
            x = x + heard
        y = self.ffn(modulate(x, self.norm2, shift2, scale2))
        return gated(x, y, gate2), attended, own
