"""Bones of the body: how the rest surface comes to stand at the zero state, and which state
angle turns which bone about which axis.

The rest surface stands with spread arms and legs. The zero state lets the arms hang with the
palms to the thighs; axes of rotation are those of the zero state, in world coordinates, and
follow the person's own joints. Rotations that share bones split one rotation vector between
them, so that head, spine and shoulders bend along their length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig import skinning
from pipeline.models.mini.rig.state import INDEX

F64 = NDArray[np.float64]

SPINE: Final = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK: Final = ("neck01", "neck02", "neck03", "head")
FINGERS: Final = ("thumb", "index", "middle", "ring", "little")


def _limb_parents(side: str) -> dict[str, str]:
    arm = ("spine01", "clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01",
           "lowerarm02", "wrist")  # fmt: skip
    leg = ("root", "upperleg01", "lowerleg01", "foot")
    parents = {}
    for chain in (arm, leg):
        for parent, bone in zip(chain, chain[1:], strict=False):
            owner = parent if parent in ("root", "spine01") else f"{parent}.{side}"
            parents[f"{bone}.{side}"] = owner
    for finger in range(1, 6):
        for joint in (1, 2, 3):
            parent = f"wrist.{side}" if joint == 1 else f"finger{finger}-{joint - 1}.{side}"
            parents[f"finger{finger}-{joint}.{side}"] = parent
    return parents


def _all_parents() -> dict[str, str]:
    trunk = ("root", *SPINE, *NECK)
    parents = {"root": ""} | dict(zip(trunk[1:], trunk, strict=False))
    parents |= {"eye.L": "head", "eye.R": "head"}
    return parents | _limb_parents("L") | _limb_parents("R")


PARENTS: Final[Mapping[str, str]] = _all_parents()
BONES: Final = tuple(PARENTS)
PARENT_INDEX: Final = np.array([BONES.index(p) if p else -1 for p in PARENTS.values()], np.int32)

EYE_LOOKS: Final = (
    "eyeLookUpLeft", "eyeLookUpRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
)  # fmt: skip

# Shares of a turn along the bones that make it; each sums to one.
SPINE_SHARES: Final = (0.15, 0.2, 0.2, 0.25, 0.2)
NECK_SHARES: Final = (0.2, 0.2, 0.2, 0.4)
SHOULDER_SHARE: Final = 0.22  # of the arm's swing; the upper arm takes the rest
CLAVICLE_UNDONE: Final = 0.8  # of a shrug's turn that the hanging arm does not follow
BREATH_SHRUG: Final = 0.035  # radians of clavicle lift at a full breath
CURL: Final = (1.35, 1.7, 1.15)  # radians at a fist, knuckle to tip
RELAXED_CURL: Final = (0.10, 0.18, 0.11)  # what a hanging hand adds to the rest surface
THUMB_RELAXED_CURL: Final = (0.05, 0.08, 0.1)
GATHERED, THUMB_GATHERED = 0.6, 0.25  # of the way to the middle finger's direction
THUMB_CURL: Final = (0.25, 0.65, 1.15)
SPREAD: Final = {"index": 0.26, "middle": 0.06, "ring": -0.12, "little": -0.28}
OPPOSE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Rows:
    """The rotation rows of all bones as arrays, in the layout of ``skinning.pose_bones``."""

    start: NDArray[np.int32]
    group: NDArray[np.int32]
    state: NDArray[np.int32]
    axis: F64


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One person's bones at the zero state."""

    joints: F64  # (B, 3)
    zero: F64  # (B, 3, 4) rest -> zero state
    rows: Rows


def build(rest: Mapping[str, F64], hip_half_width: float) -> Skeleton:
    """Stand a person at the zero state; ``rest`` maps joint names to rest positions."""
    turns = {bone: np.eye(3) for bone in BONES}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns |= _hang_arm(rest, side, sign, hip_half_width)
        turns |= _straighten_leg(rest, side)
    joints, zero = _stand(rest, turns)
    at = {bone: joints[i] for i, bone in enumerate(BONES)}
    for name in rest:
        if name.startswith("tip"):
            transform = zero[BONES.index(f"finger{name[3]}-3{name[4:]}")]
            at[name] = transform[:, :3] @ rest[name] + transform[:, 3]
    return Skeleton(joints, zero, _rows(at))


