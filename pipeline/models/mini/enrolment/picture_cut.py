"""The picture cut to the output's proportions around the person, in pixels and in texels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.interface import Landmarks
from pipeline.models.mini.enrolment.posed_person import PosedPerson
from pipeline.models.mini.rig.camera import Camera

TEXELS: Final = (
    2  # of texture per output pixel: sharp wherever between pixels a surface comes to lie
)

_ABOVE: Final = 0.15  # of the frame's height over the crown
_LEAST_ABOVE: Final = 0.06  # that stays where the frame moves towards the hands

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
_Box = tuple[float, float, float, float]  # left, top, right, bottom, px


@dataclass(frozen=True, slots=True)
class PictureCut:
    """The picture cut to the frame, at the output's size and at the texture's."""

    camera: Camera  # of the frame
    frame: F32  # (H, W, 3)
    fine: F32  # (TEXELS H, TEXELS W, 3)
    alpha: F32 | None  # of ``fine``'s size, 0..1
    scale: float  # texels per pixel of the picture that was handed in
    corner: tuple[float, float]  # where the cut begins in that picture, px

    @property
    def width(self) -> int:
        """Of the frame, px."""
        return int(self.frame.shape[1])

    @property
    def height(self) -> int:
        """Of the frame, px."""
        return int(self.frame.shape[0])

    def places(self, points: F32) -> F32:
        """Places (N, >= 2) of the picture that was handed in, in px of the frame."""
        corner = np.array(self.corner, np.float32)
        return np.asarray((points[..., :2] - corner) * (self.scale / TEXELS), np.float32)

    def taken(self, pixels: U8) -> F32:
        """Any channels (H, W, C) of the picture that was handed in, in texels of the cut."""
        left, top = self.corner
        wide, high = TEXELS * self.width / self.scale, TEXELS * self.height / self.scale
        box = (left, top, left + wide, top + high)
        return _fine(pixels, box, _resized(pixels, box, self.width, self.height))

    def texels(self, landmarks: Landmarks) -> dict[str, tuple[float, float]]:
        """Landmarks of the picture that was handed in, in texels."""
        left, top = self.corner
        return {n: ((x - left) * self.scale, (y - top) * self.scale)
                for n, (x, y) in landmarks.items()}  # fmt: skip


def cut_picture(
    image: U8,
    alpha: U8 | None,
    posed: PosedPerson,
    width: int,
    height: int,
    hands: F32 | None = None,
) -> PictureCut:
    """The largest part of the picture with the frame's proportions around the head.

    The head is central, unless ``hands`` (N, 2), px, come into the frame when it is not. ``image``
    is (H, W, 3), or (H, W, 4) with the foreground in its alpha channel; ``alpha`` (H, W) gives the
    foreground where the picture does not. Raises ``ValueError``: no picture, a mask of another
    size, a head outside of the picture.
    """
    picture, alpha = _split(image, alpha)
    high, wide = picture.shape[:2]
    cut_w, cut_h = min(wide, high * width / height), min(high, wide * height / width)
    first, last = _head(posed, wide, high)
    size, whole = np.array([cut_w, cut_h]), np.array([wide, high])
    start = np.array([(first[0] + last[0] - cut_w) / 2, first[1] - _ABOVE * cut_h])
    if hands is not None:
        start = _shown(start, size, hands.min(0), hands.max(0))
        first = first - _LEAST_ABOVE * size
        start = _shown(start, size, first, last)
    left, top = (float(at) for at in np.clip(start, 0, whole - size))
    box = (left, top, left + cut_w, top + cut_h)
    frame = _resized(picture, box, width, height)
    mask = None
    if alpha is not None:
        mask = _resized(alpha[..., None], box, TEXELS * width, TEXELS * height)[..., 0]
        mask /= np.float32(255)
    camera = posed.fit.camera
    view = replace(
        camera,
        focal=camera.focal * high / cut_h,
        center_x=(camera.center_x * wide - left) / cut_w,
        center_y=(camera.center_y * high - top) / cut_h,
    )
    fine = _fine(picture, box, frame)
    return PictureCut(view, frame, fine, mask, TEXELS * height / cut_h, (left, top))


def _split(image: U8, alpha: U8 | None) -> tuple[U8, U8 | None]:
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise ValueError(f"a picture is uint8 (H, W, 3 or 4), got {image.dtype} {image.shape}")
    if min(image.shape[:2]) < 64:
        raise ValueError(f"a picture is at least 64 px a side, got {image.shape[:2]}")
    if image.shape[2] == 4 and alpha is None and image[..., 3].min() < 255:
        alpha = image[..., 3]
    if alpha is not None and alpha.shape != image.shape[:2]:
        raise ValueError(f"the mask {alpha.shape} does not fit the picture {image.shape[:2]}")
    return image[..., :3], alpha


def _shown(start: F64, size: F64, first: NDArray[np.floating], last: NDArray[np.floating]) -> F64:
    """The nearest start (x, y) of a box of ``size`` that holds what lies from ``first`` to
    ``last``, or its middle."""
    fits = last - first <= size
    near = np.clip(start, np.minimum(last - size, first), first)
    return np.asarray(np.where(fits, near, (first + last - size) / 2), np.float64)


def _head(posed: PosedPerson, wide: int, high: int) -> tuple[F64, F64]:
    """The head's first and last place (x, y), px; across, both lie as far from its middle."""
    upper = posed.vertices[:, 1] > posed.vertices[:, 1].max() - 0.2
    head = posed.fit.camera.project(posed.vertices[upper], wide, high)
    middle, aside = head[:, 0].mean(), np.ptp(head[:, 0]) / 2
    if head[:, 2].min() <= 0.1 or not (0 <= middle < wide and -high < head[:, 1].mean() < high):
        raise ValueError("the fitted person's head is outside the picture")
    top, bottom = head[:, 1].min(), head[:, 1].max()
    return np.array([middle - aside, top], float), np.array([middle + aside, bottom], float)


def _fine(picture: U8, box: _Box, frame: F32) -> F32:
    """The cut in texels, the mean of each pixel's texels being the pixel of ``frame``."""
    height, width = frame.shape[:2]
    fine = _resized(picture, box, TEXELS * width, TEXELS * height)
    for _ in range(2):
        fine += np.kron(frame - _halved(fine), np.ones((TEXELS, TEXELS, 1), np.float32))
    return fine


def _resized(picture: U8, box: _Box, width: int, height: int) -> F32:
    channels = [
        Image.fromarray(picture[..., c]).resize((width, height), Image.Resampling.LANCZOS, box)
        for c in range(picture.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], -1).astype(np.float32)


def _halved(picture: F32) -> F32:
    high, wide = picture.shape[0] // TEXELS, picture.shape[1] // TEXELS
    return np.asarray(picture.reshape(high, TEXELS, wide, TEXELS, -1).mean((1, 3)), np.float32)
