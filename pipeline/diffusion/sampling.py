"""Sampling of a rectified flow: its noise levels, one denoising step, noise by latent index.

x_t = (1 - t) x0 + t noise, velocity v = noise - x0, so x0 = x_t - t v: level 1 is noise, 0 is
data. A shift s maps t to s t / (1 + (s - 1) t) (Esser et al. 2024), so that s = 5 with three of
four steps gives the published list 1, 0.9375, 0.8333. Before the shift levels are evenly spaced
down to 0, or down to a ``last`` one with 0 behind it (a grid of n steps that ends at 1 of 1000),
or they are a list of their own (``at``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def shift_level(t: float, shift: float) -> float:
    """The shifted level of t in [0, 1]."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def levels(
    steps: int, shift: float, at: Sequence[float] = (), last: float = 0.0
) -> tuple[float, ...]:
    """``steps`` + 1 falling levels from 1 to 0."""
    if shift <= 0:
        raise ValueError(f"steps must be >= 1 and shift > 0, not {steps} and {shift}")
    return tuple(shift_level(t, shift) for t in spacing(steps, at, last))


def spacing(steps: int, at: Sequence[float] = (), last: float = 0.0) -> tuple[float, ...]:
    """The same before the shift. Raises ``ValueError`` for what is no spacing of ``steps``."""
    if steps < 1 or not 0 <= last < 1:
        raise ValueError(f"steps must be >= 1 and the last level in [0, 1), not {steps} and {last}")
    if at:
        falls = all(a > b for a, b in zip(at, (*at[1:], 0.0), strict=True))
        if len(at) != steps or at[0] != 1.0 or not falls or last:
            raise ValueError(f"{steps} steps need as many levels that fall from 1, not {list(at)}"
                             + (f" with a last level {last}" if last else ""))  # fmt: skip
        return (*at, 0.0)
    if not last:
        return tuple(1.0 - i / steps for i in range(steps + 1))
    if steps == 1:
        raise ValueError(f"one step begins at 1 and cannot end at {last}")
    return (*(1.0 - (1.0 - last) * i / (steps - 1) for i in range(steps)), 0.0)


def latent_noise(seed: int, start: int, shape: tuple[int, int, int, int], draw: int = 0) -> Tensor:
    """Standard normal noise (C, T, H, W) of the latents [start, start + T) of a performance.

    Latent n's noise depends on (seed, draw, n) alone, whichever chunk asks for it. ``draw`` tells
    the initial noise (0) from the fresh noise of later steps. Counter-based generator: Philox
    (Salmon et al. 2011).
    """
    import torch  # noise levels are read without it, by commands that only check their input

    channels, length, height, width = shape
    columns = [
        np.random.Generator(
            np.random.Philox(key=seed & (2**64 - 1), counter=[0, 0, draw, start + i])
        ).standard_normal((channels, height, width), dtype=np.float32)
        for i in range(length)
    ]
    return torch.from_numpy(np.stack(columns, axis=1))


def predict_x0(x: Tensor, v: Tensor, t: float) -> Tensor:
    """The clean latents that a velocity points to."""
    return x - t * v


def euler(x: Tensor, x0: Tensor, t: float, t_next: float) -> Tensor:
    """From level t to t_next along the straight path through the predicted x0."""
    return x0 + (x - x0) * (t_next / t)


def renoise(x0: Tensor, noise: Tensor, t_next: float) -> Tensor:
    """To level t_next by adding fresh noise to the predicted x0 (consistency sampling)."""
    return (1.0 - t_next) * x0 + t_next * noise
