"""Spoils crops of strangers as cameras, files and artists would: moved, lit, blurred, redrawn.

Every function takes its own randomness; pictures are uint8 (S, S, 4) whose fourth channel says
where the picture is.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
_GREY: Final = 128


def move(
    rng: np.random.Generator, kept: U8, points: F32, room: float, size: int, mirror: bool
) -> tuple[U8, F32, float]:
    """A crop of ``size`` px out of one kept with ``room`` around it; its points; its turn."""
    wide = rng.random() < 0.5
    angle = float(rng.normal(0, 0.3 if wide else 0.06))
    scale = float(np.exp(rng.normal(0, 0.14 if wide else 0.04)))
    shift = rng.normal(0, 0.07 if wide else 0.015, 2) * size
    zoom = size / kept.shape[0] * room * scale
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        turn = turn @ np.diag([-1.0, 1.0])
    centre = np.full(2, kept.shape[0] / 2)
    offset = size / 2 + shift - turn @ centre
    half = np.full(2, 0.5)  # the first pixel's centre is (0.5, 0.5) here, (0, 0) there
    affine = np.hstack([turn, (offset + turn @ half - half)[:, None]])
    seen = cv2.warpAffine(
        kept, affine, (size, size), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(_GREY, _GREY, _GREY, 0),
    )  # fmt: skip
    return seen, (points @ turn.T + offset).astype(np.float32), angle


def spoil(rng: np.random.Generator, crop: U8) -> U8:
    """Colours, tone, blur, noise, style, compression, and things in the way."""
    out = crop[..., :3]
    if rng.random() < 0.12:
        out = redraw(rng, out)
    out = tone(rng, out)
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 2.2)))
    if rng.random() < 0.2:
        small = max(12, int(len(out) * rng.uniform(0.2, 0.7)))
        less = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
        out = cv2.resize(less, out.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 18), (*out.shape[:2], 1 if rng.random() < 0.5 else 3))
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        out = cover(rng, np.ascontiguousarray(out))
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(15, 90))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    out = np.where(crop[..., 3:] > 127, out, _GREY)
    return np.dstack([out, crop[..., 3]]).astype(np.uint8)


def tone(rng: np.random.Generator, out: U8) -> U8:
    """Exposure, contrast, white balance, saturation; a third are monochrome or toned."""
    light = out.astype(np.float32) / 255
    light = light ** float(np.exp(rng.normal(0, 0.3)))
    light = (light - 0.5) * float(np.exp(rng.normal(0, 0.25))) + 0.5 + rng.normal(0, 0.07)
    grey = light @ np.array([0.299, 0.587, 0.114], np.float32)
    kept = rng.uniform(0, 0.15) if rng.random() < 0.3 else rng.uniform(0.3, 1.4)
    light = grey[..., None] + kept * (light - grey[..., None])
    light = light * rng.normal(1, 0.08, 3) + rng.normal(0, 0.02, 3)
    if rng.random() < 0.35:  # light falls off across the picture
        y, x = np.mgrid[-1 : 1 : len(out) * 1j, -1 : 1 : len(out) * 1j]
        way = rng.normal(0, 0.25, 2)
        light = light * (1 + way[0] * x + way[1] * y)[..., None]
    return np.asarray(np.clip(light * 255, 0, 255), np.uint8)


def redraw(rng: np.random.Generator, out: U8) -> U8:
    """As a pencil, a brush, or a poster would."""
    kind = rng.integers(4)
    grey = cv2.cvtColor(np.ascontiguousarray(out), cv2.COLOR_RGB2GRAY)
    if kind == 0:  # lines
        soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(1, 3)))
        lines = np.clip(grey.astype(np.float32) / np.maximum(soft, 8) * 255 - 20, 0, 255)
        drawn = np.repeat(lines[..., None], 3, 2)
        share = rng.uniform(0.5, 1)
        return np.asarray(share * drawn + (1 - share) * out, np.uint8)
    if kind == 1:  # flat colours with dark outlines
        flat = cv2.medianBlur(np.ascontiguousarray(out), 5) // 40 * 40 + 20
        edges = cv2.Canny(grey, 40, 120)[..., None] > 0
        return np.asarray(np.where(edges, 20, flat), np.uint8)
    if kind == 2:  # a brush of its own size
        return np.asarray(
            cv2.medianBlur(np.ascontiguousarray(out), int(rng.choice([3, 5]))), np.uint8
        )
    strokes = rng.normal(0, 30, grey.shape).astype(np.float32)
    length, angle = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    kernel = np.zeros((2 * length + 1,) * 2, np.float32)
    tip = np.rint(length * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    cv2.line(kernel, tuple((length - tip).tolist()), tuple((length + tip).tolist()), 1)
    strokes = cv2.filter2D(strokes, -1, kernel / np.sqrt(kernel.sum()))
    return np.asarray(np.clip(out + strokes[..., None], 0, 255), np.uint8)


def cover(rng: np.random.Generator, out: U8) -> U8:
    """A thing before the picture: a bar, a blob, a microphone."""
    size = len(out)
    for _ in range(rng.integers(1, 3)):
        at = tuple(rng.uniform(0, size, 2).astype(int).tolist())
        tint = tuple(rng.uniform(0, 255, 3))
        if rng.random() < 0.5:
            axes = tuple(rng.uniform(3, 0.2 * size, 2).astype(int).tolist())
            cv2.ellipse(out, at, axes, float(rng.uniform(0, 180)), 0, 360, tint, -1, cv2.LINE_AA)
        else:
            to = tuple(rng.uniform(0, size, 2).astype(int).tolist())
            cv2.line(out, at, to, tint, int(rng.integers(1, 10)), cv2.LINE_AA)
    return out
