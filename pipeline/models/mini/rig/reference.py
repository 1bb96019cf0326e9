"""The reference vector: the picture as input of the DiT, in one fixed layout.

[shape (62) | rest state (88) | framing (6)]: the fitted body, its state in the picture, and the six
numbers of the camera, so that gestures fit the pose and the framing.
"""

from __future__ import annotations

from typing import Final

from pipeline.models.mini.rig.state import STATE_DIM

SHAPE_DIM: Final = 62
FRAMING: Final = (
    "focal", "center_x", "center_y", "distance", "look_y", "pitch",
)  # fmt: skip
REF_DIM: Final = SHAPE_DIM + STATE_DIM + len(FRAMING)
