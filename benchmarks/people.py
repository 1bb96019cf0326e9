"""Held-out people with a known truth: random bodies in random colours, drawn by the rasteriser.

A reference picture is drawn in the rest state and enrolled through its exact fit; every other state
has a true picture, with which the decoded frame is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.renderer import lighting, shading
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from training.director.bodies import sample_shape

Picture = NDArray[np.uint8]
State = NDArray[np.float32]
WEAR: Final = frozenset({"top_long", "bottom"})
LIGHT: Final = np.array([-0.25, 0.3, 0.25], np.float32)
REGIONS: Final = {
    "mouth": ("mouth_corner_left", "mouth_corner_right", "nose_base", "chin"),
    "eyes": (
        "eye_outer_left", "eye_outer_right", "brow_mid_left", "brow_mid_right", "lid_lower_left",
    ),
    "left hand": (
        "wrist_left", "thumb_tip_left", "index_tip_left", "middle_tip_left", "little_tip_left",
    ),
    "right hand": (
        "wrist_right", "thumb_tip_right", "index_tip_right", "middle_tip_right", "little_tip_right",
    ),
}  # fmt: skip


def _colours(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    skin = np.array([236, 190, 160]) * rng.uniform(0.3, 1.0) ** np.array([0.7, 1.0, 1.15])
    dark = np.array([60, 42, 30]) * rng.uniform(0.3, 2.2)
    top, bottom = rng.uniform(25, 225, 3), rng.uniform(25, 160, 3)
    return {
        "skin": skin, "lips": skin * (0.86, 0.58, 0.6), "brow": dark, "nail": skin * 1.06,
        "gum": np.array([120.0, 45, 45]), "teeth": np.array([228.0, 220, 205]),
        "tongue": np.array([175.0, 85, 85]), "eye": np.array([230.0, 226, 222]),
        "iris": rng.uniform(40, 130, 3), "pupil": np.array([15.0, 15, 18]), "lash": dark * 0.5,
        "hair": dark, "top": top, "sleeve": top, "collar": top, "bottom": bottom,
        "shoes": dark, "skirt": bottom,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Score:
    """Peak signal-to-noise ratios (dB) of one frame: decoded, and the reference copied."""

    decoded: float
    copied: float


class TruePerson:
    """A body nobody trained on, that can be drawn truly in any state."""

    def __init__(self, seed: int, rest: State, size: int = 512) -> None:
        rng = np.random.default_rng([seed, 77])
        body = bundled_body()
        self.shape, self.rest, self.size = sample_shape(rng), rest, size
        self.person: Person = Person(body, self.shape, WEAR)
        self.surface = Surface.of(self.person)
        posed = self.person.pose(rest)
        crown = float(posed[body.landmarks["crown"], 1])
        self.camera = Camera(focal=2.5, distance=2.6, look_y=crown - 0.42, center_y=0.5)
        self._rows = self._row_table(_colours(rng), rng)
        fine = 2 * size
        y, x = np.mgrid[:fine, :fine] / fine
        tint = rng.uniform(60, 190, 3)
        self._background = np.stack(
            [np.clip(tint[c] + 40 * np.sin(2.3 * x + c) + 30 * y, 0, 255) for c in range(3)], -1
        ).astype(np.uint8)
        self._canvas = shading.Canvas(fine, fine, len(self.surface.faces))

    def _row_table(
        self, paint: dict[str, NDArray[np.float64]], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        colours = np.stack([paint[name] for name in MATERIALS])[self.surface.material]
        place = self.person.rest[self.surface.vertex]
        cloth = np.isin(self.surface.material, [MATERIALS.index(n) for n in ("top", "sleeve")])
        waves = np.sin(place @ rng.normal(0, 25, (3, 3))).sum(1)
        rows = np.zeros((len(colours), shading.VERTEX_WIDTH), np.float32)
        rows[:, shading.RED : shading.BLUE + 1] = (
            colours * (1 + np.where(cloth, 0.15, 0.03) * waves)[:, None]
        )
        rows[:, shading.COVER] = 1
        return np.clip(rows, 0, 255).astype(np.float32)

    def render(self, state: State) -> Picture:
        """The true picture (size, size, 3), drawn at twice the size and averaged."""
        fine, out = 2 * self.size, self._background.copy()
        posed = self.person.pose(state)
        vertex = self.surface.vertex
        self._rows[:, : shading.DEPTH + 1] = self.camera.project(posed, fine, fine)[vertex]
        self._rows[:, shading.SHADE] = lighting.brightness(
            self.person.normals(posed)[vertex], LIGHT
        )
        blank = shading.pack(np.zeros((2, 2, 4), np.uint8))
        shading.draw(
            self._rows, self.surface.faces, self.surface.face_layer, self.surface.two_sided, blank,
            out, self._canvas, 0.005,
        )  # fmt: skip
        halves = out.reshape(self.size, 2, self.size, 2, 3).mean((1, 3))
        return np.asarray(np.rint(halves), np.uint8)

    def enrolled(self) -> tuple[Picture, IdentityAnchor]:
        """The reference picture and its anchor, through the exact fit."""
        picture = self.render(self.rest)
        fit = Fit(self.shape, self.rest, self.camera, WEAR)
        return picture, build_anchor(picture, fit, self.size, self.size)

    def boxes(self, state: State) -> dict[str, tuple[slice, slice]]:
        """Rows and columns of the named regions of a state that lie in the picture."""
        marks = self.person.body.landmarks
        points = self.camera.project(self.person.pose(state), self.size, self.size)
        found = {}
        for name, corners in REGIONS.items():
            at = points[[marks[corner] for corner in corners], :2]
            margin = 0.012 * self.size
            low = np.clip(at.min(0) - margin, 0, self.size).astype(int)
            high = np.clip(at.max(0) + margin, 0, self.size).astype(int)
            if min(high - low) >= 8:
                found[name] = (slice(low[1], high[1]), slice(low[0], high[0]))
        return found


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB, at most 60."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return min(60.0, 10 * float(np.log10(255**2 / error))) if error else 60.0


def compare(person: TruePerson, state: State, frame: Picture, copy: Picture) -> dict[str, Score]:
    """Scores of a decoded frame over the whole picture and over each region."""
    truth = person.render(state)
    boxes = {"whole": (slice(None), slice(None)), **person.boxes(state)}
    return {
        name: Score(psnr(truth[box], frame[box]), psnr(truth[box], copy[box]))
        for name, box in boxes.items()
    }
