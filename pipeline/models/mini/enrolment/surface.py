"""The drawn surface of a person: layers, and what a picture shows of each.

Faces are sorted into *layers*, parts that slide over each other: trunk skin, each arm's skin, eyes,
mouth, clothes, sleeves. Every layer has a texture of its own, in which the pixels that something
else hides are filled in from around; a hand in front of a chest leaves no print on it. Vertices
where two layers meet are doubled: a *row* is a vertex as one layer has it. Within a layer, a row is
seen if it faces the camera and nothing of its own layer is in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.models.mini.renderer.rasterizer import FAR, Buffer, rasterise
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES

LAYERS: Final = (
    "skin", "left_skin", "right_skin", "eyes", "mouth",
    "clothes", "left_sleeve", "right_sleeve", "hair", "legs",
)  # fmt: skip
ARMS: Final = tuple(i for i, n in enumerate(LAYERS) if n.startswith(("left", "right")))
PARTS: Final = (  # layers that loose things hang together with
    ("skin", "eyes", "mouth", "clothes", "hair", "legs"),
    ("left_skin", "left_sleeve"),
    ("right_skin", "right_sleeve"),
)
_OF_MATERIAL: Final = {
    "skin": "skin", "lips": "skin", "brow": "skin", "nail": "skin",
    "gum": "mouth", "teeth": "mouth", "tongue": "mouth",
    "eye": "eyes", "iris": "eyes", "pupil": "eyes",
    "top": "clothes", "sleeve": "clothes", "collar": "clothes",
    "hair": "hair", "bottom": "legs", "shoes": "legs", "skirt": "legs",
}  # fmt: skip
_NOT_DRAWN: Final = ("lash",)  # its hairs are in the picture, on lid and eye
_ARM_LAYERS: Final = {
    "skin": ("left_skin", "right_skin"),
    "clothes": ("left_sleeve", "right_sleeve"),
}
_ARM_BONES: Final = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
_TWO_SIDED: Final = ("hair", "clothes", "left_sleeve", "right_sleeve", "legs")
_STEP: Final = 0.0015  # metres of depth by which a row may lie behind its own layer ...
_STEP_SLOPE: Final = 3.0  # ... and pixels more, times the slope
_STEP_MOUTH: Final = 0.009  # ... in a mouth, whose teeth no fit puts quite where they are
_PAST: Final = 0.15  # cosine by which rows past the silhouette still take its colour
_TURNED_MOUTH: Final = 0.6  # cosine by which its few vertices may even face away
_OPEN_MOUTH: Final = 0.05  # of its squared width: a smaller opening is a dark slit
_EDGE: Final = 0.012  # metres of depth that make an edge of a layer before itself ...
_EDGE_PX: Final = 3  # ... whose pixels, this far around, are mixed or in its shadow

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Surface:
    """R rows and F faces of what is drawn of a person."""

    vertex: I32  # (R,) the body's vertex behind each row
    layer: NDArray[np.uint8]  # (R,)
    material: NDArray[np.uint8]  # (R,) the lowest material number of its faces
    faces: I32  # (F, 3) rows
    face_layer: NDArray[np.uint8]  # (F,)
    two_sided: NDArray[np.bool_]  # (F,)

    @classmethod
    def of(cls, person: Person) -> Surface:
        """Sort a clothed person's faces into layers."""
        drawn = ~np.isin(person.material, [MATERIALS.index(name) for name in _NOT_DRAWN])
        faces, material = person.faces[drawn], person.material[drawn]
        face_layer = _layers(person, faces, material)
        keys = faces.astype(np.int64) * len(LAYERS) + face_layer[:, None]
        used, rows = np.unique(keys, return_inverse=True)
        rows = rows.reshape(-1, 3)
        row_material = np.full(len(used), 255, np.uint8)
        np.minimum.at(row_material, rows.reshape(-1), np.repeat(material, 3))
        sided = [LAYERS.index(name) for name in _TWO_SIDED]
        return cls(
            vertex=(used // len(LAYERS)).astype(np.int32),
            layer=(used % len(LAYERS)).astype(np.uint8),
            material=row_material,
            faces=np.ascontiguousarray(rows, np.int32),
            face_layer=face_layer,
            two_sided=np.isin(face_layer, sided),
        )

    def only(self, kept: NDArray[np.bool_]) -> Surface:
        """The same rows with the ``kept`` (F,) faces."""
        faces, layer = np.ascontiguousarray(self.faces[kept]), self.face_layer[kept]
        return replace(self, faces=faces, face_layer=layer, two_sided=self.two_sided[kept])

    def mirrored(self, mirror: I32) -> I32:
        """The row (R,) that is each row's twin on the other side of the body, or itself."""
        swap = np.arange(len(LAYERS))
        for left, right in _ARM_LAYERS.values():
            a, b = LAYERS.index(left), LAYERS.index(right)
            swap[a], swap[b] = b, a
        keys = self.vertex.astype(np.int64) * len(LAYERS) + self.layer
        wanted = mirror[self.vertex].astype(np.int64) * len(LAYERS) + swap[self.layer]
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, at, np.arange(len(keys))).astype(np.int32)


