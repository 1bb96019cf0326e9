"""ONNX Runtime as everything here imports it: without the telemetry of its vendor.

From 1.29 on its Linux builds write a device id into the home folder when they are imported, and
report models and hardware to a host of their vendor. Both are off unless the operator's environment
asks for them: the variable has to stand before the import, so this is the one place that has it.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

SWITCH: Final = "ORT_DISABLE_TELEMETRY"


def load(part: str = "") -> Any:
    """The package, or a part of it as "quantization". Raises ``ImportError``."""
    os.environ.setdefault(SWITCH, "1")
    runtime = importlib.import_module("onnxruntime")
    runtime.disable_telemetry_events()
    return importlib.import_module(f"onnxruntime.{part}") if part else runtime
