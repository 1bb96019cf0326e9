"""Synthetic references: the body with procedural colours, rendered by the project's own drawing.

The same renderer makes the truth that painted frames are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.renderer import lighting, shading
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import state

F32 = NDArray[np.float32]
Picture = NDArray[np.uint8]

PAINT: Final[Mapping[str, tuple[int, int, int]]] = {
    "skin": (205, 160, 135), "lips": (170, 85, 85), "brow": (70, 50, 40), "nail": (215, 165, 150),
    "gum": (120, 45, 45), "teeth": (228, 220, 205), "tongue": (175, 85, 85),
    "eye": (230, 226, 222), "iris": (80, 110, 130), "pupil": (15, 15, 18), "hair": (70, 50, 35),
    "top": (70, 95, 150), "sleeve": (70, 95, 150), "collar": (70, 95, 150),
    "bottom": (60, 60, 70), "shoes": (40, 30, 30), "skirt": (60, 60, 70), "lash": (30, 20, 20),
}  # fmt: skip
HALF: Final = Camera(focal=2.6, distance=2.6, look_y=1.3)
HEAD: Final = Camera(focal=4.6, distance=2.6, look_y=1.48)
DRESSED: Final = frozenset({"top_long", "bottom"})
REST: Final = {
    "left_flex": 0.18, "left_abduct": 0.14, "left_twist": 0.5, "left_elbow": 1.25,
    "left_forearm": 0.45, "right_flex": 0.05, "right_abduct": 0.1, "right_elbow": 0.3,
}  # fmt: skip


class Model:
    """A dressed person with patterned colours in front of a smooth background."""

    def __init__(
        self, camera: Camera = HALF, size: int = 160, paint: Mapping[str, tuple[int, ...]] = PAINT
    ) -> None:
        body = bundled_body()
        self.shape = body.shape(gender=0.2)
        self.person = Person(body, self.shape, DRESSED)
        self.surface = Surface.of(self.person)
        self.camera, self.size = camera, size
        colours = np.array([paint[name] for name in MATERIALS], np.float32)[self.surface.material]
        self.table = np.zeros((len(self.surface.vertex), shading.VERTEX_WIDTH), np.float32)
        self.table[:, shading.RED : shading.BLUE + 1] = colours * self._pattern()
        self.table[:, shading.COVER] = 1
        self.background = self._background(2 * size)
        self._canvas = shading.Canvas(2 * size, 2 * size, len(self.surface.faces))

    def render(self, pose: F32) -> Picture:
        """The true picture (size, size, 3) of a state, at twice the size and averaged."""
        posed, fine = self.person.pose(pose), 2 * self.size
        rows, out = self.surface.vertex, self.background.copy()
        self.table[:, : shading.DEPTH + 1] = self.camera.project(posed, fine, fine)[rows]
        direction = np.array([-0.25, 0.3, 0.25], np.float32)
        normals = self.person.normals(posed)[rows]
        self.table[:, shading.SHADE] = lighting.brightness(normals, direction)
        surface, blank = self.surface, shading.pack(np.zeros((2, 2, 4), np.uint8))
        shading.draw(
            self.table, surface.faces, surface.face_layer, surface.two_sided, blank, out,
            self._canvas, 0.005,
        )  # fmt: skip
        halves = out.reshape(self.size, 2, self.size, 2, 3).mean((1, 3))
        return np.asarray(np.rint(halves), np.uint8)

    def landmarks(self, pose: F32, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
        """Where named points are in the picture of a state, px."""
        points = self.camera.project(self.person.pose(pose), self.size, self.size)
        marks = self.person.body.landmarks
        return {n: (float(points[marks[n], 0]), float(points[marks[n], 1])) for n in names}

    def _pattern(self) -> F32:
        place = self.person.rest[self.surface.vertex]
        cloth = np.isin(self.surface.material, [MATERIALS.index(n) for n in ("top", "sleeve")])
        waves = np.sin(place @ np.array([[35.0, 9.0], [8.0, -28.0], [15.0, 20.0]])).sum(1)
        return (1 + np.where(cloth, 0.15, 0.03) * waves).astype(np.float32)[:, None]

    @staticmethod
    def _background(size: int) -> Picture:
        y, x = np.mgrid[:size, :size] / size
        return np.stack([110 + 60 * x, 120 + 40 * y, 140 + 30 * np.sin(3 * x)], -1).astype(np.uint8)


def rest_state(**values: float) -> F32:
    """The state of the references, but for the named values."""
    return state(**(REST | values))


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
