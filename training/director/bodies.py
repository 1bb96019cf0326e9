"""Bodies and cameras for training: random adult shapes, and framings as portraits have them.

The generator sees both in its reference vector, so that motion can respect who stands there and
how the picture is cut.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.body import MATERIALS, Body
from pipeline.models.mini.rig.camera import Camera

F32 = NDArray[np.float32]

# the lower edge of the picture as a share of the person's height, and how often
FRAMINGS: Final = {"bust": (0.70, 0.15), "half": (0.56, 0.50), "three_quarter": (0.44, 0.15),
                   "full": (-0.04, 0.20)}  # fmt: skip
HANDS_SEEN_BELOW: Final = 0.64  # the edge has to lie under this for gestures to be seen


@cache
def bundled_body() -> Body:
    """The asset, read once for all performers."""
    return Body.load()


@cache
def _skin() -> NDArray[np.int64]:
    body = bundled_body()
    return np.unique(body.faces[body.material == MATERIALS.index("skin")])


def sample_shape(rng: np.random.Generator) -> F32:
    """A random adult (P,): mostly clearly a woman or a man, every age and origin."""
    body = bundled_body()
    gender = rng.beta(2.0, 7.0) if rng.random() < 0.5 else rng.beta(7.0, 2.0)
    origin = rng.dirichlet((0.6, 0.6, 0.6))
    macros = {
        "gender": gender, "age": rng.beta(1.2, 2.2), "muscle": rng.beta(4.0, 4.0),
        "weight": rng.beta(4.0, 4.0), "height": rng.beta(4.0, 4.0),
        "proportions": rng.beta(5.0, 3.0), "bust": rng.beta(4.0, 4.0),
        "african": origin[0], "asian": origin[1], "caucasian": origin[2],
    }  # fmt: skip
    shape = body.shape(**{name: float(value) for name, value in macros.items()})
    local = len(shape) - len(macros)
    shape[len(macros) :] = np.clip(rng.normal(0.0, 0.22, local), -0.8, 0.8)
    return shape


def standing_height(shape: F32) -> float:
    """Metres from the soles to the crown."""
    heights = bundled_body().rest(shape)[_skin(), 1]
    return float(heights.max() - heights.min())


def sample_camera(rng: np.random.Generator, height: float) -> tuple[Camera, bool]:
    """A portrait's camera for a person of ``height``, and whether gestures are in its frame."""
    edges, shares = zip(*FRAMINGS.values(), strict=True)
    edge = float(rng.choice(edges, p=shares)) + float(rng.normal(0.0, 0.015))
    top = height * (1.0 + float(rng.uniform(0.02, 0.10)))
    span = top - height * edge
    distance = float(rng.uniform(1.3, 2.2)) * span + 0.6
    camera = Camera(
        focal=distance / span,
        center_x=0.5 + float(rng.normal(0.0, 0.02)),
        center_y=0.5,
        distance=distance,
        look_y=0.5 * (top + height * edge),
        pitch=0.0,
    )
    return camera, edge < HANDS_SEEN_BELOW
