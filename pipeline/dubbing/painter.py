"""Redraws the lower face of one frame, in its own light, sharpness and grain.

The frame's own pixels move with the mesh; between the lips lies what ``inner_mouth`` collected.
Everything happens in the frame's own luma and chroma, inside a box; pixels that the matte does not
reach are not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing import mesh_warp
from pipeline.dubbing.geometry import RINGS, Pose, aside, ordered_inner
from pipeline.dubbing.inner_mouth import FINE, Inside, grid, sharpness, shown, teeth_plane
from pipeline.dubbing.video_in import Shot

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SKIN: Final = np.array([205, 425, 50, 280, 187, 411, 36, 266, 101, 330, 207, 427])  # cheeks
_HARD: Final = 3.0  # the matte's fall to nothing takes a third of the way to the ring
_SLIT: Final = (0.4, 1.6)  # px: openings that begin to be seen, and how much further fully
_MARGIN: Final = 6  # px around the box
_INTO: Final = 0.35  # of the way from where lips meet to the next ring of the mesh
_STILL: Final = 0.05  # px: smaller ways are no movement


@dataclass(frozen=True, slots=True)
class Aim:
    """What a frame is to look like. Meshes are (468, 3)."""

    now: F64  # px, as the frame shows it
    pose: Pose
    closed: F64  # canonical, this person's face at rest
    offset: F64  # canonical, what the new words add
    effort: float  # 0 leaves the mouth as it is, 1 gives it to the new words
    hidden: F64  # (468,) 0..1: where something is before the face


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """What was written: the matte (h, w) 0..1 of luma in its box at (left, top)."""

    matte: F32
    left: int
    top: int
    before: NDArray[np.uint8]  # (h, w) luma that was there


class Painter:
    """Draws one person. ``inside`` may be exchanged between frames."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        noise = np.random.default_rng(0).standard_normal((512, 512))
        self._noise = noise.astype(np.float32)

    def paint(self, shot: Shot, aim: Aim, number: int) -> Painted | None:
        """Writes the new mouth into the frame; None where nothing is to be changed."""
        layout = mesh_warp.topology()
        goal = aim.closed + aim.offset + aside(aim.pose.unplace(aim.now), aim.closed)
        moved = aim.effort * layout.share[:, None] * (aim.pose.place(goal) - aim.now)
        if aim.effort <= 0 or np.abs(moved[:, :2]).max() < _STILL:
            return None
        target = aim.now + moved
        ring = mesh_warp.with_ring(aim.now)[len(target) :]
        old = np.concatenate([_within_lips(aim.now), ring])
        new = np.concatenate([target, ring])
        box = _box(shot, new[np.unique(layout.triangles)])
        if box is None:
            return None
        left, top, right, bottom = box
        way = np.zeros((bottom - top, right - left, 2), np.float32)
        matte = np.zeros(way.shape[:2], np.float32)
        weight = np.concatenate([1 - aim.hidden, np.zeros(len(new) - len(target))])
        mesh_warp.fill(layout.triangles, old, new, weight, left, top, way, matte)
        matte = np.clip(_HARD * matte, 0, 1)
        mouth = _mouth(target, left, top, matte.shape) * _covered(aim.hidden)
        was = shot.planes[0][top:bottom, left:right] >> (shot.depth - 8)
        before = np.ascontiguousarray(was).astype(np.uint8)
        self._draw(shot, aim, target, way, matte, mouth, box, number)
        return Painted(np.maximum(matte, mouth), left, top, before)

    def _draw(
        self, shot: Shot, aim: Aim, target: F64, way: F32, matte: F32, mouth: F32,
        box: tuple[int, int, int, int], number: int,
    ) -> None:  # fmt: skip
        left, top, right, bottom = box
        white = float(2**shot.depth - 1)
        luma = np.ascontiguousarray(shot.planes[0][top:bottom, left:right]).astype(np.float32)
        light = light_of(shot, aim.now)
        sharp = sharpness(luma / white, aim.pose.scale)
        teeth, corner = self._teeth(aim, target, mouth, left, top, light, sharp)
        for k, plane in enumerate(shot.planes):
            sx, sy = (1, 1) if k == 0 else shot.step
            view = plane[top // sy : bottom // sy, left // sx : right // sx]
            before = np.ascontiguousarray(view).astype(np.float32)
            fewer: F32 = np.array([1 / sx, 1 / sy], np.float32)
            after = _moved(before, np.asarray(_shrunk(way, sx, sy) * fewer, np.float32))
            if k == 0:
                after += self._grain(before, after, number)
            inside, share = _shrunk(mouth, sx, sy), _shrunk(matte, sx, sy)
            if teeth is not None:
                after = _lay(after, teeth[k] * white, inside, corner, sx, sy)
                share = np.maximum(share, inside)
            mixed = before + share * (after - before)
            view[:] = np.clip(np.rint(mixed), 0, white).astype(view.dtype)

    def _teeth(
        self, aim: Aim, target: F64, mouth: F32, left: int, top: int, light: float, sharp: float
    ) -> tuple[list[F32] | None, tuple[int, int]]:
        """Luma and chroma of what lies between the lips, in the smallest box around it."""
        rows, columns = np.flatnonzero(mouth.any(1)), np.flatnonzero(mouth.any(0))
        if not len(rows):
            return None, (0, 0)
        y0, x0 = int(rows[0]) // 2 * 2, int(columns[0]) // 2 * 2
        y, x = np.mgrid[y0 : rows[-1] + 1, x0 : columns[-1] + 1] + 0.5
        middle_y, z = teeth_plane(aim.closed)
        places = grid(middle_y)
        flat = _on_plane(aim.pose, np.stack([x + left, y + top], -1), z)
        where = ((flat - places[0, 0]) * FINE).astype(np.float32)
        canonical = _flattened(aim.pose, target, z)
        planes, opened = shown(self.inside, canonical, places, where)
        clear = np.clip((opened * np.float32(aim.pose.scale / FINE) - _SLIT[0]) / _SLIT[1], 0, 1)
        mouth[y0 : y0 + clear.shape[0], x0 : x0 + clear.shape[1]] *= clear
        soft = 1.1 * max(0.0, self.inside.sharp / max(sharp, 1e-3) - 1.15)
        fine = max(0.0, aim.pose.scale / FINE - 0.8)  # a patch made larger needs no more
        if soft > 0.25 and not fine:
            planes = [_blurred(plane, min(soft, 3.0)) for plane in planes]
        gain = float(np.clip((light - 0.06) / max(self.inside.light - 0.06, 1e-3), 0.4, 1.8))
        planes[0] = 0.06 + (planes[0] - 0.06) * np.float32(gain)
        return planes, (x0, y0)

    def _grain(self, before: F32, after: F32, number: int) -> F32:
        """What moving pixels took from the frame's grain."""
        lost = _fine(before) ** 2 - _fine(after) ** 2
        if lost < 0.05:
            return np.zeros_like(after)
        rng = np.random.default_rng(number)
        y, x = rng.integers(0, 256, 2)
        tile = self._noise[y : y + 256, x : x + 256]
        high, wide = after.shape
        noise = np.tile(tile, (-(-high // 256), -(-wide // 256)))[:high, :wide]
        return np.asarray(np.sqrt(lost) * noise, np.float32)


def light_of(shot: Shot, points: NDArray[np.floating]) -> float:
    """Luma of the skin of the cheeks, 0..1."""
    luma = shot.planes[0]
    high, wide = luma.shape
    x = np.clip(points[SKIN, 0].astype(int), 1, wide - 2)
    y = np.clip(points[SKIN, 1].astype(int), 1, high - 2)
    white = float(2**shot.depth - 1)
    return float(np.median(luma[y, x].astype(np.float32))) / white


def _box(shot: Shot, points: F64) -> tuple[int, int, int, int] | None:
    """Even numbers around points, inside the frame; None where that is nothing."""
    wide, high = shot.size
    low = np.floor(points[:, :2].min(0)).astype(int) - _MARGIN
    top = np.ceil(points[:, :2].max(0)).astype(int) + _MARGIN
    left, upper = (max(0, int(n)) // 2 * 2 for n in low)
    right, lower = min(wide, int(top[0])) // 2 * 2, min(high, int(top[1])) // 2 * 2
    return (left, upper, right, lower) if right - left >= 16 and lower - upper >= 16 else None


def _moved(before: F32, way: F32) -> F32:
    y, x = np.mgrid[: before.shape[0], : before.shape[1]].astype(np.float32)
    return np.asarray(
        cv2.remap(before, x + way[..., 0], y + way[..., 1], cv2.INTER_CUBIC,
                  borderMode=cv2.BORDER_REPLICATE), np.float32
    )  # fmt: skip


def _shrunk(values: F32, sx: int, sy: int) -> F32:
    if sx == sy == 1:
        return values
    size = (values.shape[1] // sx, values.shape[0] // sy)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _mouth(target: F64, left: int, top: int, shape: tuple[int, int]) -> F32:
    """The opening between the lips, 0..1 with soft edges."""
    ring = target[ordered_inner(), :2] - (left, top)
    opened = float(np.mean(ring[[3, 5, 7], 1] - ring[[17, 15, 13], 1]))
    mask = np.zeros(shape, np.uint8)
    if opened > 0.3:
        cv2.fillPoly(mask, [np.rint((ring - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255
    return np.asarray(soft * min(1.0, max(0.0, (opened - 0.3) / 1.5)), np.float32)


def _covered(hidden: F64) -> float:
    return float(1 - hidden[ordered_inner()].mean())


def _lay(
    after: F32, teeth: F32, mouth: F32, corner: tuple[int, int], sx: int, sy: int
) -> F32:  # fmt: skip
    """Puts what lies between the lips over moved pixels."""
    small = _shrunk(teeth[: teeth.shape[0] // sy * sy, : teeth.shape[1] // sx * sx], sx, sy)
    x, y = corner[0] // sx, corner[1] // sy
    high, wide = small.shape
    part = after[y : y + high, x : x + wide]
    share = mouth[y : y + high, x : x + wide]
    small = small[: part.shape[0], : part.shape[1]]
    part += share * (small - part)
    return after


def _within_lips(now: F64) -> F64:
    """The mesh with the line where the lips meet drawn a little into them: what lies there in the
    frame may be teeth already."""
    out = now.copy()
    out[RINGS[3]] += _INTO * (now[RINGS[2]] - now[RINGS[3]])
    return out


def _on_plane(pose: Pose, px: F64, z: float) -> F64:
    """Canonical x and y (h, w, 2) of px that lie on the plane of the teeth."""
    start = pose.shift[:2] + z * pose.matrix[:2, 2]
    return np.asarray((px - start) @ np.linalg.inv(pose.matrix[:2, :2]).T)


def _flattened(pose: Pose, target: F64, z: float) -> F64:
    """The mesh as it would lie on the plane of the teeth (468, 3)."""
    flat = _on_plane(pose, target[:, :2], z)
    return np.column_stack([flat, np.full(len(flat), z)])


def _blurred(plane: F32, spread: float) -> F32:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), spread), np.float32)


def _fine(luma: F32) -> float:
    """Spread of the finest detail, robust against edges."""
    detail = luma[::2, ::2] - (luma[::2, 1::2][:, : luma[::2, ::2].shape[1]])
    return float(np.median(np.abs(detail))) * 1.05
