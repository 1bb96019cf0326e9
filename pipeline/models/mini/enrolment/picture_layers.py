"""Step five of enrolment: what lies around the mesh: the background, and sheets of loose things.

Where a fit from landmarks explains no more than a face, the mesh covers the face alone, and a
sheet is all the rest of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import (
    arm_limits,
    arm_sheets,
    background,
    loose_parts,
    photo_limits,
)
from pipeline.models.mini.enrolment.person_parts import PersonParts
from pipeline.models.mini.enrolment.picture_cut import TEXELS, PictureCut
from pipeline.models.mini.enrolment.picture_view import PictureView
from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.enrolment.vertex_table import VertexTable
from pipeline.models.mini.renderer.limb_warp import MovingArm
from pipeline.models.mini.renderer.warp_layer import Sheet

F32 = NDArray[np.float32]

_FACE: Final = ("chin", "forehead", "temple_left", "temple_right")
_MARGIN: Final = 3.0  # px around the person, of a 512 px picture, that the background forgets


@dataclass(frozen=True, slots=True)
class PictureLayers:
    """What frames are put together from, from the back to the front."""

    background: NDArray[np.uint8]  # (H, W, 3) the picture without the person
    outlined: bool  # whether it is without
    sheets: tuple[Sheet, ...]  # of trunk and head, left arm, right arm
    arms: tuple[MovingArm, ...]  # of a photograph, those that are cut out
    still: Mapping[str, str]  # sides whose arm stays, with the reason
    surface: Surface  # the faces of the mesh that are drawn
    cover: F32  # (R,) how far each row is drawn from the mesh


def build_layers(
    seen: PictureView, table: VertexTable, parts: PersonParts | None = None
) -> PictureLayers:
    """Take the person out of the background, lift what is loose, and cover the rest with mesh."""
    surface, cover = seen.surface, np.ones(len(table.seen), np.float32)
    if not seen.posed.fit.exact:
        moved = seen.projected.copy()
        moved[:, :2] += seen.bent
        cover = photo_limits.cover(seen.posed.person, surface, moved, table.seen)
        surface = surface.only(np.asarray((cover > 0)[surface.faces].any(1)))
    if parts is None:
        back, outlined = _background(seen), _outlined(seen)
        return PictureLayers(back, outlined, _sheets(seen, table), (), {}, surface, cover)
    arms = arm_sheets.moving_arms(seen, table, parts)
    limits = arm_limits.limited(arms, _face(seen), seen.cut.width, seen.cut.height)
    sheets = (arm_sheets.body(seen, table, parts, arms),)
    plate = _plate(seen.cut, parts)
    return PictureLayers(plate, True, sheets, limits.arms, limits.still, surface, cover)


def _outlined(seen: PictureView) -> bool:
    """Whether the picture or its fit says where the person ends."""
    return seen.posed.fit.exact or seen.cut.alpha is not None


def _plate(cut: PictureCut, parts: PersonParts) -> NDArray[np.uint8]:
    """The background (H, W, 3) of the frame."""
    fine = cut.taken(parts.plate).reshape(cut.height, TEXELS, cut.width, TEXELS, 3)
    return np.asarray(np.clip(fine.mean((1, 3)) + 0.5, 0, 255), np.uint8)


def _face(seen: PictureView) -> F32:
    """Places of the face, px of the frame."""
    marks = seen.posed.person.body.landmarks
    rows = [marks[name] for name in _FACE]
    return np.asarray((seen.projected[rows, :2] + seen.bent[rows]) / TEXELS, np.float32)


def _background(seen: PictureView) -> NDArray[np.uint8]:
    """The frame without the person; as it is when nobody can say where the person ends."""
    cut, exact = seen.cut, seen.posed.fit.exact
    frame = cut.frame
    if _outlined(seen):
        gone = seen.alpha > 0.04
        if exact:
            gone |= seen.view.covered > 0
        gone = np.asarray(gone.reshape(cut.height, TEXELS, cut.width, TEXELS).any((1, 3)))
        if not background.grow(gone, margin := _MARGIN * cut.height / 512).all():
            frame = background.without(frame, gone, margin)
    return np.asarray(np.clip(frame + 0.5, 0, 255), np.uint8)


def _sheets(seen: PictureView, table: VertexTable) -> tuple[Sheet, ...]:
    """What the mesh does not explain; elastic over the whole picture when no mask says more."""
    if not _outlined(seen):
        return (loose_parts.elastic(seen, table),)
    return loose_parts.by_part(seen, table)
