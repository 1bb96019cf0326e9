"""Step two of enrolment: what the picture shows of the posed surface, and what is foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import background, photo_limits
from pipeline.models.mini.enrolment.picture_cut import PictureCut
from pipeline.models.mini.enrolment.posed_person import PosedPerson
from pipeline.models.mini.enrolment.surface import Surface, View, facing

_MIXED: Final = 1.2  # px of the picture that a border between person and background may blur

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PictureView:
    """A posed person before the camera of a cut picture. All places are in texels."""

    cut: PictureCut
    posed: PosedPerson
    view: View  # of the surface's rows, moved onto the landmarks
    projected: F32  # (N, 3) the body's vertices, where the fit alone puts them
    bent: F32  # (N, 2) what moves them onto the landmarks
    offset: F32  # (R, 2) the same for rows: eyeballs and the mouth's inside move as one
    alpha: F32  # (H, W) of the foreground, 0..1
    solid: NDArray[np.bool_]  # (H, W) pixels that are not mixed with background
    pixel: float  # how wide a texel is at the person's depth, metres

    @property
    def surface(self) -> Surface:
        return self.posed.surface

    @property
    def unit(self) -> float:
        """Texels per pixel of a picture that is 512 px high."""
        return len(self.alpha) / 512


def view_picture(cut: PictureCut, posed: PosedPerson) -> PictureView:
    """Find the surface in the picture. Raises ``ValueError`` when it is not there."""
    high, wide = cut.fine.shape[:2]
    surface = posed.surface
    projected = cut.camera.project(posed.vertices, wide, high)
    bent = photo_limits.corrections(posed.person, projected, cut.texels(posed.fit.landmarks))
    offset = photo_limits.rigid(posed.person, surface, bent)
    points = projected[surface.vertex]
    points[:, :2] += offset
    view = View.of(surface, points, _facing(cut, posed), wide, high)
    if not view.covered.any():
        raise ValueError("the fitted body is outside the picture")
    alpha = _foreground(cut, posed.fit.exact, view)
    solid = background.shrink(alpha > 0.9, max(_MIXED * cut.scale, 1.0))
    pixel = float(np.median(points[:, 2])) / (cut.camera.focal * high)
    return PictureView(cut, posed, view, projected, bent, offset, alpha, solid, pixel)


def _facing(cut: PictureCut, posed: PosedPerson) -> F32:
    """Cosine (R,) between each row's normal and the way to the camera."""
    eye = np.array([0, cut.camera.look_y, cut.camera.distance], np.float32)
    rows = posed.surface.vertex
    return facing(posed.vertices[rows], posed.normals[rows], eye)


def _foreground(cut: PictureCut, exact: bool, view: View) -> F32:
    """The person's alpha: as given, guessed for exact fits, else unknown and all of the picture."""
    if cut.alpha is not None:
        return cut.alpha
    if exact:
        return background.foreground(cut.fine, view.covered)
    return np.ones(view.covered.shape, np.float32)
