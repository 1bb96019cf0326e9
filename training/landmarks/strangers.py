"""Random people whose landmarks are known, drawn for the detector of landmarks to learn from.

Bodies come from the parametric body, pictures from the project's own rasteriser: a skin, clothes,
light, hair, glasses and a background at random. They are sketches of people. What makes a
detector of such sketches work on photographs is that no two are lit, coloured or cut alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import fill_colours
from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.renderer import shading
from pipeline.models.mini.renderer.rasterizer import FAR, Buffer, rasterise
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX, neutral
from training.director.bodies import bundled_body, sample_shape
from training.landmarks.paints import Look, backdrop

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SIZE: Final = 384  # px of a picture's side
_WEARS: Final = (("top_long",), ("top_short",), ("turtleneck",), ("top_long",))
_OFTEN: Final = {  # how often a face unit acts, and how strongly at most
    "jawOpen": (0.45, 0.6), "mouthFunnel": (0.1, 0.6), "mouthPucker": (0.12, 0.8),
    "mouthFrownLeft": (0.1, 0.6), "mouthFrownRight": (0.1, 0.6), "mouthPressLeft": (0.1, 0.5),
    "mouthPressRight": (0.1, 0.5), "mouthStretchLeft": (0.1, 0.5), "mouthStretchRight": (0.1, 0.5),
    "mouthRollLower": (0.1, 0.4), "mouthShrugUpper": (0.08, 0.5), "mouthClose": (0.1, 0.3),
    "mouthLeft": (0.06, 0.5), "mouthRight": (0.06, 0.5), "cheekPuff": (0.05, 0.6),
    "browDownLeft": (0.2, 0.8), "browDownRight": (0.2, 0.8), "browInnerUp": (0.25, 0.8),
    "browOuterUpLeft": (0.2, 0.8), "browOuterUpRight": (0.2, 0.8),
    "cheekSquintLeft": (0.2, 0.7), "cheekSquintRight": (0.2, 0.7),
    "noseSneerLeft": (0.08, 0.5), "noseSneerRight": (0.08, 0.5),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Portrait:
    """One picture (SIZE, SIZE, 3), all landmarks of the body in it, and which of them show."""

    picture: U8
    points: F32  # (L, 2) px
    seen: NDArray[np.bool_]  # (L,) inside the picture, and nothing of the person before it
    turn: F32  # (2,) radians: how far the face looks past the camera, to its left and upwards


class Stranger:
    """One random person, who may be drawn many times; no two pictures are alike."""

    def __init__(self, rng: np.random.Generator) -> None:
        body = bundled_body()
        wear = {*_WEARS[rng.integers(len(_WEARS))], "bottom"}
        if rng.random() < 0.55:
            wear.add("hair")
        self._rng = rng
        self.person: Person = Person(body, sample_shape(rng), wear)
        self.surface = Surface.of(self.person)
        self.names = sorted(body.landmarks)
        self._vertices = np.array([body.landmarks[name] for name in self.names])
        rest = self.person.rest
        self._hollows = fill_colours.hollows(self.surface, rest, self.person.normals(rest))
        self._canvas = shading.Canvas(SIZE, SIZE, len(self.surface.faces))
        self._depth = Buffer(SIZE, SIZE)

    def portrait(self) -> Portrait:
        """A picture in a random state, look, light and framing."""
        rng, surface = self._rng, self.surface
        state = random_state(rng)
        posed = self.person.pose(state)
        camera = self._camera(posed)
        projected = camera.project(posed, SIZE, SIZE)
        points = projected[self._vertices]
        named = {name: points[i, :2] for i, name in enumerate(self.names)}
        look = Look(rng, self.person, surface, named)
        out = look.behind(backdrop(rng, SIZE), projected)
        rows = np.zeros((len(surface.vertex), shading.VERTEX_WIDTH), np.float32)
        rows[:, : shading.DEPTH + 1] = projected[surface.vertex]
        rows[:, shading.RED : shading.BLUE + 1] = look.colours
        rows[:, shading.COVER] = 1
        normals = self.person.normals(posed)[surface.vertex]
        rows[:, shading.SHADE] = look.light(normals) * self._hollows**look.depth
        shading.draw(
            rows, surface.faces, surface.face_layer, surface.two_sided, _BLANK, out,
            self._canvas, 0.005,
        )  # fmt: skip
        rasterise(rows, surface.faces, surface.two_sided, self._depth)
        seen, names = self._seen(points), ("head_yaw", "spine_yaw", "head_pitch")
        yaw, spine, pitch = (float(state[INDEX[name]]) for name in names)
        turn = np.array([yaw + spine, pitch], np.float32)
        return Portrait(look.before(out, projected), points[:, :2], seen, turn)

    def _camera(self, posed: F32) -> Camera:
        """Close-up to half body, the face somewhere in the upper middle."""
        rng = self._rng
        marks = self.person.body.landmarks
        eyes = posed[[marks["eye_outer_left"], marks["eye_outer_right"]]]
        middle, apart = eyes.mean(0), float(np.linalg.norm(eyes[0] - eyes[1]))
        share = float(np.exp(rng.uniform(np.log(0.05), np.log(0.3))))
        distance, pitch = float(np.exp(rng.uniform(np.log(0.8), np.log(4.0)))), rng.normal(0, 0.08)
        tall = apart / share  # metres that the picture's side spans at the face
        x = float(np.clip(0.5 + rng.normal(0, 0.1), 0.25, 0.75))
        y = float(np.clip(rng.normal(0.4, 0.08), 0.2, 0.65))
        if share < 0.1:
            y = rng.uniform(0.15, 0.4)
        return Camera(
            focal=distance / tall, center_x=x - float(middle[0]) / tall, center_y=0.5,
            distance=distance + float(middle[2]), look_y=float(middle[1]) + (y - 0.5) * tall,
            pitch=pitch * 0.3,
        )  # fmt: skip

    def _seen(self, points: F32) -> NDArray[np.bool_]:
        """Inside the picture and at most a hand's breadth behind what was drawn there."""
        at = np.floor(points[:, :2]).astype(int)
        inside = ((at >= 0) & (at < SIZE)).all(1)
        depth = self._depth.depth_map()
        column, row = np.clip(at, 0, SIZE - 1).T
        front = depth[row, column].min(1)
        front = np.where(front >= FAR, points[:, 2], front)
        return inside & (points[:, 2] < front + 0.03)


