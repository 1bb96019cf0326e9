"""TFLite's own operators as ONNX nodes; one function for each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tflite
from numpy.typing import NDArray

from training.landmarkers.onnx_graph import OnnxGraph
from training.landmarkers.tflite_graph import Graph, Operator

Array = NDArray[Any]

_NONE, _RELU, _RELU6 = 0, 1, 3


class Converter:
    """What has been written so far: the name in ONNX of each tensor of the source."""

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.onnx = OnnxGraph()
        self.names: dict[int, str] = {}

    def value(self, tensor: int) -> str:
        """An activation or constant, in whatever order it is."""
        if tensor not in self.names:
            self.names[tensor] = self.onnx.constant(self.source.constants[tensor])
        return self.names[tensor]

    def image(self, tensor: int) -> str:
        """An activation (1, C, H, W)."""
        return self.onnx.channels_first(self.value(tensor))

    def plain(self, tensor: int) -> str:
        """An activation or constant with its numbers ordered as in the source."""
        return self.onnx.channels_last(self.value(tensor))

    def constant(self, tensor: int) -> Array:
        return self.source.constants[tensor]

    def set_image(self, operator: Operator, name: str) -> None:
        self.names[operator.outputs[0]] = self.onnx.mark_channels_first(name)

    def set_plain(self, operator: Operator, name: str) -> None:
        self.names[operator.outputs[0]] = name

    def activated(self, name: str, activation: int) -> str:
        if activation == _NONE:
            return name
        if activation == _RELU:
            return self.onnx.add("Relu", [name])
        if activation == _RELU6:
            bounds = [self.onnx.constant(np.float32(v)) for v in (0, 6)]
            return self.onnx.add("Clip", [name, *bounds])
        raise ValueError(f"the fused activation {activation} is not known")


def _same(source: Graph, operator: Operator, kernel: Sequence[int], strides: Sequence[int]) -> Any:
    """ONNX pads [top, left, bottom, right] for TFLite's SAME: the odd pixel goes behind."""
    if operator.options.Padding() == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    size, out = source.shapes[operator.inputs[0]][1:3], source.shapes[operator.outputs[0]][1:3]
    total = [
        max((o - 1) * s + k - i, 0) for i, o, k, s in zip(size, out, kernel, strides, strict=True)
    ]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


def _convolution(c: Converter, operator: Operator, weights: Array, group: int) -> None:
    options = operator.options
    kernel, strides = weights.shape[2:], (options.StrideH(), options.StrideW())
    inputs = [c.image(operator.inputs[0]), c.onnx.constant(weights)]
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        inputs.append(c.onnx.constant(c.constant(operator.inputs[2])))
    out = c.onnx.add(
        "Conv", inputs, kernel_shape=kernel, strides=strides, group=group,
        pads=_same(c.source, operator, kernel, strides),
    )  # fmt: skip
    c.set_image(operator, c.activated(out, options.FusedActivationFunction()))


def _conv_2d(c: Converter, operator: Operator) -> None:
    _convolution(c, operator, c.constant(operator.inputs[1]).transpose(0, 3, 1, 2), 1)


def _depthwise_conv_2d(c: Converter, operator: Operator) -> None:
    weights = c.constant(operator.inputs[1]).transpose(3, 0, 1, 2)
    _convolution(c, operator, weights, c.source.shapes[operator.inputs[0]][3])


def _max_pool_2d(c: Converter, operator: Operator) -> None:
    options = operator.options
    kernel = (options.FilterHeight(), options.FilterWidth())
    strides = (options.StrideH(), options.StrideW())
    out = c.onnx.add(
        "MaxPool", [c.image(operator.inputs[0])], kernel_shape=kernel, strides=strides,
        pads=_same(c.source, operator, kernel, strides),
    )  # fmt: skip
    c.set_image(operator, out)


def _elementwise(kind: str) -> Callable[[Converter, Operator], None]:
    def write(c: Converter, operator: Operator) -> None:
        images = any(c.onnx.is_channels_first(c.names.get(i, "")) for i in operator.inputs)
        names = [c.image(i) if images else c.plain(i) for i in operator.inputs]
        out = c.onnx.add(kind, names)
        out = c.activated(out, operator.options.FusedActivationFunction())
        (c.set_image if images else c.set_plain)(operator, out)

    return write


