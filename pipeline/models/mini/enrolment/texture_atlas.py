"""Colours for every row of a surface: textures where the picture shows it, guesses where not.

A layer's texture is a piece of the picture in which all that is not this layer was filled in from
around. The pieces are stacked into one atlas. What no texture knows takes the mirrored row's
texture, or else a fill colour: spread over the mesh from rows that are known or from related
layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from pipeline.models.mini.enrolment import background, hidden_cloth
from pipeline.models.mini.enrolment.surface import LAYERS, Surface, View
from pipeline.models.mini.renderer.rasterizer import FAR
from pipeline.models.mini.rig.body import MATERIALS

F32 = NDArray[np.float32]

_PAD: Final = 8  # px of a piece beyond the rows that it serves
# How far from pixels that show a layer its texture is believed, in px of a 512 px picture.
_REACH: Final = {"mouth": 5.0, "eyes": 1.2, "left_skin": 10.0, "right_skin": 10.0}
_FAR_REACH: Final = 60.0
# Px of the original picture that are mixed with what is beside a layer.
_MARGIN: Final = {"eyes": 0.4, "mouth": 0.4}
_COMMON_MARGIN: Final = 1.0
_TRUNK: Final = ("skin", "clothes", "legs")
_BEFORE: Final = 0.03  # metres
_BESIDE: Final = 1.6  # slacks around an arm that are sleeve, or in its shadow ...
_MOST: Final = 9.0  # ... and px of a 512 px picture, at the most
_WEAVE: Final = 5.0  # px of a 512 px picture: what is finer than this is weave, not shading
_SHADING: Final = 9.0  # ... and what is coarser is light and shadow
_FAMILIES: Final = (  # layers of one stuff, whose colours run into each other
    ("skin", "left_skin", "right_skin"),
    ("clothes", "left_sleeve", "right_sleeve"),
    ("legs",),
    ("hair",),
)
_EYE_PAINT: Final = {"eye": (222.0, 214.0, 208.0), "iris": (70.0, 52.0, 40.0), "pupil": (14.0,) * 3}
_SHADOW: Final = 0.72  # of the usual brightness: below it a row stood in a shadow, not in a colour
_EVEN: Final = 0.45  # of the way from what little was seen of an arm to the usual colour
_ARMS: Final = tuple(i for i, n in enumerate(LAYERS) if n.startswith(("left", "right")))
_USUAL: Final = (120.0, 105.0, 100.0)
_WHITE: Final = 215.0  # brightness of a sclera under the light that the paints above are meant for


@dataclass(frozen=True, slots=True)
class Atlas:
    """Stacked pieces of texture and where each row finds itself in them."""

    texture: NDArray[np.uint8]  # (H, W, 4)
    position: F32  # (R, 2) px in the atlas
    known: F32  # (R,) how far the texture there is believed, 0..1
    origin: F32  # (LAYERS, 2) atlas position minus picture position
    weave: F32  # (LAYERS,) px down from a layer's piece to the same without shading; 0 for none


def atlas(
    picture: F32,
    surface: Surface,
    view: View,
    solid: NDArray[np.bool_],
    grain: float,
    slack: float = 0.0,
) -> Atlas:
    """Cut and fill the layers' textures.

    ``solid`` (H, W) excludes pixels mixed with background; ``grain`` is how many texels a pixel of
    the original picture spans, and borders between layers are that blurred. ``slack`` is how many
    texels cloth stands off the body: what a loose sleeve hides says nothing of the chest behind.
    """
    unit = view.depth.shape[0] / 512
    pieces, position = [], view.points[:, :2].astype(np.float32).copy()
    known = np.zeros(len(surface.vertex), np.float32)
    origin = np.zeros((len(LAYERS), 2), np.float32)
    weave = np.zeros(len(LAYERS), np.float32)
    top, hiders = 0, _hiders(surface, view)
    for number, name in enumerate(LAYERS):
        rows = surface.layer == number
        mine = view.layer == number
        if not rows.any() or mine.sum() < 4:
            continue
        box = _box(view.points[rows, :2], mine)
        shown = (
            background.shrink(mine[box], _MARGIN.get(name, _COMMON_MARGIN) * max(grain, 1.0))
            & solid[box]
        )
        if name in _TRUNK:
            apart = shown & ~background.grow(hiders[box], min(_BESIDE * slack, _MOST * unit))
            shown = apart if apart.any() else shown
        if shown.sum() < 4:
            continue
        piece = background.fill(picture[box], shown.astype(np.float32))
        if name in hidden_cloth.CONTINUED:
            piece += background.detail(picture[box], shown, _WEAVE * unit)
        corner = np.array([box[1].start, box[0].start], np.float32)
        origin[number] = (0, top) - corner
        position[rows] += origin[number]
        far = ndimage.distance_transform_edt(~shown)
        reach = _REACH.get(name, _FAR_REACH) * unit
        known[rows] = _near(far, view.points[rows, :2] - corner, reach)
        pieces.append(piece)
        top += piece.shape[0]
        if name in hidden_cloth.CONTINUED:
            pieces.append(_level(piece, shown, _SHADING * unit))
            weave[number] = piece.shape[0]
            top += piece.shape[0]
    return Atlas(_stack(pieces), position, known, origin, weave)


def _level(piece: F32, shown: NDArray[np.bool_], size: float) -> F32:
    """A piece of cloth with its weave and pattern, and without shading coarser than ``size`` px."""
    smooth = ndimage.gaussian_filter(piece, (size, size, 0))
    return np.asarray(piece - smooth + np.median(piece[shown], 0), np.float32)


def _hiders(surface: Surface, view: View) -> NDArray[np.bool_]:
    """Pixels (H, W) of arms that stand before the trunk, and not just where they join it."""
    behind = view.alone(surface, _TRUNK).depth
    return (behind < FAR) & (behind - view.depth > _BEFORE) & np.isin(view.layer, _ARMS)


def with_piece(known: Atlas, piece: F32) -> tuple[Atlas, int]:
    """The atlas with one more piece (H, W, 3) below all others, and the row where it begins."""
    top = len(known.texture)
    texture = _stack([known.texture[..., :3].astype(np.float32), piece])
    return replace(known, texture=texture), top


def _box(points: F32, shown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of the picture that a layer's rows may ask for."""
    height, width = shown.shape
    y, x = np.nonzero(shown)
    low = np.minimum(points.min(0), (x.min(), y.min())) - _PAD
    high = np.maximum(points.max(0), (x.max(), y.max())) + _PAD
    left, top = np.clip(np.floor(low), 0, (width - 2, height - 2)).astype(int)
    right, bottom = np.clip(np.ceil(high) + 1, (left + 2, top + 2), (width, height)).astype(int)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _near(far: NDArray[np.float64], points: F32, reach: float) -> F32:
    """1 where a visible pixel is at hand, falling to 0 at twice ``reach``."""
    height, width = far.shape
    x = np.clip(points[:, 0].astype(int), 0, width - 1)
    y = np.clip(points[:, 1].astype(int), 0, height - 1)
    return np.asarray(np.clip(2 - far[y, x] / reach, 0, 1), np.float32)


