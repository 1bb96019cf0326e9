"""A contact sheet of a dubbed video: mouths before, and below them after."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.dubbing.painter import Painted
from pipeline.dubbing.video_in import Shot

U8 = NDArray[np.uint8]

_CELL: Final = 192
_MOST: Final = 24  # cells; when there are more, every other one is dropped
_COLUMNS: Final = 8


class Sheet:
    """Gathers cells while a video is dubbed; memory is bounded."""

    def __init__(self, path: Path) -> None:
        self._path, self._every, self._frame = path, 1, 0
        self._cells: list[U8] = []

    def note(self, shot: Shot, painted: Painted | None) -> None:
        """A frame was written."""
        self._frame += 1
        if painted is None or painted.before is None or self._frame % self._every:
            return
        self._cells.append(np.concatenate([_cell(painted.before), _cell(_grey(shot, painted))]))
        if len(self._cells) > _MOST:
            self._cells = self._cells[::2]
            self._every *= 2

    def save(self) -> None:
        """Writes the sheet; an empty one where no mouth was redrawn."""
        blank = np.zeros((2 * _CELL, _CELL), np.uint8)
        cells = self._cells[:_MOST] or [blank]
        rows = []
        for at in range(0, len(cells), _COLUMNS):
            row = cells[at : at + _COLUMNS]
            rows.append(np.concatenate(row + [blank] * (_COLUMNS - len(row)), 1))
        Image.fromarray(np.concatenate(rows)).save(self._path)


def _cell(luma: U8) -> U8:
    return np.asarray(cv2.resize(luma, (_CELL, _CELL), interpolation=cv2.INTER_AREA), np.uint8)


def _grey(shot: Shot, painted: Painted) -> U8:
    high, wide = painted.matte.shape
    part = shot.planes[0][painted.top : painted.top + high, painted.left : painted.left + wide]
    return np.asarray(part >> (shot.depth - 8), np.uint8)