def lower(skeleton: Skeleton, floor: float) -> Skeleton:
    """The same skeleton moved down by ``floor`` metres, so that the feet stand on y = 0."""
    joints, zero = skeleton.joints.copy(), skeleton.zero.copy()
    joints[:, 1] -= floor
    zero[:, 1, 3] -= floor
    return Skeleton(joints, zero, skeleton.rows)


def _unit(vector: F64) -> F64:
    return np.asarray(vector / np.linalg.norm(vector))


def _cross(a: F64, b: F64) -> F64:
    """``np.cross`` for two plain vectors, many times faster."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _turn(vector: F64) -> F64:
    out = np.empty((3, 3))
    x, y, z = vector.tolist()
    skinning.rotation(x, y, z, out)
    return out


def _swing(start: F64, end: F64) -> F64:
    """The rotation vector of the shortest turn between two directions."""
    axis = _cross(_unit(start), _unit(end))
    sine, cosine = float(np.linalg.norm(axis)), float(_unit(start) @ _unit(end))
    return axis * (math.atan2(sine, cosine) / sine) if sine > 1e-9 else np.zeros(3)


def _hang_arm(
    rest: Mapping[str, F64], side: str, sign: float, hip_half_width: float
) -> dict[str, F64]:
    """World rotations of one arm's bones that bring it from the rest surface to hanging."""
    at = {name.removesuffix(f".{side}"): point for name, point in rest.items() if side in name[-1]}
    upper = at["lowerarm01"] - at["upperarm01"]
    fore = at["wrist"] - at["lowerarm01"]
    reach = float(np.linalg.norm(upper) + np.linalg.norm(fore))
    clearance = (hip_half_width + 0.028 - abs(at["upperarm01"][0])) / reach
    lean = min(max(math.asin(min(max(clearance, -1.0), 1.0)), 0.06), 0.6)
    upper_end = _hanging(sign, lean + 0.03, -0.06)
    fore_end = _hanging(sign, lean - 0.05, 0.16)
    hand_end = _hanging(sign, lean - 0.10, 0.05)
    swing = _swing(upper, upper_end)
    upper_turn = _turn(swing)
    fore_turn = _turn(_swing(upper_turn @ fore, fore_end)) @ upper_turn
    hand = at["finger3-1"] - at["wrist"]
    hand_turn = _turn(_swing(fore_turn @ hand, hand_end)) @ fore_turn
    twist = _palm_twist(hand_turn @ (at["finger2-1"] - at["finger5-1"]), hand_end)
    turns = {
        "shoulder01": _turn(swing * SHOULDER_SHARE),
        "upperarm01": upper_turn,
        "upperarm02": upper_turn,
        "lowerarm01": _turn(fore_end * twist * 0.3) @ fore_turn,
        "lowerarm02": _turn(fore_end * twist * 0.75) @ fore_turn,
    }
    turns["wrist"] = _turn(hand_end * twist) @ hand_turn
    turns |= _relax_fingers(at, turns["wrist"], sign)
    return {f"{bone}.{side}": turn for bone, turn in turns.items()}


def _relax_fingers(at: Mapping[str, F64], wrist: F64, sign: float) -> dict[str, F64]:
    """The rest surface spreads its fingers: bring them together and let them curl a little."""
    across = at["finger2-1"] - at["finger5-1"]
    palm = sign * _unit(wrist @ _cross(at["finger3-1"] - at["wrist"], across))
    middle = wrist @ (at["finger3-2"] - at["finger3-1"])
    turns = {}
    for finger in range(1, 6):
        along = wrist @ (at[f"finger{finger}-2"] - at[f"finger{finger}-1"])
        swing = _swing(along, middle)
        closing = palm * (swing @ palm) * (GATHERED if finger > 1 else THUMB_GATHERED)
        turn = _turn(closing) @ wrist
        bend = _unit(_cross(along, palm))
        for joint, curl in enumerate(RELAXED_CURL if finger > 1 else THUMB_RELAXED_CURL, 1):
            turn = _turn(bend * curl * (0.85 + 0.08 * finger)) @ turn
            turns[f"finger{finger}-{joint}"] = turn
    return turns


