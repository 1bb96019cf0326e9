"""The published networks: which wheel carries them, and that they are the bytes we looked at."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

VERSION: Final = "0.10.21"  # later wheels carry no models
WHEEL_SHA256: Final = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
_PLATFORM: Final = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
MODULES: Final = {  # our name -> its file in the wheel
    "face_detector": "face_detection/face_detection_full_range_sparse.tflite",
    "face_mesh": "face_landmark/face_landmark_with_attention.tflite",
    "pose_detector": "pose_detection/pose_detection.tflite",
    "pose": "pose_landmark/pose_landmark_full.tflite",
    "palm_detector": "palm_detection/palm_detection_full.tflite",
    "hand": "hand_landmark/hand_landmark_full.tflite",
}


def fetch(folder: Path) -> Path:
    """Downloads the wheel into ``folder``; the package itself is neither installed nor run."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
         "--only-binary=:all:", *_PLATFORM, "--dest", str(folder), f"mediapipe=={VERSION}"],
        check=True,
    )  # fmt: skip
    return next(folder.glob("mediapipe-*.whl"))


def read_networks(wheel: Path | None = None) -> dict[str, bytes]:
    """The TFLite files by our names; fetches the wheel if none is given.

    Raises ``ValueError`` for any other wheel than the one that was looked at.
    """
    if wheel is None:
        with tempfile.TemporaryDirectory() as folder:
            return read_networks(fetch(Path(folder)))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ValueError(f"{wheel.name} has the SHA-256 {digest}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(f"mediapipe/modules/{at}") for name, at in MODULES.items()}
