"""Faces: where they are in a picture, and the mesh of each (Grishchenko et al. 2020)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import mesh
from pipeline.landmarkers.boxes import Detection, detect
from pipeline.landmarkers.crops import Square, around, whole
from pipeline.landmarkers.networks import network
from pipeline.landmarkers.people import Face

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LEAST: Final = 0.5  # scores below are no face
_ROOM: Final = 1.5  # how much wider than a face's points its crop is


def detect_faces(picture: U8) -> list[Detection]:
    """Boxes that may be faces, the surest first; points are the right and left eye and others."""
    return detect("face_detector", picture, whole(picture), LEAST)


def square_of(detection: Detection) -> Square:
    """The crop of a detected face, turned upright by its eyes."""
    right, left = detection.points[:2]
    angle = float(np.arctan2(*(left - right)[::-1]))
    x, y = detection.middle.tolist()
    return Square(x, y, _ROOM * detection.side, angle)


def square_around(points: F32) -> Square:
    """The crop around the points (478, 3) of a face."""
    across = points[mesh.LEFT_EYE_OUTER, :2] - points[mesh.RIGHT_EYE_OUTER, :2]
    angle = float(np.arctan2(across[1], across[0]))
    return around(points[: mesh.MESH, :2], angle).moved(0, 0, _ROOM)


def look(picture: U8, square: Square, detection: float = 0.0) -> Face:
    """The face in a crop; whether there is one is said by its score."""
    net = network("face_mesh")
    answer = net(square.cut(picture, net.size, border=cv2.BORDER_REPLICATE))
    points = _points(answer) / net.size
    places = np.concatenate(
        [square.to_picture(points[:, :2]), square.side * points[:, 2:]], 1, dtype=np.float32
    )
    flag = float(answer["flag"].reshape(()))
    return Face(places, 1 / (1 + np.exp(-flag)), detection, *_turn(places), _eyes(places))


def _points(answer: dict[str, F32]) -> F32:
    """The mesh with lips and eyes put in, and irises as far away as their eyes' lids."""
    points = np.zeros((mesh.POINTS, 3), np.float32)
    points[: mesh.MESH] = answer["mesh"].reshape(-1, 3)
    points[mesh.LIPS, :2] = answer["lips"].reshape(-1, 2)
    for side, first, indices in (
        ("left", mesh.RIGHT_IRIS, mesh.RIGHT_EYE),  # the network's left is the picture's
        ("right", mesh.LEFT_IRIS, mesh.LEFT_EYE),
    ):
        points[indices, :2] = answer[f"{side}_eye"].reshape(-1, 2)
        points[first : first + mesh.IRIS, :2] = answer[f"{side}_iris"].reshape(-1, 2)
        points[first : first + mesh.IRIS, 2] = points[indices[: mesh.LID_COUNT], 2].mean()
    return points


def _turn(points: F32) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a mesh."""
    right, left = points[np.array(mesh.PAIRS).T]
    across = (left - right).mean(0)
    roll = float(np.arctan2(across[1], across[0]))
    yaw = float(np.arctan2(across[2], np.hypot(across[0], across[1])))
    down = points[mesh.CHIN] - points[mesh.FOREHEAD]
    upright = float(down[:2] @ (-np.sin(roll), np.cos(roll)))
    return yaw, float(np.arctan2(-down[2], upright)), roll


def _eyes(points: F32) -> float:
    return float(np.linalg.norm(points[mesh.LEFT_EYE_OUTER] - points[mesh.RIGHT_EYE_OUTER]))
