"""One picture of one character: build the scene in a state, render, put it before its backdrop."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import neutral, state
from training.portraits import eyes, hair_growth, hair_material, skin, studio, wardrobe
from training.portraits.blend import add_mesh
from training.portraits.characters import Character
from training.portraits.figure import Figure, Template

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shot:
    """How a picture is taken: pixels a side, samples, share of the strands, threads."""

    size: int = 1024
    samples: int = 40
    hair: float = 1.0
    threads: int = 2
    camera: Camera | None = None  # another than the character's


@dataclass(slots=True)
class Set:
    """What all characters share: the body asset and the base mesh."""

    body: Body = field(default_factory=Body.load)
    template: Template = field(default_factory=Template.load)

    def person(self, character: Character) -> Person:
        return Person(self.body, self.body.shape(**character.shape), character.wear)

    def camera(self, character: Character) -> Camera:
        """The character's camera; it depends on how tall the body is."""
        standing = self.person(character).pose(neutral())
        return character.camera(float(standing[self.body.landmarks["crown"], 1]))

    def fit(self, character: Character) -> Fit:
        """The fit that the character's picture is rendered with."""
        return Fit(
            shape=self.body.shape(**character.shape),
            state=state(**character.state),
            camera=self.camera(character),
            wear=character.wear,
        )


def film(stage: Set, character: Character, pose: NDArray[np.float32], shot: Shot) -> Picture:
    """The person alone in state ``pose`` (STATE_DIM,): RGBA (H, W, 4)."""
    person = stage.person(character)
    rest = Figure.of(stage.template, person, neutral())
    figure = Figure.of(stage.template, person, pose)
    studio.clear()
    studio.settings(shot.size, shot.samples, shot.threads)
    studio.camera(shot.camera or stage.camera(character))
    head = Figure.of(stage.template, person, state(**character.state)).eye("l")[0]
    studio.lights((0.0, float(head[1]), float(head[2])))
    build(character, rest, figure, shot.hair)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "person.png"
        studio.render(path)
        return calm(np.asarray(Image.open(path).convert("RGBA")))


def calm(person: Picture, spread: float = 0.7) -> Picture:
    """Soften the outline: the renderer denoises colours but not how much of a pixel hair fills."""
    alpha = person[..., 3].astype(np.float32)
    edge = ndimage.maximum_filter(alpha, 5) - ndimage.minimum_filter(alpha, 5) > 8
    covered = np.concatenate([person[..., :3] * (alpha[..., None] / 255), alpha[..., None]], 2)
    soft = ndimage.gaussian_filter(covered, (spread, spread, 0))
    colour = soft[..., :3] * 255 / np.maximum(soft[..., 3:], 1)
    smooth = np.concatenate([np.clip(colour, 0, 255), soft[..., 3:]], 2)
    return np.where(edge[..., None], smooth + 0.5, person).astype(np.uint8)


def build(character: Character, rest: Figure, figure: Figure, hair: float) -> None:
    """Put the person into the scene: skin, eyes, hair and clothes."""
    look, cut = character.look, character.cut
    template, drop = figure.template, wardrobe.hidden(figure, character.outfit)
    before = rest.surface("body", drop=drop)
    after = figure.surface("body", drop=drop)
    scalp = hair_growth.scalp(template, before, cut) * (cut.style != "bald")
    painted = skin.paint(template, after, look, scalp, hair_growth.beard_area(template, before))
    add_mesh("skin", after.points, after.faces, skin.material(look), painted)
    mouth = figure.piece("tongue")
    add_mesh("tongue", mouth.points, mouth.faces, skin.plain("tongue", (0.66, 0.33, 0.32), 0.35))
    teeth = figure.piece("teeth")
    add_mesh("teeth", teeth.points, teeth.faces, skin.plain("teeth", (0.90, 0.87, 0.80), 0.2))
    eyes.add(figure, *character.eyes)
    rng = np.random.default_rng(character.seed)
    hair_material.add_all(figure, rest, before, after, cut, rng, hair)
    wardrobe.dress(figure, character.outfit, character.seed)


def compose(person: Picture, backdrop: Picture) -> Picture:
    """RGBA over RGB: (H, W, 3)."""
    alpha = person[..., 3:].astype(np.float32) / 255
    mixed = person[..., :3] * alpha + backdrop * (1 - alpha)
    return (mixed + 0.5).astype(np.uint8)
