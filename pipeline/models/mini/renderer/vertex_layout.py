"""What a vertex is drawn with: sixteen float32 in this order.

The first eight say where it is and what the texture gives it; most of drawing reads nothing else,
so it keeps them in a table of their own, and the other eight, its *looks*, in another.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

X, Y, DEPTH, COVER, U, V, SEEN, SHADE, MIRROR_U, MIRROR_V, MIRROR_SEEN = range(11)
RED, GREEN, BLUE = 12, 13, 14
VERTEX_WIDTH: Final = 16
HALF: Final = 8  # columns of each of the two tables

F32 = NDArray[np.float32]


def split(table: F32) -> tuple[F32, F32]:
    """Vertices (R, 16) as two tables (R, 8): places and texture; looks, from column HALF on."""
    if table.ndim != 2 or table.shape[1] != VERTEX_WIDTH:
        raise ValueError(f"vertices are (R, {VERTEX_WIDTH}), got {table.shape}")
    return np.ascontiguousarray(table[:, :HALF]), np.ascontiguousarray(table[:, HALF:])
