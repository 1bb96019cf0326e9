"""Step three of enrolment: one texture for every layer of the surface.

A layer's texture is a piece of the picture in which all that is not this layer was filled in from
around. The pieces are stacked into one atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.models.mini.enrolment import background, hidden_cloth
from pipeline.models.mini.enrolment.picture_view import PictureView
from pipeline.models.mini.enrolment.surface import ARMS, LAYERS, Surface, View
from pipeline.models.mini.renderer.rasterizer import FAR

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
_Box = tuple[slice, slice]

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


@dataclass(frozen=True, slots=True)
class Atlas:
    """Stacked pieces of texture and where each row finds itself in them."""

    texture: NDArray[np.uint8]  # (H, W, 4)
    position: F32  # (R, 2) px in the atlas
    known: F32  # (R,) how far the texture there is believed, 0..1
    origin: F32  # (LAYERS, 2) atlas position minus picture position
    weave: F32  # (LAYERS,) px down from a layer's piece to the same without shading; 0 for none


def build_atlas(seen: PictureView) -> Atlas:
    """Cut and fill the layers' textures. Raises ``ValueError`` when none is seen."""
    view, surface = seen.view, seen.surface
    position = view.points[:, :2].astype(np.float32).copy()
    known = np.zeros(len(surface.vertex), np.float32)
    origin = np.zeros((len(LAYERS), 2), np.float32)
    weave = np.zeros(len(LAYERS), np.float32)
    pieces: list[F32] = []
    top, arms = 0, _hiders(surface, view)
    slack = _slack(seen)
    for number, name in enumerate(LAYERS):
        rows = surface.layer == number
        mine = view.layer == number
        if not rows.any() or mine.sum() < 4:
            continue
        box = _box(view.points[rows, :2], mine)
        shown = _shown(seen, name, mine[box], box)
        if name in _TRUNK:
            shown = _apart(shown, arms[box], slack)
        if shown.sum() < 4:
            continue
        piece = _piece(seen, name, box, shown)
        corner = np.array([box[1].start, box[0].start], np.float32)
        origin[number] = (0, top) - corner
        position[rows] += origin[number]
        far = ndimage.distance_transform_edt(~shown)
        reach = _REACH.get(name, _FAR_REACH) * seen.unit
        known[rows] = _near(far, view.points[rows, :2] - corner, reach)
        pieces.append(piece)
        top += piece.shape[0]
        if name in hidden_cloth.CONTINUED:
            pieces.append(_level(piece, shown, _SHADING * seen.unit))
            weave[number] = piece.shape[0]
            top += piece.shape[0]
    return Atlas(_stack(pieces), position, known, origin, weave)


def _slack(seen: PictureView) -> float:
    """How many texels around an arm are sleeve, or in its shadow: cloth stands off the body."""
    if not seen.posed.fit.exact:
        return 0.0
    slack = background.slack(seen.alpha, seen.view.covered > 0.5)
    return min(_BESIDE * slack, _MOST * seen.unit)


def _shown(seen: PictureView, name: str, mine: Mask, box: _Box) -> Mask:
    """Pixels of the box that show a layer alone, ``mine`` being those where it is in front."""
    margin = _MARGIN.get(name, _COMMON_MARGIN) * max(seen.cut.scale, 1.0)
    return background.shrink(mine, margin) & seen.solid[box]


def _apart(shown: Mask, arms: Mask, slack: float) -> Mask:
    """What is shown of the trunk away from arms: beside them, cloth is sleeve or in shadow."""
    apart = shown & ~background.grow(arms, slack)
    return apart if apart.any() else shown


def _piece(seen: PictureView, name: str, box: _Box, shown: Mask) -> F32:
    """The picture in the box, filled in where it does not show the layer."""
    picture = seen.cut.fine[box]
    piece = background.fill(picture, shown.astype(np.float32))
    if name in hidden_cloth.CONTINUED:
        piece += background.detail(picture, shown, _WEAVE * seen.unit)
    return piece


def _level(piece: F32, shown: Mask, size: float) -> F32:
    """A piece of cloth with its weave and pattern, and without shading coarser than ``size`` px."""
    smooth = ndimage.gaussian_filter(piece, (size, size, 0))
    return np.asarray(piece - smooth + np.median(piece[shown], 0), np.float32)


def _hiders(surface: Surface, view: View) -> Mask:
    """Pixels (H, W) of arms that stand before the trunk, and not just where they join it."""
    behind = view.alone(surface, _TRUNK).depth
    return (behind < FAR) & (behind - view.depth > _BEFORE) & np.isin(view.layer, ARMS)


def with_piece(known: Atlas, piece: F32) -> tuple[Atlas, int]:
    """The atlas with one more piece (H, W, 3) below all others, and the row where it begins."""
    top = len(known.texture)
    texture = _stack([known.texture[..., :3].astype(np.float32), piece])
    return replace(known, texture=texture), top


def _box(points: F32, shown: Mask) -> _Box:
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
