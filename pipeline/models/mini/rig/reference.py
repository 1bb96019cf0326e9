"""The reference vector: what the DiT is told of the picture, as one fixed layout.

[shape (62) | rest state (88) | framing (6)]: the fitted body, the state in which the picture shows
it, and the camera (its six numbers), so that gestures respect how the person stands and is cut.
"""

from __future__ import annotations

from typing import Final

from pipeline.models.mini.rig.state import STATE_DIM

SHAPE_DIM: Final = 62
FRAMING: Final = (
    "focal", "center_x", "center_y", "distance", "look_y", "pitch",
)  # fmt: skip
REF_DIM: Final = SHAPE_DIM + STATE_DIM + len(FRAMING)
