"""Who is in a picture, and where: the named points of one person, found by two small networks.

``find_person`` looks for faces at every size, settles on each by looking again where it seems to
be, and asks a second network for shoulders, arms and hands. It says no with the reason when there
is nobody, more than one, a face too small or one seen from the side. Points are found by networks
that learnt on drawn people (``training.landmarks``); a person may correct them by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.crops import (
    BODY_POINTS,
    FACE_POINTS,
    GREY,
    SIDE,
    Crop,
    body_crop,
    face_crop,
    frame,
)
from pipeline.detector import Answer, PointNet, load_networks
from pipeline.errors import FaceTooSmall, FaceTurned, PersonNotFound, SeveralPeople
from pipeline.landmarks import LEAST_EYES, REQUIRED

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MOST_TURN: Final = 0.7  # radians to either side that a face may be turned
_FINEST: Final = 0.16  # of the picture's shorter side: the smallest square that is looked at ...
_STEP: Final = 1.3  # ... and how much larger each next one is
_STRIDE: Final = 0.25  # of a square, from one to the next
_LOOK: Final = 64  # px: how large squares are looked at in the search
_TRIED: Final = 24  # squares of the search that are looked at again
_ROUNDS: Final = 3
_FACE: Final = 0.0  # logit from which a square shows a face
_ANOTHER: Final = 0.45  # of the largest face: smaller ones are pictures on the wall
_SAME: Final = 1.0  # eyes: faces nearer to each other are one
_VAGUE: Final = 0.22  # eyes: how far the likelihood of a face's points may reach on average
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
    sure: float  # logit
    spread: float  # eyes


def find_person(picture: U8) -> Found:
    """The one person of a picture (H, W, 3).

    Raises ``PersonNotFound``, ``SeveralPeople``, ``FaceTooSmall`` or ``FaceTurned``; their messages
    say what to do.
    """
    faces = _faces(picture)
    if not faces:
        raise PersonNotFound(
            "no face was found: take a picture of one person who faces the camera, or write the"
            " landmarks yourself"
        )
    largest = max(face.crop.side for face in faces)
    people = [face for face in faces if face.crop.side > _ANOTHER * largest]
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
    if not {"wrist_left", "wrist_right"} <= points.keys():
        notes.append("hands are cut off or hidden: gestures are limited")
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


def _search(picture: U8) -> list[tuple[float, Crop]]:
    """How surely (logit) each square of the picture, at every size of a face, shows one."""
    high, wide = picture.shape[:2]
    side, out = _FINEST * min(high, wide), []
    while side < 1.6 * min(high, wide):
        scale = _LOOK / side
        size = max(1, round(wide * scale)), max(1, round(high * scale))
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
        out += [(sure, Crop(x / scale, y / scale, side)) for sure, x, y in _squares(small)]
        side *= _STEP
    return out


def _squares(picture: U8) -> list[tuple[float, float, float]]:
    """Logit and middle (px) of all squares of _LOOK px, which may stand out by half."""
    high, wide = picture.shape[:2]
    half, step = _LOOK // 2, round(_STRIDE * _LOOK)
    seen = np.full((high + _LOOK, wide + _LOOK, 4), (GREY, GREY, GREY, 0), np.uint8)
    seen[half : half + high, half : half + wide, :3] = picture
    seen[half : half + high, half : half + wide, 3] = 255
    places = [(x, y) for x in range(half // 2, wide + 1 - half // 2, step)
              for y in range(half // 2, high + 1 - half // 2, step)]  # fmt: skip
    if not places:
        return []
    crops = np.stack([seen[y : y + _LOOK, x : x + _LOOK] for x, y in places])
    sure = _present(crops)
    return [(sure[i], float(x), float(y)) for i, (x, y) in enumerate(places)]


def _present(crops: U8) -> list[float]:
    tensor = torch.from_numpy(crops).permute(0, 3, 1, 2)
    with torch.inference_mode():
        parts = [_networks()[0](part.float() / 255).present for part in tensor.split(64)]
    return [float(value) for value in torch.cat(parts)]


def _faces(picture: U8) -> list[_Face]:
    """Every face, the surest first, each of them once."""
    tried = sorted(_search(picture), key=lambda found: -found[0])[:_TRIED]
    kept: list[_Face] = []
    for face in sorted(_settled(picture, [crop for _, crop in tried]), key=lambda f: -f.sure):
        far = all(
            np.hypot(face.crop.x - one.crop.x, face.crop.y - one.crop.y)
            > _SAME * max(face.crop.side, one.crop.side) / 3
            for one in kept
        )
        if face.sure > _FACE and face.spread < _VAGUE and far:
            kept.append(face)
    return kept


def _settled(picture: U8, crops: list[Crop]) -> list[_Face]:
    """Each square moved to where the face in it seems to be."""
    net = _networks()[0]
    for _ in range(_ROUNDS):
        answer = _ask(net, picture, crops)
        places = [_named(FACE_POINTS, crop.to_picture(p))
                  for crop, p in zip(crops, answer.points.numpy(), strict=True)]  # fmt: skip
        moved = [face_crop(*frame(points)) for points in places]
        crops = [new if 0.3 < new.side / old.side < 3 else old
                 for new, old in zip(moved, crops, strict=True)]  # fmt: skip
    spread = answer.spread.mean(1) * 3 / SIDE
    return [_Face(crop, float(answer.present[i]), float(spread[i]))
            for i, crop in enumerate(crops)]  # fmt: skip


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
    seen = answer.seen.mean(0)
    points = _named(BODY_POINTS, places)
    return {name: points[name] for i, name in enumerate(BODY_POINTS) if seen[i] > 0}


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
