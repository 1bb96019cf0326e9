"""Recognises a picture after rotation, stretching, mirroring or partial inversion.

Blobs of brightness are found at every size (SIFT, Lowe 2004), each with its own direction, and
described by the gradients around them. Two bits of each number are kept: enough to match blobs, too
little to reconstruct a picture. In a mirrored or inverted picture the same numbers appear in
another order, so neither needs its own description. Squeezed views of the new picture stand for
stretched copies. Two pictures match when many blobs agree with one affine map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 400  # pixels: the root of the area at which a picture is looked at
_BLOBS: Final = 300  # of the picture as it is, at most
_SQUEEZED: Final = 130  # of each squeezed view
_SQUEEZE: Final = 1.3
_LEVELS: Final = (10, 40)  # of a number of the description, which reaches to about 200
_NEAR: Final = 0.45  # cosine of two descriptions of one blob, at least
_CLEARER: Final = 0.8  # share of the second best's distance that the best one's may be
_ELSEWHERE: Final = 8.0  # pixels from the best match from which on another one is another
_OFF: Final = 5.0  # pixels by which a blob may miss its place
_CELL: Final = 10  # pixels: blobs in one cell count once
_PAIRS: Final = 16  # fewer that look alike prove nothing ...
_FEW: Final = 12  # ... nor do fewer cells that agree
_TRIALS: Final = 1500
_MOST_STRETCH: Final = 2.4

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Places (N, 2) in pixels of the small picture and bits (N, 32).

    The first ``plain`` of them are of the picture as it is, the rest of its squeezed views.
    """

    places: F32
    bits: U8
    plain: int

    def to_bytes(self) -> bytes:
        """As stored: 36 bytes a blob, after how many there are of either kind."""
        places = np.round(self.places * 16).clip(0, 65_535).astype("<u2")
        counts = np.array([len(places), self.plain], "<u2")
        return counts.tobytes() + places.tobytes() + self.bits.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Features:
        """Raises ``ValueError`` for what is none."""
        count, plain = (int(n) for n in np.frombuffer(data, "<u2", 2))
        if len(data) != 4 + 36 * count or plain > count:
            raise ValueError(f"not the features of a picture: {len(data)} bytes for {count} blobs")
        places = np.frombuffer(data, "<u2", 2 * count, 4).reshape(count, 2) / np.float32(16)
        bits = np.frombuffer(data, np.uint8, 32 * count, 4 + 4 * count).reshape(count, 32)
        return cls(places.astype(np.float32), bits, plain)


NOTHING: Final = Features(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), 0)


def features(upright: Image.Image) -> Features:
    """What is remembered of a picture in grey."""
    scale = SIDE / (upright.width * upright.height) ** 0.5
    size = (max(8, round(upright.width * scale)), max(8, round(upright.height * scale)))
    grey = np.asarray(upright.resize(size, Image.Resampling.LANCZOS), np.uint8)
    plain = _blobs(grey, 1.0, _BLOBS)
    found = [plain, *(_blobs(grey, way, _SQUEEZED) for way in (_SQUEEZE, 1 / _SQUEEZE))]
    places, bits = (np.concatenate(part) for part in zip(*found, strict=True))
    return Features(places, bits, len(plain[0]))


def _blobs(grey: U8, squeeze: float, most: int) -> tuple[F32, U8]:
    """The clearest blobs of a picture made wider by ``squeeze`` and lower by as much."""
    high, wide = grey.shape
    size = (max(8, round(wide * squeeze)), max(8, round(high / squeeze)))
    view = grey if squeeze == 1.0 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(contrastThreshold=0.02, edgeThreshold=12)
    points, numbers = sift.detectAndCompute(view, None)
    if numbers is None or not points:
        return NOTHING.places, NOTHING.bits
    best = np.argsort([-point.response for point in points], kind="stable")[:most]
    places = np.array([points[i].pt for i in best], np.float32)
    places *= np.array([wide / view.shape[1], high / view.shape[0]], np.float32)
    kept = np.asarray(numbers)[best]
    bits = np.packbits(np.concatenate([kept > level for level in _LEVELS], 1), axis=1)
    return places, bits


