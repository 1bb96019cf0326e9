"""Haircuts: which way the hair of the head grows in each style, how long, how it falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.portraits import hair
from training.portraits.figure import Figure, Surface
from training.portraits.hair import Roots, Strands, unit
from training.portraits.hair_growth import Cut, ground, rooted, scalp

Floats = NDArray[np.float32]


def head_hair(figure: Figure, skin: Surface, cut: Cut, rng: np.random.Generator) -> list[Strands]:
    """The head's hair in the cut's style; empty for ``bald``."""
    if cut.style == "bald":
        return []
    if cut.style not in STYLES:
        raise ValueError(f"haircut {cut.style!r} is not one of {sorted(STYLES)}")
    density = scalp(figure.template, skin, cut)
    roots = hair.sample(skin, density, cut.strands, rng)
    return STYLES[cut.style](figure, skin, roots, cut, rng)


def _toward(goal: Floats) -> hair.Flow:
    return lambda points, place, s: unit(goal - points)


def _crop(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """Short sides, a longer top brushed up and to one side."""
    place = roots.place
    top = np.clip((place[:, 1] - 1.605) / 0.035, 0, 1)
    front = np.clip((place[:, 2] - 0.03) / 0.09, 0, 1)
    length = cut.length * (0.30 + 0.70 * top + 0.25 * top * front)
    length *= rng.uniform(0.8, 1.1, len(length)).astype(np.float32)
    lift = cut.length * (0.10 + 0.20 * top + 0.22 * top * front)
    sway = hair.ripple(roots.points, 0.035, rng)
    side = np.sign(place[:, 0] + 0.022)

    def flow(points: Floats, at: Floats, s: float) -> Floats:
        over = np.stack([0.75 + 0 * side, 0.20 + 0 * side, 0.35 - 0.5 * front], 1)
        down = np.stack([0.1 * side, -1.0 + 0 * side, -0.45 + 0 * side], 1)
        return unit(over * top[:, None] + down * (1 - top[:, None]) + 0.30 * sway)

    curves = hair.grow(roots, flow, length, lift, ground(figure.template, skin), 8, 0.6)
    curves = hair.frizz(hair.clump(curves, 0.035, 0.55, rng), 0.0016, rng)
    return [rooted(curves, roots, rng)]


def _buzz(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """Very short hair, or a close afro when ``length`` exceeds a centimetre."""
    length = np.full(len(roots.points), cut.length, np.float32) * rng.uniform(
        0.7, 1.1, len(roots.points)
    )
    high = np.clip((roots.place[:, 1] - 1.52) / 0.06, 0.35, 1)
    length = (length * high).astype(np.float32)
    jitter = 0.5 * rng.normal(size=roots.points.shape)

    def flow(points: Floats, at: Floats, s: float) -> Floats:
        return unit(roots.normals + jitter)

    curves = hair.grow(roots, flow, length, length * 0.8, ground(figure.template, skin), 9, 0.0)
    curves = hair.clump(curves, 0.06, 0.7, rng)
    return [rooted(hair.curl(curves, 0.0016, 2.0, rng), roots, rng)]


def _tied(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """Parted, swept back over the ears into a low knot behind the head."""
    neck = skin.points[np.argmin(np.linalg.norm(skin.place - [0, 1.535, -0.033], axis=1))]
    knot = neck + np.float32([0, 0.0, -0.030])
    part = 0.021
    across = roots.place[:, 0] - part
    side = np.where(across > 0, 1.0, -1.0)
    near = np.exp(-np.abs(across) / 0.03)
    forward = np.clip((roots.place[:, 2] - 0.02) / 0.1, 0, 1)
    length = (np.linalg.norm(knot - roots.points, axis=1) * 1.22 + 0.004).astype(np.float32)
    lift = (
        0.004
        + 0.007
        * np.clip((roots.place[:, 1] - 1.56) / 0.08, 0, 1)
        * rng.uniform(0.3, 1, len(length))
    ).astype(np.float32)
    lift *= 1 - 0.5 * np.exp(-((np.abs(across) / 0.006) ** 2))
    sway = hair.ripple(roots.points, 0.02, rng)

    def flow(points: Floats, at: Floats, s: float) -> Floats:
        back = unit(knot - points)
        aside = np.stack([side, -0.25 + 0 * side, 0.10 * forward], 1)
        start = (near * forward * max(0.0, 1 - 1.6 * s))[:, None]
        return unit(back + 1.5 * start * aside + 0.10 * sway)

    base = ground(figure.template, skin)
    curves = hair.grow(roots, flow, length, lift, base, 14, 0.85, 0.2)
    curves = hair.frizz(hair.clump(curves, 0.02, 0.55, rng), 0.0012, rng)
    return [rooted(curves, roots, rng), _knot(knot, roots, rng)]


def _knot(centre: Floats, roots: Roots, rng: np.random.Generator, size: float = 0.034) -> Strands:
    """A bun: strands wound around a flattened ball."""
    count, steps = 5000, 24
    lean = rng.normal(0, 0.35, (count, 1))
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    angle = start + np.linspace(0, 1.5 * np.pi, steps)[None]
    tilt = lean + 0.35 * np.sin(angle + rng.normal(0, 0.4, (count, 1)))
    radius = size * rng.uniform(0.86, 1.0, (count, 1))
    x, y = np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle)
    curves = centre + radius[..., None] * np.stack([x, y, 0.75 * np.sin(tilt)], -1)
    return _anchored(curves.astype(np.float32), roots, rng)


def _anchored(curves: Floats, roots: Roots, rng: np.random.Generator) -> Strands:
    """Strands that hang on no skin of their own: bound to one root, they follow the skull."""
    home = np.argmin(roots.place[:, 2])
    corners = np.repeat(roots.corners[home][None], len(curves), 0)
    shares = np.repeat(roots.shares[home][None], len(curves), 0)
    return Strands(curves, corners, shares, rng.random(len(curves)).astype(np.float32))


def _topknot(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """All hair drawn up into a bun on the crown."""
    crown = skin.points[np.argmin(np.linalg.norm(skin.place - [0, 1.66, 0.03], axis=1))]
    knot = crown + np.float32([0, 0.022, -0.012])
    length = (np.linalg.norm(knot - roots.points, axis=1) * 1.18).astype(np.float32)
    lift = (0.003 + 0.005 * rng.random(len(length))).astype(np.float32)
    curves = hair.grow(
        roots, _toward(knot), length, lift, ground(figure.template, skin), 12, 0.85, 0.15
    )
    curves = hair.frizz(hair.clump(curves, 0.02, 0.5, rng), 0.0013, rng)
    return [rooted(curves, roots, rng), _knot(knot, roots, rng, 0.040)]


def _bob(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """Parted hair that falls over the ears to the jaw, close to the head."""
    place = roots.place
    side = np.where(place[:, 0] - 0.018 > 0, 1.0, -1.0)
    high = np.clip((place[:, 1] - 1.50) / 0.15, 0, 1)
    forward = np.clip((place[:, 2] - 0.02) / 0.1, 0, 1)
    length = (cut.length * (0.45 + 0.75 * high) * rng.uniform(0.9, 1.05, len(high))).astype(
        np.float32
    )
    lift = (0.006 + 0.014 * high * rng.uniform(0.4, 1.0, len(high))).astype(np.float32)
    sway = hair.ripple(roots.points, 0.03, rng)
    ear = skin.points[np.argmin(np.linalg.norm(skin.place - [0.072, 1.545, 0.05], axis=1))]

    def flow(points: Floats, at: Floats, s: float) -> Floats:
        out = np.stack([side, -0.25 + 0 * side, -0.25 * forward], 1)
        fall = np.stack([0 * side, -1 + 0 * side, -0.30 * forward], 1)
        early = np.clip(1.4 - 2.6 * s, 0, 1) * high
        return unit(early[:, None] * out + (1 - early[:, None]) * fall + 0.18 * sway)

    def release(points: Floats) -> Floats:
        return np.asarray(np.clip((ear[1] - 0.0 - points[:, 1]) / 0.03, 0, 1), np.float32)

    curves = hair.grow(
        roots, flow, length, lift, ground(figure.template, skin), 14, 0.8, 0.25, release
    )
    curves = hair.frizz(hair.clump(curves, 0.02, 0.6, rng), 0.0018, rng)
    return [rooted(curves, roots, rng)]


def _pixie(
    figure: Figure, skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator
) -> list[Strands]:
    """Layers swept from a side parting across the brow and back over the ears."""
    place = roots.place
    part = 0.030
    side = np.where(place[:, 0] - part > 0, 1.0, -1.0)
    high = np.clip((place[:, 1] - 1.53) / 0.11, 0, 1)
    forward = np.clip((place[:, 2] - 0.02) / 0.1, 0, 1)
    length = (cut.length * (0.42 + 0.58 * high) * rng.uniform(0.75, 1.1, len(high))).astype(
        np.float32
    )
    lift = (0.005 + 0.013 * high * rng.uniform(0.4, 1.0, len(high))).astype(np.float32)
    sway = hair.ripple(roots.points, 0.028, rng)

    def flow(points: Floats, at: Floats, s: float) -> Floats:
        over = np.stack([1.2 * side, -0.25 + 0 * side, -0.15 - 0.45 * forward * s], 1)
        back = np.stack([0.15 * side, -0.75 + 0 * side, -0.75 + 0 * side], 1)
        return unit(high[:, None] * over + (1 - high[:, None]) * back + 0.22 * sway)

    curves = hair.grow(roots, flow, length, lift, ground(figure.template, skin), 11, 0.8, 0.25)
    curves = hair.frizz(hair.clump(curves, 0.025, 0.6, rng), 0.0016, rng)
    return [rooted(curves, roots, rng)]


Style = Callable[[Figure, Surface, Roots, Cut, np.random.Generator], list[Strands]]
STYLES: dict[str, Style] = {
    "crop": _crop,
    "buzz": _buzz,
    "tied": _tied,
    "topknot": _topknot,
    "bob": _bob,
    "pixie": _pixie,
}
