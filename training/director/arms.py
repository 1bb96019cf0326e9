"""From planned strokes to the angles of two arms: prepare, stroke, hold, retract, never frozen.

Each arm follows minimum-jerk moves through its own keys; the wrist and the fingers run a little
late and swing on, the two arms differ in size, time and shape. Between units the arms go home to
the performer's rest pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.limits import ARM_HIGH, ARM_LOW
from pipeline.models.mini.rig.state import ARM, SLICES
from training.director.gestures import READY
from training.director.motion import FPS, bumps, moves, wander
from training.director.performer import Performer
from training.director.reach import hand_points, make_room
from training.director.score import Score
from training.director.strokes import Stroke
from training.director.styles import Style

F64 = NDArray[np.float64]

_AT: Final = {name: i for i, name in enumerate(ARM)}
_JITTER: Final = np.array(
    [0.045, 0.04, 0.06, 0.08, 0.10, 0.07, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.06, 0.08]
)
_STIR_UP: Final = np.array([0.016, 0.012, 0.02, 0.025, 0.035, 0.03, 0.02] + [0.03] * 7)
_STIR_DOWN: Final = np.array([0.004, 0.003, 0.005, 0.007, 0.008, 0.006, 0.004] + [0.012] * 7)
_LATE_S: Final = np.array([0.0, 0.0, 0.0, 0.008, 0.015, 0.035, 0.035] + [0.045] * 7)
TWO_HANDS_M: Final = 0.07  # of a fingertip from the middle, so that two hands do not meet
ONE_HAND_M: Final = -0.06  # the same with the other hand low
_LOW_M: Final = -0.34  # of a palm under the shoulders
_S_PER_RAD: Final = 0.2  # a joint is no faster
_BACKSWING: Final = 1.6  # of the way from a stroke to its preparation
_KEEP_UP_S: Final = 3.2  # arms that will be needed again within this time do not go home


@dataclass(frozen=True, slots=True)
class Keys:
    """An arm's moments of rest: when, in which pose, how far up (0 is at home), and how far from
    the body's middle the hand has to stay."""

    times: list[float]
    poses: list[F64]
    up: list[float]
    margin: list[float]

    def add(self, time: float, pose: F64, up: float, margin: float) -> None:
        self.times.append(max(time, self.times[-1] + 0.04))
        self.poses.append(pose)
        self.up.append(up)
        self.margin.append(margin)

    def with_room(self) -> F64:
        """The poses (k, 14), hands clear of the trunk and of each other; home stays home."""
        poses, raised = np.array(self.poses), np.array(self.up) > 0.0
        poses[raised] = make_room(poses[raised], np.array(self.margin)[raised])
        return poses


def _sized(shape: F64, rest: F64, size: float) -> F64:
    """A dictionary pose at a size: smaller ones stay lower and nearer to the rest pose."""
    lift = float(np.clip(0.22 + 0.62 * size, 0.25, 1.0))
    base = rest + lift * (READY - rest)
    return np.asarray(base + min(size, 1.7) * (shape - READY))


def _stroke_time(stroke: Stroke, style: Style, gap: float) -> float:
    natural = 0.29 + 0.04 * (stroke.size - 1.0)
    return float(np.clip(natural / style.gesture_speed, 0.20, min(0.42, 0.42 * gap)))


def _uses(stroke: Stroke, side: str) -> bool:
    return stroke.left if side == "left" else stroke.right


def _mine(strokes: list[Stroke], side: str) -> list[Stroke]:
    return [stroke for stroke in strokes if _uses(stroke, side)]


def _hold_end(previous: Stroke, landed: float, strokes: list[Stroke], side: str) -> float:
    """When a raised arm may sink: its phrase is over, a second has passed, or the other arm has
    taken the word."""
    others = [s.time - 0.25 for s in strokes if s.time > previous.time and not _uses(s, side)]
    return min([previous.hold_until, landed + 1.1, *others])


def _one_hand_margin(performer: Performer, side: str) -> float:
    """A single hand may cross the middle unless the other one rests there."""
    other = performer.rest[SLICES["right_arm" if side == "left" else "left_arm"]]
    _, palm, _ = hand_points(other[None].astype(np.float64))
    return ONE_HAND_M if palm[0, 1] < _LOW_M or palm[0, 0] > 0.2 else 0.9 * TWO_HANDS_M


