"""Recognises a picture after re-saving, scaling, cropping, mirroring, rotating or framing.

A fingerprint is a set of local perceptual hashes at corners of the brightness, over a ladder of
sizes. A hash says, 256 times, which of two blurred points beside the corner is brighter (BRIEF,
Calonder et al. 2010). Two fingerprints match when enough corners agree and fit one affine map. The
pattern of points is its own mirror image, so a mirrored picture needs no second fingerprint. From
version 2 on a fingerprint also holds blobs (``image_features``), which find rotated, stretched and
inverted copies and decide wherever both pictures have enough of them; corners still match pictures
recorded earlier. A face cannot be reconstructed from a fingerprint. Comparing faces is left to
``face_models``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from pipeline.consent.image_features import NOTHING, Features, agreement, features
from pipeline.media.image_file import FORMATS

VERSION: Final = 2
_CORNERS_ALONE: Final = 1  # the version before, which records may hold
SAME: Final = 0.7  # see docs/LOG.md for what this lets through and keeps out
_SHARE: Final = 0.5  # of the blobs that both could show, that agree in copies
_RICH: Final = 60  # blobs from which on they decide alone
_FEW: Final = 12  # fewer corners than that prove nothing
_SIDE: Final = 360  # pixels of the longer side, before the ladder
_LADDER: Final = tuple(1.2**-n for n in range(8))
_CORNERS: Final = 480
_REACH: Final = 15  # pixels from a corner to the farthest point that is compared
_BITS: Final = 256
_NEAR: Final = 40  # bits of two hashes of one corner that may differ
_CLEARER: Final = 0.85  # than the second best, or the match says nothing
_OFF: Final = 0.01  # how far from its place a corner may lie, in picture widths
_TURN: Final = 0.27  # tangent of the angle by which a copy may be turned
_TRIALS: Final = 600
_MAX_PIXELS: Final = 40_000_000

Grey = NDArray[np.float32]
Places = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Corners as (N, 2) x and y in picture widths, their hashes as (N, 32) bytes, and blobs."""

    places: NDArray[np.float32]
    hashes: NDArray[np.uint8]
    blobs: Features = NOTHING

    def to_bytes(self) -> bytes:
        """As stored: the version of the method, the number of corners, corners, blobs."""
        places = np.round(self.places * 16_384).astype("<u2")
        head = struct.pack("<BH", VERSION, len(places))
        return head + places.tobytes() + self.hashes.tobytes() + self.blobs.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fingerprint:
        """Of this version or of the one before; raises ``ValueError`` for any other."""
        if len(data) >= 7 and data[0] == VERSION:
            at, count = 3, struct.unpack_from("<H", data, 1)[0]
            blobs = Features.from_bytes(data[at + 36 * count :])
        elif data and data[0] == _CORNERS_ALONE and not (len(data) - 1) % 36:
            at, count, blobs = 1, (len(data) - 1) // 36, NOTHING
        else:
            raise ValueError(f"not a fingerprint of version {VERSION}: {len(data)} bytes")
        places = np.frombuffer(data, "<u2", 2 * count, at).reshape(count, 2) / np.float32(16_384)
        hashes = np.frombuffer(data, np.uint8, 32 * count, at + 4 * count).reshape(count, 32)
        return cls(places.astype(np.float32), hashes, blobs)


PLAIN: Final = Fingerprint(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)).to_bytes()
"""The fingerprint of a picture that shows nothing: it is like no other."""


def fingerprint(picture: bytes | Image.Image) -> bytes:
    """The fingerprint of a picture or of a picture's file. Raises ``ValueError``, ``OSError``."""
    upright, size = _upright(picture)
    grey = np.asarray(upright.resize(size, Image.Resampling.LANCZOS), np.float32)
    found = [_corners(grey, rung) for rung in _LADDER]
    places = np.concatenate([places for places, _ in found])
    hashes = np.concatenate([hashes for _, hashes in found])
    return Fingerprint(places, hashes, features(upright)).to_bytes()


def likeness(one: bytes, other: bytes) -> float:
    """Which part of what both could show agrees, 0 to 1; see ``SAME``."""
    a, b = Fingerprint.from_bytes(one), Fingerprint.from_bytes(other)
    _, share = agreement(a.blobs, b.blobs)
    blobs = min(1.0, share * SAME / _SHARE)
    rich = min(a.blobs.plain, b.blobs.plain) >= _RICH
    return blobs if rich or blobs >= SAME else max(blobs, _corners_alike(a, b))


