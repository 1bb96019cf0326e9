"""Cloth and hair where the picture is blind: the texture goes on around the back.

A sleeve's front is seen and its back is not. The back takes the places in the texture that lie
between those of its rims (harmonic over the mesh), so that weave and folds go on without a seam
and nothing is flat; so do rims that were seen at a glance, whose texture is a smear. A sleeve of
which nothing was seen takes what its twin on the other side of the body has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from pipeline.models.mini.enrolment.surface import LAYERS, Surface

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

CONTINUED: Final = ("clothes", "left_sleeve", "right_sleeve", "hair", "legs")
_LEAST: Final = 0.06  # of a layer's rows that must be seen for it to go on from them
_FEW: Final = 10


@dataclass(frozen=True, slots=True)
class Continued:
    """Where rows find their colours, the light they were seen in, and whether they do."""

    position: F32  # (R, 2) px in the atlas
    bright: F32  # (R,)
    found: NDArray[np.bool_]  # (R,)


def continued(
    surface: Surface, twin: NDArray[np.int32], position: F32, bright: F32, sure: NDArray[np.bool_]
) -> Continued:
    """Go on from the rows that are ``sure`` (R,) over the rest of each layer of ``CONTINUED``.

    ``twin`` (R,) is each row's row on the other side of the body.
    """
    values = np.concatenate([position, bright[:, None]], 1).astype(np.float64)
    found = np.zeros(len(position), bool)
    for name in CONTINUED:
        rows = np.flatnonzero(surface.layer == LAYERS.index(name))
        if sure[rows].sum() >= max(_FEW, _LEAST * len(rows)):
            solved, reached = _harmonic(surface, rows, values[rows], sure[rows])
            values[rows[reached]] = solved[reached]
            found[rows[reached]] = True
    other = np.isin(surface.layer, [LAYERS.index(name) for name in CONTINUED])
    other &= ~found & found[twin]
    values[other] = values[twin[other]]
    out = values.astype(np.float32)
    return Continued(out[:, :2], out[:, 2], found | other)


def edges(surface: Surface, rows: I64) -> tuple[I64, I64]:
    """Nodes (K,) of the rows, joined where layers meet, and the mesh's edges (E, 2) among them."""
    _, node = np.unique(surface.vertex[rows], return_inverse=True)
    of_row = np.full(len(surface.vertex), -1)
    of_row[rows] = node
    faces = of_row[surface.faces]
    faces = faces[(faces >= 0).all(1)]
    pairs = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    return node, np.unique(pairs, axis=0)


def _harmonic(
    surface: Surface, rows: I64, values: NDArray[np.float64], sure: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (K, C), harmonic where not sure, and which rows hang together with sure ones."""
    node, pairs = edges(surface, rows)
    count = int(node.max()) + 1
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    graph = (graph + graph.T).tocsr()
    _, piece = csgraph.connected_components(graph, directed=False)
    reached = np.isin(piece, np.unique(piece[node[sure]]))[node]
    known, hold = np.zeros((count, values.shape[1])), np.full(count, 1e-7)
    known[node[sure]], hold[node[sure]] = values[sure], 1e4
    system = sparse.diags_array(np.asarray(graph.sum(1)).ravel() + hold) - graph
    solved = splu(system.tocsc()).solve(hold[:, None] * known)[node]
    solved[sure] = values[sure]
    return solved, reached
