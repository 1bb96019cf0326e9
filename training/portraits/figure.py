"""A posed person as surfaces to render: body, eyes, lashes, teeth, tongue and cloth helpers.

Every surface is subdivided so that it passes through the body's own vertices. ``place`` holds the
same point on the base mesh (metres, feet at y = 0, arms held out): cuts of clothes, hairlines and
skin patterns are said there once and fit everybody, in every pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from pipeline.models.mini.rig.body import MATERIALS, Body
from pipeline.models.mini.rig.person import Person
from training.body import regions, source as body_source
from training.portraits import smooth

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
BODY_VERTICES = 13380  # the skin comes first on the base mesh


@dataclass(frozen=True, slots=True)
class Surface:
    """``points`` (M, 3) posed, y up, z to the camera; ``faces`` (F, 4); ``place`` on the base."""

    points: Floats
    faces: Ints
    place: Floats
    uv: Floats

    @property
    def normals(self) -> Floats:
        return smooth.normals(self.points, self.faces)

    def keep(self, mask: NDArray[np.bool_]) -> Surface:
        """The faces where ``mask`` (F,), with their vertices renumbered."""
        used, faces = np.unique(self.faces[mask], return_inverse=True)
        faces = faces.reshape(-1, 4).astype(np.int32)
        return Surface(self.points[used], faces, self.place[used], self.uv[used])


@dataclass(frozen=True, slots=True)
class Template:
    """The base mesh: places (V, 3), texture coordinates (V, 2), quads by group, region masks."""

    source: body_source.Source
    place: Floats
    uv: Floats

    @classmethod
    def load(cls) -> Template:
        source = body_source.load(body_source.find_data())
        place = source.vertices.astype(np.float32).copy()
        place[:, 1] -= place[:BODY_VERTICES, 1].min()
        uv = np.zeros((len(place), 2), np.float32)
        for group in source.groups.values():
            uv[group.quads] = source.uv[group.uv_quads]
        return cls(source, place, uv)

    def quads(self, *names: str) -> Ints:
        """The quads of all groups of these ``names``."""
        return np.concatenate([self.source.groups[n].quads for n in names]).astype(np.int32)

    def region(self, name: str, uv: Floats) -> Floats:
        """How much of the skin region ``name`` there is at texture coordinates (M, 2): 0..1."""
        picture = np.asarray(Image.open(self.source.mask(name)).convert("L"), np.float32) / 255
        size = len(picture)
        x = np.clip(uv[:, 0] * size - 0.5, 0, size - 1.001)
        y = np.clip((1 - uv[:, 1]) * size - 0.5, 0, size - 1.001)
        i, j = y.astype(int), x.astype(int)
        v, u = y - i, x - j
        top = picture[i, j] * (1 - u) + picture[i, j + 1] * u
        low = picture[i + 1, j] * (1 - u) + picture[i + 1, j + 1] * u
        return np.asarray(top * (1 - v) + low * v, np.float32)

    def rows(self, body: Body) -> Ints:
        """Where base-mesh vertices (V,) are in the asset, found by their place; -1 where not."""
        far, row = cKDTree(body.mean[: body.vertex_count]).query(self.source.vertices)
        return np.where(far < 1e-5, row, -1).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Figure:
    """A person in one state: the asset's vertices (N, 3), and those on the base mesh (V, 3)."""

    template: Template
    body: Body
    asset: Floats
    vertices: Floats

    @classmethod
    def of(cls, template: Template, person: Person, state: Floats) -> Figure:
        """The person of the body asset in ``state``, back on the base mesh's numbering."""
        rows, posed = template.rows(person.body), person.pose(state)
        needed = np.unique(template.quads("body", "helper-tights"))
        missing = int((rows[needed] < 0).sum())
        if missing:
            raise ValueError(f"the body lacks {missing} of {len(needed)} base-mesh vertices")
        return cls(template, person.body, posed, posed[rows])

    def surface(
        self, *groups: str, levels: int = 2, drop: NDArray[np.bool_] | None = None
    ) -> Surface:
        """The smooth surface of the named groups; ``drop`` (V,) takes vertices' faces away."""
        quads = self.template.quads(*groups)
        if drop is not None:
            quads = quads[~drop[quads].any(1)]
        used, local = np.unique(quads, return_inverse=True)
        local = local.reshape(-1, 4).astype(np.int32)
        net = smooth.subdivide(local, len(used), levels)
        return Surface(
            net.through(self.vertices[used]),
            net.faces,
            net.smooth(self.template.place[used]),
            net.smooth(self.template.uv[used]),
        )

    def piece(self, *materials: str, levels: int = 1) -> Surface:
        """The asset's own triangles of some materials, smoothed; they have no place."""
        wanted = [MATERIALS.index(m) for m in materials]
        faces = self.body.faces[np.isin(self.body.material, wanted)]
        used, local = np.unique(faces, return_inverse=True)
        triangles = np.full((len(faces), 4), -1, np.int32)
        triangles[:, :3] = local.reshape(-1, 3)
        net = smooth.subdivide(triangles, len(used), levels)
        points = net.through(self.asset[used])
        return Surface(points, net.faces, points, points[:, :2])

    def eye(self, side: str) -> tuple[Floats, float, Floats]:
        """Centre (3,), radius and gaze direction (3,) of the eyeball of ``side`` "l" or "r"."""
        wanted = [MATERIALS.index(m) for m in ("eye", "iris", "pupil")]
        ball = np.unique(self.body.faces[np.isin(self.body.material, wanted)])
        sign = 1 if side == "l" else -1
        points = self.asset[ball[self.body.mean[ball, 0] * sign > 0]]
        centre, radius = _sphere(points)
        tip = self.asset[self.body.landmarks["pupil_left" if sign > 0 else "pupil_right"]] - centre
        return centre, radius, (tip / np.linalg.norm(tip)).astype(np.float32)

    def lid_margin(self, side: str, row: str) -> Floats:
        """The edge of the lower ("1") or upper ("2") lid, from the nose outwards, (K, 3)."""
        line = np.array(regions.LID_MARGIN[row])
        return self.vertices[line if side == "l" else self.template.source.mirror[line]]


def _sphere(points: Floats) -> tuple[Floats, float]:
    """The ball (centre, radius) that fits ``points`` (N, 3) best."""
    solved = np.linalg.lstsq(
        np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None
    )[0]
    centre = solved[:3]
    return centre.astype(np.float32), float(np.sqrt(solved[3] + centre @ centre))