def _prelu(c: Converter, operator: Operator) -> None:
    slope = c.constant(operator.inputs[1])  # (1, 1, C)
    names = [c.image(operator.inputs[0]), c.onnx.constant(np.moveaxis(slope, -1, 0))]
    c.set_image(operator, c.onnx.add("PRelu", names))


def _pad(c: Converter, operator: Operator) -> None:
    before, after = c.constant(operator.inputs[1])[[0, 3, 1, 2]].T
    pads = c.onnx.constant(np.concatenate([before, after]))
    c.set_image(operator, c.onnx.add("Pad", [c.image(operator.inputs[0]), pads]))


def _resize_bilinear(c: Converter, operator: Operator) -> None:
    shape, options = c.source.shapes[operator.outputs[0]], operator.options
    mode = "asymmetric"
    if options.AlignCorners():
        mode = "align_corners"
    elif options.HalfPixelCenters():
        mode = "half_pixel"
    sizes = c.onnx.constant(np.array([shape[0], shape[3], *shape[1:3]]))
    out = c.onnx.add(
        "Resize", [c.image(operator.inputs[0]), "", "", sizes],
        mode="linear", coordinate_transformation_mode=mode,
    )  # fmt: skip
    c.set_image(operator, out)


def _depth_to_space(c: Converter, operator: Operator) -> None:
    block = operator.options.BlockSize()
    out = c.onnx.add("DepthToSpace", [c.image(operator.inputs[0])], blocksize=block, mode="DCR")
    c.set_image(operator, out)


def _reshape(c: Converter, operator: Operator) -> None:
    shape = c.onnx.constant(np.array(c.source.shapes[operator.outputs[0]]))
    c.set_plain(operator, c.onnx.add("Reshape", [c.plain(operator.inputs[0]), shape]))


def _concatenation(c: Converter, operator: Operator) -> None:
    names = [c.plain(i) for i in operator.inputs]
    c.set_plain(operator, c.onnx.add("Concat", names, axis=operator.options.Axis()))


def _mean(c: Converter, operator: Operator) -> None:
    axes = [int(axis) for axis in c.constant(operator.inputs[1])]
    keep = int(operator.options.KeepDims())
    out = c.onnx.add("ReduceMean", [c.plain(operator.inputs[0])], axes=axes, keepdims=keep)
    c.set_plain(operator, out)


def _fully_connected(c: Converter, operator: Operator) -> None:
    weights = c.constant(operator.inputs[1])
    shape = c.onnx.constant(np.array([-1, weights.shape[1]]))
    rows = c.onnx.add("Reshape", [c.plain(operator.inputs[0]), shape])
    names = [rows, c.onnx.constant(weights), c.onnx.constant(c.constant(operator.inputs[2]))]
    out = c.onnx.add("Gemm", names, transB=1)
    c.set_plain(operator, c.activated(out, operator.options.FusedActivationFunction()))


def _logistic(c: Converter, operator: Operator) -> None:
    name = c.value(operator.inputs[0])
    out = c.onnx.add("Sigmoid", [name])
    (c.set_image if c.onnx.is_channels_first(name) else c.set_plain)(operator, out)


def _strided_slice(c: Converter, operator: Operator) -> None:
    """Only slices that take everything are found in these files."""
    if c.source.shapes[operator.inputs[0]] != c.source.shapes[operator.outputs[0]]:
        raise ValueError("a slice that drops something is not known")
    c.set_plain(operator, c.onnx.add("Identity", [c.plain(operator.inputs[0])]))


BUILTIN: Final[dict[str, Callable[[Converter, Operator], None]]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "MAX_POOL_2D": _max_pool_2d,
    "ADD": _elementwise("Add"),
    "MUL": _elementwise("Mul"),
    "PRELU": _prelu,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize_bilinear,
    "DEPTH_TO_SPACE": _depth_to_space,
    "RESHAPE": _reshape,
    "CONCATENATION": _concatenation,
    "MEAN": _mean,
    "FULLY_CONNECTED": _fully_connected,
    "LOGISTIC": _logistic,
    "STRIDED_SLICE": _strided_slice,
}
