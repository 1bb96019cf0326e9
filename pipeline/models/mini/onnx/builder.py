"""Builds a network as an ONNX graph by hand: nodes and weights in, a CPU session out.

Exporters trace a module for seconds. Writing the nodes takes milliseconds, uses the fused kernels
of ONNX Runtime, and needs no file. Tokens are rows: (B N, D), so that a linear layer is one matrix
product with its bias, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pipeline import onnx_runtime

OPSET: Final = 20
IR_VERSION: Final = 10
MICROSOFT: Final = "com.microsoft"
FUSED: Final = {"DynamicQuantizeMatMul", "FastGelu", "MultiHeadAttention", "RotaryEmbedding"}
PRECISIONS: Final = ("float32", "int8")
Array = NDArray[Any]


class Graph:
    """Nodes, weights, inputs and outputs in the order they were added.

    With ``precision`` int8, the linears quantise weights by output channel beforehand and
    activations by tensor as they come.
    """

    def __init__(self, precision: str = "float32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self._precision = precision
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, *shape: int | str, boolean: bool = False) -> str:
        """A float32 (or bool) tensor that is fed; a string in ``shape`` is a free size."""
        kind = TensorProto.BOOL if boolean else TensorProto.FLOAT
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, *shape: int | str) -> None:
        """A float32 tensor that comes back under ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, value: Tensor | Array | list[int]) -> str:
        """Weights, tables, or a shape."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = self._name("constant")
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result; an empty string leaves an optional input out."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, results: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node with several results."""
        names = [self._name(kind) for _ in range(results)]
        domain = MICROSOFT if kind in FUSED else ""
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def reshape(self, x: str, *shape: int) -> str:
        """``x`` with another shape, -1 for the batch."""
        return self.op("Reshape", x, self.constant(list(shape)))

    def norm(self, x: str, scale: str, shift: str, epsilon: float = 1e-5) -> str:
        """Layer norm over the last dimension."""
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    def linear(
        self, x: str, layer: nn.Linear, rows: slice = slice(None), exact: bool = False
    ) -> str:
        """Rows (n, I) through some ``rows`` of a layer's outputs; ``exact`` keeps it float32."""
        return self.product(x, layer.weight[rows].T, layer.bias[rows], exact)

    def product(self, x: str, weight: Tensor, bias: Tensor, exact: bool = False) -> str:
        """Rows (n, I) times (I, O) plus (O,)."""
        if exact or self._precision == "float32":
            return self.op("Gemm", x, self.constant(weight), self.constant(bias))
        array = weight.detach().numpy()
        scale = np.maximum(np.abs(array).max(0) / 127.0, 1e-12).astype(np.float32)
        packed = self.constant(np.rint(array / scale).astype(np.int8))
        return self.op(
            "DynamicQuantizeMatMul", x, packed, self.constant(scale), "", self.constant(bias)
        )

    def session(self, threads: int = 1) -> Session:
        """Ready to run on that many threads, which sleep when there is nothing to do."""
        graph = helper.make_graph(
            self._nodes, "network", self._inputs, self._outputs, self._weights
        )
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)
        return Session(model.SerializeToString(), threads)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"


class Session:
    """An ONNX Runtime session on the CPU: named arrays in, named arrays out."""

    def __init__(self, model: bytes, threads: int) -> None:
        runtime = onnx_runtime.load()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A spinning thread would take its core from drawing and encoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; of ``feed`` what is asked for. Raises what ONNX Runtime raises."""
        asked = {name: feed[name] for name in self._inputs}
        return dict(zip(self._outputs, self._session.run(None, asked), strict=True))
