"""Haircuts, brows, lashes and beards: where strands grow, which way, how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portraits import hair
from training.portraits.figure import Figure, Surface, Template
from training.portraits.hair import Ground, Roots, Strands, unit

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


def _strands(curves: Floats, roots: Roots, rng: np.random.Generator) -> Strands:
    ring = rng.random(len(curves)).astype(np.float32)
    return Strands(curves, roots.corners, roots.shares, ring)


def _toward(goal: Floats) -> hair.Flow:
    return lambda points, place, s: unit(goal - points)


def head_hair(figure: Figure, skin: Surface, cut: Cut, rng: np.random.Generator) -> list[Strands]:
    """The head's hair in the cut's style; empty for ``bald``."""
    if cut.style == "bald":
        return []
    if cut.style not in STYLES:
        raise ValueError(f"haircut {cut.style!r} is not one of {sorted(STYLES)}")
    density = scalp(figure.template, skin, cut)
    roots = hair.sample(skin, density, cut.strands, rng)
    return STYLES[cut.style](figure, skin, roots, cut, rng)


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
    return [_strands(curves, roots, rng)]


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
    return [_strands(hair.curl(curves, 0.0016, 2.0, rng), roots, rng)]


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
    return [_strands(curves, roots, rng), _knot(knot, roots, rng)]


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
    return [_strands(curves, roots, rng), _knot(knot, roots, rng, 0.040)]


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
    return [_strands(curves, roots, rng)]


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
    return [_strands(curves, roots, rng)]


Style = Callable[[Figure, Surface, Roots, Cut, np.random.Generator], list[Strands]]
STYLES: dict[str, Style] = {
    "crop": _crop,
    "buzz": _buzz,
    "tied": _tied,
    "topknot": _topknot,
    "bob": _bob,
    "pixie": _pixie,
}


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
    return _strands(curves, roots, rng)


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
    return _strands(hair.frizz(hair.clump(curves, 0.05, 0.5, rng), 0.0009, rng), roots, rng)


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
