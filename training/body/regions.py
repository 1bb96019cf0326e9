"""What each triangle of the body is made of, and which garment hides it.

Regions of the skin come from MakeHuman's texture masks; garments are cut out of the tights
helper along curves, eyebrows out of the skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.spatial import cKDTree

from training.body.cuts import Growth, cut, eyeball
from training.body.source import Source

Floats = NDArray[np.float64]

PLAIN_GROUPS: Final = {
    "helper-tongue": "tongue",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-skirt": "skirt",
}
LASH_REACH: Final = {"1": 0.0012, "2": 0.0026}  # metres kept of the lower and the upper lashes
LID_MARGIN: Final = {
    "1": (7770, 7771, 7764, 11717, 7763, 7762, 7761, 7760, 7759, 7758, 7757, 11716, 7756, 7755),
    "2": (7769, 7768, 7772, 7767, 7766, 7765, 7748, 7747, 7749, 7750, 7751, 7752, 7753),
}
GARMENTS: Final = ("top", "sleeve", "collar", "bottom", "shoes")

# Curves on the base mesh, in metres.
WAIST, ANKLE = 0.09, -0.72
NECK_CENTER, NECK_SIDE, NECK_BACK = 0.020, 0.098, 0.083  # an ellipse in x and z
NECK_FRONT = 0.541  # where the neckline crosses the chest
SLEEVE_HEM = 0.62  # of the way from shoulder to elbow
SKULL_AXIS = 0.04  # the z of the axis that the hairline goes around
HAIR_ANGLE: Final = (0, 25, 45, 58, 72, 84, 92, 112, 125, 145, 180)  # degrees from the front
HAIR_Y: Final = (0.806, 0.810, 0.795, 0.765, 0.742, 0.738, 0.752, 0.748, 0.71, 0.665, 0.650)
HAIR_DEPTH, HAIR_RISE = 0.016, 0.035  # thickness, and how far from the hairline it is reached
SKULL: Final = (12239, 983, 1015, 881)  # vertices (and mirrors) whose mean is inside the skull
BROW_X: Final = (0.010, 0.018, 0.026, 0.034, 0.042, 0.049, 0.057)
BROW_Y: Final = (0.7448, 0.7470, 0.7492, 0.7502, 0.7486, 0.7448, 0.7385)
BROW_HALF: Final = (0.0022, 0.0036, 0.0038, 0.0035, 0.0029, 0.0020, 0.0004)


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles of vertices with their texture coordinates and material names."""

    faces: NDArray[np.int64]  # (F, 3)
    uv_faces: NDArray[np.int64]  # (F, 3)
    material: NDArray[np.str_]  # (F,)


def surface(source: Source, growth: Growth, arms: Floats) -> Surface:
    """Cut the visible groups into triangles; ``arms`` (V,) is how much a vertex follows one."""
    parts = [_skin(source, growth)]
    parts += [_triangles(source, group, name) for group, name in PLAIN_GROUPS.items()]
    parts += [_lashes(source, growth, side, row) for side in "lr" for row in LASH_REACH]
    for side in "lr":
        helper = source.groups[f"helper-{side}-eye"].vertices
        parts.append(Surface(*eyeball(growth, helper, side == "r")))
    parts += [_clothes(source, growth, arms), _hair(source, growth)]
    return Surface(
        np.concatenate([p.faces for p in parts]),
        np.concatenate([p.uv_faces for p in parts]),
        np.concatenate([p.material for p in parts]).astype("U8"),
    )


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


def _cut(growth: Growth, whole: Surface, values: Floats) -> Surface:
    """Split along the zero of ``values`` (V + grown,)."""
    faces, uv_faces, origin = cut(growth, whole.faces, whole.uv_faces, values)
    return Surface(faces, uv_faces, whole.material[origin])


def _skin(source: Source, growth: Growth) -> Surface:
    """The body itself: lips, nails and the inside of the mouth by masks, brows by their arc."""
    whole = _triangles(source, "body", "skin")
    for mask, name in (("inside-mouth", "gum"), ("fingernails", "nail"), ("toenails", "nail")):
        whole.material[_mirrored(source, whole.faces, _in_mask(source, whole, mask))] = name
    lips = growth.extend(_mask_field(source, "lips"))
    whole = _cut(growth, whole, lips)
    skin = whole.material == "skin"
    whole.material[skin & (growth.extend(_mask_field(source, "lips"))[whole.faces].mean(1) > 0)] = (
        "lips"
    )
    whole = _cut(growth, whole, _brow_field(growth.extend(growth.vertices)))
    brow = _brow_field(growth.extend(growth.vertices))[whole.faces].mean(1) > 0
    whole.material[(whole.material == "skin") & brow] = "brow"
    return whole


