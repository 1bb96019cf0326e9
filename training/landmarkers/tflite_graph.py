"""A TFLite file as plain data: tensors, constants (sparse ones made dense) and operators in order.

Knows the file format (the TFLite schema and its sparse tensors); nothing of ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tflite
from flatbuffers import flexbuffers
from numpy.typing import NDArray

Array = NDArray[Any]

_TYPES: Final = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT8: np.int8,
}
_NAMES: Final = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
_OPTIONS: Final = {
    code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)
}
_DENSE, _SPARSE = 0, 1


@dataclass(frozen=True, slots=True)
class Operator:
    """One step: ``kind`` as in the schema ("CONV_2D"), or the name of a custom operator."""

    kind: str
    inputs: tuple[int, ...]  # -1 where an optional one is left out
    outputs: tuple[int, ...]
    options: Any  # the schema's table, a dict for custom operators, or None


@dataclass(frozen=True, slots=True)
class Graph:
    """A network; tensors go by their number in the file."""

    shapes: dict[int, tuple[int, ...]]
    constants: dict[int, Array]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: dict[int, str]


def read_graph(content: bytes) -> Graph:
    """The only graph of a TFLite file; operators on constants alone are worked out at once."""
    model = tflite.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    constants = {i: _constant(model, t) for i, t in enumerate(tensors) if _is_constant(model, t)}
    operators = []
    for i in range(graph.OperatorsLength()):
        operator = _operator(model, graph.Operators(i))
        if operator.kind in ("DEQUANTIZE", "DENSIFY") and operator.inputs[0] in constants:
            constants[operator.outputs[0]] = constants[operator.inputs[0]]
        else:
            operators.append(operator)
    return Graph(
        shapes={i: tuple(int(n) for n in _shape(t)) for i, t in enumerate(tensors)},
        constants=constants,
        operators=tuple(operators),
        inputs=tuple(int(i) for i in graph.InputsAsNumpy()),
        outputs=tuple(int(i) for i in graph.OutputsAsNumpy()),
        names={i: t.Name().decode() for i, t in enumerate(tensors)},
    )


def _shape(tensor: Any) -> Array:
    return tensor.ShapeAsNumpy() if tensor.ShapeLength() else np.zeros(0, np.int32)


def _is_constant(model: Any, tensor: Any) -> bool:
    return bool(model.Buffers(tensor.Buffer()).DataLength())


def _constant(model: Any, tensor: Any) -> Array:
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
    values = np.frombuffer(raw.tobytes(), _TYPES[tensor.Type()])
    sparsity = tensor.Sparsity()
    if sparsity is None:
        return values.reshape(_shape(tensor))
    return _dense(values, tuple(_shape(tensor)), sparsity)


def _dense(values: Array, shape: tuple[int, ...], sparsity: Any) -> Array:
    """A sparse constant of the kind that these files use: whole rows, a list of columns in each."""
    levels = [sparsity.DimMetadata(i) for i in range(sparsity.DimMetadataLength())]
    formats = [level.Format() for level in levels]
    order = list(sparsity.TraversalOrderAsNumpy())
    if formats != [_DENSE] * (len(shape) - 1) + [_SPARSE] or order != list(range(len(shape))):
        raise ValueError(f"a sparse tensor of levels {formats} in the order {order} is not known")
    segments, columns = _indices(levels[-1], "ArraySegments"), _indices(levels[-1], "ArrayIndices")
    rows = np.repeat(np.arange(len(segments) - 1), np.diff(segments))
    out = np.zeros((len(segments) - 1, shape[-1]), values.dtype)
    out[rows, columns] = values[: len(columns)]
    return out.reshape(shape)


def _indices(level: Any, field: str) -> Array:
    kind = getattr(level, f"{field}Type")()
    table = getattr(level, field)()
    vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(np.int64)


def _operator(model: Any, operator: Any) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    kind = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    options = _options(operator)
    if kind == "CUSTOM":
        kind, options = code.CustomCode().decode(), _custom_options(operator)
    inputs = tuple(int(i) for i in operator.InputsAsNumpy())
    return Operator(kind, inputs, tuple(int(i) for i in operator.OutputsAsNumpy()), options)


def _options(operator: Any) -> Any:
    table = operator.BuiltinOptions()
    if table is None:
        return None
    options = getattr(tflite, _OPTIONS[operator.BuiltinOptionsType()])()
    options.Init(table.Bytes, table.Pos)
    return options


def _custom_options(operator: Any) -> dict[str, Any]:
    if operator.CustomOptionsLength() < 3:
        return {}
    return flexbuffers.GetRoot(bytearray(operator.CustomOptionsAsNumpy())).Value
