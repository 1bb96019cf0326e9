"""The vertex stage: posed vertices onto the frame's pixels, lit, with how much of each is seen."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from pipeline.models.mini.renderer.lighting import brightness_at
from pipeline.models.mini.renderer.rasterizer import COMPILED
from pipeline.models.mini.renderer.vertex_layout import DEPTH, SEEN, SHADE, X, Y
from pipeline.models.mini.rig.camera import Camera

View = tuple[np.float32, ...]  # centre px, scale px, distance, height, cos and sin of the pitch

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
def project(posed, normals, vertex, offset, relight, seen, twin, facing, light, view, vertices):  # type: ignore[no-untyped-def]
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
def hide(rows, follow, more, seen, out):  # type: ignore[no-untyped-def]
    """How far rows are still seen when lids and lips have unfolded by ``more`` (3,)."""
    zero, one = np.float32(0.0), np.float32(1.0)
    for k in range(rows.shape[0]):
        away = follow[k, 0] * more[0] + follow[k, 1] * more[1] + follow[k, 2] * more[2]
        out[rows[k]] = seen[rows[k]] * (one - min(max(away / _FOLDED, zero), one))


def view_of(camera: Camera, width: int, height: int) -> View:
    """A camera's numbers at a frame size, as ``project`` takes them."""
    numbers = (
        camera.center_x * width,
        camera.center_y * height,
        camera.focal * height,
        camera.distance,
        camera.look_y,
        math.cos(camera.pitch),
        math.sin(camera.pitch),
    )
    return tuple(np.float32(number) for number in numbers)
