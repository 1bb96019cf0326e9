"""One denoising step, and noise by absolute latent index.

Rectified flow: x_t = (1 - t) x0 + t noise, velocity v = noise - x0, so x0 = x_t - t v.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def latent_noise(seed: int, start: int, shape: tuple[int, int, int, int], draw: int = 0) -> Tensor:
    """Standard normal noise (C, T, H, W) of the latents [start, start + T) of a performance.

    Latent n's noise depends on (seed, draw, n) alone, whichever chunk asks for it. ``draw`` tells
    the initial noise (0) from the fresh noise of later steps. Counter-based generator: Philox
    (Salmon et al. 2011).
    """
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
