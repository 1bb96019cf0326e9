"""An ONNX graph while it is written: nodes, initialisers and which tensors have channels first.

ONNX convolves (batch, channels, height, width), TFLite (batch, height, width, channels). Images
stay channels first from operator to operator, and are turned only where the order of their numbers
matters. Constants that float16 holds exactly are stored so; a Cast, which the runtime works out
once when it loads the file, makes them float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

OPSET: Final = 17
IR_VERSION: Final = 8
FIRST: Final = (0, 3, 1, 2)  # channels last -> channels first
LAST: Final = (0, 2, 3, 1)


class OnnxGraph:
    """Collects nodes; tensors go by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self._first: set[str] = set()  # tensors that have channels first
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._turned: dict[tuple[str, tuple[int, ...]], str] = {}
        self._count = 0

    def add(self, kind: str, inputs: Sequence[str], /, name: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        out = name or self._name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [out], out, **attributes))
        return out

    def constant(self, value: Array | Sequence[float] | Sequence[int]) -> str:
        """An initialiser; equal ones are stored once."""
        array = np.ascontiguousarray(value)
        array = array.astype({"f": np.float32, "i": np.int64}[array.dtype.kind])
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._stored(array)
        return self._known[key]

    def _stored(self, array: Array) -> str:
        name, half = self._name("constant"), array
        if array.dtype == np.float32 and array.size > 16:
            half = array.astype(np.float16)
        if half is array or not np.array_equal(half.astype(np.float32), array):
            self.initialisers.append(numpy_helper.from_array(array, name))
            return name
        self.initialisers.append(numpy_helper.from_array(half, name))
        return self.add("Cast", [name], to=TensorProto.FLOAT)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"

    def mark_channels_first(self, name: str) -> str:
        self._first.add(name)
        return name

    def is_channels_first(self, name: str) -> bool:
        return name in self._first

    def channels_first(self, name: str) -> str:
        """The same image with channels first."""
        return name if name in self._first else self._turn(name, FIRST)

    def channels_last(self, name: str) -> str:
        """The same tensor as TFLite orders its numbers."""
        return self._turn(name, LAST) if name in self._first else name

    def _turn(self, name: str, order: tuple[int, ...]) -> str:
        key = (name, order)
        if key not in self._turned:
            self._turned[key] = self.add("Transpose", [name], perm=order)
        if order == FIRST:
            self._first.add(self._turned[key])
        return self._turned[key]

    def model(
        self,
        inputs: dict[str, tuple[int, ...]],
        outputs: dict[str, tuple[int, ...]],
        description: str,
    ) -> onnx.ModelProto:
        """The checked model; all inputs and outputs are float32."""
        described = [
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
                for n, shape in some.items()
            ]
            for some in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "graph", *described, self.initialisers)
        out = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
            producer_name="continuum", doc_string=description,
        )  # fmt: skip
        onnx.checker.check_model(out, full_check=True)
        return out
