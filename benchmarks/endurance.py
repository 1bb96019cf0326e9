"""Is it still the same person at minute thirty? Identity and colours of late frames.

Half an hour is generated as body states; frames are drawn around a few minutes only. Identity is an
appearance descriptor of the face (oriented gradients, as Dalal and Triggs 2005, and colours), taken
from a box that follows the head and averaged over a window; descriptors are centred on the cast's
mean, so that the cosine of two different people is not high to begin with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.generate import Motion
from benchmarks.heldout import Spoken
from benchmarks.lips import Row
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.config import FRAME_RATE, SAMPLE_RATE
from pipeline.models.mini.drift import colour_statistics
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.rig.person import Person

WINDOW_S: Final = 10
EVERY: Final = 5  # frames between two that are drawn
CROP: Final = 64
CELL: Final = 8
BINS: Final = 8
Picture = NDArray[np.uint8]
F64 = NDArray[np.float64]


class Viewer:
    """Draws states of one identity and looks at the face in them."""

    def __init__(self, anchor: IdentityAnchor) -> None:
        self._painter, self._anchor = FrameRenderer(anchor), anchor
        self._person = Person(bundled_body(), anchor.fit.shape, anchor.fit.wear)

    def see(self, states: NDArray[np.float32]) -> tuple[F64, F64]:
        """Mean appearance descriptor of the face, and mean colour statistics (6,) of frames."""
        looks, colours = [], []
        for state in states:
            frame = self._painter.paint(state)
            looks.append(appearance(self._face(frame, state)))
            colours.append(colour_statistics(frame).astype(np.float64))
        return np.mean(looks, axis=0), np.mean(colours, axis=0)

    def _face(self, frame: Picture, state: NDArray[np.float32]) -> Picture:
        """The head's square, CROP px a side: as large as in the reference, moving with the eyes."""
        height, width = frame.shape[:2]
        marks = self._person.body.landmarks
        posed = self._anchor.camera.project(self._person.pose(state), width, height)
        eyes = posed[[marks["eye_outer_left"], marks["eye_outer_right"]], :2].mean(0)
        rest = self._person.pose(self._anchor.fit.state)
        still = self._anchor.camera.project(rest, width, height)
        half = 0.75 * float(still[marks["chin"], 1] - still[marks["crown"], 1])
        x, y = eyes
        box = (x - half, y - 0.8 * half, x + half, y + 1.2 * half)
        return np.asarray(Image.fromarray(frame).resize((CROP, CROP), Image.Resampling.BOX, box))


def appearance(face: Picture) -> F64:
    """Descriptor of a face (CROP, CROP, 3): oriented gradients and mean colours of 8 x 8 cells."""
    grey = face.astype(np.float64).mean(2) / 255
    dy, dx = np.gradient(grey)
    strength, angle = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi)
    bins = np.minimum((angle / np.pi * BINS).astype(int), BINS - 1)
    parts = [_cells(np.where(bins == k, strength, 0.0)) for k in range(BINS)]
    edges = np.stack(parts, -1)
    edges /= np.linalg.norm(edges, axis=-1, keepdims=True) + 0.02
    colours = np.stack([_cells(face[..., c] / 255.0) for c in range(3)], -1)
    return np.concatenate([edges.ravel(), 2.0 * colours.ravel()])


def _cells(values: F64) -> F64:
    side = CROP // CELL
    return np.asarray(values.reshape(side, CELL, side, CELL).mean((1, 3)))


def long_speech(held: Sequence[Spoken], seconds: float) -> NDArray[np.float32]:
    """Held-out clips one after the other, as often as it takes."""
    clips = [h.clip.audio for h in held]
    wanted = round(seconds * SAMPLE_RATE)
    times = -(-wanted // sum(len(clip) for clip in clips))
    return np.concatenate(clips * times)[:wanted]


def endurance(
    motion: Motion,
    cast: Mapping[str, Avatar],
    held: Sequence[Spoken],
    minutes: Sequence[float] = (1, 5, 30),
) -> Row:
    """The first of the cast at each of ``minutes`` against minute 0, and against the others."""
    viewers = {name: Viewer(avatar.anchor) for name, avatar in cast.items()}
    name, avatar = next(iter(cast.items()))
    speech = long_speech(held, 60 * max(minutes) + WINDOW_S)
    states = motion.perform(speech, avatar.anchor.reference, "", seed=1)
    starts = [0, *(round(60 * minute * FRAME_RATE) for minute in minutes)]
    shown = [states[s : s + WINDOW_S * FRAME_RATE : EVERY] for s in starts]
    seen = [viewers[name].see(window) for window in shown]
    looks = {n: v.see(shown[0])[0] for n, v in viewers.items()}
    centre = np.mean(list(looks.values()), axis=0)
    out: Row = {}
    for minute, (look, colours) in zip(minutes, seen[1:], strict=True):
        out[f"identity_minute_{minute:g}"] = _cosine(look - centre, seen[0][0] - centre)
        out[f"colour_drift_minute_{minute:g}"] = float(np.abs(colours - seen[0][1])[:3].max())
    others = [
        _cosine(look - centre, looks[name] - centre) for n, look in looks.items() if n != name
    ]
    return out | ({"identity_of_others": max(others)} if others else {})


def _cosine(a: F64, b: F64) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))
