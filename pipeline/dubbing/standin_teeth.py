"""Teeth for somebody whose own the video never shows: the bundled body's."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing.inner_mouth import FINE, Inside, grid
from pipeline.models.mini.enrolment.mouth_interior import teeth_piece

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_EYE_MM: Final = 92.0  # between the outer corners of the eyes of an adult
_ARCH_MM: Final = 27.0  # half the width of a row of teeth, from the front
_WIDE_MM, _TALL_MM = 46.0, 19.0  # of the opening that is drawn
_SHOWN_MM: Final = (5.5, 2.5)  # of upper and lower teeth
_DARK: Final = (38.0, 16.0, 16.0)
_LIT: Final = 0.62  # of the light of the skin: teeth stand in the shade


def standin(light: float) -> Inside:
    """Teeth as lit as skin of luma ``light`` (0..1), BT.709 limited range."""
    places = grid(0.0)
    mm = _EYE_MM / FINE
    x = places[..., 0] * _EYE_MM
    y = places[..., 1] * _EYE_MM
    rgb: F64 = np.tile(np.array(_DARK), (*x.shape, 1))
    texels = 4.0
    arches = teeth_piece(texels)
    tall = len(arches) // 2
    along = _ARCH_MM * np.arcsin(np.clip(x / _ARCH_MM, -1, 1))
    column = (along * texels + arches.shape[1] / 2).astype(np.float32)
    for upper, shown in ((True, _SHOWN_MM[0]), (False, _SHOWN_MM[1])):
        edge = shown if upper else _TALL_MM - shown
        row = (tall - 1 - (edge - y) * texels) if upper else (tall + (y - edge) * texels)
        inside = (y <= edge) if upper else (y >= edge)
        seen = cv2.remap(arches.astype(np.float32), column, row.astype(np.float32),
                         cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        rgb = np.where((inside & (np.abs(x) < 24))[..., None], seen, rgb)
    rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.8)) * _LIT / 255
    luma = rgb @ np.array([0.2126, 0.7152, 0.0722])
    planes = (
        (16 + 219 * luma) / 255,
        (128 + 224 * (rgb[..., 2] - luma) / 1.8556) / 255,
        (128 + 224 * (rgb[..., 0] - luma) / 1.5748) / 255,
    )
    width = places.shape[1]
    top = np.full(width, -places[0, 0, 1] * FINE, np.float32)
    half = _WIDE_MM / 2 / mm
    middle = (width - 1) / 2
    reach = np.clip(np.abs(np.arange(width) - middle) / half, 0, 1)
    bottom = top + np.float32(_TALL_MM / mm) * np.sqrt(1 - np.square(reach)).astype(np.float32)
    first, second, third = (plane.astype(np.float32) for plane in planes)
    return Inside((first, second, third), top, bottom, middle - half, middle + half, light,
                  0.5, 0.0)  # fmt: skip