def _corners_alike(a: Fingerprint, b: Fingerprint) -> float:
    if min(len(a.places), len(b.places)) < _FEW:
        return 0.0
    mirrored = Fingerprint((1.0, 0.0) + a.places * (-1.0, 1.0), _mirrored(a.hashes))
    return max(_agreeing(a, b), _agreeing(mirrored, b))


def same_picture(one: bytes, other: bytes) -> bool:
    """Whether two fingerprints are of one picture."""
    return likeness(one, other) >= SAME


# -- corners and their hashes --------------------------------------------------------------------


def _upright(picture: bytes | Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """A picture in grey, and the size at which its corners are looked for."""
    image = picture
    if isinstance(image, bytes):
        image = Image.open(BytesIO(image), formats=FORMATS)  # Pillow knows stranger ones
    if image.width * image.height > _MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels, the limit is {_MAX_PIXELS}")
    scale = _SIDE / max(image.size)
    image.draft("L", (2 * _SIDE, 2 * _SIDE))  # a JPEG is decoded small
    upright = ImageOps.exif_transpose(image).convert("L")
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if upright.width > upright.height:
        size = (max(size), min(size))
    return upright, size


def _corners(grey: Grey, rung: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The strongest corners at one size: where brightness changes in both directions."""
    level: Grey = ndimage.zoom(grey, rung, order=1) if rung < 1 else grey
    strength = _strength(level)
    wanted = round(_CORNERS * rung**2 / sum(r**2 for r in _LADDER))
    y, x = np.nonzero((strength == ndimage.maximum_filter(strength, 5)) & (strength > 4.0))
    best = np.argsort(-strength[y, x], kind="stable")[:wanted]
    x, y = x[best], y[best]
    places = np.stack([x + 0.5, y + 0.5], 1).astype(np.float32) / level.shape[1]
    inside = places[:, 1] < 4.0  # what 16 bits hold
    return places[inside], _hashes(level, x[inside], y[inside])


def _strength(level: Grey) -> Grey:
    """The smaller eigenvalue of the structure tensor (Shi and Tomasi 1994); zero at the rim."""
    dx, dy = ndimage.sobel(level, 1) / 8, ndimage.sobel(level, 0) / 8
    xx, yy, xy = (ndimage.gaussian_filter(p, 1.5) for p in (dx * dx, dy * dy, dx * dy))
    smaller: Grey = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    rim = np.zeros_like(smaller)
    inner = (slice(_REACH, -_REACH), slice(_REACH, -_REACH))
    rim[inner] = smaller[inner]
    return rim


def _hashes(level: Grey, x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.uint8]:
    soft = ndimage.gaussian_filter(level, 2.0)
    ax, ay, bx, by = _pattern().T
    brighter = soft[y[:, None] + ay, x[:, None] + ax] > soft[y[:, None] + by, x[:, None] + bx]
    return np.packbits(brighter, axis=1)


@cache
def _pattern() -> NDArray[np.intp]:
    """Pairs of points (256, 4); the second half is the first one mirrored."""
    rng = np.random.default_rng(2010)
    half = np.clip(np.round(rng.normal(0, _REACH / 2.2, (_BITS // 2, 4))), -_REACH, _REACH)
    return np.concatenate([half, half * (-1, 1, -1, 1)]).astype(np.intp)


def _mirrored(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The hashes that the mirrored picture would have."""
    return np.roll(hashes, _BITS // 16, axis=1)


# -- do they agree -------------------------------------------------------------------------------


def _agreeing(a: Fingerprint, b: Fingerprint) -> float:
    """The share of corners whose like lies where one map of stretch and shift puts it."""
    distance = np.bitwise_count(a.hashes[:, None] ^ b.hashes[None]).sum(2, dtype=np.int32)
    nearest = distance.argmin(1)
    best = distance[np.arange(len(nearest)), nearest]
    elsewhere = np.abs(b.places[None] - b.places[nearest][:, None]).max(2) > 2 * _OFF
    second = np.where(elsewhere, distance, _BITS).min(1)
    clear = (best <= _NEAR) & (best < _CLEARER * second)
    if clear.sum() < _FEW:
        return 0.0
    found = _one_map(a.places[clear], b.places[nearest[clear]])
    if found is None:
        return 0.0
    back = found.inverse()
    agree = _cells(a.places[clear][found.explains(a.places[clear], b.places[nearest[clear]])])
    shown = min(
        _cells(_within(a.places, found(a.places), b.places)),
        _cells(_within(b.places, back(b.places), a.places)),
    )
    return agree / max(shown, agree) if agree >= _FEW else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """Takes places of one picture to those of another: ``turn`` (2, 2), then ``shift`` (2,)."""

    turn: Places
    shift: Places

    def __call__(self, places: Places) -> Places:
        return places @ self.turn.T + self.shift

    def inverse(self) -> _Map:
        back: Places = np.linalg.inv(self.turn)
        return _Map(back, np.asarray(-back @ self.shift, np.float32))

    def explains(self, a: Places, b: Places) -> NDArray[np.bool_]:
        return np.asarray(np.abs(self(a) - b).max(1) < _OFF)


def _one_map(a: Places, b: Places) -> _Map | None:
    """What explains most places, of stretches in x and y and of turns; tries pairs of places."""
    rng = np.random.default_rng(len(a))
    first, other = rng.integers(0, len(a), (2, _TRIALS))
    turns = np.concatenate([_stretches(a[other] - a[first], b[other] - b[first]),
                            _rotations(a[other] - a[first], b[other] - b[first])])  # fmt: skip
    start = np.concatenate([first, first])[_is_likely(turns)]
    turns = turns[_is_likely(turns)]
    if not len(turns):
        return None
    shift = b[start] - np.einsum("nij,nj->ni", turns, a[start])
    misses = np.abs(turns @ a.T + shift[..., None] - b.T)  # (trials, 2, places)
    near = (misses[:, 0] < _OFF) & (misses[:, 1] < _OFF)
    best = int(near.sum(1).argmax())
    return _refined(_Map(turns[best], shift[best]), a, b)


def _stretches(a: Places, b: Places) -> Places:
    """Matrices (N, 2, 2) that stretch steps a onto b (N, 2) along the axes."""
    out = np.zeros((len(a), 2, 2), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[:, 0, 0], out[:, 1, 1] = (b / a).T
    return out


def _rotations(a: Places, b: Places) -> Places:
    """Matrices (N, 2, 2) that turn and scale steps a onto b (N, 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (b[:, 0] + 1j * b[:, 1]) / (a[:, 0] + 1j * a[:, 1])
    rows = [[ratio.real, -ratio.imag], [ratio.imag, ratio.real]]
    return np.asarray(rows, np.float32).transpose(2, 0, 1)


def _is_likely(turns: Places) -> NDArray[np.bool_]:
    """Which maps somebody would make of a picture: no mirror image, hardly turned or squeezed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = turns[:, 0, 0], turns[:, 1, 1]
        skew = np.maximum(np.abs(turns[:, 0, 1]) / y, np.abs(turns[:, 1, 0]) / x)
        even = x / y
        good = (x > 0.3) & (x < 3.3) & (y > 0.3) & (y < 3.3) & (even > 0.6) & (even < 1.7)
        return np.asarray(good & (skew < _TURN))


def _refined(found: _Map, a: Places, b: Places) -> _Map:
    """Fitted to all that it explains: a pair of places says little about the far end."""
    for _ in range(2):
        ours = found.explains(a, b)
        if ours.sum() < _FEW:
            return found
        known = np.concatenate([a[ours], np.ones((int(ours.sum()), 1), np.float32)], 1)
        answer = np.linalg.lstsq(known, b[ours], rcond=None)[0].astype(np.float32)
        fitted = _Map(answer[:2].T, answer[2])
        if not _is_likely(fitted.turn[None])[0]:
            return found
        if fitted.explains(a, b).sum() <= ours.sum():
            return found
        found = fitted
    return found


def _within(own: Places, mapped: Places, others: Places) -> Places:
    """Those of a picture's places that lie on the other picture."""
    low, high = others.min(0), others.max(0)
    return own[np.all((mapped >= low) & (mapped <= high), axis=1)]


def _cells(places: Places) -> int:
    """How many places, when a corner at several sizes counts once."""
    return len({(int(x), int(y)) for x, y in places / (2 * _OFF)})
