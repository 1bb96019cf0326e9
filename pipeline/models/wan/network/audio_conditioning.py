"""How speech enters the transformer.

Letters: B batch, F video frames, T latents, C feature channels, D width.

Latent k covers video frames 4k - 3 ... 4k, latent 0 the first frame alone. Layout A stacks a
latent's four frames (the first one counted four times) into one vector that is added to its
tokens; layout B turns windows of frames into 32 tokens that the latent's pixels attend to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.attention import attend
from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig, temporal_stride
from pipeline.models.wan.network.layers import join_heads, rotate_pairs, split_heads
from pipeline.models.wan.network.speakers import PERSONS, rotary, speech_places

KeyValue = tuple[Tensor, Tensor]


def group_frames(features: Tensor, opening: bool = True) -> Tensor:
    """Speech features (B, F, C) of video frames -> (B, T, 4 C), one row a latent, time-major.

    ``opening``: the features begin with the first frame of a clip, F = 4 T - 3; otherwise they
    begin inside a clip, F = 4 T.
    """
    stride = temporal_stride()
    if opening:
        features = torch.cat([features[:, :1].expand(-1, stride - 1, -1), features], dim=1)
    if features.shape[1] % stride:
        raise ValueError(f"{features.shape[1]} frames do not group by {stride}")
    return features.unflatten(1, (-1, stride)).flatten(2)  # type: ignore[no-any-return]


def frame_windows(features: Tensor, window: int) -> Tensor:
    """Every frame with its neighbours, clamped at the ends: (B, F, C) -> (B, F, window, C)."""
    frames = features.shape[1]
    offsets = torch.arange(window, device=features.device) - window // 2
    index = torch.arange(frames, device=features.device)[:, None] + offsets
    return features[:, index.clamp(0, frames - 1)]


def latent_steps(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Frame windows (B, F, W, C) -> steps of the first latent (B, 1, W, C) and of the others
    (B, T - 1, W + 3, C).

    A later latent hears, of its four frames' windows, the past and centre of the first, the
    centres of those between, and the centre and future of the last.
    """
    stride = temporal_stride()
    if (windows.shape[1] - 1) % stride:
        raise ValueError(f"{windows.shape[1]} frames are not 1 + {stride} n")
    middle = windows.shape[2] // 2
    later = windows[:, 1:].unflatten(1, (-1, stride))  # (B, T - 1, 4, W, C)
    steps = [
        later[:, :, 0, : middle + 1],
        later[:, :, 1:-1, middle],
        later[:, :, -1, middle:],
    ]
    return windows[:, :1], torch.cat(steps, dim=2)


class AddedProjection(nn.Module):
    """Layout A: (B, T, 4 C) -> (B, T, hidden)."""

    def __init__(self, audio: AddedAudio) -> None:
        super().__init__()
        self.proj = nn.Linear(audio.channels * temporal_stride(), audio.hidden)
        self.norm_out = nn.LayerNorm(audio.hidden, eps=1e-5)

    def forward(self, grouped: Tensor) -> Tensor:
        return self.norm_out(self.proj(grouped))  # type: ignore[no-any-return]


class AttendedProjection(nn.Module):
    """Layout B: speech steps of every latent -> (B, T, tokens, token_dim)."""

    def __init__(self, audio: AttendedAudio) -> None:
        super().__init__()
        self.shape = (audio.tokens, audio.token_dim)
        later = audio.window + temporal_stride() - 1
        self.proj1 = nn.Linear(audio.window * audio.channels, audio.hidden)
        self.proj1_vf = nn.Linear(later * audio.channels, audio.hidden)
        self.proj2 = nn.Linear(audio.hidden, audio.hidden)
        self.proj3 = nn.Linear(audio.hidden, audio.tokens * audio.token_dim)
        self.norm = nn.LayerNorm(audio.token_dim, eps=1e-5) if audio.norm else nn.Identity()

    def forward(self, first: Tensor, later: Tensor) -> Tensor:
        """first (B, 1, W, C), later (B, T - 1, W + 3, C)."""
        h = torch.cat([F.relu(self.proj1(first.flatten(2))),
                       F.relu(self.proj1_vf(later.flatten(2)))], dim=1)  # fmt: skip
        tokens = self.proj3(F.relu(self.proj2(h))).unflatten(-1, self.shape)
        return self.norm(tokens)  # type: ignore[no-any-return]


class AudioCrossAttention(nn.Module):
    """Layout B: the pixels of a latent attend to its own audio tokens; no norm, and positions only
    where two people speak (``speakers``)."""

    def __init__(self, config: WanConfig, token_dim: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_linear = nn.Linear(config.dim, config.dim)
        self.kv_linear = nn.Linear(token_dim, 2 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def prepare(self, tokens: Tensor, persons: int = 1) -> KeyValue:
        """Tokens (B, T, tokens, token_dim), of two ``persons`` behind one another, -> keys and
        values (B T, H, tokens, D / H)."""
        k, v = self.kv_linear(tokens.flatten(0, 1)).chunk(2, dim=-1)
        k, v = split_heads(k, self.heads), split_heads(v, self.heads)
        if persons == PERSONS:
            at = speech_places(k.shape[2] // persons, k.device)
            k = rotate_pairs(k, rotary(at, k.shape[-1]))
        return k, v

    def forward(self, x: Tensor, audio: KeyValue, places: Tensor | None = None) -> Tensor:
        """x (B, T S, D); ``audio`` from ``prepare`` tells T; ``places`` (B, T S) where tokens
        listen if two people speak."""
        latents = audio[0].shape[0] // x.shape[0]
        q = split_heads(self.q_linear(x), self.heads)
        if places is not None:
            q = rotate_pairs(q, rotary(places[:, None], q.shape[-1]))
        q = q.unflatten(2, (latents, -1)).transpose(1, 2).flatten(0, 1)
        out: Tensor = self.proj(join_heads(attend(q, *audio)))
        return out.unflatten(0, (x.shape[0], latents)).flatten(1, 2)  # type: ignore[no-any-return]
