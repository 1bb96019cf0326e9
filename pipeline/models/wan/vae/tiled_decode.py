"""Decodes in strips of rows: bounded memory, and no row computed twice.

Above the autoencoder's middle, whose attention needs the whole frame, every layer uses at most one
row up and down. So a frame can be decoded from top to bottom like a stream: each convolution keeps
its last two input rows for the next strip and is one row behind. Other tiled decoders compute
borders twice or blend them; here they are kept. The frames equal those of a whole decode.

Letters: B batch, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.wan.vae.autoencoder import CausalConv, Past, Residual, Upsample, WanVae, run

ROWS = 3  # dimension of (B, C, T, H, W)


class Strip(Protocol):
    """One layer, told a frame's rows strip by strip: it gives what rows are ready, maybe none."""

    def push(self, x: Tensor) -> Tensor: ...
    def finish(self) -> Tensor | None: ...


def _join(parts: Iterable[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None and part.shape[ROWS]]
    return torch.cat(there, dim=ROWS) if there else None


class Pointwise:
    """A layer that looks at no neighbour."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def push(self, x: Tensor) -> Tensor:
        out: Tensor = self._layer(x)
        return out

    def finish(self) -> Tensor | None:
        return None


class Remembered:
    """The past of one layer, read and renewed strip by strip."""

    def __init__(self, layer: nn.Module, past: Past) -> None:
        self._layer, self._past, self._row = layer, past, 0
        self.before = past.get(layer)
        self._after: list[Tensor] = []

    def read(self, count: int) -> Tensor | None:
        """Rows of the past under the next ``count`` rows."""
        start, self._row = self._row, self._row + count
        return None if self.before is None else self.before[:, :, :, start : start + count]

    def write(self, rows: Tensor) -> None:
        self._after.append(rows.clone())

    def close(self) -> None:
        """The frame is complete: its past is the next one's."""
        self._past[self._layer] = torch.cat(self._after, dim=ROWS)


class Rows:
    """A convolution with three rows, of inputs that begin and end with a row of zeros."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self._side = weight.shape[4] // 2
        self._held: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        if self._held is None:
            self._held = torch.zeros_like(x[:, :, :, :1])
        held = torch.cat([self._held, x], dim=ROWS)
        self._held = held[:, :, :, -2:]
        if held.shape[ROWS] < 3:
            return x.new_zeros(x.shape[0], len(self._weight), 1, 0, x.shape[4])
        return F.conv3d(held, self._weight, self._bias, padding=(0, 0, self._side))

    def finish(self) -> Tensor | None:
        if self._held is None:
            return None
        return self.push(torch.zeros_like(self._held[:, :, :, :1]))


class Causal:
    """A causal convolution with its past."""

    def __init__(self, conv: CausalConv, past: Past) -> None:
        self._rows = Rows(conv.weight, conv.bias)
        self._memory = Remembered(conv, past)
        self._look_back = conv.look_back

    def push(self, x: Tensor) -> Tensor:
        before = self._memory.read(x.shape[ROWS])
        if before is None:
            before = x.new_zeros(*x.shape[:2], self._look_back, *x.shape[3:])
        joined = torch.cat([before, x], dim=2)
        self._memory.write(joined[:, :, -self._look_back :])
        return self._rows.push(joined)

    def finish(self) -> Tensor | None:
        self._memory.close()
        return self._rows.finish()


class Doubled:
    """Twice the rows and columns, and twice the frames where the layer does so."""

    def __init__(self, layer: Upsample, past: Past) -> None:
        conv = layer.resample[1]
        self._rows = Rows(conv.weight.unsqueeze(2), conv.bias)  # type: ignore[operator, arg-type]
        self._memory = Remembered(layer, past) if layer.temporal else None
        self._layer = layer

    def push(self, x: Tensor) -> Tensor:
        wide = F.interpolate(self._in_time(x), scale_factor=(1, 2, 2), mode="nearest-exact")
        return self._rows.push(wide)

    def _in_time(self, x: Tensor) -> Tensor:
        if self._memory is None:
            return x
        local: Past = {}
        before = self._memory.read(x.shape[ROWS])
        if before is not None:
            local[self._layer] = before
        out = self._layer._in_time(x, local)
        self._memory.write(local[self._layer])
        return out

    def finish(self) -> Tensor | None:
        if self._memory is not None:
            self._memory.close()
        return self._rows.finish()


class Chain:
    """Layers one after another."""

    def __init__(self, strips: list[Strip]) -> None:
        self._strips = strips

    def push(self, x: Tensor) -> Tensor:
        for strip in self._strips:
            x = strip.push(x)
            if not x.shape[ROWS]:
                break
        return x

    def finish(self) -> Tensor | None:
        left: Tensor | None = None
        for strip in self._strips:
            passed = None if left is None else strip.push(left)
            left = _join([passed, strip.finish()])
        return left


class Skipped:
    """A residual block: what goes around waits for what goes through."""

    def __init__(self, block: Residual, past: Past) -> None:
        self._chain = Chain(strips_of(block.residual, past))
        self._shortcut = block.shortcut
        self._waiting: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        around = self._shortcut(x, {}) if isinstance(self._shortcut, CausalConv) else x
        self._waiting = _join([self._waiting, around])
        return self._add(self._chain.push(x))

    def finish(self) -> Tensor | None:
        rest = self._chain.finish()
        return None if rest is None else self._add(rest)

    def _add(self, through: Tensor) -> Tensor:
        count = through.shape[ROWS]
        if not count or self._waiting is None:
            return through
        around, self._waiting = self._waiting[:, :, :, :count], self._waiting[:, :, :, count:]
        return through + around


def strips_of(layers: nn.Module, past: Past) -> list[Strip]:
    """The layers of a sequence, each as a stream of rows."""
    return [_strip(layer, past) for layer in layers.children()]


def _strip(layer: nn.Module, past: Past) -> Strip:
    if isinstance(layer, Residual):
        return Skipped(layer, past)
    if isinstance(layer, Upsample):
        return Doubled(layer, past)
    return Causal(layer, past) if isinstance(layer, CausalConv) else Pointwise(layer)


def decode_strips(vae: WanVae, latent: Tensor, past: Past, rows: int) -> Tensor:
    """The frames of one latent as ``WanVae.decode_step`` gives them, ``rows`` latent rows at a
    time; its memory above the middle grows with ``rows``, not with the frame."""
    if rows < 1:
        raise ValueError(f"strips need at least one row, not {rows}")
    decoder = vae.decoder
    x = run(decoder.middle, decoder.conv1(vae.raw(latent, past), past), past)
    chain = Chain([*strips_of(decoder.upsamples, past), *strips_of(decoder.head, past)])
    done = [chain.push(strip) for strip in x.split(rows, dim=ROWS)]
    frames = _join([*done, chain.finish()])
    if frames is None:
        raise ValueError(f"a latent of {x.shape[ROWS]} rows gives no frame")
    return frames.float().clamp(-1, 1)
