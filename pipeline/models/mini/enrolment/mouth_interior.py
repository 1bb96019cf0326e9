"""The inside of a mouth that no picture shows: teeth as a texture, tongue and gums by depth.

Teeth are painted flat, arch by arch, and laid around the body's own: one shade for the crown, one
for its neck, a soft line between neighbours, and less light the further they are from the lips.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import FACE_UNITS

F32 = NDArray[np.float32]

TEETH: Final = (226.0, 216.0, 200.0)
GUM: Final = (146.0, 66.0, 62.0)
TONGUE: Final = (172.0, 88.0, 84.0)
_WIDTHS: Final = (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.5)  # mm, from the middle backwards
_ARCH: Final = 2 * sum(_WIDTHS)  # mm
_TALL: Final = 0.1  # of an arch's length: how high its picture is
_FINE: Final = 4  # samples a texel, each way
_BACK: Final = (0.14, 0.72)  # of half an arch: where teeth begin to darken, and are darkest
_LOWER: Final = 0.84  # lower teeth stand in the lip's shade
# Metres behind the lips: where tongue and walls begin to darken, how far on they are darkest.
_TONGUE_DEPTH: Final = (0.036, 0.085)
_WALL_DEPTH: Final = (0.012, 0.055)
_NIGHT: Final = 0.16


def teeth_piece(texels: float) -> F32:
    """A picture (H, W, 3) of both arches, upper above lower, ``texels`` per millimetre."""
    wide = max(24, round(_ARCH * texels))
    tall = max(6, round(_TALL * wide))
    upper = _arch(wide, tall)
    return np.concatenate([upper, _LOWER * upper[::-1]]).astype(np.float32)


def _arch(wide: int, tall: int) -> F32:
    s = np.abs(np.linspace(-1, 1, wide * _FINE))[None] * _ARCH / 2  # mm from the middle
    v = np.linspace(1, 0, tall * _FINE)[:, None]  # 0 at the biting edge, 1 above the gum
    ends = np.cumsum((0.0, *_WIDTHS))
    tooth = np.clip(np.searchsorted(ends, s, "right") - 1, 0, len(_WIDTHS) - 1)
    t = (s - ends[tooth]) / np.array(_WIDTHS)[tooth]
    apart = np.minimum(s - ends[tooth], ends[tooth + 1] - s)
    gap = np.exp(-np.square(apart / (0.45 + 0.5 * np.clip(1 - v / 0.3, 0, 1))))
    light = (1 - 0.17 * gap) * (1 - 0.07 * np.square(2 * t - 1)) * (1 - 0.10 * (v < 0.10))
    crown = np.array(TEETH) * light[..., None]
    crown = crown * (1 - np.clip(v - 0.5, 0, 1)[..., None] * np.array((0.10, 0.22, 0.30)))
    pink = np.clip((v - 0.86 + 0.10 * np.cos(np.pi * (2 * t - 1))) / 0.06, 0, 1)[..., None]
    fall = 1 - 0.80 * _smooth((2 * s / _ARCH - _BACK[0]) / (_BACK[1] - _BACK[0]))
    both = (crown + pink * (np.array(GUM) - crown)) * fall[..., None]
    return np.asarray(both.reshape(tall, _FINE, wide, _FINE, 3).mean((1, 3)), np.float32)


def teeth_position(
    person: Person, surface: Surface, wide: int, tall: int
) -> tuple[NDArray[np.int64], F32]:
    """The rows that are teeth and where they lie (K, 2) in a piece of wide x tall texels."""
    rows = np.flatnonzero(surface.material == MATERIALS.index("teeth"))
    at = person.rest[surface.vertex[rows]].astype(np.float64)
    out = np.zeros((len(rows), 2))
    back = at[:, 2].min() if len(at) else 0.0
    angle = np.arctan2(at[:, 0], at[:, 2] - back + 1e-4)
    upper = _upper(person, surface, rows)
    for mine, sign in ((upper, 1.0), (~upper, -1.0)):
        if not mine.any():
            continue
        along = _arc(angle[mine], at[mine][:, [0, 2]])
        edge = (sign * at[mine, 1]).min()
        high = np.clip((sign * at[mine, 1] - edge) / max(np.ptp(at[mine, 1]), 1e-6), 0, 1)
        out[mine, 0] = (along + 1) / 2 * (wide - 1) + 0.5
        within = (1 - high) if sign > 0 else high
        out[mine, 1] = (0 if sign > 0 else tall / 2) + within * (tall / 2 - 1) + 0.5
    return rows, out.astype(np.float32)


def _upper(person: Person, surface: Surface, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the teeth's rows do not hang on the jaw: opening it leaves them."""
    units, row = person.body.units, FACE_UNITS.index("jawOpen")
    part = slice(units.start[row], units.start[row + 1])
    moved = np.zeros(person.body.vertex_count)
    moved[units.index[part]] = np.linalg.norm(units.offset[part], axis=1)
    drop = moved[surface.vertex[rows]]
    return np.asarray(drop < 0.5 * drop.max()) if len(rows) else np.zeros(0, bool)


def _arc(angle: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """-1..1 along an arch (K, 2: x, z), by length; ``angle`` (K,) orders its points."""
    bins = np.linspace(-np.pi / 2, np.pi / 2, 18)
    number = np.clip(np.digitize(angle, bins), 1, len(bins) - 1)
    used = np.unique(number)
    line = np.stack([place[number == n].mean(0) for n in used])
    mean = np.array([angle[number == n].mean() for n in used])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    along = np.interp(angle, mean, length / max(length[-1], 1e-9))
    return np.asarray(2 * along - 1)


def colours(person: Person, surface: Surface, white: float) -> tuple[NDArray[np.int64], F32]:
    """The rows of the mouth and their colours (K, 3), in a light where ``white`` is white."""
    rows = np.flatnonzero(surface.layer == LAYERS.index("mouth"))
    depth = person.rest[person.body.landmarks["lip_upper_inner"], 2]
    depth = depth - person.rest[surface.vertex[rows], 2]
    material = surface.material[rows]
    out = np.zeros((len(rows), 3))
    for name, paint, (start, fall) in (
        ("teeth", TEETH, (0.014, 0.045)),
        ("tongue", TONGUE, _TONGUE_DEPTH),
        ("gum", GUM, _WALL_DEPTH),
    ):
        mine = material == MATERIALS.index(name)
        dark = 1 - (1 - _NIGHT) * _smooth((depth[mine] - start) / fall)
        redder = np.array((0.0, 0.25, 0.2))
        out[mine] = np.array(paint) * dark[:, None] * (1 - redder * (1 - dark[:, None]))
    return rows, (out * white).astype(np.float32)


def _smooth(value: NDArray[np.floating]) -> NDArray[np.float64]:
    part = np.clip(value, 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float64)
