"""Triton reads at its first import whether its interpreter runs the kernels: where there is no GPU
it has to, and any test may be the one that imports it first."""

from __future__ import annotations

import os
from pathlib import Path

if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