# -- are they one picture ------------------------------------------------------------------------


def agreement(a: Features, b: Features) -> tuple[int, float]:
    """How many blobs lie on one map of a onto b, and which share of those that both could show."""
    if min(a.plain, b.plain) < _PAIRS:
        return 0, 0.0
    known = _signs(b.bits[: b.plain])
    return max(_on_one_map(a, b, known, mirrored) for mirrored in (False, True))


@cache
def _orders() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the numbers of an inverted, and of a mirrored, picture's description come from.

    They are 4 rows and columns around the blob, by 8 directions of the gradient there. Inverted,
    the blob's own direction turns by half a circle and all else with it. Mirrored, rows swap.
    """
    cells = np.arange(128).reshape(4, 4, 8)
    inverted = cells[::-1, ::-1].reshape(-1)
    mirrored = cells[::-1][:, :, -np.arange(8) % 8].reshape(-1)
    return (np.concatenate([inverted, inverted + 128]),
            np.concatenate([mirrored, mirrored + 128]))  # fmt: skip


def _signs(bits: U8) -> F32:
    """Bits as -1 and 1, so that a product counts those that agree."""
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1


def _on_one_map(a: Features, b: Features, known: F32, mirrored: bool) -> tuple[int, float]:
    inverted_order, mirrored_order = _orders()
    ours = _signs(a.bits)
    ours = ours[:, mirrored_order] if mirrored else ours
    cosine = np.maximum(ours @ known.T, ours[:, inverted_order] @ known.T) / ours.shape[1]
    mine, theirs = _clear(cosine, b.places[: b.plain])
    if len(mine) < _PAIRS:
        return 0, 0.0
    found: Any  # cv2's stubs do not say that there may be none
    found, near = cv2.estimateAffine2D(
        a.places[mine], b.places[theirs], method=cv2.RANSAC,
        ransacReprojThreshold=_OFF, maxIters=_TRIALS, confidence=0.995,
    )  # fmt: skip
    onto = None if found is None else np.asarray(found, np.float64)
    if onto is None or not _is_likely(onto):
        return 0, 0.0
    good = near[:, 0] > 0
    agree = min(_cells(a.places[mine[good]]), _cells(b.places[theirs[good]]))
    if agree < _FEW:
        return agree, 0.0
    return agree, agree / max(agree, _both_could_show(a, b, onto))


def _clear(cosine: F32, places: F32) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs whose like is found at one place only."""
    nearest = cosine.argmax(1)
    best = cosine[np.arange(len(nearest)), nearest]
    near = [np.abs(at[None] - at[nearest][:, None]) <= _ELSEWHERE for at in places.T]
    second = np.where(near[0] & near[1], np.float32(-1), cosine).max(1)
    mine = np.flatnonzero((best > _NEAR) & (1 - best < _CLEARER * (1 - second)))
    return mine, nearest[mine]


def _is_likely(found: NDArray[np.float64]) -> bool:
    """Whether somebody would make such a copy: not stretched into a line, nor made a dot."""
    large, small = np.linalg.svd(found[:, :2])[1]
    return bool(0.2 < small <= large < 5 and large / small < _MOST_STRETCH)


def _both_could_show(a: Features, b: Features, found: NDArray[np.float64]) -> int:
    """How many cells of the emptier picture lie on the other one."""
    own, other = a.places[: a.plain], b.places[: b.plain]
    back = np.asarray(cv2.invertAffineTransform(found), np.float64)
    there = _within(own @ found[:, :2].T + found[:, 2], other)
    here = _within(other @ back[:, :2].T + back[:, 2], own)
    return min(_cells(own[there]), _cells(other[here]))


def _within(mapped: NDArray[np.float64], others: F32) -> NDArray[np.bool_]:
    return np.asarray(np.all((mapped >= others.min(0)) & (mapped <= others.max(0)), axis=1))


def _cells(places: NDArray[np.floating]) -> int:
    return len(np.unique((places // _CELL).astype(np.int64), axis=0))
