"""What the networks' outputs are called here, and what input each wants."""

from __future__ import annotations

from typing import Final

OUTPUTS: Final = {  # in the order of the published file
    "face_detector": ("boxes", "scores"),
    "face_mesh": ("mesh", "lips", "left_eye", "right_eye", "left_iris", "right_iris", "flag"),
    "pose_detector": ("boxes", "scores"),
    "pose": ("points", "flag", "mask", "heatmap", "world"),
    "palm_detector": ("boxes", "scores"),
    "hand": ("points", "presence", "handedness", "world"),
}
SIGNED: Final = ("face_detector", "pose_detector")  # want -1..1, the others 0..1
