"""Goes through a video frame by frame and has one person speak the new words.

Frames wait in a window of a few, so that meshes are smoothed and every change of who moves the
mouth (the video or the new words) is gradual on both sides; at cuts windows end. Memory does not
grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from pipeline.dubbing import geometry
from pipeline.dubbing.follow import CutFinder, Follower, Seen
from pipeline.dubbing.inner_mouth import Inside
from pipeline.dubbing.mouth_shape import offsets
from pipeline.dubbing.painter import Aim, Painted, Painter
from pipeline.dubbing.speech import MouthMotion
from pipeline.dubbing.survey import Someone, resting
from pipeline.dubbing.video_in import Shot
from pipeline.landmarkers import mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

REACH: Final = 4  # frames on either side
_SMOOTH: Final = np.array([0.25, 0.5, 0.25])  # of a mesh over frames
_YAW: Final = (0.62, 0.78)  # radians: turned so far a face is given up little by little
_HIDDEN: Final = (0.3, 0.55)  # share of the mouth's surroundings that something hides, the same
_OPEN: Final = 0.018  # eyes: a mouth that the video has open, or ...
_TALKS: Final = 0.01  # ... that changes so much within the window, must be closed in silence
_NEAR: Final = 0.6  # s in which a person was sighted ...
_AT: Final = 1.2  # ... and eyes from there


@dataclass(slots=True)
class _Frame:
    shot: Shot
    number: int
    begins: bool  # a shot
    points: F64 | None = None  # (468, 3) px
    hidden: F64 | None = None
    reason: str = ""  # why the original stays, if it must
    trust: float = 0.0


@dataclass(slots=True)
class Kept:
    """Seconds in which the original mouth stayed, by reason."""

    seconds: dict[str, float] = field(default_factory=dict)
    redrawn_s: float = 0.0

    def add(self, reason: str, seconds: float) -> None:
        if reason:
            self.seconds[reason] = self.seconds.get(reason, 0.0) + seconds
        else:
            self.redrawn_s += seconds


class Dubber:
    """One person of one video. ``span`` is the part that is dubbed, in seconds."""

    def __init__(
        self,
        someone: Someone,
        inside: Inside,
        motion: MouthMotion,
        span: tuple[float, float],
        wrote: Callable[[Shot, Painted | None], object] = lambda shot, painted: None,
    ) -> None:
        self._someone, self._motion, self._span = someone, motion, span
        self._closed = resting(someone, motion.usual)
        self._painter = Painter(inside)
        self._places = np.array(someone.sightings)
        self._finder, self._follower = CutFinder(), Follower()
        self._wrote = wrote
        self.kept, self.cuts = Kept(), -1

    def run(self, parts: Iterator[Shot | Packet[Any]]) -> Iterator[Shot | Packet[Any]]:
        """The same frames, redrawn, in the same order; packets of other streams pass."""
        window: deque[_Frame] = deque()
        due, number = 0, 0  # of the window, the next to be drawn
        for part in parts:
            if isinstance(part, Packet):
                yield part
                continue
            window.append(self._look(part, number))
            number += 1
            while len(window) - due > REACH:
                yield self._draw(window, due)
                due += 1
            while due > REACH:
                window.popleft()
                due -= 1
        while due < len(window):
            yield self._draw(window, due)
            due += 1

    def _look(self, shot: Shot, number: int) -> _Frame:
        begins = self._finder.cut(shot)
        if begins:
            self.cuts += 1
            self._follower.reset()
        frame = _Frame(shot, number, begins)
        if not self._span[0] <= shot.time_s + 0.2 or shot.time_s - 0.2 > self._span[1]:
            frame.reason = "outside"
            return frame
        seen = self._mine(shot, self._follower.see(shot))
        if seen is None:
            frame.reason = "no face"
        else:
            frame.points = np.asarray(seen.points[: mesh.MESH], np.float64)
            frame.hidden = self._someone.colours.hidden(shot, seen.points)
        shot.forget()
        return frame

    def _mine(self, shot: Shot, found: list[Seen]) -> Seen | None:
        """The face that is where the survey saw this person around this time."""
        near = self._places[np.abs(self._places[:, 0] - shot.time_s) < _NEAR]
        best, least = None, _AT
        for seen in found:
            for _, x, y, eyes in near:
                gap = float(np.hypot(*(seen.middle - (x, y)))) / max(eyes, seen.eyes)
                if gap < least:
                    best, least = seen, gap
        return best

    def _draw(self, window: deque[_Frame], at: int) -> Shot:
        frame, near = window[at], _same_shot(window, at)
        units, active = self._motion.at(frame.shot.time_s - self._span[0])
        painted = None
        if frame.points is not None:
            painted = self._redraw(frame, near, units, active)
        seconds = 0.0 if at == 0 else frame.shot.time_s - window[at - 1].shot.time_s
        self.kept.add(frame.reason, seconds)
        self._wrote(frame.shot, painted)
        return frame.shot

    def _redraw(
        self, frame: _Frame, near: dict[int, _Frame], units: F32, active: float
    ) -> Painted | None:
        points = _smoothed(near)
        pose = geometry.pose_of(points, self._closed)
        trusts = {k: self._trust(other) for k, other in near.items()}
        trust = min(trusts[k] + 0.3 * max(0, abs(k) - 1) for k in trusts)
        effort = min(1.0, trust) * self._needed(near, active) * self._inside_span(frame)
        if trust < 0.5:
            frame.reason = self._why(frame, near)
        hidden = frame.hidden if frame.hidden is not None else np.zeros(mesh.MESH)
        aim = Aim(points, pose, self._closed, offsets(units), _smooth(effort), hidden)
        return self._painter.paint(frame.shot, aim, frame.number)

    def _trust(self, frame: _Frame) -> float:
        """How far the face of a frame can be redrawn, 0..1."""
        if frame.points is None or frame.hidden is None:
            return 0.0
        yaw = abs(geometry.pose_of(frame.points, self._closed).yaw)
        covered = float(frame.hidden[geometry.RINGS.ravel()].mean())
        return min(_falling(yaw, *_YAW), _falling(covered, *_HIDDEN))

    def _why(self, frame: _Frame, near: dict[int, _Frame]) -> str:
        for other in sorted(near.items(), key=lambda pair: abs(pair[0])):
            seen = other[1]
            if seen.points is None or seen.hidden is None:
                return "no face"
            if abs(geometry.pose_of(seen.points, self._closed).yaw) > _YAW[0]:
                return "turned away"
            if float(seen.hidden[geometry.RINGS.ravel()].mean()) > _HIDDEN[0]:
                return "hidden"
        return "hidden"

    def _needed(self, near: dict[int, _Frame], active: float) -> float:
        """1 where the new words move the mouth, or the video's own mouth does in their silence."""
        gaps = [geometry.gap(geometry.pose_of(f.points, self._closed).unplace(f.points))
                for f in near.values() if f.points is not None]  # fmt: skip
        busy = max(max(gaps) / _OPEN, float(np.ptp(gaps)) / _TALKS) - 0.5
        return max(active, float(np.clip(busy, 0, 1)))

    def _inside_span(self, frame: _Frame) -> float:
        start, end = self._span
        time = frame.shot.time_s
        edge = min(time - start, end - time) if start > 0 else end - time
        return float(np.clip(edge / 0.12, 0, 1))


def _same_shot(window: deque[_Frame], at: int) -> dict[int, _Frame]:
    """Frames around one, by their distance, up to the cuts."""
    out = {0: window[at]}
    for k in range(1, REACH + 1):
        if at - k < 0 or window[at - k + 1].begins:
            break
        out[-k] = window[at - k]
    for k in range(1, REACH + 1):
        if at + k >= len(window) or window[at + k].begins:
            break
        out[k] = window[at + k]
    return out


def _smoothed(near: dict[int, _Frame]) -> F64:
    total, out = 0.0, np.zeros((mesh.MESH, 3))
    for k, weight in zip((-1, 0, 1), _SMOOTH, strict=True):
        frame = near.get(k)
        if frame is not None and frame.points is not None:
            out += weight * frame.points
            total += weight
    return out / total


def _falling(value: float, full: float, none: float) -> float:
    return float(np.clip((none - value) / (none - full), 0, 1))


def _smooth(x: float) -> float:
    return x * x * (3 - 2 * x)
