"""Named vertices of the base mesh, for fitting a body to the landmarks of a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.body.source import Source

# Left-side and middle vertices of the hm08 mesh; the right side follows by the mirror map.
LEFT: Final[dict[str, int]] = {
    "eye_inner": 6853, "eye_outer": 7754, "lid_upper": 7748, "lid_lower": 7761,
    "lid_upper_inner": 7766, "lid_upper_outer": 7749,
    "lid_lower_inner": 7763, "lid_lower_outer": 7759,
    "brow_inner": 6983, "brow_mid": 6996, "brow_outer": 7024,
    "nose_ala": 11760, "mouth_corner": 10404,
    "cheek": 11787, "jaw_angle": 7469, "jaw_mid": 7694,
    "ear_top": 12012, "ear_outer": 12038, "ear_lobe": 12052, "tragus": 12239,
    "temple": 11993, "forehead_side": 7018,
    "neck": 7477, "shoulder": 8236, "elbow": 10042, "wrist": 10549,
    "thumb_tip": 9348, "index_tip": 8595, "middle_tip": 8813, "ring_tip": 8979,
    "little_tip": 9197,
}  # fmt: skip
MIDDLE: Final[dict[str, int]] = {
    "crown": 881, "hairline": 1015, "forehead": 5192, "nose_bridge": 132, "nose_tip": 297,
    "nose_base": 343, "lip_upper_outer": 455, "lip_upper_inner": 474, "lip_lower_inner": 493,
    "lip_lower_outer": 492, "chin_front": 5211, "chin": 732, "neck_pit": 815,
}  # fmt: skip


def find(source: Source, new_index: NDArray[np.int64]) -> dict[str, int]:
    """Landmark names with the asset's vertex numbers."""
    named = dict(MIDDLE)
    for name, vertex in LEFT.items():
        named[f"{name}_left"] = vertex
        named[f"{name}_right"] = int(source.mirror[vertex])
    return {name: int(new_index[vertex]) for name, vertex in named.items()}
