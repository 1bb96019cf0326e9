"""Who is in a picture, and where: the named points of one person, found without help.

``find_person`` lets OpenCV's cascades (Viola and Jones 2001) say where faces may be. A small
network settles on each by looking again where it seems to be, and another one is asked for
shoulders, arms and hands; both learnt on drawn people (``training.landmarks.train``). It says no
with the reason when there is nobody, more than one, a face too small or one seen from the side. A
person may correct the points by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import FaceTooSmall, FaceTurned, PersonNotFound, SeveralPeople
from pipeline.models.mini.enrolment.crops import (
    BODY_POINTS,
    BODY_SIDE,
    FACE_POINTS,
    FACE_SIDE,
    SIDE,
    Crop,
    body_crop,
    face_crop,
    frame,
)
from pipeline.models.mini.enrolment.landmark_fit import LEAST_EYES, REQUIRED
from pipeline.models.mini.enrolment.landmark_network import Answer, PointNet, load_networks

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MOST_TURN: Final = 0.7  # radians to either side that a face may be turned
_LOOKING: Final = Lock()  # cascades are shared by all threads
_CASCADES: Final = Path(cv2.__file__).parent / "data"
_LARGEST: Final = 800  # px of the longer side at which cascades look at a picture
_LEAST_BOX: Final = 0.09  # of the shorter side: the smallest face that they look for
_WIDTHS: Final = (1.5, 2.0)  # how much wider than their box the crop of a face is
_ROUNDS: Final = 3
_ANOTHER: Final = 0.45  # of the largest face: smaller ones are pictures on the wall
_SAME: Final = 1.0  # eyes: faces nearer to each other are one
_VAGUE: Final = 0.135  # eyes: more spread than this is no face ...
_UNSTEADY: Final = 0.044  # ... nor is what moves this far from look to look
_VAGUE_BODY: Final = 0.5  # eyes: a shoulder or wrist that is more spread is not named
_LEAST_PX: Final = 24.0  # between the eyes' outer corners: below, lips are one pixel


@dataclass(frozen=True, slots=True)
class Found:
    """One person. Points are px of the upright picture, all of them shown but the required."""

    points: dict[str, tuple[float, float]]
    eyes: float  # px between the outer corners of the eyes, were they seen from the front
    turn: tuple[float, float]  # radians that the face looks past the camera, to its left and up
    notes: tuple[str, ...]  # what will not work, for a person to read


@dataclass(frozen=True, slots=True)
class _Face:
    crop: Crop
    spread: float  # eyes: how far the likelihood of its points reaches, on average
    unsteady: float  # eyes: how far its points move when it is looked at a little differently


def find_person(picture: U8) -> Found:
    """The one person of a picture (H, W, 3).

    Raises ``PersonNotFound``, ``SeveralPeople``, ``FaceTooSmall`` or ``FaceTurned``; their messages
    say what to do.
    """
    boxes, profile = _boxes(picture)
    if profile:
        raise FaceTurned(
            "the person is seen from the side: take a picture in which both eyes are seen well"
        )
    faces = _faces(picture, boxes)
    if not faces:
        raise PersonNotFound(
            "no face was found: take a picture of one person who faces the camera, or write the"
            " landmarks yourself"
        )
    people = _people(faces)
    if len(people) > 1:
        raise SeveralPeople(
            f"{len(people)} faces were found: cut the picture so that one person is left"
        )
    points, seen, turn = _face(picture, people[0].crop)
    middle, eyes, _ = frame(points)
    _check(picture, eyes, turn)
    body = _body(picture, body_crop(middle, eyes))
    kept = {name: at for name, at in points.items() if seen[name] > 0 or name in REQUIRED}
    kept = _inside({**kept, **body}, picture)
    return Found(kept, eyes, turn, notes_of(kept))


def _people(faces: list[_Face]) -> list[_Face]:
    """The largest face, and those beside it that are not just pictures on the wall."""
    largest = max(face.crop.side for face in faces)
    return [face for face in faces if face.crop.side > _ANOTHER * largest]


def _check(picture: U8, eyes: float, turn: tuple[float, float]) -> None:
    least = max(_LEAST_PX, 1.1 * LEAST_EYES * min(picture.shape[:2]))
    if eyes < least:
        raise FaceTooSmall(
            f"the face is too small: {eyes:.0f} px between the outer corners of the eyes, at least"
            f" {least:.0f} are needed: cut the picture closer, or use a larger one"
        )
    if abs(turn[0]) > MOST_TURN:
        side = "left" if turn[0] > 0 else "right"
        raise FaceTurned(
            f"the face is turned {abs(np.degrees(turn[0])):.0f} degrees to the person's {side}, at"
            f" most {np.degrees(MOST_TURN):.0f} can be animated: both eyes must be seen well"
        )


def notes_of(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """What will not work with a picture that shows these points, for a person to read."""
    notes = []
    if not {"shoulder_left", "shoulder_right"} <= points.keys():
        notes.append("shoulders are not shown: the head moves alone")
    hands = {"wrist_left", "wrist_right"} <= points.keys()
    why = "arms stay as the picture shows them" if hands else "hands are cut off or hidden"
    notes.append(f"{why}: gestures are limited to head and shoulders")
    return tuple(notes)


def _inside(
    points: Mapping[str, tuple[float, float]], picture: U8
) -> dict[str, tuple[float, float]]:
    """Points moved at most to the rim; those that lie beyond it are dropped, unless required."""
    high, wide = picture.shape[:2]
    out = {}
    for name, (x, y) in points.items():
        inner = min(max(x, 0.0), wide - 1.0), min(max(y, 0.0), high - 1.0)
        if inner == (x, y) or name in REQUIRED:
            out[name] = inner
    return out


# -- search ------------------------------------------------------------------------------------


@cache
def _networks() -> tuple[PointNet, PointNet]:
    return load_networks()


def _ask(net: PointNet, picture: U8, crops: list[Crop], size: int = SIDE) -> Answer:
    images = np.stack([crop.cut(picture, size) for crop in crops])
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        parts = [net(part) for part in tensor.split(64)]
    fields = ("points", "spread", "seen", "present", "turn")
    return Answer(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def _boxes(picture: U8) -> tuple[list[Crop], bool]:
    """Squares that cascades of trained features take for faces, and whether one is a profile."""
    scale = min(1.0, _LARGEST / max(picture.shape[:2]))
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    grey = np.asarray(Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BOX))
    least = max(20, round(_LEAST_BOX * min(size)))
    out = []
    for x, y, wide, high in _frontal(grey, least):
        middle = (x + 0.5 * wide) / scale, (y + 0.55 * high) / scale
        out += [Crop(*middle, width * wide / scale) for width in _WIDTHS]
    if out:
        return out, False
    side = _cascade("profileface")
    both = [side.detectMultiScale(view, 1.1, 4, minSize=(2 * least, 2 * least))
            for view in (grey, np.ascontiguousarray(grey[:, ::-1]))]  # fmt: skip
    return [], any(len(found) for found in both)


def _frontal(grey: U8, least: int) -> list[tuple[int, int, int, int]]:
    """Boxes (x, y, wide, high). A cascade keeps its picture while it looks: one look at a time."""
    with _LOOKING:
        found = [c.detectMultiScale(grey, 1.1, 3, minSize=(least, least)) for c in _cascades()]
    return [(int(x), int(y), int(w), int(h)) for boxes in found for x, y, w, h in boxes]


@cache
def _cascades() -> tuple[cv2.CascadeClassifier, ...]:
    return tuple(_cascade(f"frontalface_{name}") for name in ("alt2", "default"))


def _cascade(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(_CASCADES / f"haarcascade_{name}.xml"))


def _faces(picture: U8, boxes: list[Crop]) -> list[_Face]:
    """Every face, the surest first, each of them once."""
    kept: list[_Face] = []
    for face in sorted(_settled(picture, boxes), key=lambda f: f.spread + f.unsteady):
        far = all(
            np.hypot(face.crop.x - one.crop.x, face.crop.y - one.crop.y)
            > _SAME * max(face.crop.side, one.crop.side) / FACE_SIDE
            for one in kept
        )
        if far and face.spread < _VAGUE and face.unsteady < _UNSTEADY:
            kept.append(face)
    return kept


def _settled(picture: U8, crops: list[Crop]) -> list[_Face]:
    """Each square moved to where the face in it seems to be."""
    if not crops:
        return []
    net = _networks()[0]
    for _ in range(_ROUNDS):
        answer = _ask(net, picture, crops)
        places = [
            _named(FACE_POINTS, crop.to_picture(p))
            for crop, p in zip(crops, answer.points.numpy(), strict=True)
        ]
        moved = [face_crop(*frame(points)) for points in places]
        crops = [
            new if 0.3 < new.side / old.side < 3 else old
            for new, old in zip(moved, crops, strict=True)
        ]
    return [_judged(picture, crop) for crop in crops]


def _judged(picture: U8, crop: Crop) -> _Face:
    """How vague a face's points are, and how far they differ from look to look."""
    views = _views(crop)
    answer = _ask(_networks()[0], picture, views)
    places = [view.to_picture(p) for view, p in zip(views, answer.points.numpy(), strict=True)]
    off = np.linalg.norm(np.stack(places) - np.median(places, 0), axis=2).mean()
    eyes = crop.side / FACE_SIDE
    return _Face(crop, float(answer.spread.mean()) * FACE_SIDE / SIDE, float(off) / eyes)