_BLANK: Final = shading.pack(np.zeros((2, 2, 4), np.uint8))


def random_state(rng: np.random.Generator) -> F32:
    """A face that does something, a head that looks about, arms anywhere."""
    out = neutral()

    def put(name: str, value: float) -> None:
        out[INDEX[name]] = value

    turn = 0.55 if rng.random() < 0.3 else 0.2
    for name, spread in (("head_yaw", turn), ("head_pitch", 0.5 * turn), ("head_roll", 0.12)):
        put(name, float(np.clip(rng.normal(0, spread), -0.9, 0.9)))
    for name in ("spine_yaw", "spine_roll", "clavicle_lift_left", "clavicle_lift_right"):
        put(name, rng.normal(0, 0.1))
    put("gaze_yaw", rng.normal(0, 0.2) - 0.5 * out[INDEX["head_yaw"]])
    put("gaze_pitch", rng.normal(0, 0.12))
    for name, (often, most) in _OFTEN.items():
        if rng.random() < often:
            put(name, most * rng.beta(1.2, 2.5))
    _smile(rng, put)
    lids = rng.choice(["open", "narrow", "wide", "closed"], p=[0.55, 0.2, 0.15, 0.1])
    for side in ("Left", "Right"):
        blink = {"open": rng.uniform(0, 0.15), "narrow": rng.uniform(0.1, 0.45), "wide": 0.0,
                 "closed": rng.uniform(0.6, 1.0)}[str(lids)]  # fmt: skip
        put(f"eyeBlink{side}", blink)
        put(f"eyeWide{side}", rng.uniform(0, 0.8) if lids == "wide" else 0.0)
        put(f"eyeSquint{side}", rng.uniform(0, 0.6) * (rng.random() < 0.4))
    for side in ("left", "right"):
        _arm(rng, side, put)
    return out


def _smile(rng: np.random.Generator, put) -> None:  # type: ignore[no-untyped-def]
    """Half of all portraits smile, half of those with their teeth."""
    if rng.random() < 0.5:
        return
    strength = rng.beta(2, 2)
    for side in ("Left", "Right"):
        put(f"mouthSmile{side}", float(np.clip(strength + rng.normal(0, 0.08), 0, 1)))
        if strength > 0.35 and rng.random() < 0.8:
            put(f"mouthUpperUp{side}", rng.uniform(0.1, 0.7))
            put(f"mouthLowerDown{side}", rng.uniform(0.0, 0.5))


def _arm(rng: np.random.Generator, side: str, put) -> None:  # type: ignore[no-untyped-def]
    hanging = rng.random() < 0.4
    lift = 0.1 if hanging else 0.5
    put(f"{side}_flex", rng.normal(0.02 if hanging else 0.3, lift))
    put(f"{side}_abduct", abs(rng.normal(0.03, 0.5 * lift)))
    put(f"{side}_twist", rng.normal(0.2, 2 * lift * 0.5))
    put(f"{side}_elbow", abs(rng.normal(0.1, 0.15)) if hanging else rng.uniform(0.3, 2.3))
    put(f"{side}_forearm", rng.normal(0, 0.5))
    put(f"{side}_wrist_flex", rng.normal(0, 0.25))
    curl = rng.beta(1.2, 2.5)
    for finger in ("index", "middle", "ring", "little", "thumb"):
        put(f"{side}_{finger}_curl", float(np.clip(curl + rng.normal(0, 0.12), 0, 1)))
    put(f"{side}_spread", rng.normal(0, 0.3))
