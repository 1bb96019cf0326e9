"""The parametric body: a shape becomes a person, a person takes on body states.

``Body`` is the asset shared by all people; ``Person`` one shape with its own skeleton, clothed
by ``wear``. Vertices are metres, y up, z towards the camera, x to the person's left, with the
feet on y = 0. Which angle turns which bone is known by ``pipeline.skeleton``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from pipeline import skeleton, skinning
from pipeline.camera import Camera
from pipeline.skeleton import BONES, EYE_LOOKS
from pipeline.state import FACE_UNITS, INDEX, STATE_DIM

__all__ = ["MATERIALS", "WEAR", "Body", "Camera", "Person"]

MODEL_PATH: Final = Path(__file__).parent / "models" / "mini" / "body.safetensors"

MATERIALS: Final = (
    "skin", "lips", "brow", "nail", "gum", "teeth", "tongue", "eye", "iris", "pupil", "lash",
    "hair", "top", "sleeve", "collar", "bottom", "shoes", "skirt",
)  # fmt: skip
WEAR: Final[Mapping[str, tuple[str, ...]]] = {
    "top_short": ("top",),
    "top_long": ("top", "sleeve"),
    "turtleneck": ("top", "sleeve", "collar"),
    "bottom": ("bottom",),
    "skirt": ("skirt",),
    "shoes": ("shoes",),
    "hair": ("hair",),
}
DRESSED: Final = frozenset({"top_long", "bottom", "shoes"})

# Macro parameters in [0, 1]; the local ones that follow them lie in [-1, 1] around zero.
MACROS: Final[Mapping[str, float]] = {
    "gender": 0.5,  # 0 woman, 1 man
    "age": 0.2,  # 0 about 25 years, 1 about 90
    "muscle": 0.5,
    "weight": 0.5,
    "height": 0.5,
    "proportions": 0.5,  # 0 uncommon, 1 ideal
    "bust": 0.5,  # women's
    "african": 1 / 3,  # the three are normalised to sum to one
    "asian": 1 / 3,
    "caucasian": 1 / 3,
}


@dataclass(frozen=True, slots=True)
class Sparse:
    """Rows of sparse offsets: row r moves ``index[start[r]:start[r+1]]``."""

    start: NDArray[np.int32]
    index: NDArray[np.int32]
    offset: NDArray[np.float32]  # (K, 3) metres


@dataclass(frozen=True)
class Body:
    """The asset: surface, shape space, face units, skin weights, named vertices."""

    faces: NDArray[np.int32]  # (F, 3) every triangle, clothes and hair included
    material: NDArray[np.uint8]  # (F,) index into MATERIALS
    cover: NDArray[np.uint8]  # (F,) the material that hides this face when worn, or 255
    uv: NDArray[np.float32]  # (U, 2)
    uv_faces: NDArray[np.int32]  # (F, 3)
    mirror: NDArray[np.int32]  # (N,)
    landmarks: Mapping[str, int]
    shape_names: tuple[str, ...]
    mean: NDArray[np.float32]  # (N + J, 3) vertices, then joints
    macro_factors: tuple[tuple[str, ...], ...]
    macro_coefficients: NDArray[np.float32]  # (T, R)
    macro_basis: NDArray[np.float32]  # (R, (N + J) * 3)
    locals: Sparse  # two rows for each local parameter: +1, -1
    units: Sparse  # FACE_UNITS, EYE_LOOKS, breath
    bone: NDArray[np.uint8]  # (N, 4)
    weight: NDArray[np.float32]  # (N, 4)
    joint_names: tuple[str, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Body:
        """Read the asset; the bundled one by default."""
        with safe_open(path or MODEL_PATH, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            texts = {name: json.loads(text) for name, text in file.metadata().items()}
        basis = tensors["macro_basis"].astype(np.float32)
        weight = tensors["weight"].astype(np.float32)
        return cls(
            faces=tensors["faces"].astype(np.int32),
            material=tensors["material"],
            cover=tensors["cover"],
            uv=tensors["uv"].astype(np.float32),
            uv_faces=tensors["uv_faces"].astype(np.int32),
            mirror=tensors["mirror"].astype(np.int32),
            landmarks=texts["landmarks"],
            shape_names=(*MACROS, *texts["locals"]),
            mean=tensors["mean"],
            macro_factors=tuple(tuple(names) for names in texts["macro_factors"]),
            macro_coefficients=tensors["macro_coefficients"],
            macro_basis=basis.reshape(len(basis), -1),
            locals=_sparse(tensors, "local"),
            units=_on_surface(_sparse(tensors, "unit"), len(tensors["mirror"])),
            bone=tensors["bone"],
            weight=weight / weight.sum(1, keepdims=True),
            joint_names=tuple(texts["joints"]),
        )

    @property
    def vertex_count(self) -> int:
        return len(self.mirror)

    def shape(self, **values: float) -> NDArray[np.float32]:
        """A shape vector (P,) from named values, the rest average; KeyError names an unknown."""
        out = np.zeros(len(self.shape_names), np.float32)
        out[: len(MACROS)] = list(MACROS.values())
        for name, value in values.items():
            if name not in self.shape_names:
                raise KeyError(name)
            out[self.shape_names.index(name)] = value
        return out

    def rest(self, shape: NDArray[np.floating]) -> NDArray[np.float32]:
        """The rest surface and joints (N + J, 3) of a shape (P,)."""
        if np.shape(shape) != (len(self.shape_names),):
            raise ValueError(f"a shape has {len(self.shape_names)} numbers, got {np.shape(shape)}")
        if not np.all(np.isfinite(shape)):
            raise ValueError("shape numbers must be finite")
        macros = dict(zip(MACROS, shape, strict=False))
        macro = _macro_weights(macros, self.macro_factors) @ self.macro_coefficients
        out = self.mean + (macro @ self.macro_basis).reshape(-1, 3)
        for i, value in enumerate(shape[len(MACROS) :]):
            if value != 0:
                row = 2 * i + (value < 0)
                part = slice(self.locals.start[row], self.locals.start[row + 1])
                out[self.locals.index[part]] += abs(value) * self.locals.offset[part]
        return np.ascontiguousarray(out, np.float32)

    def person(self, shape: NDArray[np.floating], wear: Iterable[str] = DRESSED) -> Person:
        """One person of this shape, wearing what WEAR names."""
        return Person(self, shape, frozenset(wear))

    def worn_faces(self, wear: frozenset[str]) -> NDArray[np.int64]:
        """Indices of the faces that show when ``wear`` is worn; ValueError names an unknown."""
        unknown = wear - WEAR.keys()
        if unknown:
            raise ValueError(f"unknown wear {sorted(unknown)}, known are {sorted(WEAR)}")
        worn = {name for option in wear for name in WEAR[option]}
        clothes = {name for parts in WEAR.values() for name in parts}
        hidden = [MATERIALS.index(name) for name in clothes - worn]
        covered = [MATERIALS.index(name) for name in worn]
        keep = ~np.isin(self.material, hidden) & ~np.isin(self.cover, covered)
        return np.flatnonzero(keep)


class Person:
    """One shape, precomputed: rest surface, skeleton at the zero state, visible faces."""

    def __init__(self, body: Body, shape: NDArray[np.floating], wear: frozenset[str]) -> None:
        rest = body.rest(shape)
        count = body.vertex_count
        self.body = body
        self.shape = np.array(shape, np.float32)
        self.wear = wear
        self.face_index = body.worn_faces(wear)
        self.faces = np.ascontiguousarray(body.faces[self.face_index])
        self.material = body.material[self.face_index]
        self.rest = rest[:count]
        joints = rest[count:].astype(np.float64)
        self.joints = dict(zip(body.joint_names, joints, strict=True))
        self._transforms = np.empty((len(BONES), 12), np.float32)
        self._turn = np.empty((len(BONES), 3, 4))
        self._work = np.empty((3, 3, 3))
        self._unit_weight = np.zeros(len(body.units.start) - 1, np.float32)
        self._root = np.zeros(3, np.float32)
        self._sway = np.ones(count, np.float32)
        self.skeleton = skeleton.build(self.joints, self._hip_half_width())
        zero = np.zeros(STATE_DIM, np.float32)
        self.skeleton = skeleton.lower(self.skeleton, float(self.pose(zero)[self._skin, 1].min()))
        self._sway = self._plant_feet(self.pose(zero))

    def pose(
        self, state: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Vertices (N, 3) of a state (STATE_DIM,), into ``out`` when it is given."""
        if np.shape(state) != (STATE_DIM,):
            raise ValueError(f"a state has {STATE_DIM} numbers, got {np.shape(state)}")
        if out is None:
            out = np.empty((self.body.vertex_count, 3), np.float32)
        elif out.shape != (self.body.vertex_count, 3) or out.dtype != np.float32:
            expected = (self.body.vertex_count, 3)
            raise ValueError(f"out must be float32 {expected}, got {out.dtype} {out.shape}")
        state = np.ascontiguousarray(state, np.float32)
        rows, units = self.skeleton.rows, self.body.units
        skinning.pose_bones(
            state, skeleton.PARENT_INDEX, self.skeleton.joints, self.skeleton.zero,
            rows.start, rows.group, rows.state, rows.axis,
            self._turn, self._work, self._transforms,
        )  # fmt: skip
        self._weigh_units(state)
        self._root[:] = state[_ROOT]
        skinning.pose_vertices(
            self.rest, self._unit_weight, units.start, units.index, units.offset,
            self.body.bone, self.body.weight, self._transforms, self._sway, self._root, out,
        )  # fmt: skip
        return out

    def normals(
        self, vertices: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Unit vertex normals (N, 3) of posed vertices over the visible faces."""
        if out is None:
            out = np.empty_like(vertices)
        skinning.vertex_normals(vertices, self.faces, out)
        return out

    def lip_gap(self, vertices: NDArray[np.float32]) -> float:
        """Metres between the inner lips at the middle of the mouth."""
        marks = self.body.landmarks
        up = vertices[marks["nose_base"]] - vertices[marks["chin_front"]]
        apart = vertices[marks["lip_upper_inner"]] - vertices[marks["lip_lower_inner"]]
        return max(0.0, float(apart @ up) / float(np.linalg.norm(up)))

    @cached_property
    def _skin(self) -> NDArray[np.int64]:
        return np.unique(self.body.faces[self.body.material == MATERIALS.index("skin")])

    def _weigh_units(self, state: NDArray[np.float32]) -> None:
        """Weights of all sparse units: given, derived from gaze, and breath."""
        weight, count = self._unit_weight, len(FACE_UNITS)
        weight[:count] = state[_UNIT_STATES]
        close = FACE_UNITS.index("mouthClose")
        weight[close] = min(weight[close], max(state[INDEX["jawOpen"]], 0.0))
        yaw, pitch = state[INDEX["gaze_yaw"]], state[INDEX["gaze_pitch"]]
        looks = (pitch, pitch, -pitch, -pitch, -yaw, yaw, yaw, -yaw)
        for i, look in enumerate(looks):
            weight[count + i] = min(max(look / LOOK_FULL, 0.0), 1.0)
        weight[-1] = state[INDEX["breath"]]
        for side, first in (("Left", 0), ("Right", 1)):
            opened = 1.0 - min(max(state[INDEX[f"eyeBlink{side}"]], 0.0), 1.0)
            weight[count + first : count + len(EYE_LOOKS) : 2] *= opened
            for name in (f"eyeSquint{side}", f"eyeWide{side}"):
                weight[FACE_UNITS.index(name)] *= opened

    def _hip_half_width(self) -> float:
        """Half the widest width of the hips and thighs where the hands come to hang."""
        hip = self.joints["upperleg01.L"][1]
        near = np.abs(self.rest[:, 1] - (hip - 0.04)) < 0.1
        legs = np.isin(self.body.bone[:, 0], _LEG_BONES)
        return float(np.abs(self.rest[near & legs, 0]).max())

    def _plant_feet(self, standing: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much each vertex follows the root: not at all at the ankles, fully at the hips."""
        joints = self.skeleton.joints
        ankle, hip = joints[BONES.index("foot.L"), 1], joints[BONES.index("upperleg01.L"), 1]
        rise = np.clip((standing[:, 1] - ankle) / (hip - ankle), 0, 1)
        leg = (self.body.weight * np.isin(self.body.bone, _LEG_BONES)).sum(1)
        return (1 - leg * (1 - rise)).astype(np.float32)


LOOK_FULL: Final = 0.5  # radians of gaze at which the lids follow fully
_ROOT: Final = np.array([INDEX["root_x"], INDEX["root_y"], INDEX["root_z"]])
_UNIT_STATES: Final = np.array([INDEX[name] for name in FACE_UNITS])
_LEG_BONES: Final = [
    i for i, b in enumerate(BONES) if b.startswith(("root", "upperleg", "lowerleg", "foot"))
]


def _sparse(tensors: Mapping[str, NDArray[np.generic]], name: str) -> Sparse:
    return Sparse(
        tensors[f"{name}_start"].astype(np.int32),
        tensors[f"{name}_index"].astype(np.int32),
        tensors[f"{name}_offset"].astype(np.float32) * np.float32(1e-3),
    )


def _on_surface(rows: Sparse, count: int) -> Sparse:
    """The rows without offsets of joints, which face units do not move when posing."""
    keep = rows.index < count
    start = np.concatenate([[0], np.cumsum(keep)])[rows.start].astype(np.int32)
    return Sparse(start, rows.index[keep], rows.offset[keep])


def _macro_weights(
    macros: Mapping[str, float], factors: Iterable[tuple[str, ...]]
) -> NDArray[np.float32]:
    """The weight of every macro target (T,): a product over the names it depends on."""
    m = {name: float(value) for name, value in macros.items()}
    table = {"female": 1 - m["gender"], "male": m["gender"], "young": 1 - m["age"], "old": m["age"]}
    for name in ("muscle", "weight"):
        table[f"min{name}"] = max(0.0, 1 - 2 * m[name])
        table[f"max{name}"] = max(0.0, 2 * m[name] - 1)
        table[f"average{name}"] = 1 - abs(2 * m[name] - 1)
    for low, high, name in (
        ("minheight", "maxheight", "height"), ("mincup", "maxcup", "bust"),
        ("uncommonproportions", "idealproportions", "proportions"),
    ):  # fmt: skip
        table[low], table[high] = max(0.0, 1 - 2 * m[name]), max(0.0, 2 * m[name] - 1)
    races = [max(0.0, m[name]) for name in ("african", "asian", "caucasian")]
    total = sum(races)
    for name, value in zip(("african", "asian", "caucasian"), races, strict=True):
        table[name] = value / total if total > 0 else 1 / 3
    return np.array([np.prod([table[f] for f in names]) for names in factors], np.float32)
