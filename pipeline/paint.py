"""Colours for every row of a surface: textures where the picture shows it, guesses where not.

A layer's texture is a piece of the picture in which all that is not this layer was filled in from
around. The pieces are stacked into one atlas. What no texture knows takes the mirrored row's
texture, or else a fill colour: spread over the mesh from rows that are known, from related layers,
or, for the inside of a mouth, from what mouths look like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from pipeline import plate
from pipeline.body import MATERIALS
from pipeline.surface import LAYERS, Surface, View

F32 = NDArray[np.float32]

_PAD: Final = 8  # px of a piece beyond the rows that it serves
# How far from pixels that show a layer its texture is believed, in px of a 512 px picture.
_REACH: Final = {"mouth": 1.5, "eyes": 8.0, "left_skin": 10.0, "right_skin": 10.0}
_FAR_REACH: Final = 60.0
_MARGIN: Final = {"eyes": 0.4, "mouth": 0.4}  # px of a 512 px picture, mixed with what is beside
_COMMON_MARGIN: Final = 1.0
_RELATED: Final = {
    "left_skin": ("right_skin", "skin"),
    "right_skin": ("left_skin", "skin"),
    "left_sleeve": ("right_sleeve", "clothes"),
    "right_sleeve": ("left_sleeve", "clothes"),
    "skin": ("left_skin", "right_skin"),
    "clothes": ("left_sleeve", "right_sleeve"),
    "legs": ("clothes",),
    "hair": (),
}
_MOUTH_PAINT: Final = {
    "teeth": (226.0, 214.0, 196.0),
    "gum": (92.0, 34.0, 34.0),
    "tongue": (168.0, 84.0, 82.0),
}
_EYE_PAINT: Final = {"eye": (222.0, 214.0, 208.0), "iris": (70.0, 52.0, 40.0), "pupil": (14.0,) * 3}
_USUAL: Final = (120.0, 105.0, 100.0)
_WHITE: Final = 215.0  # brightness of a sclera under the light that the paints above are meant for


@dataclass(frozen=True, slots=True)
class Atlas:
    """Stacked pieces of texture and where each row finds itself in them."""

    texture: NDArray[np.uint8]  # (H, W, 4)
    position: F32  # (R, 2) px in the atlas
    known: F32  # (R,) how far the texture there is believed, 0..1
    origin: F32  # (LAYERS, 2) atlas position minus picture position


def atlas(picture: F32, surface: Surface, view: View, solid: NDArray[np.bool_]) -> Atlas:
    """Cut and fill the layers' textures; ``solid`` (H, W) excludes pixels mixed with background."""
    height, width = view.depth.shape
    unit = height / 512
    pieces, position = [], view.points[:, :2].astype(np.float32).copy()
    known = np.zeros(len(surface.vertex), np.float32)
    origin = np.zeros((len(LAYERS), 2), np.float32)
    top = 0
    for number, name in enumerate(LAYERS):
        shown = view.shows(number, _MARGIN.get(name, _COMMON_MARGIN) * unit) & solid
        rows = surface.layer == number
        if shown.sum() < 4 or not rows.any():
            continue
        box = _box(view.points[rows, :2], shown)
        piece = plate.fill(picture[box], shown[box].astype(np.float32))
        origin[number] = -box[1].start, top - box[0].start
        position[rows] += origin[number]
        far = ndimage.distance_transform_edt(~shown)
        reach = _REACH.get(name, _FAR_REACH) * unit
        known[rows] = _near(far, view.points[rows], reach)
        pieces.append(piece)
        top += piece.shape[0]
    return Atlas(_stack(pieces), position, known, origin)


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
    return np.clip(2 - far[y, x] / reach, 0, 1).astype(np.float32)


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
    return np.stack(
        [ndimage.map_coordinates(texture[..., c].astype(np.float32), places, order=1, mode="nearest")
         for c in range(3)], 1,
    ).astype(np.float32)  # fmt: skip


def fill_colours(surface: Surface, colours: F32, sure: F32) -> F32:
    """Colours (R, 3) for all rows: those of sure rows (weight near 1) spread to the others."""
    out = np.zeros_like(colours)
    means: dict[str, F32] = {}
    white = _white(surface, colours, sure)
    for number, name in enumerate(LAYERS):
        rows = np.flatnonzero(surface.layer == number)
        good = rows[sure[rows] > 0.9]
        if len(good) >= 8:
            means[name] = np.median(colours[good], 0).astype(np.float32)
    for number, name in enumerate(LAYERS):
        rows = np.flatnonzero(surface.layer == number)
        if not len(rows):
            continue
        if name == "mouth":
            out[rows] = _painted(surface.material[rows], _MOUTH_PAINT, white)
        elif name == "eyes":
            out[rows] = _eyes(surface.material[rows], colours[rows], sure[rows], white)
        else:
            usual = _usual(name, means)
            out[rows] = _spread(surface, rows, colours[rows], sure[rows], usual)
    return out


def _usual(name: str, means: dict[str, F32]) -> F32:
    """The colour of a layer of which nothing is known."""
    for other in (name, *_RELATED.get(name, ())):
        if other in means:
            return means[other]
    return np.array(_USUAL, np.float32)


def _white(surface: Surface, colours: F32, sure: F32) -> float:
    """How bright a white thing is in this light, against the light that paints are meant for."""
    mine = (surface.material == MATERIALS.index("eye")) & (sure > 0.8)
    skin = (surface.material == MATERIALS.index("skin")) & (sure > 0.9)
    level = float(np.percentile(colours[mine].mean(1), 80)) if mine.sum() >= 6 else 0.0
    if skin.any():
        level = max(level, float(np.percentile(colours[skin].mean(1), 75)))
    return float(np.clip(level / _WHITE, 0.35, 1.1)) if level else 0.85


def _painted(material: NDArray[np.uint8], paint: dict[str, tuple[float, ...]], white: float) -> F32:
    table = np.tile(np.array(_USUAL, np.float32), (256, 1))
    for name, colour in paint.items():
        table[MATERIALS.index(name)] = np.array(colour) * white
    return table[material]


def _eyes(material: NDArray[np.uint8], colours: F32, sure: F32, white: float) -> F32:
    """Sclera, iris and pupil each in the colour that the picture shows most of."""
    out = _painted(material, _EYE_PAINT, white)
    for name, part in (("eye", 75), ("iris", 50), ("pupil", 25)):
        mine = material == MATERIALS.index(name)
        good = colours[mine & (sure > 0.8)]
        if len(good) >= 4:
            luma = good.mean(1)
            out[mine] = good[np.argsort(luma)[int(part / 100 * (len(good) - 1))]]
    return out


def _spread(surface: Surface, rows: NDArray[np.int64], colours: F32, sure: F32, usual: F32) -> F32:
    """Harmonic colours over the layer's mesh; pieces without any known row get the usual colour."""
    local = np.full(len(surface.vertex), -1)
    local[rows] = np.arange(len(rows))
    faces = local[surface.faces[surface.face_layer == surface.layer[rows[0]]]]
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
    count = len(rows)
    ones = np.ones(len(edges))
    graph = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    graph = (graph + graph.T).tocsr()
    hold = np.where(sure > 0.9, 50.0, 1e-4)
    system = sparse.diags_array(np.asarray(graph.sum(1)).ravel() + hold) - graph
    known = np.where((sure > 0.9)[:, None], colours, usual)
    out = [
        cg(system, hold * known[:, c], x0=known[:, c], rtol=1e-4, maxiter=400)[0] for c in range(3)
    ]
    return np.stack(out, 1).astype(np.float32)
