"""The networks: one ONNX session for each, on one core, shared by all threads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline import onnx_runtime
from pipeline.errors import ModelDamaged

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

WEIGHTS: Final = Path(__file__).parent / "weights"
_SIGNED: Final = ("face_detector", "pose_detector")  # want -1..1, the others 0..1


class Network:
    """A crop (S, S, 3) of 8-bit RGB to named numbers; runs may overlap."""

    def __init__(self, name: str) -> None:
        runtime = onnx_runtime.load()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = WEIGHTS / f"{name}.onnx"
        try:
            self._session: Any = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelDamaged(f"{path} cannot be loaded ({error}): restore the file") from error
        self._signed = name in _SIGNED
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.size = int(self._session.get_inputs()[0].shape[1])

    def __call__(self, crop: U8) -> dict[str, F32]:
        image = crop.astype(np.float32)[None] / 255
        if self._signed:
            image = 2 * image - 1
        return dict(zip(self._outputs, self._session.run(None, {"image": image}), strict=True))


def sigmoid(logits: F32) -> F32:
    """Scores as likelihoods, 0..1."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


@cache
def network(name: str) -> Network:
    """The network of this name, loaded at its first use. Raises ``ModelDamaged``."""
    return Network(name)