def _variant(stroke: Stroke, side: str) -> F64:
    """The stroke's pose for one arm; gestures that weigh move the arms in turns."""
    shapes = stroke.gesture.strokes
    shift = 1 if stroke.gesture.turns and side == "left" else 0
    return shapes[(stroke.index + shift) % len(shapes)]


def _go_home(
    keys: Keys, rest: F64, hold: float, deadline: float, style: Style, rng: np.random.Generator
) -> bool:
    """Hold a little, then sink home in an unhurried move; False if ``deadline`` forbids it."""
    start = max(keys.times[-1] + 0.05, hold + float(rng.uniform(-0.1, 0.35)))
    length = float(rng.uniform(1.6, 2.4)) / style.gesture_speed**0.5
    if start + 0.6 * length > deadline:
        return False
    held = keys.poses[-1] + rng.normal(0.0, 0.25, 14) * _JITTER
    keys.add(start, held, 1.0, keys.margin[-1])
    keys.add(min(start + length, deadline), rest, 0.0, 0.0)
    return True


def _poses(
    stroke: Stroke, side: str, rest: F64, size: float, again: bool, jitter: F64
) -> tuple[F64, F64]:
    """Preparation and stroke pose; a beat that repeats a gesture only rebounds."""
    up = _sized(stroke.gesture.prep, rest, size) + jitter
    down = _sized(_variant(stroke, side), rest, size) + jitter
    up = down + _BACKSWING * (up - down)
    return (0.25 * down + 0.75 * up if again else up), down


def _within_reach(start: F64, end: F64, seconds: float) -> F64:
    """``end``, or as much of the way to it as a joint can go in the time."""
    needed = _S_PER_RAD * float(np.abs(end - start).max())
    share = min(1.0, max(seconds, 0.04) / max(needed, 1e-6))
    return np.asarray(start + share * (end - start))


def _rise_s(fresh: bool, style: Style, rng: np.random.Generator) -> float:
    natural = float(np.clip(rng.uniform(0.7, 1.0) / style.gesture_speed, 0.35, 1.3))
    return 1.25 * natural if fresh else natural


def _arm_keys(
    side: str, strokes: list[Stroke], rest: F64, alone: float, style: Style,
    rng: np.random.Generator,
) -> Keys:  # fmt: skip
    keys = Keys([-5.0], [rest], [0.0], [0.0])
    habit = rng.normal(0.0, 0.6, 14) * _JITTER
    before, previous = -9.0, None
    for stroke in _mine(strokes, side):
        both = stroke.left and stroke.right
        land = stroke.time + (float(rng.uniform(0.0, 0.05)) if both and side == "left" else 0.0)
        size = stroke.size * (float(rng.uniform(0.72, 1.0)) if both else 1.0)
        fast = _stroke_time(stroke, style, land - before)
        start = max(land - fast - _rise_s(previous is None, style, rng), 0.0)
        if previous is not None and land - before > _KEEP_UP_S + 0.5:
            hold = _hold_end(previous, before, strokes, side)
            previous = None if _go_home(keys, rest, hold, start, style, rng) else previous
        again = previous is not None and previous.gesture is stroke.gesture and stroke.index > 0
        jitter = habit + rng.normal(0.0, 1.0, 14) * _JITTER
        up, down = _poses(stroke, side, rest, size, again, jitter)
        if start > keys.times[-1] + 0.1:
            drift = rng.normal(0.0, 0.3, 14) * _JITTER * keys.up[-1]
            keys.add(start, keys.poses[-1] + drift, keys.up[-1], keys.margin[-1])
        margin = TWO_HANDS_M if both else alone
        up = _within_reach(keys.poses[-1], up, land - fast - keys.times[-1])
        down = _within_reach(up, down, fast)
        keys.add(land - fast, up, 1.0, margin)
        keys.add(land, down, 1.0, margin)
        before, previous = land, stroke
    if previous is not None:
        hold = _hold_end(previous, before, strokes, side)
        _go_home(keys, rest, hold, np.inf, style, rng)
    return keys