def _stack(pieces: list[F32]) -> NDArray[np.uint8]:
    if not pieces:
        raise ValueError("the picture shows nothing of the fitted body")
    wide = max(piece.shape[1] for piece in pieces)
    out = np.full((sum(len(piece) for piece in pieces), wide, 4), 255, np.uint8)
    top = 0
    for piece in pieces:
        out[top : top + len(piece), : piece.shape[1], :3] = np.clip(piece + 0.5, 0, 255)
        top += len(piece)
    return out


def sample(texture: NDArray[np.uint8], position: F32) -> F32:
    """Colours (R, 3) of the texture at positions (R, 2), bilinear."""
    places = [position[:, 1] - 0.5, position[:, 0] - 0.5]
    channels = [texture[..., c].astype(np.float32) for c in range(3)]
    found = [ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in channels]
    return np.stack(found, 1).astype(np.float32)


def fill_colours(surface: Surface, colours: F32, sure: F32, clean: F32) -> F32:
    """Colours (R, 3) for all rows: those of clean rows (weight near 1) spread to the others.

    Eyes take theirs from rows that are ``sure``, mixed with lashes or not. Mouths are left black.
    """
    out = np.zeros_like(colours)
    usual = np.array(_USUAL, np.float32)
    bare = None
    for family in _FAMILIES:
        rows = np.flatnonzero(np.isin(surface.layer, [LAYERS.index(name) for name in family]))
        source = clean[rows].copy()
        if (source > 0.9).sum() >= 8:
            usual = np.median(colours[rows][source > 0.9], 0)
            source *= _is_cloth(colours[rows], usual, bare)
            dark = colours[rows].mean(1) < _SHADOW * usual.mean()
            source *= ~(dark & np.isin(surface.layer[rows], _ARMS))
        if "skin" in family:
            bare = usual
        if len(rows):
            out[rows] = _spread(surface, rows, colours[rows], source, usual)
            arms = rows[np.isin(surface.layer[rows], _ARMS)]
            out[arms] += _EVEN * (usual - out[arms])
        usual = 0.5 * usual + 0.5 * np.array(_USUAL, np.float32)
    eyes = np.flatnonzero(surface.layer == LAYERS.index("eyes"))
    usual = _painted(surface.material[eyes], _EYE_PAINT, white_level(surface, colours, sure))
    out[eyes] = _eyes(surface.material[eyes], colours[eyes], sure[eyes], usual)
    return out