def _named(names: tuple[str, ...], places: F32) -> dict[str, tuple[float, float]]:
    return {name: (float(x), float(y)) for name, (x, y) in zip(names, places, strict=True)}


# -- points ------------------------------------------------------------------------------------


def _views(crop: Crop) -> list[Crop]:
    """The crop, and some a little larger, smaller and turned: their answers are averaged."""
    turns = ((1.0, 0.0), (0.92, 0.0), (1.08, 0.0), (1.0, 0.09), (1.0, -0.09))
    return [Crop(crop.x, crop.y, crop.side * scale, crop.angle + a) for scale, a in turns]


def _face(
    picture: U8, crop: Crop
) -> tuple[dict[str, tuple[float, float]], dict[str, float], tuple[float, float]]:
    """Points of a face (px), how surely each is shown (logits), and its turn."""
    places, answer = _averaged(picture, crop, _networks()[0], FACE_POINTS)
    seen = dict(zip(FACE_POINTS, answer.seen.mean(0).tolist(), strict=True))
    yaw, pitch = answer.turn.mean(0).tolist()
    return _named(FACE_POINTS, places), seen, (yaw, pitch)


def _body(picture: U8, crop: Crop) -> dict[str, tuple[float, float]]:
    """Those points of the body that the picture shows."""
    places, answer = _averaged(picture, crop, _networks()[1], BODY_POINTS)
    seen, spread = answer.seen.mean(0), answer.spread.mean(0) * BODY_SIDE / SIDE
    points = _named(BODY_POINTS, places)
    return {
        name: points[name]
        for i, name in enumerate(BODY_POINTS)
        if seen[i] > 0 and spread[i] < _VAGUE_BODY and "tip" not in name
    }


def _averaged(picture: U8, crop: Crop, net: PointNet, names: tuple[str, ...]) -> tuple[F32, Answer]:
    """Median places (L, 2) in the picture of several looks, mirrored ones among them."""
    views = _views(crop)
    plain = _ask(net, picture, views)
    places = [view.to_picture(p) for view, p in zip(views, plain.points.numpy(), strict=True)]
    flipped = np.ascontiguousarray(picture[:, ::-1])
    wide = picture.shape[1]
    mirrored = [Crop(wide - view.x, view.y, view.side, -view.angle) for view in views]
    other = _ask(net, flipped, mirrored)
    swap = [names.index(_other_side(name)) for name in names]
    for view, p in zip(mirrored, other.points.numpy(), strict=True):
        at = view.to_picture(p)[swap]
        places.append(np.stack([wide - at[:, 0], at[:, 1]], 1))
    return np.median(np.stack(places), 0).astype(np.float32), plain


def _other_side(name: str) -> str:
    if name.endswith("_left"):
        return name.removesuffix("_left") + "_right"
    return name.removesuffix("_right") + "_left" if name.endswith("_right") else name
