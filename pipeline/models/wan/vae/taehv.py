"""A small decoder for the same latents (TAEHV's ``taew2_1``): faster, softer, streaming.

Letters: B batch, T time, C channels, H rows, W columns. It works frame by frame with a memory of
one frame per block. Its first latent gives four frames too, of which the last one is the first
frame. Parameters carry the original names, ``decoder.N.*``; the file's encoder is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.weights.files import Part, Source, open_weights
from pipeline.weights.loading import load_into

WIDTHS: Final = (256, 128, 64, 64)
GROWTH: Final = (1, 2, 2)  # frames out of one, per stage
Past = dict[nn.Module, Tensor]


def _conv(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class Remember(nn.Module):
    """A residual block that sees the frame before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """(B, T, C, H, W) -> the same shape."""
        before = past.get(self, torch.zeros_like(x[:, :1]))
        past[self] = x[:, -1:].clone()
        both = torch.cat([x, torch.cat([before, x[:, :-1]], dim=1)], dim=2)
        return F.relu(_flat(self.conv, both) + x)


class Grow(nn.Module):
    """``stride`` frames out of each."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _flat(self.conv, x).unflatten(2, (self.stride, -1)).flatten(1, 2)  # type: ignore[no-any-return]


class SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _flat(layer: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = layer(x.flatten(0, 1))
    return out.unflatten(0, x.shape[:2])  # type: ignore[no-any-return]


class TinyDecoder(nn.Module):
    """Normalised latents to frames; see ``TinyStream``."""

    def __init__(self, channels: int = 16, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = [SoftClamp(), _conv(channels, widths[0]), nn.ReLU()]
        for width, after, growth in zip(widths, widths[1:], GROWTH, strict=False):
            layers += [Remember(width) for _ in range(3)]
            layers += [nn.Upsample(scale_factor=2), Grow(width, growth)]
            layers.append(_conv(width, after, bias=False))
        self.decoder = nn.Sequential(*layers, nn.ReLU(), _conv(widths[-1], 3))

    def forward(self, latents: Tensor, past: Past) -> Tensor:
        """(B, C, T, h, w) -> frames in [0, 1] (B, 4 T, 3, 8 h, 8 w)."""
        x = latents.transpose(1, 2)
        for layer in self.decoder:
            if isinstance(layer, Remember):
                x = layer(x, past)
            else:
                x = layer(x) if isinstance(layer, Grow) else _flat(layer, x)
        return x.clamp(0, 1)


def decoder_part(source: Source) -> Part:
    """The decoder's tensors of a file that holds an encoder too; anything else stays in, to be
    refused as unexpected."""
    return Part(source, lambda name: not name.startswith("encoder."))


def load_tiny(path: Path, device: torch.device | str = "cpu") -> TinyDecoder:
    """From its published file, strictly; float32 on a CPU, float16, as published, elsewhere.
    Raises a ``ModelError``."""
    with torch.device("meta"):
        decoder = TinyDecoder()
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    load_into(decoder, decoder_part(open_weights(path)), dtype=dtype, device=device)
    return decoder.eval()


class TinyStream:
    """Streaming decode with the same face as ``vae.VaeDecoder``."""

    def __init__(self, decoder: TinyDecoder) -> None:
        self._decoder = decoder
        self.reset()

    def reset(self) -> None:
        """The next latent starts a video."""
        self._past: Past = {}

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, T, h, w) -> their frames (B, 3, T', 8 h, 8 w) in [-1, 1]."""
        opening = not self._past
        dtype = next(self._decoder.parameters()).dtype
        frames: Tensor = self._decoder(latents.to(dtype), self._past).float()
        return (2 * frames - 1).transpose(1, 2)[:, :, 3 if opening else 0 :]
