"""ONNX Runtime without its vendor's telemetry; everything here imports it from this module.

From 1.29 on its Linux builds write a device id into the home folder at import, and report models
and hardware to a host of the vendor. Both are off unless the operator's environment switches them
on. The variable must be set before the import, so there is one place for it.
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
