"""Faces from frame to frame, and where the video is cut.

Each face is looked for where the last frame had it; the detector is asked at cuts, when somebody is
lost, and now and then for those who come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing.video_in import Shot
from pipeline.landmarkers import Face, faces, mesh

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_CUT: Final = 0.11  # mean change of a thumbnail, of white, that may be a cut ...
_JUMP: Final = 3.0  # ... where it is so many times the change before
_AGAIN: Final = 10  # frames between looks for more faces
_SAME: Final = 0.5  # eyes: faces nearer to each other are one
_SMALL: Final = 18.0  # px between the eyes, below which a face is too small to be redrawn


@dataclass(frozen=True, slots=True)
class Seen:
    """A face of one frame: its track, and its mesh in px of the frame."""

    track: int
    points: F32  # (478, 3)
    score: float
    eyes: float

    @property
    def middle(self) -> F32:
        return np.asarray(self.points[: mesh.MESH, :2].mean(0), np.float32)


class CutFinder:
    """Says of each frame whether a new shot begins with it."""

    def __init__(self) -> None:
        self._last: F32 | None = None
        self._change = 0.02

    def cut(self, shot: Shot) -> bool:
        thumbnail = shot.thumbnail()
        if self._last is None:
            self._last = thumbnail
            return True
        change = float(np.abs(thumbnail - self._last).mean())
        found = change > max(_CUT, _JUMP * self._change)
        self._last = thumbnail
        self._change += 0.3 * (min(change, 0.05) - self._change)
        return found


class Follower:
    """Consecutive frames in, their faces out. Tracks end at cuts and when a face is lost."""

    def __init__(self) -> None:
        self._tracks: dict[int, F32] = {}  # points in px of the small picture
        self._next, self._frame = 0, 0

    def reset(self) -> None:
        """A new shot: everybody is new."""
        self._tracks = {}

    def see(self, shot: Shot) -> list[Seen]:
        """The faces of the next frame, in the order in which they appeared."""
        picture, scale = shot.rgb()
        found = {track: faces.look(picture, faces.square_around(points))
                 for track, points in self._tracks.items()}  # fmt: skip
        kept = {track: face for track, face in found.items() if face.score >= faces.LEAST}
        if len(kept) < len(found) or not kept or self._frame % _AGAIN == 0:
            self._look_for_more(picture, kept)
        self._frame += 1
        self._tracks = {track: face.points for track, face in kept.items()}
        seen = [Seen(track, face.points * np.float32(scale), face.score, face.eyes * scale)
                for track, face in kept.items()]  # fmt: skip
        return [each for each in seen if each.eyes >= _SMALL]

    def _look_for_more(self, picture: U8, kept: dict[int, Face]) -> None:
        for detection in faces.detect_faces(picture):
            face = faces.look(picture, faces.square_of(detection), detection.score)
            if face.score < faces.LEAST or any(_same(face, other) for other in kept.values()):
                continue
            face = faces.look(picture, faces.square_around(face.points), detection.score)
            kept[self._next] = face
            self._next += 1


def _same(one: Face, other: Face) -> bool:
    gap = np.linalg.norm(one.points.mean(0)[:2] - other.points.mean(0)[:2])
    return bool(gap < _SAME * max(one.eyes, other.eyes))
