"""One person: a shape of the body with its own skeleton and clothes, posed by body states.

Posing is pure: a person remembers nothing between calls and may be shared by threads. This file
maps face units to the sparse offsets of the asset; ``pipeline.models.mini.rig.skeleton`` maps
angles to bones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig import skeleton, skinning
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.skeleton import BONES, EYE_LOOKS
from pipeline.models.mini.rig.state import FACE_UNITS, INDEX, STATE_DIM

Floats = NDArray[np.float32]

DRESSED: Final = frozenset({"top_long", "bottom", "shoes"})  # of body.WEAR
LOOK_FULL: Final = 0.5  # radians of gaze at which the lids follow fully
CLOTH_CLEARANCE: Final = 0.004  # metres that cloth keeps from the skin below it
LIP_OVERLAP: Final = 0.0008  # metres that the lips of a neutral face press into each other

_ROOT: Final = np.array([INDEX["root_x"], INDEX["root_y"], INDEX["root_z"]])
_UNIT_STATES: Final = np.array([INDEX[name] for name in FACE_UNITS])
_CLOSE: Final = FACE_UNITS.index("mouthClose")
_LID_UNITS: Final = tuple(
    (INDEX[f"eyeBlink{side}"], first, FACE_UNITS.index(f"eyeSquint{side}"),
     FACE_UNITS.index(f"eyeWide{side}"))
    for first, side in enumerate(("Left", "Right"))
)  # fmt: skip
_LEG_BONES: Final = [
    i for i, b in enumerate(BONES) if b.startswith(("root", "upperleg", "lowerleg", "foot"))
]


class Person:
    """One shape, precomputed: rest surface, skeleton at the zero state, visible faces.

    ``wear`` is what the person wears, of ``body.WEAR``.
    """

    def __init__(
        self, body: Body, shape: NDArray[np.floating], wear: Iterable[str] = DRESSED
    ) -> None:
        rest, count = body.rest(shape), body.vertex_count
        self.body = body
        self.shape = np.array(shape, np.float32)
        self.wear = frozenset(wear)
        self.face_index = body.worn_faces(self.wear)
        self.faces = np.ascontiguousarray(body.faces[self.face_index])
        self.material = body.material[self.face_index]
        self.rest = rest[:count]
        joints = rest[count:].astype(np.float64)
        self.joints = dict(zip(body.joint_names, joints, strict=True))
        self._begins = np.stack([self.joints[name] for name in BONES])
        self._lift_cloth()
        self._seal_lips()
        self._sway = np.ones(count, np.float32)
        zero = np.zeros(STATE_DIM, np.float32)
        self.skeleton = skeleton.build(self.joints, self._hip_half_width())
        floor = float(self.pose(zero)[body.vertices_of("skin"), 1].min())
        self.skeleton = skeleton.lower(self.skeleton, floor)
        self._sway = self._plant_feet(self.pose(zero))

    def pose(self, state: NDArray[np.floating], out: Floats | None = None) -> Floats:
        """Vertices (N, 3) of a state (STATE_DIM,), into ``out`` when it is given.

        ``mouthClose`` counts up to ``jawOpen``; closing lids take back what gaze, squint and
        wide eyes do to them. ValueError for wrong shapes.
        """
        if np.shape(state) != (STATE_DIM,):
            raise ValueError(f"a state has {STATE_DIM} numbers, got {np.shape(state)}")
        expected = (self.body.vertex_count, 3)
        if out is None:
            out = np.empty(expected, np.float32)
        elif out.shape != expected or out.dtype != np.float32:
            raise ValueError(f"out must be float32 {expected}, got {out.dtype} {out.shape}")
        state = np.ascontiguousarray(state, np.float32)
        units = self.body.units
        transforms = self._transforms(state)
        skinning.pose_vertices(
            self.rest, unit_weights(state), units.start, units.index, units.offset,
            self.body.bone, self.body.weight, transforms, self._sway, state[_ROOT], out,
        )  # fmt: skip
        return out

    def joint_places(self, state: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where bones begin (B, 3) in a state, in the order of BONES, without the root's way."""
        turns = self._transforms(np.ascontiguousarray(state, np.float32)).reshape(-1, 3, 4)
        return np.asarray((turns[:, :, :3] @ self._begins[:, :, None])[..., 0] + turns[:, :, 3])

    def _transforms(self, state: Floats) -> Floats:
        """Every bone's way from the rest surface (B, 12)."""
        bones, rows = self.skeleton, self.skeleton.rows
        out = np.empty((len(BONES), 12), np.float32)
        skinning.pose_bones(
            state, skeleton.PARENT_INDEX, bones.joints, bones.zero,
            rows.start, rows.group, rows.state, rows.axis, out,
        )  # fmt: skip
        return out

    def normals(self, vertices: Floats, out: Floats | None = None) -> Floats:
        """Unit vertex normals (N, 3) of posed vertices over the visible faces."""
        if out is None:
            out = np.empty_like(vertices)
        skinning.vertex_normals(vertices, self.faces, out)
        return out

    def lip_gap(self, vertices: Floats) -> float:
        """Metres between the inner lips at the middle of the mouth; 0 where they touch."""
        return max(0.0, self._lip_distance(vertices))

    def _lip_distance(self, vertices: Floats) -> float:
        marks = self.body.landmarks
        up = vertices[marks["nose_base"]] - vertices[marks["chin_front"]]
        apart = vertices[marks["lip_upper_inner"]] - vertices[marks["lip_lower_inner"]]
        return float(apart @ up) / float(np.linalg.norm(up))

    def _lift_cloth(self) -> None:
        """Push cloth out of the skin: garments are shaped for an average body."""
        cloth, skin = self.body.lining.T
        normals = np.empty_like(self.rest)
        skinning.vertex_normals(self.rest, self.body.faces_of("skin"), normals)
        height = ((self.rest[cloth] - self.rest[skin]) * normals[skin]).sum(1)
        lift = np.maximum(CLOTH_CLEARANCE - height, 0)
        self.rest[cloth] += lift[:, None] * normals[skin]

    def _seal_lips(self) -> None:
        """Raise the jaw until the lips of the neutral face meet, without teeth and tongue."""
        units, row = self.body.units, FACE_UNITS.index("jawOpen")
        part = slice(units.start[row], units.start[row + 1])
        inside = np.isin(units.index[part], self.body.vertices_of("teeth", "tongue"))
        offset = np.where(inside[:, None], 0, units.offset[part])
        closed, opened = self._lip_distance(self.rest), self.rest.copy()
        opened[units.index[part]] += 0.1 * offset
        slope = (self._lip_distance(opened) - closed) / 0.1
        raised = np.clip((closed + LIP_OVERLAP) / slope, 0, 0.12)
        self.rest[units.index[part]] -= np.float32(raised) * offset

    def _hip_half_width(self) -> float:
        """Half the widest width of the hips and thighs where the hands come to hang."""
        hip = self.joints["upperleg01.L"][1]
        near = np.abs(self.rest[:, 1] - (hip - 0.04)) < 0.1
        legs = np.isin(self.body.bone[:, 0], _LEG_BONES)
        legs[self.body.vertices_of("skirt")] = False
        return float(np.abs(self.rest[near & legs, 0]).max())

    def _plant_feet(self, standing: Floats) -> Floats:
        """How much each vertex follows the root: not at all at the ankles, fully at the hips."""
        joints = self.skeleton.joints
        ankle, hip = joints[BONES.index("foot.L"), 1], joints[BONES.index("upperleg01.L"), 1]
        rise = np.clip((standing[:, 1] - ankle) / (hip - ankle), 0, 1)
        leg = (self.body.weight * np.isin(self.body.bone, _LEG_BONES)).sum(1)
        return np.asarray(1 - leg * (1 - rise), np.float32)


def unit_weights(state: Floats) -> Floats:
    """Weights (U,) of all sparse units of a state: given, derived from gaze, and breath."""
    count = len(FACE_UNITS)
    weight = np.empty(count + len(EYE_LOOKS) + 1, np.float32)
    weight[:count] = state[_UNIT_STATES]
    weight[_CLOSE] = min(weight[_CLOSE], max(state[INDEX["jawOpen"]], 0.0))
    yaw, pitch = float(state[INDEX["gaze_yaw"]]), float(state[INDEX["gaze_pitch"]])
    for i, look in enumerate((pitch, pitch, -pitch, -pitch, -yaw, yaw, yaw, -yaw)):
        weight[count + i] = min(max(look / LOOK_FULL, 0.0), 1.0)
    weight[-1] = state[INDEX["breath"]]
    for blink, first, squint, wide in _LID_UNITS:
        opened = 1.0 - min(max(float(state[blink]), 0.0), 1.0)
        weight[count + first : count + len(EYE_LOOKS) : 2] *= opened
        weight[squint] *= opened
        weight[wide] *= opened
    return weight
