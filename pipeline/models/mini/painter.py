"""``FrameRenderer``: a body state becomes a frame.

Poses the person, projects and relights the surface, draws the pixels that one triangle covers
completely, then the warped layers between them and the background, then the silhouette over both.
One renderer serves one thread at a time; renderers of one anchor share constant data.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.arm_painter import ArmPainter
from pipeline.models.mini.enrolment import contact_shadows
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.enrolment.photo_limits import restrained
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.enrolment.skin import unfolded
from pipeline.models.mini.renderer import layer_warp
from pipeline.models.mini.renderer.lighting import brightness_at
from pipeline.models.mini.renderer.rasterizer import COMPILED
from pipeline.models.mini.renderer.shading import Canvas, find, finish
from pipeline.models.mini.renderer.texture_sampling import tables
from pipeline.models.mini.renderer.vertex_layout import DEPTH, MIRROR_SEEN, SEEN, SHADE, X, Y, split
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.person import Person

F32 = NDArray[np.float32]

_NEAREST: Final = np.float32(0.05)  # metres before the camera
# A texture holds shine and shadow of its own: it follows the light most of the way, and not far.
_TRUST: Final = np.float32(0.8)
_MOST: Final = np.float32(0.4)
# A texture seen at a glance is stretched when its surface turns to the camera: then the fill
# colour takes over, from the first stretch to the second.
_WHOLE: Final = np.float32(2.4)
_WORN: Final = np.float32(5.0)
_FOLDED: Final = np.float32(0.55)  # of the way until a fold shows nothing of the picture
_GRAZING: Final = np.float32(0.05)


@njit(**COMPILED)
def _place(posed, normals, vertex, offset, relight, seen, twin, facing, light, view, vertices):  # type: ignore[no-untyped-def]
    """Project and light every row; ``view``: centre px, scale px, distance, height, cos, sin."""
    x0, y0, scale, distance, height, cos, sin = view
    zero, one = np.float32(0.0), np.float32(1.0)
    for r in range(vertex.shape[0]):
        i = vertex[r]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        px, up, ahead = posed[i, 0], posed[i, 1] - height, distance - posed[i, 2]
        depth = max(cos * ahead + sin * up, _NEAREST)
        ratio = scale / depth
        vertices[r, X] = x0 + ratio * px + offset[r, 0]
        vertices[r, Y] = y0 - ratio * (cos * up - sin * ahead) + offset[r, 1]
        vertices[r, DEPTH] = depth
        turned = (nz * ahead - nx * px - ny * up) / np.sqrt(px * px + up * up + ahead * ahead)
        stretch = turned / max(facing[r], _GRAZING)
        own = seen[r] * min(max((_WORN - stretch) / (_WORN - _WHOLE), zero), one)
        vertices[r, SEEN] = own
        bright = brightness_at(nx, ny, nz, light)
        change = min(max(_TRUST * (bright * relight[r] - one), -_MOST), _MOST)
        known = own + (one - own) * twin[r]
        vertices[r, SHADE] = known * (one + change) + (one - known) * bright


@njit(**COMPILED)
def _hide(rows, follow, more, seen, out):  # type: ignore[no-untyped-def]
    """How far rows are still seen when lids and lips have unfolded by ``more`` (3,)."""
    zero, one = np.float32(0.0), np.float32(1.0)
    for k in range(rows.shape[0]):
        away = follow[k, 0] * more[0] + follow[k, 1] * more[1] + follow[k, 2] * more[2]
        out[rows[k]] = seen[rows[k]] * (one - min(max(away / _FOLDED, zero), one))


class FrameRenderer:
    """Draws frames of one anchor, at its size."""

    def __init__(self, anchor: IdentityAnchor, body: Body | None = None) -> None:
        self.anchor = anchor
        self._person = Person(body or bundled_body(), anchor.fit.shape, anchor.fit.wear)
        self._posed = np.empty_like(self._person.rest)
        self._normals = np.empty_like(self._person.rest)
        self._vertices, self._looks = split(anchor.vertices)
        self._twin = anchor.vertices[:, MIRROR_SEEN].copy()
        self._seen = anchor.seen.copy()
        self._taken = np.empty_like(anchor.contact.taken)
        self._unfolded = unfolded(anchor.fit.state)
        self._moved = [np.empty_like(each.nodes) for each in anchor.sheets]
        self._arms = ArmPainter(anchor, self._person)
        self._tables = tables()
        self._nothing = np.zeros((anchor.height, anchor.width), np.bool_)
        self._canvas = Canvas(anchor.width, anchor.height, len(anchor.surface.faces))
        camera = anchor.camera
        numbers = (
            camera.center_x * anchor.width,
            camera.center_y * anchor.height,
            camera.focal * anchor.height,
            camera.distance,
            camera.look_y,
            math.cos(camera.pitch),
            math.sin(camera.pitch),
        )
        self._view = tuple(np.float32(number) for number in numbers)

    def paint(self, state: F32, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The frame (H, W, 3) of a state (STATE_DIM,), into ``out`` when it is given."""
        anchor = self.anchor
        shape = (anchor.height, anchor.width, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out must be uint8 {shape}, got {out.dtype} {out.shape}")
        if not np.all(np.isfinite(state)):
            raise ValueError("the numbers of a state must be finite")
        performed = state
        if not anchor.fit.exact:
            state = restrained(state, anchor.fit.state)
        self._person.pose(state, self._posed)
        self._person.normals(self._posed, self._normals)
        self._unfold(state)
        _place(
            self._posed, self._normals, anchor.surface.vertex, anchor.offset, anchor.relight,
            self._seen, self._twin, anchor.facing, anchor.light, self._view, self._vertices,
        )  # fmt: skip
        contact_shadows.darken(
            anchor.contact, self._posed, self._normals, self._taken, SHADE, self._vertices
        )
        out[:] = anchor.plate
        surface, canvas = anchor.surface, self._canvas
        find(
            self._vertices, surface.faces, surface.face_layer, surface.two_sided, anchor.texture,
            out, canvas, anchor.tolerance,
        )  # fmt: skip
        for each, moved in zip(anchor.sheets, self._moved, strict=False):
            layer_warp.move(each, self._vertices, moved)
            layer_warp.draw(each, moved, canvas.settled, self._tables, out)
        finish(self._vertices, self._looks, surface.faces, anchor.texture, out, canvas)
        self._arms.draw(performed, self._vertices, self._nothing, self._tables, out)
        return out

    def _unfold(self, state: F32) -> None:
        """What the picture shows of open lids and closed lips is hidden as they unfold."""
        folds, more = self.anchor.folds, np.maximum(unfolded(state) - self._unfolded, 0)
        _hide(folds.rows, folds.follow, more, self.anchor.seen, self._seen)