def _brow_field(points: Floats) -> Floats:
    """Positive (in metres) inside an arc above each eye, seen from the front."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    inside = np.interp(x, BROW_X, BROW_HALF) - np.abs(y - np.interp(x, BROW_X, BROW_Y))
    inside = np.minimum(inside, np.minimum(x - BROW_X[0], BROW_X[-1] - x) / 2)
    return np.where((z > 0.09) & (y > 0.7), inside, -1.0)


def _in_mask(source: Source, whole: Surface, name: str) -> NDArray[np.bool_]:
    picture = np.asarray(Image.open(source.mask(name)).convert("L"))
    return _look_up(picture, source.uv[whole.uv_faces].mean(1)) > 100


def _mask_field(source: Source, name: str) -> Floats:
    """Positive at body vertices (V,) inside a mask, smooth across its border, symmetric."""
    picture = Image.open(source.mask(name)).convert("L").filter(ImageFilter.GaussianBlur(5))
    body = source.groups["body"]
    field = np.full(len(source.vertices), -1.0)
    field[body.quads.ravel()] = (
        _look_up(np.asarray(picture), source.uv[body.uv_quads.ravel()]) / 255 - 0.5
    )
    return np.asarray(field + field[source.mirror]) / 2


def _look_up(picture: NDArray[np.uint8], uv: Floats) -> Floats:
    height, width = picture.shape
    x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return np.asarray(picture[y, x], np.float64)


def _mirrored(
    source: Source, faces: NDArray[np.int64], found: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    twins = {tuple(sorted(face)) for face in source.mirror[faces[found]].tolist()}
    also = np.array([tuple(sorted(face)) in twins for face in faces.tolist()], np.bool_)
    return np.logical_or(found, also)


def _lashes(source: Source, growth: Growth, side: str, row: str) -> Surface:
    """A thin line of lashes along the lid's margin: the helper is made for a texture with alpha."""
    whole = _triangles(source, f"helper-{side}-eyelashes-{row}", "lash")
    margin = np.array(LID_MARGIN[row])
    line = source.vertices[margin if side == "l" else source.mirror[margin]]
    dense = np.concatenate([np.linspace(a, b, 8) for a, b in zip(line, line[1:], strict=False)])

    def field() -> Floats:
        distance = cKDTree(dense).query(growth.extend(growth.vertices))[0]
        return np.asarray(LASH_REACH[row] - distance)

    whole = _cut(growth, whole, field())
    keep = field()[whole.faces].mean(1) > 0
    return Surface(whole.faces[keep], whole.uv_faces[keep], whole.material[keep])


def _hair(source: Source, growth: Growth) -> Surface:
    """A cap of hair: the scalp above the hairline, swollen away from the skull's middle."""
    whole = _triangles(source, "body", "hair")
    whole = _cut(growth, whole, _hair_field(growth.extend(source.vertices)))
    height = _hair_field(growth.extend(source.vertices))
    keep = height[whole.faces].mean(1) > 0
    middle = [*SKULL, *source.mirror[list(SKULL)].tolist()]
    center, points = source.vertices[middle].mean(0), growth.extend(source.vertices)
    swollen = {}
    for vertex in np.unique(whole.faces[keep]).tolist():
        thickness = HAIR_DEPTH * np.sqrt(np.clip(height[vertex] / HAIR_RISE, 0.002, 1))
        swell = float(thickness / np.linalg.norm(points[vertex] - center))
        swollen[vertex] = growth.swell(vertex, middle, swell)
    faces = np.vectorize(swollen.__getitem__)(whole.faces[keep])
    return Surface(faces, whole.uv_faces[keep], whole.material[keep])


def _hair_field(points: Floats) -> Floats:
    """Metres above the hairline, which is a height that depends on the angle around the skull."""
    x, y, z = points.T
    angle = np.degrees(np.arctan2(np.abs(x), z - SKULL_AXIS))
    return np.asarray(y - np.interp(angle, HAIR_ANGLE, HAIR_Y))