def _follow_through(arm: F64) -> F64:
    """Hands lag behind a moving forearm and swing on: what the wrist adds, (frames, 2)."""
    speed = np.gradient(arm[:, _AT["elbow"]]) * FPS
    lag = np.clip(0.035 * speed, -0.22, 0.22)
    flat = np.sin(np.clip(arm[:, _AT["forearm"]], -1.57, 1.57))
    return np.stack([lag * flat, -0.5 * lag * (1.0 - np.abs(flat))], axis=1)


def _trace(keys: Keys, times: F64) -> F64:
    """The keyed poses over time, distal joints a little late, (frames, 14)."""
    at, poses = np.array(keys.times), keys.with_room()
    out = np.empty((len(times), len(ARM)))
    for late in np.unique(_LATE_S):
        columns = late == _LATE_S
        out[:, columns] = moves(times, at + late, poses[:, columns])
    return out


def _fidgets(score: Score, strokes: list[Stroke], rng: np.random.Generator) -> F64:
    """Small adjustments of a resting arm, (frames,), about unit size and rare."""
    at = np.cumsum(rng.uniform(4.0, 14.0, int(score.seconds / 4.0) + 2))
    busy = np.array([stroke.time for stroke in strokes])
    free = [t for t in at if not len(busy) or np.abs(busy - t).min() > 2.0]
    return bumps(score.times, free, rng.uniform(0.4, 1.0, len(free)), 0.5, 0.9)


def _pulse(score: Score, style: Style, rng: np.random.Generator) -> F64:
    """A raised hand marks every beat a little, also while it holds a shape, (frames,) radians."""
    peaks = [beat.peak for beat in score.beats]
    size = np.array(
        [0.3 * beat.strength * score.phrases[beat.phrase].vigour for beat in score.beats]
    )
    size *= style.gesture_size * rng.uniform(0.6, 1.2)
    return np.minimum(bumps(score.times, peaks, size, 0.2, 0.5), 0.6)


def move_arm(
    side: str, strokes: list[Stroke], score: Score, style: Style, performer: Performer,
    breath: F64, rng: np.random.Generator,
) -> F64:  # fmt: skip
    """One arm's angles per frame, absolute, (frames, 14)."""
    rest = performer.rest[SLICES[f"{side}_arm"]].astype(np.float64)
    mine = _mine(strokes, side)
    keys = _arm_keys(side, strokes, rest, _one_hand_margin(performer, side), style, rng)
    out = _trace(keys, score.times)
    up = moves(score.times, keys.times, np.array(keys.up))[:, None]
    stir = _STIR_UP * up + _STIR_DOWN * (1.0 - up)
    out += stir * wander(rng, score.times, 1.15, len(ARM))
    pulse = _pulse(score, style, rng) * up[:, 0]
    out[:, _AT["elbow"]] -= pulse
    out[:, _AT["wrist_flex"]] -= 0.7 * pulse
    quiet = _fidgets(score, mine, rng) * (style.gesture_rate > 0.0)
    out += quiet[:, None] * rng.normal(0.0, 0.035, 14) * (1.0 - up)
    out[:, _AT["flex"]] += 0.010 * (breath - 0.4)
    out[:, _AT["elbow"]] += 0.012 * (breath - 0.4)
    wrist = _follow_through(out)
    out[:, _AT["wrist_flex"]] += wrist[:, 0]
    out[:, _AT["wrist_dev"]] += wrist[:, 1]
    return np.asarray(np.clip(out, np.minimum(ARM_LOW, rest), np.maximum(ARM_HIGH, rest)))


def shrugs(strokes: list[Stroke], score: Score) -> F64:
    """Clavicle lift that belongs to gestures, (frames, 2) for left and right."""
    out = np.zeros((score.frames, 2))
    for i, side in enumerate(("left", "right")):
        mine = [s for s in _mine(strokes, side) if s.gesture.shrug or s.size > 0.9]
        lift = [s.gesture.shrug * s.size + 0.02 * s.size for s in mine]
        out[:, i] = bumps(score.times, [s.time for s in mine], lift, 0.28, 0.6)
    return np.minimum(out, 0.3)
