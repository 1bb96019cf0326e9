"""The parametric body that all people share: its surface, shape space and face units.

``Body`` is the asset; ``pipeline.models.mini.rig.person`` knows what one shape of it does in a body
state. Vertices are metres, y up, z towards the camera, x to the person's left.
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

from pipeline.models.mini.rig.shape import MACROS, macro_weights

MODEL_PATH: Final = Path(__file__).parents[1] / "body.safetensors"

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
    lining: NDArray[np.int32]  # (C, 2) vertices of cloth, and the skin vertex below each
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
            units=_sparse(tensors, "unit"),
            lining=tensors["lining"].astype(np.int32),
            bone=tensors["bone"],
            weight=weight / weight.sum(1, keepdims=True),
            joint_names=tuple(texts["joints"]),
        )

    @property
    def vertex_count(self) -> int:
        return len(self.mirror)

    def faces_of(self, *materials: str) -> NDArray[np.int32]:
        """All triangles (F', 3) of these materials, worn or not."""
        return np.ascontiguousarray(self.faces[_among(materials)[self.material]])

    def vertices_of(self, *materials: str) -> NDArray[np.int32]:
        """The vertices that these materials touch, in order."""
        touched = [self._touched[MATERIALS.index(name)] for name in materials]
        return touched[0] if len(touched) == 1 else np.unique(np.concatenate(touched))

    @cached_property
    def _touched(self) -> list[NDArray[np.int32]]:
        return [np.unique(self.faces[self.material == i]) for i in range(len(MATERIALS))]

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
        macro = macro_weights(macros, self.macro_factors) @ self.macro_coefficients
        out = self.mean + (macro @ self.macro_basis).reshape(-1, 3)
        for i, value in enumerate(shape[len(MACROS) :]):
            if value != 0:
                row = 2 * i + (value < 0)
                part = slice(self.locals.start[row], self.locals.start[row + 1])
                out[self.locals.index[part]] += abs(value) * self.locals.offset[part]
        return np.ascontiguousarray(out, np.float32)

    def worn_faces(self, wear: frozenset[str]) -> NDArray[np.int64]:
        """Indices of the faces that show when ``wear`` is worn; ValueError names an unknown."""
        unknown = wear - WEAR.keys()
        if unknown:
            raise ValueError(f"unknown wear {sorted(unknown)}, known are {sorted(WEAR)}")
        worn = {name for option in wear for name in WEAR[option]}
        clothes = {name for parts in WEAR.values() for name in parts}
        keep = ~_among(clothes - worn)[self.material] & ~_among(worn)[self.cover]
        return np.flatnonzero(keep)


def _among(materials: Iterable[str]) -> NDArray[np.bool_]:
    """A table (256,) over material numbers: whether each is one of ``materials``."""
    table = np.zeros(256, np.bool_)
    table[[MATERIALS.index(name) for name in materials]] = True
    return table


def _sparse(tensors: Mapping[str, NDArray[np.generic]], name: str) -> Sparse:
    rows, count = tensors[f"{name}_index"], len(tensors["mean"])
    if int(rows.max()) >= count:
        raise ValueError(f"{name} offsets reach row {rows.max()} of {count}")
    return Sparse(
        tensors[f"{name}_start"].astype(np.int32),
        tensors[f"{name}_index"].astype(np.int32),
        tensors[f"{name}_offset"].astype(np.float32) * np.float32(1e-3),
    )
