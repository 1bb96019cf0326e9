"""The Wan layouts once more, for tests: one token at a time where that is plainest, no shared code.

Everything is read from a state dict in original names. Slow, float64, and written from the
description of the layouts alone.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def norm(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def affine_norm(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    return norm(x, eps) * s[f"{name}.weight"] + s[f"{name}.bias"]


def rms(s: State, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[f"{name}.weight"]


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def exact_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """(N, D), (M, D), (M, D) -> (N, D), head by head."""
    width = q.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[:, part] @ k[:, part].T / math.sqrt(width)
        out.append(torch.softmax(scores, dim=1) @ v[:, part])
    return torch.cat(out, dim=1)


def rope(x: Tensor, places: list[tuple[int, int, int]], heads: int) -> Tensor:
    """(N, D): adjacent pairs of every head as complex numbers, turned by place and axis."""
    width = x.shape[1] // heads
    side = 2 * (width // 6)
    turns = []
    for place in places:
        row: list[complex] = []
        for where, dim in zip(place, (width - 2 * side, side, side), strict=True):
            row += [cmath.exp(1j * where * 10000.0 ** (-2 * j / dim)) for j in range(dim // 2)]
        turns.append(row * heads)
    pairs = torch.view_as_complex(x.reshape(len(x), -1, 2).contiguous())
    turned = pairs * torch.tensor(turns, dtype=torch.complex128)
    return torch.view_as_real(turned).reshape(x.shape)


def time_vectors(s: State, t: float) -> tuple[Tensor, Tensor]:
    """Time embedding (D,) and its projection (6, D)."""
    half = s["time_embedding.0.weight"].shape[1] // 2
    angles = torch.tensor([t * 10000.0 ** (-i / half) for i in range(half)], dtype=torch.float64)
    wave = torch.cat([angles.cos(), angles.sin()])
    e = linear(s, "time_embedding.2", silu(linear(s, "time_embedding.0", wave)))
    return e, linear(s, "time_projection.1", silu(e)).view(6, -1)


def audio_vectors_a(s: State, frames: Tensor) -> Tensor:
    """Speech features (1 + 4 n, C) -> (1 + n, hidden)."""
    rows = []
    for k in range((len(frames) + 3) // 4):
        four = [frames[max(4 * k - 3 + i, 0)] for i in range(4)]
        rows.append(torch.cat(four))
    return affine_norm(s, "audio_proj.norm_out", linear(s, "audio_proj.proj", torch.stack(rows)),
                       1e-5)  # fmt: skip


def audio_tokens_b(s: State, frames: Tensor, tokens: int) -> Tensor:
    """Speech features (1 + 4 n, C) -> (1 + n, tokens, token_dim)."""

    def heard(frame: int, offset: int) -> Tensor:
        return frames[min(max(frame + offset, 0), len(frames) - 1)]

    hidden = [linear(s, "audio_proj.proj1", torch.cat([heard(0, o) for o in range(-2, 3)]))]
    for k in range(1, (len(frames) + 3) // 4):
        a, b, c, d = range(4 * k - 3, 4 * k + 1)
        steps = [(a, -2), (a, -1), (a, 0), (b, 0), (c, 0), (d, 0), (d, 1), (d, 2)]
        joined = torch.cat([heard(frame, offset) for frame, offset in steps])
        hidden.append(linear(s, "audio_proj.proj1_vf", joined))
    h = torch.relu(linear(s, "audio_proj.proj2", torch.relu(torch.stack(hidden))))
    out = linear(s, "audio_proj.proj3", h).view(len(h), tokens, -1)
    return affine_norm(s, "audio_proj.norm", out, 1e-5)


def transformer(
    s: State,
    x: Tensor,
    levels: list[float],
    text: Tensor,
    *,
    heads: int,
    text_tokens: int,
    image: Tensor | None = None,
    audio_a: Tensor | None = None,
    audio_b: Tensor | None = None,
    seen: list[list[int]] | None = None,
    start: int = 0,
    who: list[int] | None = None,
) -> Tensor:
    """Velocity (16, T, h, w) of x (C, T, h, w) at one level per latent; float64.

    ``seen[i]`` are the latents that latent i attends to. Where two people speak, ``audio_b`` has
    the first one's tokens, then the second one's, and ``who`` says of every token of a latent
    whether it shows the first (0), the second (1) or neither (2).
    """
    s = {name: value.double() for name, value in s.items()}
    weight = s["patch_embedding.weight"]
    _, frames, rows, columns = x.shape
    rows, columns = rows // 2, columns // 2
    size = rows * columns
    tokens, places = [], []
    for f in range(frames):
        for r in range(rows):
            for c in range(columns):
                patch = x[:, f, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].double()
                tokens.append((weight[:, :, 0] * patch).sum((1, 2, 3)) + s["patch_embedding.bias"])
                places.append((start + f, r, c))
    h = torch.stack(tokens)
    padded = torch.zeros(text_tokens, text.shape[1], dtype=torch.float64)
    padded[: len(text)] = text
    words = linear(s, "text_embedding.2", tanh_gelu(linear(s, "text_embedding.0", padded)))
    picture = None
    if image is not None:
        p = affine_norm(s, "img_emb.proj.0", image.double(), 1e-5)
        p = linear(s, "img_emb.proj.3", exact_gelu(linear(s, "img_emb.proj.1", p)))
        picture = affine_norm(s, "img_emb.proj.4", p, 1e-5)
    times = [time_vectors(s, t) for t in levels]
    depth = 1 + max(int(name.split(".")[1]) for name in s if name.startswith("blocks."))
    for b in range(depth):
        if audio_a is not None and 2 <= b <= depth // 2:
            extra = linear(s, f"audio_cond_projs.{b - 2}", audio_a)
            h = h + extra.repeat_interleave(size, dim=0)
        h = block(s, f"blocks.{b}", h, places, times, size, heads, words, picture, audio_b, seen,
                  who)  # fmt: skip
    out = torch.zeros(16, frames, 2 * rows, 2 * columns, dtype=torch.float64)
    for n, (f, r, c) in enumerate(places):
        shift, scale = s["head.modulation"][0] + times[f - start][0]
        y = linear(s, "head.head", norm(h[n], 1e-6) * (1 + scale) + shift).view(2, 2, 16)
        out[:, f - start, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = y.permute(2, 0, 1)
    return out


def block(
    s: State,
    name: str,
    h: Tensor,
    places: list[tuple[int, int, int]],
    times: list[tuple[Tensor, Tensor]],
    size: int,
    heads: int,
    words: Tensor,
    picture: Tensor | None,
    audio_b: Tensor | None,
    seen: list[list[int]] | None,
    who: list[int] | None = None,
) -> Tensor:
    frames = len(times)
    mods = torch.stack([s[f"{name}.modulation"][0] + e0 for _, e0 in times])  # (T, 6, D)
    m = mods.repeat_interleave(size, dim=0)  # (N, 6, D)
    x = norm(h, 1e-6) * (1 + m[:, 1]) + m[:, 0]
    q, k, v = (linear(s, f"{name}.self_attn.{part}", x) for part in "qkv")
    q = rope(rms(s, f"{name}.self_attn.norm_q", q), places, heads)
    k = rope(rms(s, f"{name}.self_attn.norm_k", k), places, heads)
    rows = []
    for f in range(frames):
        allowed = range(frames) if seen is None else seen[f]
        index = [g * size + i for g in allowed for i in range(size)]
        rows.append(attention(q[f * size : (f + 1) * size], k[index], v[index], heads))
    where = None if who is None else listening(q, k[:size], who, heads)
    h = h + linear(s, f"{name}.self_attn.o", torch.cat(rows)) * m[:, 2]
    x = affine_norm(s, f"{name}.norm3", h, 1e-6)
    cross = f"{name}.cross_attn"
    q = rms(s, f"{cross}.norm_q", linear(s, f"{cross}.q", x))
    k = rms(s, f"{cross}.norm_k", linear(s, f"{cross}.k", words))
    y = attention(q, k, linear(s, f"{cross}.v", words), heads)
    if picture is not None:
        k = rms(s, f"{cross}.norm_k_img", linear(s, f"{cross}.k_img", picture))
        y = y + attention(q, k, linear(s, f"{cross}.v_img", picture), heads)
    h = h + linear(s, f"{cross}.o", y)
    if audio_b is not None:
        x = affine_norm(s, f"{name}.norm_x", h, 1e-6)
        q = linear(s, f"{name}.audio_cross_attn.q_linear", x)
        rows = []
        for f in range(frames):
            kv = linear(s, f"{name}.audio_cross_attn.kv_linear", audio_b[f])
            k, v = kv[:, : kv.shape[1] // 2], kv[:, kv.shape[1] // 2 :]
            own = q[f * size : (f + 1) * size]
            if where is not None:
                own = turned(own, where[f * size : (f + 1) * size], heads)
                k = turned(k, [2.0] * (len(k) // 2) + [22.0] * (len(k) // 2), heads)
            rows.append(attention(own, k, v, heads))
        h = h + linear(s, f"{name}.audio_cross_attn.proj", torch.cat(rows))
    x = norm(h, 1e-6) * (1 + m[:, 4]) + m[:, 3]
    return h + linear(s, f"{name}.ffn.2", tanh_gelu(linear(s, f"{name}.ffn.0", x))) * m[:, 5]


def listening(q: Tensor, first: Tensor, who: list[int], heads: int) -> list[float]:
    """The position at which each token listens: like whom of the first latent's tokens it is."""
    width = q.shape[1] // heads
    alike = []
    for token in q:
        shares = [0.0, 0.0, 0.0]
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            scores = torch.softmax(first[:, part] @ token[part] / math.sqrt(width), 0)
            for area in range(3):
                members = [float(p) for p, a in zip(scores, who, strict=True) if a == area]
                shares[area] += sum(members) / max(len(members), 1) / heads
        alike.append(shares)
    out = []
    for shares in alike:
        area = shares.index(max(shares))
        column = [row[area] for row in alike]
        part = (shares[area] - min(column)) / (max(column) - min(column))
        out.append((4 * part, 20 + 4 * part, 12.0)[area])
    return out


def turned(x: Tensor, at: list[float], heads: int) -> Tensor:
    """(N, D): adjacent pairs of every head as complex numbers, turned by one position a row."""
    width = x.shape[1] // heads
    turns = [[cmath.exp(1j * p * 10000.0 ** (-2 * j / width)) for j in range(width // 2)] * heads
             for p in at]  # fmt: skip
    pairs = torch.view_as_complex(x.reshape(len(x), -1, 2).contiguous())
    return torch.view_as_real(pairs * torch.tensor(turns, dtype=torch.complex128)).reshape(x.shape)
