"""The preview of an own picture: landmarks, fitted body and test frames in one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.interface import Landmarks
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED
from pipeline.models.mini.enrolment.photo_limits import corrections
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.renderer.rasterizer import Buffer, rasterise
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.sample_motion import MOMENTS, moment

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CELL: Final = 384  # px of the height of each cell
COLUMNS: Final = 4
_PAPER, _INK = (245, 243, 238), (29, 41, 38)
_MESH, _SKIN, _NEEDED, _MORE = (20, 120, 110), (52, 163, 152), (230, 50, 40), (60, 190, 250)
_FACE: Final = ("skin", "lips", "brow", "eye", "iris", "pupil")
_CAPTION: Final = 20  # px


def sheet(
    picture: U8, fit: Fit, notes: Sequence[str], anchor: IdentityAnchor | None = None
) -> Image.Image:
    """Points and fit of a picture (H, W, 3); with an anchor also its test frames.

    An anchor is made under a consent grant; without one the sheet shows no generated frame.
    """
    cells = [
        ("points: red are required", marked(picture, fit.landmarks)),
        ("the fitted body", meshed(picture, fit)),
        ("what it covers", masked(picture, fit)),
    ]
    if anchor is not None:
        painter = FrameRenderer(anchor)
        for number, (name, _) in enumerate(MOMENTS):
            cells.append((name, painter.paint(moment(anchor.rest_state, number))))
    return _laid_out(cells, notes)


def marked(picture: U8, points: Landmarks) -> U8:
    """The picture with its points, the required ones red."""
    image, scale = _enlarged(picture)
    pen, size = ImageDraw.Draw(image), max(2.0, 0.005 * image.height)
    for name, (x, y) in points.items():
        at = (x * scale - size, y * scale - size, x * scale + size, y * scale + size)
        colour = _NEEDED if name in REQUIRED else _MORE
        pen.ellipse(at, fill=colour, outline=(0, 0, 0))
    return np.asarray(image)


def _enlarged(picture: U8) -> tuple[Image.Image, float]:
    """At least twice the cell's height, so that thin marks survive."""
    image = Image.fromarray(picture)
    scale = max(1.0, 2 * CELL / image.height)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC), scale


def meshed(picture: U8, fit: Fit) -> U8:
    """The picture with the edges of the fitted body that face the camera."""
    image, scale = _enlarged(picture)
    person, points = _placed(fit, *picture.shape[1::-1])
    faces = person.faces[np.isin(person.material, _materials(_FACE))]
    a, b, c = (points[faces[:, i], :2] * scale for i in range(3))
    across, down = b - a, c - a
    facing = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    pen = ImageDraw.Draw(image, "RGBA")
    for corners in np.stack([a, b, c], 1)[facing]:
        pen.polygon([(float(x), float(y)) for x, y in corners], outline=(*_MESH, 110))
    return np.asarray(image.convert("RGB"))


def masked(picture: U8, fit: Fit) -> U8:
    """The picture with everything tinted that the fitted body covers."""
    height, width = picture.shape[:2]
    person, points = _placed(fit, width, height)
    buffer, count = Buffer(width, height), len(person.faces)
    rasterise(points, person.faces, np.ones(count, np.bool_), buffer)
    share = (buffer.face_map() >= 0).mean(2, keepdims=True) * 0.55
    return np.asarray(picture * (1 - share) + np.array(_SKIN) * share, np.uint8)


def _placed(fit: Fit, width: int, height: int) -> tuple[Person, F32]:
    """The posed body's vertices (N, 3), px of the picture, moved onto the landmarks."""
    person = Person(bundled_body(), fit.shape, fit.wear)
    points = fit.camera.project(person.pose(fit.state), width, height)
    points[:, :2] += corrections(person, points, fit.landmarks)
    return person, points


def _materials(names: Sequence[str]) -> list[int]:
    from pipeline.models.mini.rig.body import MATERIALS

    return [MATERIALS.index(name) for name in names]


def _laid_out(cells: Sequence[tuple[str, U8]], notes: Sequence[str]) -> Image.Image:
    """Captions above cells, four in a row; notes at the bottom."""
    wide = max(round(CELL * image.shape[1] / image.shape[0]) for _, image in cells)
    wide = min(wide, 2 * CELL)
    rows = -(-len(cells) // COLUMNS)
    foot = _CAPTION * (len(notes) + 1) if notes else 0
    out = Image.new("RGB", (COLUMNS * wide, rows * (CELL + _CAPTION) + foot), _PAPER)
    pen, font = ImageDraw.Draw(out), ImageFont.load_default(14)
    for number, (name, image) in enumerate(cells):
        x, y = number % COLUMNS * wide, number // COLUMNS * (CELL + _CAPTION)
        pen.text((x + 6, y + 2), name, _INK, font)
        small = Image.fromarray(image)
        small.thumbnail((wide, CELL), Image.Resampling.LANCZOS)
        out.paste(small, (x, y + _CAPTION))
    for number, note in enumerate(notes):
        pen.text((6, out.height - foot + _CAPTION * number + 4), note, _INK, font)
    return out
