"""A picture of one's own: named points on it become a fit of the body.

Points are named as in ``Body.landmarks``; left and right are the person's own. Ten of the face are
needed; brows, lids, lips, ears, hairline, shoulders, elbows and wrists make the fit better. Least
squares over camera, pose, a few face units and the shape, each held by a prior. What the body
cannot match is left to ``thin_plate``, which moves the drawn surface so that features land exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.interface import Landmarks
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX, neutral

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

REQUIRED: Final = (
    "eye_inner_left", "eye_outer_left", "eye_inner_right", "eye_outer_right", "nose_tip",
    "mouth_corner_left", "mouth_corner_right", "chin", "jaw_angle_left", "jaw_angle_right",
)  # fmt: skip
LEAST_EYES: Final = 0.05  # of the picture's shorter side, between the outer corners of the eyes
_DISTANCE: Final = 1.8  # metres: how far away people stand for a portrait

# Standard deviations of the priors. Angles in radians, face units and shape in their own units.
_POSE: Final[Mapping[str, float]] = {
    "head_yaw": 0.4, "head_pitch": 0.3, "head_roll": 0.3,
    "spine_yaw": 0.25, "spine_roll": 0.12,
}  # fmt: skip
_LIFT: Final[Mapping[str, float]] = {"clavicle_lift_left": 0.1, "clavicle_lift_right": 0.1}
_UNITS: Final[Mapping[str, float]] = {
    "jawOpen": 0.25, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "mouthPucker": 0.25,
    "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25,
    "mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25,
    "browInnerUp": 0.3, "browOuterUpLeft": 0.3, "browOuterUpRight": 0.3,
    "browDownLeft": 0.3, "browDownRight": 0.3,
    "eyeBlinkLeft": 0.25, "eyeBlinkRight": 0.25, "eyeWideLeft": 0.3, "eyeWideRight": 0.3,
}  # fmt: skip
_ARM: Final[Mapping[str, float]] = {
    "flex": 0.5, "abduct": 0.4, "twist": 0.5, "elbow": 0.7,
}  # fmt: skip
_MACROS: Final[Mapping[str, float]] = {
    "gender": 0.35, "age": 0.2, "weight": 0.2, "african": 0.2, "asian": 0.2, "caucasian": 0.2,
}  # fmt: skip
_LOCAL: Final = 0.4
_BELOW: Final = ("waist", "hips", "arm_length", "torso_length")  # a face tells nothing of these
# How far off points may be, of the distance between the outer corners of the eyes.
_EXACT: Final = 0.02
_LOOSE: Final[Mapping[str, float]] = {
    "shoulder": 0.15, "elbow": 0.2, "wrist": 0.15, "neck": 0.15,
    "ear": 0.12, "tragus": 0.1, "jaw": 0.15, "cheek": 0.12, "temple": 0.12,
    "hairline": 0.15, "crown": 0.2, "forehead": 0.15, "chin": 0.04, "brow": 0.03,
}  # fmt: skip
_FOUND: Final = 4.0  # noise of points that a detector found ...
_DRAWN: Final = 0.65  # ... and how far they are drawn to the fit
_ROUNDS, _STEPS = 3, 10


def check_landmarks(
    landmarks: Landmarks, known: Mapping[str, int], width: int, height: int
) -> None:
    """Raise ``ValueError`` when points cannot be those of a face in a picture of this size."""
    unknown = sorted(set(landmarks) - set(known))
    if unknown:
        raise ValueError(f"unknown landmarks {unknown}, known are {sorted(known)}")
    missing = [name for name in REQUIRED if name not in landmarks]
    if missing:
        raise ValueError(f"landmarks are missing: {missing}")
    outside = sorted(
        name for name, (x, y) in landmarks.items() if not (0 <= x < width and 0 <= y < height)
    )
    if outside:
        raise ValueError(f"landmarks outside the picture of {width} x {height}: {outside}")
    left, right = landmarks["eye_outer_left"], landmarks["eye_outer_right"]
    if left[0] <= right[0]:
        raise ValueError("left and right are swapped: they are the person's own, not the picture's")
    across, least = float(np.hypot(left[0] - right[0], left[1] - right[1])), LEAST_EYES
    if across < least * min(width, height):
        raise ValueError(
            f"the face is too small: {across:.0f} px between the eyes' outer corners, "
            f"at least {least * min(width, height):.0f} are needed"
        )


def fit_landmarks(
    image: NDArray[np.uint8],
    landmarks: Landmarks,
    wear: frozenset[str] = frozenset({"top_long", "bottom"}),
    body: Body | None = None,
    noise: float = 1.0,
) -> Fit:
    """Fit the body to named points (px) of a picture (H, W, 3 or 4); takes a few seconds.

    ``noise`` says how many times less exact points are than those that a person placed. Raises
    ``ValueError`` that names what is missing, unknown, outside the picture or too small.
    """
    body = body or Body.load()
    height, width = image.shape[:2]
    check_landmarks(landmarks, body.landmarks, width, height)
    problem = _Problem.of(body, landmarks, wear, width, height, noise)
    x = problem.start()
    for _ in range(_ROUNDS):
        x = problem.improve(x, Person(body, problem.shape(x), wear))
    return Fit(
        shape=problem.shape(x),
        state=problem.state(x),
        camera=problem.camera(x, Person(body, problem.shape(x), wear)),
        wear=wear,
        landmarks={name: (float(px), float(py)) for name, (px, py) in landmarks.items()},
        exact=False,
    )


def steadied(image: NDArray[np.uint8], landmarks: Landmarks) -> dict[str, tuple[float, float]]:
    """Points that a detector found, drawn to where a body could have them.

    A detector errs on each point alone; a body's points hang together. So most of what the best
    fit leaves is taken for error. Raises ``ValueError`` as ``fit_landmarks``.
    """
    body = Body.load()
    height, width = image.shape[:2]
    fit = fit_landmarks(image, landmarks, body=body, noise=_FOUND)
    posed = Person(body, fit.shape, fit.wear).pose(fit.state)
    names = sorted(landmarks)
    places = fit.camera.project(posed[[body.landmarks[name] for name in names]], width, height)
    out = {}
    for name, (x, y) in zip(names, places[:, :2].tolist(), strict=True):
        own = landmarks[name]
        moved = (own[0] + _DRAWN * (x - own[0]), own[1] + _DRAWN * (y - own[1]))
        out[name] = (min(max(moved[0], 0), width - 0.01), min(max(moved[1], 0), height - 0.01))
    return out


@dataclass(frozen=True, slots=True)
class _Problem:
    """Unknowns x: [log focal, centre x, height above the eyes | pose and units | shape]."""

    body: Body
    width: int
    height: int
    vertices: NDArray[np.int64]  # (L,)
    points: F64  # (L, 2) px
    unit: float  # px between the eyes' outer corners
    sigma: F64  # (L,) px
    pose_names: tuple[str, ...]
    shape_names: tuple[str, ...]
    prior: F64  # (X,) standard deviations

    @classmethod
    def of(
        cls,
        body: Body,
        landmarks: Landmarks,
        wear: frozenset[str],
        width: int,
        height: int,
        noise: float,
    ) -> _Problem:
        names = sorted(landmarks)
        points = np.array([landmarks[name] for name in names], float)
        left, right = landmarks["eye_outer_left"], landmarks["eye_outer_right"]
        unit = float(np.hypot(left[0] - right[0], left[1] - right[1]))
        loose = [_LOOSE.get(_stem(name), _LOOSE.get(name.split("_")[0], _EXACT)) for name in names]
        pose = {**_POSE, **_UNITS}
        if {"shoulder_left", "shoulder_right"} & set(names):
            pose |= _LIFT
        for side in ("left", "right"):
            if f"wrist_{side}" in landmarks or f"elbow_{side}" in landmarks:
                pose |= {f"{side}_{name}": sigma for name, sigma in _ARM.items()}
        shape = dict(_MACROS)
        shape |= {n: _LOCAL for n in body.shape_names if n not in _ALL_MACROS and n not in _BELOW}
        prior = [0.6, 0.5, 0.3, *pose.values(), *shape.values()]
        return cls(
            body, width, height, np.array([body.landmarks[name] for name in names]), points,
            unit, noise * unit * np.array(loose), tuple(pose), tuple(shape), np.array(prior),
        )  # fmt: skip

    def start(self) -> F64:
        """A frontal face at the right size and place, everything else at its prior."""
        mean = np.zeros(len(self.prior))
        mean[0] = np.log(max(self.unit / self.height * _DISTANCE / 0.092, 0.2))
        mean[1] = self.points.mean(0)[0] / self.width
        eyes = self.points[self._eyes()].mean(0)[1] / self.height
        mean[2] = (eyes - 0.5) * _DISTANCE / np.exp(mean[0])
        return mean

    def _eyes(self) -> NDArray[np.bool_]:
        wanted = [self.body.landmarks[name] for name in REQUIRED if name.startswith("eye")]
        return np.isin(self.vertices, wanted)

    def state(self, x: F64) -> F32:
        out = neutral()
        for name, value in zip(self.pose_names, x[3:], strict=False):
            out[INDEX[name]] = max(value, 0.0) if name in _UNITS else value
        return out

    def shape(self, x: F64) -> F32:
        local = x[3 + len(self.pose_names) :]
        out = self.body.shape()
        for name, value in zip(self.shape_names, local, strict=True):
            at = self.body.shape_names.index(name)
            low = 0.0 if name in _ALL_MACROS else -1.0
            out[at] = np.clip(out[at] + value, low, 1.0)
        return out

    def camera(self, x: F64, person: Person) -> Camera:
        eyes = person.pose(neutral())[self.body.landmarks["eye_inner_left"], 1]
        return Camera(
            focal=float(np.exp(x[0])), center_x=float(x[1]), center_y=0.5,
            distance=_DISTANCE, look_y=float(eyes + x[2]), pitch=0.0,
        )  # fmt: skip

    def project(self, x: F64, person: Person) -> F64:
        posed = person.pose(self.state(x))[self.vertices]
        camera = self.camera(x, person)
        return camera.project(posed, self.width, self.height)[:, :2].astype(np.float64)

    def shape_slopes(self, x: F64, person: Person) -> F64:
        """How the points move (2 L, S) with each shape number; the skeleton is held still."""
        first, kept = 3 + len(self.pose_names), person.rest

        def places(y: F64) -> F64:
            person.rest = self.body.rest(self.shape(y))[: self.body.vertex_count]
            return self.project(y, person).reshape(-1)

        base = places(x)
        out = np.zeros((base.size, len(self.shape_names)))
        for i in range(len(self.shape_names)):
            moved = x.copy()
            moved[first + i] += 0.1 if self.shape(moved)[self._at(i)] < 0.85 else -0.1
            out[:, i] = (places(moved) - base) / (moved[first + i] - x[first + i])
        person.rest = kept
        return out

    def _at(self, i: int) -> int:
        return self.body.shape_names.index(self.shape_names[i])

    def improve(self, x: F64, person: Person) -> F64:
        """Projected Levenberg-Marquardt around ``x``, in which the shape acts linearly."""
        first, slopes, start = 3 + len(self.pose_names), self.shape_slopes(x, person), x
        weight, pull, mean = np.repeat(1 / self.sigma, 2), 1 / self.prior, self.start()
        mean[3:] = 0
        pull[:3] *= 0.1  # the camera is hardly held

        def residuals(y: F64) -> F64:
            places = self.project(y, person).reshape(-1) + slopes @ (y - start)[first:]
            return np.concatenate([(places - self.points.reshape(-1)) * weight, (y - mean) * pull])

        low, high = self.bounds()
        damping, now = 1e-2, residuals(x)
        for _ in range(_STEPS):
            columns = np.concatenate([np.zeros((weight.size, len(x))), np.diag(pull)])
            columns[: weight.size, first:] = slopes * weight[:, None]
            for i in range(first):
                moved = x.copy()
                moved[i] += 1e-2 if i >= 3 else 1e-3
                columns[:, i] = (residuals(moved) - now) / (moved[i] - x[i])
            gradient, curve = columns.T @ now, columns.T @ columns
            free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
            damped = curve + damping * np.diag(np.diag(curve))
            change = np.zeros(len(x))
            change[free] = np.linalg.solve(damped[np.ix_(free, free)], -gradient[free])
            tried = np.clip(x + change, low, high)
            then = residuals(tried)
            if then @ then < now @ now:
                x, now, damping = tried, then, damping / 4
            else:
                damping *= 6
        return x

    def bounds(self) -> tuple[F64, F64]:
        """Where the unknowns may lie: face units in [0, 1], shapes where they mean something."""
        low, high = np.full(len(self.prior), -np.inf), np.full(len(self.prior), np.inf)
        for i, name in enumerate(self.pose_names, 3):
            if name in _UNITS:
                low[i], high[i] = 0.0, 1.0
        usual = self.body.shape()
        for i, name in enumerate(self.shape_names, 3 + len(self.pose_names)):
            default = float(usual[self.body.shape_names.index(name)])
            low[i], high[i] = (0.0 if name in _ALL_MACROS else -1.0) - default, 1.0 - default
        return low, high


_ALL_MACROS: Final = (
    "gender", "age", "muscle", "weight", "height", "proportions", "bust",
    "african", "asian", "caucasian",
)  # fmt: skip


def _stem(name: str) -> str:
    return name.removesuffix("_left").removesuffix("_right")


def thin_plate(centres: F64, moves: F64, at: F64, reach: float) -> F32:
    """Displacements (N, 2) at ``at`` that take ``centres`` (L, 2) by ``moves`` (L, 2) exactly.

    A thin-plate spline (Bookstein 1989) that fades to nothing ``reach`` px from the centres.
    """
    count = len(centres)
    if count < 3:
        raise ValueError(f"a thin plate needs at least 3 points, got {count}")
    corner = np.hstack([np.ones((count, 1)), centres])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(centres, centres)
    system[:count, count:], system[count:, :count] = corner, corner.T
    solved = np.linalg.solve(system, np.vstack([moves, np.zeros((3, 2))]))
    bend = _kernel(at, centres) @ solved[:count]
    plane = np.hstack([np.ones((len(at), 1)), at]) @ solved[count:]
    far = np.min(np.linalg.norm(at[:, None] - centres, axis=2), axis=1)
    fade = np.clip(2 - far / reach, 0, 1)
    share = fade * fade * (3 - 2 * fade)
    return np.asarray((bend + plane) * share[:, None], np.float32)


def _kernel(a: F64, b: F64) -> F64:
    square = np.square(a[:, None] - b).sum(2)
    return np.asarray(0.5 * square * np.log(np.maximum(square, 1e-12)))
