"""The autoencoder's norms with what follows them, in one pass over channels-last memory.

A channel norm and its SiLU read and write every activation several times when they run one by one.
With channels last in memory they are one pass over rows of channels: torch's own fused RMS norm, or
on a CUDA device one Triton kernel for norm, gain and SiLU together.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.acceleration.self_check import agree
from pipeline.errors import BackendRefused
from pipeline.models.wan.vae.autoencoder import ChannelNorm, WanVae

EPS = 1e-24  # of the mean square: the plain norm divides by at least 1e-12
BOUND: Final = 0.02  # of the kernel against torch's norm, in 16 bits
Fused = Callable[[Tensor, Tensor], Tensor]


def norm(x: Tensor, gamma: Tensor) -> Tensor:
    """The channel norm of (B, C, ...), statistics in float32."""
    rows = x.movedim(1, -1)
    unit = F.rms_norm(rows.float(), rows.shape[-1:], None, EPS).type_as(x)
    return (unit * gamma.flatten()).movedim(-1, 1)


def norm_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """The channel norm, then SiLU."""
    return F.silu(norm(x, gamma))


def _norms(vae: WanVae) -> Iterator[ChannelNorm]:
    for layers, i in _pairs(vae):
        first = layers[i]
        assert isinstance(first, ChannelNorm)
        yield first


def _pairs(vae: WanVae) -> Iterator[tuple[nn.Sequential, int]]:
    """Every norm that a SiLU follows, by its sequence and place."""
    for module in vae.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module)
            for i, (first, second) in enumerate(zip(layers, layers[1:], strict=False)):
                if isinstance(first, ChannelNorm) and isinstance(second, nn.SiLU):
                    yield module, i


def kernel_or_torch(vae: WanVae, device: torch.device) -> tuple[Fused, str]:
    """What norms are fused by on ``device``, and why: the kernel, if at every width of ``vae`` it
    gives what torch's own passes give."""
    if device.type != "cuda":
        return norm_silu, ""
    widths = {norm.gamma.numel(): norm.gamma.to(device) for norm in _norms(vae)}
    try:
        kernel: Fused = importlib.import_module("pipeline.models.wan.vae.norm_kernel").norm_silu
        for width, gamma in widths.items():
            x = torch.randn(1, width, 1, 5, 7, device=device, dtype=vae.dtype)
            agree("the norms' kernel", partial(kernel, x, gamma), partial(norm_silu, x, gamma),
                  BOUND)  # fmt: skip
    except (ImportError, BackendRefused) as refusal:
        return norm_silu, f"the decoder's norms run in torch's own passes: {refusal}"
    return kernel, "the decoder's norms run in one kernel"


def fuse_norms(vae: WanVae, fused: Fused = norm_silu) -> int:
    """Join every norm with the SiLU behind it, in place; returns how many. Parameters keep their
    names."""
    pairs = list(_pairs(vae))
    for layers, i in pairs:
        first = layers[i]
        assert isinstance(first, ChannelNorm)
        first.fused = fused
        layers[i + 1] = nn.Identity()
    return len(pairs)


def channels_last(vae: WanVae) -> None:
    """Lay weights out with channels last, in place; activations follow them."""
    for module in vae.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
