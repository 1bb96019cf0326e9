"""The custom operators of the attention mesh (Grishchenko et al. 2020) as ONNX nodes.

The network looks again at lips and eyes: a rectangle around some points of the first mesh, upright
to the line between two of them, is cut out of its features, and points found there are put back.
A rectangle is a matrix (1, 4, 4) that takes places in the cut to places outside; only its x and y
do anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from training.landmarkers.onnx_graph import OnnxGraph
from training.landmarkers.operators import Converter
from training.landmarkers.tflite_graph import Operator


def _rectangle(c: Converter, operator: Operator) -> None:
    """Landmarks (1, L, 3) -> the matrix of the rectangle around some of them."""
    g, options = c.onnx, operator.options
    points = g.add("Squeeze", [c.plain(operator.inputs[0]), g.constant([0])])
    flat = _columns(g, points, 0, 2)  # (L, 2)
    ends = g.add("Gather", [flat, g.constant([options[f"{e}_rotation_idx"] for e in _ENDS])])
    axes = _axes(g, ends)
    chosen = g.add("Gather", [flat, g.constant(options["subset_idxs"])])
    along = g.add("MatMul", [chosen, g.add("Transpose", [axes], perm=(1, 0))])
    high = g.add("ReduceMax", [along], axes=[0], keepdims=1)
    low = g.add("ReduceMin", [along], axes=[0], keepdims=1)
    size = np.array([[options["output_width"], options["output_height"]]], np.float32)
    grow = np.array([[options["scale_x"], options["scale_y"]]], np.float32) / size
    scale = g.add("Mul", [g.add("Sub", [high, low]), g.constant(grow)])  # (1, 2)
    middle = g.add("Mul", [g.add("Add", [high, low]), g.constant(np.float32(0.5))])
    half = g.add("Mul", [scale, g.constant(size / 2)])
    corner = g.add("MatMul", [g.add("Sub", [middle, half]), axes])  # (1, 2)
    sides = g.add("Mul", [axes, g.add("Transpose", [scale], perm=(1, 0))])  # rows: across, down
    nothing = g.constant(np.zeros((1, 2), np.float32))
    rows = g.add("Concat", [sides, nothing, corner], axis=0)  # (4, 2)
    rest = g.constant(np.eye(4, dtype=np.float32)[:, 2:])
    whole = g.add("Transpose", [g.add("Concat", [rows, rest], axis=1)], perm=(1, 0))
    c.set_plain(operator, g.add("Unsqueeze", [whole, g.constant([0])]))


_ENDS: Final = ("left", "right")


def _columns(g: OnnxGraph, name: str, start: int, end: int) -> str:
    return g.add("Slice", [name, g.constant([start]), g.constant([end]), g.constant([-1])])


def _axes(g: OnnxGraph, ends: str) -> str:
    """Two points (2, 2) -> unit vectors along their line and to its right, as rows."""
    difference = g.add("MatMul", [g.constant(np.array([[-1, 1]], np.float32)), ends])
    length = g.add("ReduceL2", [difference], axes=[1], keepdims=1)
    across = g.add("Div", [difference, length])  # (1, 2)
    quarter = g.constant(np.array([[0, 1], [-1, 0]], np.float32))
    return g.add("Concat", [across, g.add("MatMul", [across, quarter])], axis=0)


def _cut(c: Converter, operator: Operator) -> None:
    """Features (1, H, W, C) and a matrix -> what the rectangle shows; zero outside the features."""
    g, options = c.onnx, operator.options
    high, wide = c.source.shapes[operator.inputs[0]][1:3]
    rows, columns = options["output_height"], options["output_width"]
    y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
    places = g.constant(np.stack([x, y, 0 * x, 0 * x + 1], 1).astype(np.float32))  # (N, 4)
    seen = g.add("MatMul", [places, g.add("Transpose", [_top(c, operator)], perm=(0, 2, 1))])
    seen = g.add("Sub", [seen, g.constant(np.float32(0.5))])
    across = np.array([2 / (wide - 1), 2 / (high - 1)], np.float32)
    seen = g.add("Sub", [g.add("Mul", [seen, g.constant(across)]), g.constant(np.float32(1))])
    shape = g.constant([1, rows, columns, 2])
    grid = g.add("Reshape", [seen, shape])
    out = g.add("GridSample", [c.image(operator.inputs[0]), grid], align_corners=1)
    c.set_image(operator, g.add("Mul", [out, _inside(g, grid)]))


def _top(c: Converter, operator: Operator) -> str:
    """The rows of x and y of a matrix: (1, 2, 4)."""
    g = c.onnx
    matrix = c.plain(operator.inputs[1])
    return g.add("Slice", [matrix, g.constant([0]), g.constant([2]), g.constant([1])])


def _inside(g: OnnxGraph, grid: str) -> str:
    """One (1, 1, H, W) where a grid (1, H, W, 2) looks between the outermost pixels' middles."""
    far = g.add("ReduceMax", [g.add("Abs", [grid])], axes=[3], keepdims=0)
    within = g.add("LessOrEqual", [far, g.constant(np.float32(1))])
    share = g.add("Cast", [within], to=1)
    return g.add("Unsqueeze", [share, g.constant([1])])


def _put_back(c: Converter, operator: Operator) -> None:
    """Points (1, L, 2) of a cut -> where they are outside it."""
    g = c.onnx
    top = _top(c, operator)
    turn, shift = _columns(g, top, 0, 2), _columns(g, top, 3, 4)  # (1, 2, 2), (1, 2, 1)
    turned = g.add("MatMul", [c.plain(operator.inputs[0]), g.add("Transpose", [turn], perm=_SWAP)])
    c.set_plain(operator, g.add("Add", [turned, g.add("Transpose", [shift], perm=_SWAP)]))


_SWAP: Final = (0, 2, 1)

CUSTOM: Final[dict[str, Callable[[Converter, Operator], None]]] = {
    "Landmarks2TransformMatrix": _rectangle,
    "TransformTensorBilinear": _cut,
    "TransformLandmarks": _put_back,
}