def _layers(person: Person, faces: I32, material: NDArray[np.uint8]) -> NDArray[np.uint8]:
    of_material = [LAYERS.index(_OF_MATERIAL.get(name, "skin")) for name in MATERIALS]
    layer = np.array(of_material, np.uint8)[material]
    arm = np.array([bone.startswith(_ARM_BONES) for bone in BONES])
    on_arm = arm[person.body.bone[faces, 0]].all(1)
    left = person.rest[faces, 0].mean(1) > 0
    for whole, (left_name, right_name) in _ARM_LAYERS.items():
        mine = on_arm & (layer == LAYERS.index(whole))
        layer[mine & left] = LAYERS.index(left_name)
        layer[mine & ~left] = LAYERS.index(right_name)
    return layer


@dataclass(frozen=True, slots=True)
class View:
    """A posed surface before a camera, as a picture of some size sees it."""

    points: F32  # (R, 3) x px, y px, depth
    facing: F32  # (R,) cosine between normal and the way to the camera
    depth: F32  # (H, W) of the nearest sample of each pixel, FAR where nothing is
    layer: NDArray[np.int16]  # (H, W) that sample's layer, -1 where nothing is
    covered: F32  # (H, W) share of the pixel that is covered, 0..1

    @classmethod
    def of(cls, surface: Surface, points: F32, facing: F32, width: int, height: int) -> View:
        """Find what is visible of the surface."""
        buffer = Buffer(width, height)
        rasterise(points, surface.faces, surface.two_sided, buffer)
        depths, faces = buffer.depth_map(), buffer.face_map()
        nearest = depths.argmin(2)[..., None]
        face = np.take_along_axis(faces, nearest, 2)[..., 0]
        layer = np.where(face >= 0, surface.face_layer.astype(np.int16)[face], np.int16(-1))
        return cls(points, facing, depths.min(2), layer, (faces >= 0).mean(2, dtype=np.float32))

    def seen(self, surface: Surface, pixel: float) -> F32:
        """How far (R,) the picture shows each row, 0..1; ``pixel`` is a pixel's width in metres.

        What another layer hides counts as seen: its colour is filled in within the layer's texture.
        """
        height, width = self.depth.shape
        x, y = np.floor(self.points[:, 0]).astype(int), np.floor(self.points[:, 1]).astype(int)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        slope = np.sqrt(1 - np.minimum(self.facing, 1) ** 2) / np.maximum(self.facing, 0.1)
        mouth = surface.layer == LAYERS.index("mouth")
        step = np.where(mouth, _STEP_MOUTH, _STEP)
        allowed = step + _STEP_SLOPE * pixel * slope
        behind = self.points[:, 2] - self.depth[y, x]
        own = self.layer[y, x] == surface.layer
        hidden = np.where(own, np.clip(behind / allowed - 1, 0, 1), 0)
        beside = self.points[:, 2] - self._nearest_beside(surface)
        step = _EDGE + _STEP_SLOPE * pixel * _EDGE_PX * slope
        hidden = np.maximum(hidden, np.clip(beside / step - 1, 0, 1))
        towards = np.clip((self.facing + _PAST + _TURNED_MOUTH * mouth) / 0.1, 0, 1)
        return np.asarray(inside * towards * (1 - hidden), np.float32)

    def alone(self, surface: Surface, layers: tuple[str, ...]) -> View:
        """What would be seen of these layers if nothing else were there."""
        part = surface.only(np.isin(surface.face_layer, [LAYERS.index(name) for name in layers]))
        height, width = self.depth.shape
        return View.of(part, self.points, self.facing, width, height)

    def shows_mouth(self, surface: Surface) -> bool:
        """Whether enough of a mouth's inside is seen for its colours to be the picture's."""
        lips = self.points[surface.material == MATERIALS.index("lips"), 0]
        wide = float(np.ptp(lips)) if len(lips) else 0.0
        inside = int((self.layer == LAYERS.index("mouth")).sum())
        return inside > _OPEN_MOUTH * wide * wide

    def nearest(self) -> NDArray[np.int16]:
        """The layer (H, W) that is seen at each pixel, or the nearest to it."""
        rows, columns = ndimage.distance_transform_edt(
            self.layer < 0, return_distances=False, return_indices=True
        )
        return np.asarray(self.layer[rows, columns], np.int16)

    def away_from(self, name: str) -> F32:
        """Px (R,) between each row and the nearest pixel that shows the layer ``name``."""
        mine = self.layer == LAYERS.index(name)
        if not mine.any():
            return np.full(len(self.points), np.inf, np.float32)
        height, width = mine.shape
        far = ndimage.distance_transform_edt(~mine)
        x = np.clip(self.points[:, 0].astype(int), 0, width - 1)
        y = np.clip(self.points[:, 1].astype(int), 0, height - 1)
        return np.asarray(far[y, x], np.float32)

    def _nearest_beside(self, surface: Surface) -> F32:
        """The least depth (R,) that a row's own layer has within a few pixels."""
        height, width = self.depth.shape
        x = np.clip(self.points[:, 0].astype(int), 0, width - 1)
        y = np.clip(self.points[:, 1].astype(int), 0, height - 1)
        out = np.full(len(x), FAR, np.float32)
        for layer in np.unique(surface.layer):
            rows = surface.layer == layer
            depth = np.where(self.layer == layer, self.depth, FAR)
            out[rows] = ndimage.minimum_filter(depth, 2 * _EDGE_PX + 1)[y[rows], x[rows]]
        return out


def facing(points: F32, normals: F32, eye: F32) -> F32:
    """Cosine (N,) between unit normals and the way from the points (N, 3) to ``eye`` (3,)."""
    way = eye - points
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return np.asarray(np.einsum("nc,nc->n", way, normals), np.float32)
