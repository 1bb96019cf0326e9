"""The first look through a video: who is in it and when, where teeth show, what a face is at rest.

About five frames a second are looked at. What is kept of each person is bounded, but for a few
bytes a second that say where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing import geometry
from pipeline.dubbing.follow import CutFinder, Follower, Seen
from pipeline.dubbing.hiding import Colours
from pipeline.dubbing.identity import likeness, look_of, mean_look
from pipeline.dubbing.inner_mouth import Inside, collect, sharpness, worth
from pipeline.dubbing.mouth_shape import offsets
from pipeline.dubbing.painter import light_of
from pipeline.dubbing.video_in import Shot, VideoFile, frames
from pipeline.landmarkers import mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

STEP_S: Final = 0.2
_MESHES: Final = 160  # of each person that are kept, by chance
_LOOKS: Final = 12
_ALIKE: Final = 0.2  # likeness from which on two tracks are one person
_FRONT: Final = 0.6  # radians of yaw beyond which a face is not measured


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """The largest frontal view of a person."""

    picture: U8  # (h, w, 3) RGB, around the face
    points: F32  # (478, 3) px of it
    score: float


@dataclass(slots=True)
class Someone:
    """A person of the footage, gathered over tracks."""

    sightings: list[tuple[float, float, float, float]] = field(
        default_factory=list
    )  # t, x, y, eyes
    meshes: list[F32] = field(default_factory=list)  # canonical (468, 3)
    looks: list[F32] = field(default_factory=list)
    inside: Inside | None = None
    portrait: Portrait | None = None
    light: float = 0.5  # luma of the skin, 0..1
    colours: Colours = field(default_factory=Colours)
    weight: float = 0.0  # eyes times frames
    seen: int = 0

    @property
    def look(self) -> F32:
        return mean_look(self.looks)

    def join(self, other: Someone) -> None:
        """The other was the same person."""
        self.sightings += other.sightings
        self.meshes = (self.meshes + other.meshes)[-_MESHES:]
        self.looks = (self.looks + other.looks)[:_LOOKS]
        if other.inside and (not self.inside or other.inside.score > self.inside.score):
            self.inside = other.inside
        if other.portrait and (not self.portrait or other.portrait.score > self.portrait.score):
            self.portrait = other.portrait
        self.colours.join(other.colours)
        self.weight += other.weight
        self.seen += other.seen


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, the most shown person first."""

    people: list[Someone]
    seconds: float
    cuts: int


def survey(video: VideoFile, advanced: Callable[[float], object] = lambda s: None) -> Survey:
    """Looks through the video. ``advanced`` gets the time reached, in seconds."""
    finder, follower = CutFinder(), Follower()
    open_tracks: dict[int, Someone] = {}
    people: list[Someone] = []
    rng = np.random.default_rng(0)
    due, last, cuts = 0.0, 0.0, -1
    for shot in frames(video, sparse=True):
        last = shot.time_s
        if finder.cut(shot):
            cuts += 1
            follower.reset()
            _close(open_tracks, people, open_tracks.keys())
            due = shot.time_s
        if shot.time_s < due:
            continue
        due = shot.time_s + STEP_S
        seen = follower.see(shot)
        here = {each.track for each in seen}
        _close(open_tracks, people, open_tracks.keys() - here)
        for each in seen:
            _note(open_tracks.setdefault(each.track, Someone()), shot, each, rng)
        advanced(last)
    _close(open_tracks, people, open_tracks.keys())
    found = sorted(people, key=lambda someone: -someone.weight)
    return Survey(
        [someone for someone in found if someone.seen >= 2 or len(found) == 1], last, cuts
    )


def _close(tracks: dict[int, Someone], people: list[Someone], ended: object) -> None:
    """Tracks that ended join the person whom they look like."""
    for track in list(ended):  # type: ignore[call-overload]
        someone = tracks.pop(track)
        if not someone.looks:
            continue
        like = [(likeness(someone.look, other.look), k) for k, other in enumerate(people)]
        score, k = max(like, default=(-1.0, 0))
        if score >= _ALIKE:
            people[k].join(someone)
        else:
            people.append(someone)


def _note(someone: Someone, shot: Shot, seen: Seen, rng: np.random.Generator) -> None:
    x, y = seen.middle.tolist()
    someone.sightings.append((shot.time_s, x, y, seen.eyes))
    someone.weight += seen.eyes
    someone.seen += 1
    points = np.asarray(seen.points[: mesh.MESH], np.float64)
    first = geometry.upright(points)
    pose = geometry.pose_of(points, first)
    if abs(pose.yaw) > _FRONT:
        return
    picture, scale = shot.rgb()
    if len(someone.looks) < _LOOKS or rng.random() < 0.1:
        look = look_of(picture, seen.points / np.float32(scale))
        someone.looks = [*someone.looks[-_LOOKS + 1 :], look]
    if len(someone.meshes) < _MESHES:
        someone.meshes.append(first.astype(np.float32))
    elif rng.random() < _MESHES / someone.seen:
        someone.meshes[int(rng.integers(_MESHES))] = first.astype(np.float32)
    someone.colours.add(shot, points)
    someone.light += 0.1 * (light_of(shot, points) - someone.light)
    score = seen.eyes * float(np.cos(pose.yaw)) ** 4
    if not someone.portrait or score > 1.1 * someone.portrait.score:
        someone.portrait = _portrait(picture, seen.points / np.float32(scale), score)
    _collect(someone, shot, points, first, pose)


def _portrait(picture: U8, points: F32, score: float) -> Portrait:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    room = 0.5 * (high - low)
    left, top = np.maximum(low - room, 0).astype(int)
    right, bottom = (high + room).astype(int)
    moved = points - np.array([left, top, 0], np.float32)
    return Portrait(picture[top:bottom, left:right].copy(), moved, score)


def _collect(someone: Someone, shot: Shot, points: F64, face: F64, pose: geometry.Pose) -> None:
    if geometry.gap(face) < 0.05:
        return
    low, high = points[:, :2].min(0).astype(int), points[:, :2].max(0).astype(int)
    part = shot.planes[0][max(0, low[1]) : high[1], max(0, low[0]) : high[0]]
    if part.size < 400:
        return
    sharp = sharpness(part.astype(np.float32) / (2**shot.depth - 1), pose.scale)
    if worth(face, pose, sharp) > (someone.inside.score if someone.inside else 0.0):
        light = light_of(shot, points)
        someone.inside = collect(shot, pose, face, geometry.closed(face), light, sharp)


def resting(someone: Someone, usual: NDArray[np.floating]) -> F64:
    """The canonical face of a person with a closed, relaxed mouth (468, 3).

    It is the mean face of the footage without what speech does to it on average, ``usual`` (29,),
    so that a person who smiles goes on smiling. ``ValueError`` where there is no face to measure.
    """
    if not someone.meshes:
        raise ValueError("this face is never seen from the front")
    mean = np.median(someone.meshes, 0).astype(np.float64)
    aligned = np.array([geometry.pose_of(m, mean).unplace(m) for m in someone.meshes])
    mean = aligned.mean(0)
    spoken = offsets(usual)
    opened = geometry.gap(mean + spoken) - geometry.gap(mean)
    talks = np.clip(geometry.gap(mean) / max(opened, 1e-3), 0, 1)
    return geometry.closed(mean - talks * spoken)
