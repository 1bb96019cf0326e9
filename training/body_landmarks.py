"""Named vertices of the base mesh, for fitting a body to the landmarks of a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.body_regions import Surface
from training.body_source import Source

# Left-side and middle vertices; the right side follows by the mirror map.
LEFT: Final[dict[str, int]] = {}
MIDDLE: Final[dict[str, int]] = {}


def find(source: Source, whole: Surface, new_index: NDArray[np.int64]) -> dict[str, int]:
    """Landmark names with the asset's vertex numbers."""
    named = dict(MIDDLE)
    for name, vertex in LEFT.items():
        named[f"{name}_left"] = vertex
        named[f"{name}_right"] = int(source.mirror[vertex])
    return {name: int(new_index[vertex]) for name, vertex in named.items()}