def _hanging(sign: float, outwards: float, forwards: float) -> F64:
    return _unit(np.array([sign * math.tan(outwards), -1.0, math.tan(forwards)]))


def _palm_twist(across: F64, hand: F64) -> float:
    """The turn about the hand's direction that brings the thumb's side to the front."""
    flat = _unit(across - (across @ hand) * hand)
    front = _unit(FRONT - (FRONT @ hand) * hand)
    return math.atan2(float(_cross(flat, front) @ hand), float(flat @ front))


def _straighten_leg(rest: Mapping[str, F64], side: str) -> dict[str, F64]:
    """Bring the feet below the hips; they stay flat on the floor."""
    hip, ankle = rest[f"upperleg01.{side}"], rest[f"foot.{side}"]
    end = ankle - hip
    end = np.array([0.12 * hip[0], end[1], end[2]])
    turn = _turn(_swing(ankle - hip, end))
    return {f"upperleg01.{side}": turn, f"lowerleg01.{side}": turn}


def _stand(rest: Mapping[str, F64], turns: Mapping[str, F64]) -> tuple[F64, F64]:
    """Joints (B, 3) and rest -> zero transforms (B, 3, 4) from every bone's world rotation."""
    joints, zero = np.empty((len(BONES), 3)), np.empty((len(BONES), 3, 4))
    for i, bone in enumerate(BONES):
        point, parent = rest[bone], PARENT_INDEX[i]
        if parent < 0:
            joints[i] = point
        else:
            joints[i] = zero[parent, :, :3] @ point + zero[parent, :, 3]
        zero[i, :, :3] = turns[bone]
        zero[i, :, 3] = joints[i] - turns[bone] @ point
    return joints, zero


FRONT: Final = np.array([0.0, 0.0, 1.0])
Row = tuple[str, int, str, F64]  # bone, group, state name, axis times gain


def _rows(at: Mapping[str, F64]) -> Rows:
    rows = _trunk_rows()
    for side, sign, name in (("L", 1.0, "left"), ("R", -1.0, "right")):
        rows += _arm_rows(at, side, sign, name)
        rows += _hand_rows(at, side, sign, name)
    rows.sort(key=lambda row: (BONES.index(row[0]), row[1]))
    counts = np.bincount([BONES.index(bone) for bone, *_ in rows], minlength=len(BONES))
    return Rows(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        np.array([group for _, group, _, _ in rows], np.int32),
        np.array([INDEX[state] for _, _, state, _ in rows], np.int32),
        np.stack([axis for _, _, _, axis in rows]),
    )


YAW, PITCH, ROLL = np.array([0.0, 1, 0]), np.array([-1.0, 0, 0]), np.array([0.0, 0, -1])


def _trunk_rows() -> list[Row]:
    rows: list[Row] = []
    for part, bones, shares in (("spine", SPINE, SPINE_SHARES), ("head", NECK, NECK_SHARES)):
        for bone, share in zip(bones, shares, strict=True):
            for angle, axis in (("yaw", YAW), ("pitch", PITCH), ("roll", ROLL)):
                rows.append((bone, 0, f"{part}_{angle}", share * axis))
    for eye in ("eye.L", "eye.R"):
        rows += [(eye, 0, "gaze_yaw", YAW), (eye, 0, "gaze_pitch", PITCH)]
    return rows


