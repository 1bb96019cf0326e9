"""Colours for rows that no texture knows: spread over the mesh from rows that are seen.

Where nothing of a layer is seen, related layers say what is usual; eyes are painted. Creases and
hollows are darker than the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from pipeline.models.mini.enrolment import hidden_cloth
from pipeline.models.mini.enrolment.surface import ARMS, LAYERS, Surface
from pipeline.models.mini.rig.body import MATERIALS

F32 = NDArray[np.float32]

_FAMILIES: Final = (  # layers of one stuff, whose colours run into each other
    ("skin", "left_skin", "right_skin"),
    ("clothes", "left_sleeve", "right_sleeve"),
    ("legs",),
    ("hair",),
)
_EYE_PAINT: Final = {"eye": (222.0, 214.0, 208.0), "iris": (70.0, 52.0, 40.0), "pupil": (14.0,) * 3}
_SHADOW: Final = 0.72  # of the usual brightness: below it a row stood in a shadow, not in a colour
_EVEN: Final = 0.45  # of the way from what little was seen of an arm to the usual colour
_USUAL: Final = (120.0, 105.0, 100.0)
_WHITE: Final = 215.0  # brightness of a sclera under the light that the paints above are meant for


def fill_colours(surface: Surface, colours: F32, sure: F32, clean: F32) -> F32:
    """Colours (R, 3) for all rows: those of clean rows (weight near 1) spread to the others.

    Eyes take theirs from rows that are ``sure``, mixed with lashes or not. Mouths are left black.
    """
    out = np.zeros_like(colours)
    usual = np.array(_USUAL, np.float32)
    bare = None
    for family in _FAMILIES:
        rows = np.flatnonzero(np.isin(surface.layer, [LAYERS.index(name) for name in family]))
        source = clean[rows].copy()
        if (source > 0.9).sum() >= 8:
            usual = np.median(colours[rows][source > 0.9], 0)
            source *= _is_cloth(colours[rows], usual, bare)
            dark = colours[rows].mean(1) < _SHADOW * usual.mean()
            source *= ~(dark & np.isin(surface.layer[rows], ARMS))
        if "skin" in family:
            bare = usual
        if len(rows):
            out[rows] = _spread(surface, rows, colours[rows], source, usual)
            arms = rows[np.isin(surface.layer[rows], ARMS)]
            out[arms] += _EVEN * (usual - out[arms])
        usual = 0.5 * usual + 0.5 * np.array(_USUAL, np.float32)
    eyes = np.flatnonzero(surface.layer == LAYERS.index("eyes"))
    usual = _painted(surface.material[eyes], _EYE_PAINT, white_level(surface, colours, sure))
    out[eyes] = _eyes(surface.material[eyes], colours[eyes], sure[eyes], usual)
    return out


def _is_cloth(
    colours: F32, usual: NDArray[np.floating], bare: NDArray[np.floating] | None
) -> NDArray[np.bool_]:
    """Rows (R,) that do not rather look like skin: a sleeve of the body may reach over a wrist."""
    if bare is None or np.linalg.norm(usual - bare) < 40:
        return np.ones(len(colours), bool)
    to_cloth = np.linalg.norm(colours - usual, axis=1)
    return np.asarray(to_cloth < 1.2 * np.linalg.norm(colours - bare, axis=1))


def white_level(surface: Surface, colours: F32, sure: F32) -> float:
    """How bright a white thing is in this light, against the light that paints are meant for."""
    mine = (surface.material == MATERIALS.index("eye")) & (sure > 0.8)
    if mine.sum() < 6:
        return 0.9
    level = float(np.percentile(colours[mine].mean(1), 80))
    return float(np.clip(level / _WHITE, 0.75, 1.05))  # lids shade the eye more than teeth


def _painted(
    material: NDArray[np.uint8], paint: Mapping[str, tuple[float, ...]], white: float
) -> F32:
    table = np.tile(np.array(_USUAL, np.float32), (256, 1))
    for name, colour in paint.items():
        table[MATERIALS.index(name)] = np.array(colour) * white
    return table[material]


def _eyes(material: NDArray[np.uint8], colours: F32, sure: F32, usual: F32) -> F32:
    """Sclera, iris and pupil each in the colour that the picture shows most of, or the usual."""
    out = usual.copy()
    for name, part in (("eye", 75), ("iris", 50), ("pupil", 25)):
        mine = material == MATERIALS.index(name)
        good = colours[mine & (sure > 0.8)]
        if len(good) >= 4:
            luma = good.mean(1)
            out[mine] = good[np.argsort(luma)[int(part / 100 * (len(good) - 1))]]
    return out


def _spread(
    surface: Surface, rows: NDArray[np.int64], colours: F32, sure: F32, usual: NDArray[np.floating]
) -> F32:
    """Harmonic colours over a mesh; pieces of it without a known row get the usual colour."""
    node, edges = hidden_cloth.edges(surface, rows)
    count = int(node.max()) + 1
    good = sure > 0.9
    known = np.tile(np.asarray(usual, np.float64), (count, 1))
    known[node[good]] = colours[good]
    hold = np.full(count, 1e-4)
    hold[node[good]] = 50.0
    ones = np.ones(len(edges))
    graph = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    graph = (graph + graph.T).tocsr()
    system = sparse.diags_array(np.asarray(graph.sum(1)).ravel() + hold) - graph
    solved = splu(system.tocsc()).solve(hold[:, None] * known)
    return np.asarray(solved[node], np.float32)


def hollows(surface: Surface, rest: F32, normals: F32) -> F32:
    """How much light (R,) creases and hollows of the rest surface lose: 1 none, down to 0.6."""
    rows = np.arange(len(surface.vertex))
    node, edges = hidden_cloth.edges(surface, rows)
    first = np.unique(node, return_index=True)[1]
    place, up = rest[surface.vertex[first]], normals[surface.vertex[first]]
    way = place[edges[:, 1]] - place[edges[:, 0]]
    way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    rise = np.zeros(len(first))
    degree = np.zeros(len(first))
    for near, sign in ((0, 1.0), (1, -1.0)):
        np.add.at(rise, edges[:, near], sign * np.einsum("ec,ec->e", way, up[edges[:, near]]))
        np.add.at(degree, edges[:, near], 1.0)
    rise /= np.maximum(degree, 1)
    for _ in range(2):
        total = rise.copy()
        np.add.at(total, edges[:, 0], rise[edges[:, 1]])
        np.add.at(total, edges[:, 1], rise[edges[:, 0]])
        rise = total / (degree + 1)
    return np.clip(1 - 0.9 * np.maximum(rise, 0), 0.6, 1.0)[node].astype(np.float32)
