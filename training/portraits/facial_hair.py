"""Brows, beards and lashes: where strands grow, which way, how long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.portraits import hair
from training.portraits.figure import Figure, Surface
from training.portraits.hair import Ground, Strands, unit
from training.portraits.hair_growth import Cut, beard_area, brow_area, rooted

Floats = NDArray[np.float32]


def brows(figure: Figure, skin: Surface, cut: Cut, rng: np.random.Generator) -> Strands:
    """Eyebrows: upward near the nose, outward along the arc."""
    count = int(1700 * cut.brow)
    roots = hair.sample(skin, brow_area(skin), count, rng)
    x = roots.place[:, 0]
    along = np.clip((np.abs(x) - 0.0135) / 0.042, 0, 1)
    off = roots.place[:, 1] - (1.5605 + 0.0085 * np.sin(along * 2.25) - 0.0030 * along)
    up = np.interp(along, [0, 0.15, 0.5, 1], [1.2, 0.65, 0.15, -0.45]) - 140 * off * (along > 0.1)
    way = unit(np.stack([np.sign(x), up, -0.25 * along], 1) + 0.22 * rng.normal(size=(count, 3)))
    length = np.interp(along, [0, 0.3, 1], [0.0055, 0.0075, 0.005]) * rng.uniform(0.7, 1.1, count)
    lift = np.full(count, 0.0009, np.float32)
    flow = lambda points, place, s: way  # noqa: E731
    curves = hair.grow(
        roots, flow, length.astype(np.float32), lift, Ground.of(skin.points, skin.normals), 5, 0.8
    )
    return rooted(curves, roots, rng)


def beard(figure: Figure, skin: Surface, cut: Cut, rng: np.random.Generator) -> Strands | None:
    """A beard that follows the jaw, or ``None``."""
    if cut.beard <= 0:
        return None
    count = 16000
    roots = hair.sample(skin, beard_area(figure.template, skin), count, rng)
    x, y = roots.place[:, 0], roots.place[:, 1]
    upper = (y > 1.483) & (np.abs(x) < 0.034)
    way = np.stack(
        [0.25 * np.sign(x) + np.where(upper, 14 * x, -1.5 * x), -1 + 0 * x, 0.12 + 0 * x], 1
    )
    way = unit(
        way + 0.18 * rng.normal(size=way.shape) + 0.25 * hair.ripple(roots.points, 0.012, rng)
    )
    chin = np.exp(-(((y - 1.435) / 0.02) ** 2)) * np.exp(-((x / 0.03) ** 2))
    length = cut.beard * np.where(upper, 0.62, 0.75 + 0.6 * chin) * rng.uniform(0.6, 1.1, count)
    flow = lambda points, place, s: way  # noqa: E731
    base = Ground.of(skin.points, skin.normals)
    lift = (0.0008 + 0.30 * length).astype(np.float32)
    curves = hair.grow(roots, flow, length.astype(np.float32), lift, base, 7, 0.35)
    return rooted(hair.frizz(hair.clump(curves, 0.05, 0.5, rng), 0.0009, rng), roots, rng)


def lashes(figure: Figure, cut: Cut, rng: np.random.Generator) -> Floats:
    """Lash curves (S, 6, 3) of both eyes in the figure's own pose, from the lids' edges."""
    found = []
    for side in "lr":
        centre, _, gaze = figure.eye(side)
        for row, count, length in (("1", 55, 0.0030), ("2", 120, 0.0062)):
            line = figure.lid_margin(side, row)
            found.append(
                _lash_row(line, centre, gaze, int(count * cut.lash), length, row == "2", rng)
            )
    return np.concatenate(found)


def _lash_row(
    line: Floats,
    centre: Floats,
    gaze: Floats,
    count: int,
    length: float,
    upper: bool,
    rng: np.random.Generator,
) -> Floats:
    """Lashes that leave a lid's edge forwards and curl away from the eye."""
    u = np.sort(rng.uniform(0.08, 0.98, count)) * (len(line) - 1)
    root = np.stack([np.interp(u, np.arange(len(line)), column) for column in line.T], 1)
    middle = line.mean(0)
    fan = (
        unit((root - middle) * np.float32([1, 0, 0]) + 1e-6)
        * np.abs(u / (len(line) - 1) - 0.5)[:, None]
    )
    ahead = unit(gaze + 0.35 * unit(root - centre) + 0.9 * fan + 0.10 * rng.normal(size=root.shape))
    up = np.float32([0, 1 if upper else -1, 0])
    s = np.linspace(0, 1, 6)[None, :, None]
    size = (
        length
        * rng.uniform(0.7, 1.0, count)
        * np.interp(u / len(line), [0, 0.35, 0.8, 1], [0.55, 0.9, 1.1, 0.9])
    )
    bend = (0.15 * s + 0.75 * s**2) if upper else 0.55 * s
    return (root[:, None] + size[:, None, None] * (0.75 * s * ahead[:, None] + bend * up)).astype(
        np.float32
    )