def _is_cloth(
    colours: F32, usual: NDArray[np.floating], bare: NDArray[np.floating] | None
) -> NDArray[np.bool_]:
    """Rows (R,) that do not rather look like skin: a sleeve of the body may reach over a wrist."""
    if bare is None or np.linalg.norm(usual - bare) < 40:
        return np.ones(len(colours), bool)
    to_cloth = np.linalg.norm(colours - usual, axis=1)
    return np.asarray(to_cloth < 1.2 * np.linalg.norm(colours - bare, axis=1))


def white_level(surface: Surface, colours: F32, sure: F32) -> float:
    """How bright a white thing is in this light, against the light that paints are meant for."""
    mine = (surface.material == MATERIALS.index("eye")) & (sure > 0.8)
    if mine.sum() < 6:
        return 0.9
    level = float(np.percentile(colours[mine].mean(1), 80))
    return float(np.clip(level / _WHITE, 0.75, 1.05))  # lids shade the eye more than teeth


def _painted(
    material: NDArray[np.uint8], paint: Mapping[str, tuple[float, ...]], white: float
) -> F32:
    table = np.tile(np.array(_USUAL, np.float32), (256, 1))
    for name, colour in paint.items():
        table[MATERIALS.index(name)] = np.array(colour) * white
    return table[material]


def _eyes(material: NDArray[np.uint8], colours: F32, sure: F32, usual: F32) -> F32:
    """Sclera, iris and pupil each in the colour that the picture shows most of, or the usual."""
    out = usual.copy()
    for name, part in (("eye", 75), ("iris", 50), ("pupil", 25)):
        mine = material == MATERIALS.index(name)
        good = colours[mine & (sure > 0.8)]
        if len(good) >= 4:
            luma = good.mean(1)
            out[mine] = good[np.argsort(luma)[int(part / 100 * (len(good) - 1))]]
    return out


def _spread(
    surface: Surface, rows: NDArray[np.int64], colours: F32, sure: F32, usual: NDArray[np.floating]
) -> F32:
    """Harmonic colours over a mesh; pieces of it without a known row get the usual colour."""
    node, edges = hidden_cloth.edges(surface, rows)
    count = int(node.max()) + 1
    good = sure > 0.9
    known = np.tile(np.asarray(usual, np.float64), (count, 1))
    known[node[good]] = colours[good]
    hold = np.full(count, 1e-4)
    hold[node[good]] = 50.0
    ones = np.ones(len(edges))
    graph = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    graph = (graph + graph.T).tocsr()
    system = sparse.diags_array(np.asarray(graph.sum(1)).ravel() + hold) - graph
    solved = splu(system.tocsc()).solve(hold[:, None] * known)
    return np.asarray(solved[node], np.float32)


def hollows(surface: Surface, rest: F32, normals: F32) -> F32:
    """How much light (R,) creases and hollows of the rest surface lose: 1 none, down to 0.6."""
    rows = np.arange(len(surface.vertex))
    node, edges = hidden_cloth.edges(surface, rows)
    first = np.unique(node, return_index=True)[1]
    place, up = rest[surface.vertex[first]], normals[surface.vertex[first]]
    way = place[edges[:, 1]] - place[edges[:, 0]]
    way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    rise = np.zeros(len(first))
    degree = np.zeros(len(first))
    for near, sign in ((0, 1.0), (1, -1.0)):
        np.add.at(rise, edges[:, near], sign * np.einsum("ec,ec->e", way, up[edges[:, near]]))
        np.add.at(degree, edges[:, near], 1.0)
    rise /= np.maximum(degree, 1)
    for _ in range(2):
        total = rise.copy()
        np.add.at(total, edges[:, 0], rise[edges[:, 1]])
        np.add.at(total, edges[:, 1], rise[edges[:, 0]])
        rise = total / (degree + 1)
    return np.clip(1 - 0.9 * np.maximum(rise, 0), 0.6, 1.0)[node].astype(np.float32)
