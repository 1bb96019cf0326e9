"""Where hair grows on a head, by haircut: scalp, beard, brows, and the skull that it lies on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portraits.figure import Surface, Template
from training.portraits.hair import Ground, Roots, Strands

Floats = NDArray[np.float32]

# The hairline on the base mesh: height over the angle from straight ahead, around the skull.
ANGLES = np.radians([0, 15, 30, 40, 48, 54, 60, 66, 72, 84, 96, 112, 130, 150, 180])
HEIGHTS = np.array([
    1.616, 1.6165, 1.613, 1.605, 1.591, 1.573, 1.546, 1.532, 1.555, 1.558, 1.562, 1.548, 1.505,
    1.478, 1.470,
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cut:
    """A haircut by name with its measures (metres) and hair colour (sRGB, and grey share)."""

    style: str
    colour: tuple[float, float, float]
    length: float = 0.03
    strands: int = 45000
    grey: float = 0.0
    recede: float = 0.0  # how far the temples go back, 0..1
    beard: float = 0.0  # its length, metres; 0 for none
    stubble: float = 0.0  # shade of a shaven beard 0..1
    brow: float = 1.0  # density
    brow_colour: tuple[float, float, float] | None = None
    lash: float = 1.0


def scalp(template: Template, skin: Surface, cut: Cut) -> Floats:
    """How much head hair grows at each skin vertex, 0..1."""
    place = skin.place
    angle = np.arctan2(np.abs(place[:, 0]), place[:, 2] - 0.03)
    line = np.interp(angle, ANGLES, HEIGHTS)
    line = line + 0.022 * cut.recede * np.exp(-(((angle - 0.62) / 0.28) ** 2))
    line = line + 0.008 * cut.recede * np.exp(-((angle / 0.4) ** 2))
    wave = 0.0012 * np.sin(place[:, 0] * 700) + 0.0009 * np.sin(place[:, 2] * 900 + 1)
    inside = np.clip((place[:, 1] - line + wave) / 0.007 + 0.5, 0, 1)
    ears = template.region("ears", skin.uv) * (place[:, 1] > 1.38)
    behind = (np.abs(place[:, 0]) > 0.066) & (place[:, 1] < 1.556) & (place[:, 2] > 0.015)
    behind &= place[:, 2] < 0.062
    return (inside * np.clip(1 - 2 * ears, 0, 1) * ~behind).astype(np.float32)


def beard_area(template: Template, skin: Surface) -> Floats:
    """How much beard grows at each skin vertex, 0..1."""
    x, y, z = np.abs(skin.place[:, 0]), skin.place[:, 1], skin.place[:, 2]
    cheek = np.interp(
        x,
        [0, 0.02, 0.035, 0.05, 0.062, 0.08],
        [1.5005, 1.4965, 1.490, 1.494, 1.508, 1.510],
    )
    low = np.interp(x, [0, 0.03, 0.06], [1.425, 1.428, 1.450])
    inside = np.clip((cheek - y) / 0.006, 0, 1) * np.clip((y - low) / 0.008, 0, 1)
    lips = template.region("lips", skin.uv) > 0.15
    under = (np.abs(y - 1.4605) < 0.0045) & (x > 0.004) & (x < 0.016)
    soul = np.where(under, 0.35, 1.0)
    front = np.clip((z - 0.058) / 0.02, 0, 1)
    mouth = template.region("inside-mouth", skin.uv) > 0.3
    return (inside * soul * front * ~lips * ~mouth * (y > 1.41)).astype(np.float32)


def brow_area(skin: Surface) -> Floats:
    """How much eyebrow grows at each skin vertex: a tapering arc above each eye."""
    x, y, z = np.abs(skin.place[:, 0]), skin.place[:, 1], skin.place[:, 2]
    along = np.clip((x - 0.0135) / 0.042, 0, 1)
    arc = 1.5605 + 0.0085 * np.sin(along * 2.25) - 0.0030 * along
    half = 0.0040 - 0.0028 * along**1.5
    ends = np.clip((x - 0.0125) / 0.003, 0, 1) * np.clip((0.0555 - x) / 0.004, 0, 1)
    return (ends * np.clip(1.4 - np.abs(y - arc) / half, 0, 1) * (z > 0.08)).astype(np.float32)


def ground(template: Template, skin: Surface) -> Ground:
    """The skull without its ears, for hair to lie on."""
    place = skin.place
    ears = template.region("ears", skin.uv) * (place[:, 1] > 1.38) > 0.2
    head = (place[:, 1] > 1.40) & ~ears & (np.abs(place[:, 0]) < 0.09)
    head &= template.region("inside-mouth", skin.uv) < 0.2
    return Ground.of(skin.points[head], skin.normals[head])


def rooted(curves: Floats, roots: Roots, rng: np.random.Generator) -> Strands:
    """Curves as strands that grow from their roots."""
    ring = rng.random(len(curves)).astype(np.float32)
    return Strands(curves, roots.corners, roots.shares, ring)