def _clothes(source: Source, growth: Growth, arms: Floats) -> Surface:
    """Cut the tights into garments along their hems."""
    whole = _triangles(source, "helper-tights", "top")
    for name in ("collar", "bottom", "shoes", "sleeve"):
        field = _garment_field(source, growth, arms, name)
        whole = _cut(growth, whole, field)
        field = _garment_field(source, growth, arms, name)
        whole.material[field[whole.faces].mean(1) > 0] = name
    return whole


def _garment_field(source: Source, growth: Growth, arms: Floats, name: str) -> Floats:
    """Positive (V + grown,) on the garment's side of its hem."""
    points, arm = growth.extend(source.vertices), growth.extend(arms)
    x, y, z = points.T
    if name == "collar":
        reach = np.where(z > NECK_CENTER, 0.13, NECK_BACK)
        around = 1 - (x / NECK_SIDE) ** 2 - ((z - NECK_CENTER) / reach) ** 2
        scoop = (y - NECK_FRONT - 3.5 * x**2) / 0.05
        return np.where(y > 0.48, np.where(z > 0.03, np.minimum(around, scoop), around), -1.0)
    if name == "bottom":
        return np.where(arm < 0.5, WAIST - y, -1.0)
    if name == "shoes":
        return np.where(arm < 0.5, ANKLE - y, -1.0)
    shoulder = source.vertices[source.groups["joint-l-shoulder"].vertices].mean(0)
    elbow = source.vertices[source.groups["joint-l-elbow"].vertices].mean(0)
    along = elbow - shoulder
    part = (np.abs(points * [1, 0, 0]) + points * [0, 1, 1] - shoulder) @ along / (along @ along)
    return np.where(arm > 0.5, part - SLEEVE_HEM, -1.0)


def covers(whole: Surface, points: Floats) -> NDArray[np.str_]:
    """The garment (F,) that hides each skin face when it is worn, or an empty name.

    Only faces well inside a garment are hidden: hems keep the skin below them.
    """
    inside, owner = [], []
    for garment in GARMENTS:
        mine = np.unique(whole.faces[whole.material == garment])
        inside.append(mine)
        owner.append(np.where(np.isin(mine, _rim(whole, garment)), "", garment))
    vertices, names = np.concatenate(inside), np.concatenate(owner)
    distance, nearest = cKDTree(points[vertices]).query(points)
    vertex_cover = np.where(distance < 0.05, names[nearest], "")
    skin = np.isin(whole.material, ("skin", "nail"))
    corners = vertex_cover[whole.faces]
    same = (corners[:, 0] == corners[:, 1]) & (corners[:, 1] == corners[:, 2])
    cover = np.where(skin & same, corners[:, 0], "")
    tucked = _below_waist(whole, points) & np.isin(whole.material, ("top", "bottom"))
    return np.where(tucked, "skirt", cover)


def _below_waist(whole: Surface, points: Floats) -> NDArray[np.bool_]:
    """Faces (F,) that lie wholly behind the skirt, whose waist varies in height around it."""
    angle = (
        np.round(np.degrees(np.arctan2(points[:, 0], points[:, 2] - 0.01)) / 12).astype(int) % 30
    )
    skirt = np.unique(whole.faces[whole.material == "skirt"])
    waist = np.full(30, -np.inf)
    np.maximum.at(waist, angle[skirt], points[skirt, 1])
    lowest = np.minimum(np.minimum(np.roll(waist, 1), np.roll(waist, -1)), waist)
    below = (points[:, 1] < lowest[angle] - 0.01) & (points[:, 1] > points[skirt, 1].min())
    return np.asarray(below[whole.faces].all(1))


def lining(whole: Surface, points: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of cloth, and for each the skin vertex that it must not sink below."""
    cloth = np.unique(whole.faces[np.isin(whole.material, (*GARMENTS, "skirt"))])
    skin = np.unique(whole.faces[whole.material == "skin"])
    return cloth, skin[cKDTree(points[skin]).query(points[cloth])[1]]


def _rim(whole: Surface, garment: str) -> NDArray[np.int64]:
    """Vertices on edges that only one face of the garment has."""
    faces = whole.faces[whole.material == garment]
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])