def _arm_rows(at: Mapping[str, F64], side: str, sign: float, name: str) -> list[Row]:
    """Clavicle to wrist. Mirrored sides have mirrored axes: y and z change sign."""
    outwards, forwards = np.array([0, 0, sign]), np.array([-1.0, 0, 0])
    lift, protract = outwards, np.array([0, -sign, 0])
    upper = sign * _unit(at[f"lowerarm01.{side}"] - at[f"upperarm01.{side}"])
    fore = sign * _unit(at[f"wrist.{side}"] - at[f"lowerarm01.{side}"])
    hinge = _unit(_cross(upper * sign, FRONT))
    hand = _unit(at[f"finger3-1.{side}"] - at[f"wrist.{side}"])
    palm = _palm(at, side, sign)
    rows: list[tuple[str, int, str, F64]] = [
        ("clavicle", 0, "clavicle_lift", lift),
        ("clavicle", 0, "clavicle_forward", protract),
        ("shoulder01", 0, "clavicle_lift", -CLAVICLE_UNDONE * lift),
        ("shoulder01", 0, "clavicle_forward", -CLAVICLE_UNDONE * protract),
        ("shoulder01", 1, "flex", SHOULDER_SHARE * forwards),
        ("shoulder01", 1, "abduct", SHOULDER_SHARE * outwards),
        ("upperarm01", 0, "flex", (1 - SHOULDER_SHARE) * forwards),
        ("upperarm01", 0, "abduct", (1 - SHOULDER_SHARE) * outwards),
        ("upperarm01", 1, "twist", 0.45 * upper),
        ("upperarm02", 0, "twist", 0.55 * upper),
        ("lowerarm01", 0, "elbow", hinge),
        ("lowerarm01", 1, "forearm", 0.35 * fore),
        ("lowerarm02", 0, "forearm", 0.4 * fore),
        ("wrist", 0, "forearm", 0.25 * fore),
        ("wrist", 1, "wrist_flex", _unit(_cross(hand, palm))),
        ("wrist", 1, "wrist_dev", _unit(_cross(hand, _cross(palm, hand) * sign))),
    ]
    out: list[Row] = []
    for bone, group, state, axis in rows:
        named = f"{state}_{name}" if state.startswith("clavicle") else f"{name}_{state}"
        out.append((f"{bone}.{side}", group, named, axis))
    for bone, gain in (("clavicle", 1.0), ("shoulder01", -CLAVICLE_UNDONE)):
        out.append((f"{bone}.{side}", 0, "breath", BREATH_SHRUG * gain * lift))
    return out


def _palm(at: Mapping[str, F64], side: str, sign: float) -> F64:
    """The direction out of the palm."""
    across = at[f"finger2-1.{side}"] - at[f"finger5-1.{side}"]
    hand = at[f"finger3-1.{side}"] - at[f"wrist.{side}"]
    return _unit(_cross(hand, across)) * sign


def _hand_rows(at: Mapping[str, F64], side: str, sign: float, name: str) -> list[Row]:
    palm = _palm(at, side, sign)
    hand = _unit(at[f"finger3-1.{side}"] - at[f"wrist.{side}"])
    thumb_side = _unit(at[f"finger2-1.{side}"] - at[f"finger5-1.{side}"])
    rows: list[Row] = []
    for number, finger in enumerate(FINGERS, 1):
        chain = [at[f"finger{number}-{j}.{side}"] for j in (1, 2, 3)] + [at[f"tip{number}.{side}"]]
        toward = palm if finger != "thumb" else _unit(at[f"finger5-1.{side}"] - chain[2]) + palm
        for joint, gain in enumerate(CURL if finger != "thumb" else THUMB_CURL):
            along = _unit(chain[joint + 1] - chain[joint])
            axis = gain * _unit(_cross(along, toward))
            rows.append((f"finger{number}-{joint + 1}.{side}", 1, f"{name}_{finger}_curl", axis))
        first = f"finger{number}-1.{side}"
        if finger == "thumb":
            across = OPPOSE * _unit(_cross(thumb_side, palm)) * 1.0
            rows.append((first, 0, f"{name}_thumb_oppose", across))
        else:
            axis = SPREAD[finger] * _unit(_cross(hand, thumb_side))
            rows.append((first, 0, f"{name}_spread", axis))
    return rows
