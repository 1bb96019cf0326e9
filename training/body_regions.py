"""What each triangle of the body is made of, which garment hides it, and which vertices have names.

Regions of the skin come from MakeHuman's texture masks; garments are cut out of the tights
helper by height and by the bone that a vertex follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from training.body_source import Source

PLAIN_GROUPS: Final = {
    "helper-tongue": "tongue",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-l-eyelashes-1": "lash",
    "helper-l-eyelashes-2": "lash",
    "helper-r-eyelashes-1": "lash",
    "helper-r-eyelashes-2": "lash",
    "helper-hair": "hair",
    "helper-skirt": "skirt",
}
EYE_GROUPS: Final = ("helper-l-eye", "helper-r-eye")
GARMENTS: Final = ("top", "sleeve", "collar", "bottom", "shoes")

# Heights on the base mesh, in metres, that cut the tights into garments.
NECKLINE, WAIST, ANKLE = 0.552, 0.105, -0.70
BROW_ARC: Final = (0.7455, 0.7500, 0.7505, 0.7485, 0.7450, 0.7400)
IRIS_COSINE, PUPIL_COSINE = 0.84, 0.975  # of the angle from the optical axis


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles of base-mesh vertices with their texture coordinates and material names."""

    faces: NDArray[np.int64]  # (F, 3)
    uv_faces: NDArray[np.int64]  # (F, 3)
    material: NDArray[np.str_]  # (F,)


def surface(source: Source, bone_of: NDArray[np.str_]) -> Surface:
    """Cut the visible groups into triangles; ``bone_of`` names each vertex's strongest bone."""
    parts = [_triangles(source, "body", "skin")]
    parts += [_triangles(source, group, name) for group, name in PLAIN_GROUPS.items()]
    parts += [_triangles(source, group, "eye") for group in EYE_GROUPS]
    parts += [_triangles(source, "helper-tights", "top")]
    whole = Surface(
        np.concatenate([p.faces for p in parts]),
        np.concatenate([p.uv_faces for p in parts]),
        np.concatenate([p.material for p in parts]).astype("U8"),
    )
    _paint_skin(source, whole)
    _paint_eyes(source, whole)
    _cut_tights(source, whole, bone_of)
    return whole


def _triangles(source: Source, group: str, material: str) -> Surface:
    """Split quads along their shorter diagonal, so that mirrored quads split alike."""
    quads, uv = source.groups[group].quads, source.groups[group].uv_quads
    corner = source.vertices[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    turn = (first > second + 1e-7).astype(np.int64)[:, None]
    order = np.array([[0, 1, 2, 0, 2, 3]]) + turn
    pick = np.take_along_axis(quads, order % 4, 1).reshape(-1, 3)
    pick_uv = np.take_along_axis(uv, order % 4, 1).reshape(-1, 3)
    return Surface(pick, pick_uv, np.full(len(pick), material, "U8"))


def _paint_skin(source: Source, whole: Surface) -> None:
    """Name lips, nails and the inside of the mouth, each where a mask or its mirror says so."""
    skin = whole.material == "skin"
    for mask, name in (
        ("inside-mouth", "gum"), ("lips", "lips"), ("fingernails", "nail"), ("toenails", "nail"),
    ):  # fmt: skip
        found = skin & _mirrored(source, whole, _in_mask(source, whole, mask))
        whole.material[found] = name
    whole.material[skin & (whole.material == "skin") & _is_brow(source, whole)] = "brow"


def _in_mask(source: Source, whole: Surface, name: str) -> NDArray[np.bool_]:
    picture = np.asarray(Image.open(source.mask(name)).convert("L"))
    height, width = picture.shape
    center = source.uv[whole.uv_faces].mean(1)
    x = np.clip((center[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - center[:, 1]) * height).astype(int), 0, height - 1)
    return picture[y, x] > 100


def _mirrored(source: Source, whole: Surface, found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    twins = {tuple(sorted(face)) for face in source.mirror[whole.faces[found]].tolist()}
    also = [tuple(sorted(face)) in twins for face in whole.faces.tolist()]
    return found | np.array(also)


def _is_brow(source: Source, whole: Surface) -> NDArray[np.bool_]:
    """An arc above each eye on the base mesh, seen from the front."""
    center = source.vertices[whole.faces].mean(1)
    x, y, z = np.abs(center[:, 0]), center[:, 1], center[:, 2]
    arc = np.interp(x, [0.012, 0.025, 0.034, 0.042, 0.048, 0.055], BROW_ARC)
    half = np.interp(x, [0.012, 0.03, 0.055], [0.0042, 0.0036, 0.0018])
    return (x > 0.012) & (x < 0.056) & (z > 0.09) & (np.abs(y - arc) < half)


def _paint_eyes(source: Source, whole: Surface) -> None:
    for group in EYE_GROUPS:
        vertices = source.groups[group].vertices
        points = source.vertices[vertices]
        center = (points.min(0) + points.max(0)) / 2
        toward = source.vertices[whole.faces].mean(1) - center
        cosine = toward[:, 2] / np.linalg.norm(toward, axis=1)
        mine = np.isin(whole.faces[:, 0], vertices)
        whole.material[mine & (cosine > IRIS_COSINE)] = "iris"
        whole.material[mine & (cosine > PUPIL_COSINE)] = "pupil"


def _cut_tights(source: Source, whole: Surface, bone_of: NDArray[np.str_]) -> None:
    tights = np.isin(whole.faces[:, 0], source.groups["helper-tights"].vertices)
    y = source.vertices[whole.faces].mean(1)[:, 1]
    bones = bone_of[whole.faces]
    low_arm = np.char.startswith(bones, "lowerarm") | np.char.startswith(bones, "wrist")
    low_arm |= np.char.startswith(bones, "upperarm02")
    arm = low_arm.any(1) | np.char.startswith(bones, "upperarm").any(1)
    whole.material[tights & ~arm & (y > NECKLINE)] = "collar"
    whole.material[tights & ~arm & (y < WAIST)] = "bottom"
    whole.material[tights & (y < ANKLE)] = "shoes"
    whole.material[tights & (low_arm.sum(1) >= 2)] = "sleeve"


def covers(source: Source, whole: Surface) -> NDArray[np.str_]:
    """The garment (F,) that hides each skin face when it is worn, or an empty name.

    Only faces well inside a garment are hidden: hems keep the skin below them.
    """
    inside, owner = [], []
    for garment in GARMENTS:
        mine = np.unique(whole.faces[whole.material == garment])
        others = np.isin(whole.material, GARMENTS) & (whole.material != garment)
        rim = np.union1d(np.unique(whole.faces[others]), _open_rim(whole, garment))
        kept = np.setdiff1d(mine, rim)
        inside.append(mine)
        owner.append(np.where(np.isin(mine, kept), garment, ""))
    vertices, names = np.concatenate(inside), np.concatenate(owner)
    distance, nearest = cKDTree(source.vertices[vertices]).query(source.vertices)
    vertex_cover = np.where(distance < 0.05, names[nearest], "")
    body = np.isin(whole.faces[:, 0], source.groups["body"].vertices)
    corners = vertex_cover[whole.faces]
    same = (corners[:, 0] == corners[:, 1]) & (corners[:, 1] == corners[:, 2])
    return np.where(body & same, corners[:, 0], "")


def _open_rim(whole: Surface, garment: str) -> NDArray[np.int64]:
    """Vertices on edges that only one face of the garment has."""
    faces = whole.faces[whole.material == garment]
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])
