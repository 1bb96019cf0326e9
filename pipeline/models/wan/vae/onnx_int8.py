"""The exported decoder with its convolutions in 8 bits: static scales, from decoded speech.

Weights have a scale for each output channel, activations one a tensor, from the smallest and
largest value that calibration saw. Only convolutions are quantised, and only statically: finding
the scales of whole frames anew at every call costs more than the product saves. The first latent
of a video, one frame, stays as it is, and with it what the past begins with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import onnx_runtime
from pipeline.errors import BackendRefused
from pipeline.models.wan.vae.onnx import LATER, LATER_INT8, OnnxDecoder


class _Feeds:
    """What ONNX Runtime's calibration reads, one input after another."""

    def __init__(self, feeds: list[dict[str, Any]]) -> None:
        self._rest: Iterator[dict[str, Any]] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


def quantize_decoder(folder: Path, latents: Tensor) -> None:
    """Write the later file of an exported decoder anew with convolutions in 8 bits, calibrated on
    ``latents`` (1, 16, T, h, w) of a video that speaks, T at least 2. Raises ``BackendRefused``
    where the packages for it are missing."""
    if latents.shape[2] < 2:
        raise ValueError(f"{latents.shape[2]} latents: the first one calibrates nothing")
    try:
        tools = onnx_runtime.load("quantization")
    except ImportError as error:
        raise BackendRefused(f"quantising the decoder needs {error.name}: {error}") from error
    feeds = OnnxDecoder(folder, threads=torch.get_num_threads()).feeds(latents)
    tools.quantize_static(
        str(folder / LATER), str(folder / LATER_INT8), _Feeds(feeds),
        quant_format=tools.QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
        activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
    )  # fmt: skip
