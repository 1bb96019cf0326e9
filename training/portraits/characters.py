"""The cast: every bundled person, from bones to background. None of them exists.

Shapes are named parameters of ``pipeline.models.mini.rig.body``, states named values of
``pipeline.models.mini.rig.state``; colours are sRGB 0..1, lengths metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.state import NAMES, neutral
from training.director.performer import rest_state
from training.portraits.backdrop import Backdrop
from training.portraits.cloth import Cloth
from training.portraits.hair_growth import Cut
from training.portraits.skin import Complexion, Rgb
from training.portraits.wardrobe import Outfit


@dataclass(frozen=True, slots=True)
class View:
    """What a square picture shows, as shares of the person's own height, from how far."""

    top: float = 1.066
    bottom: float = 0.525
    distance: float = 2.4

    def camera(self, crown: float) -> Camera:
        """A level camera at chest height or a little above."""
        top, bottom = self.top * crown, self.bottom * crown
        look = max(0.82 * crown, 0.5 * (top + bottom)) if self.bottom > 0.2 else 0.62 * crown
        return Camera(
            focal=round(self.distance / (top - bottom), 4),
            distance=self.distance,
            look_y=round(look, 4),
            center_y=round((top - look) / (top - bottom), 4),
        )


@dataclass(frozen=True, slots=True)
class Character:
    """One synthetic person and the picture that is taken of them."""

    name: str
    title: str
    age: int
    presents: str  # woman, man
    framing: str  # half-body, full-body
    description: str
    prompt: str  # the default style of performance
    shape: Mapping[str, float]
    state: Mapping[str, float]
    wear: frozenset[str]
    look: Complexion
    cut: Cut
    eyes: tuple[Rgb, Rgb, Rgb]  # iris, its rim, the ring around the pupil
    outfit: Outfit
    backdrop: Backdrop
    seed: int = 1
    view: View = field(default_factory=View)

    def camera(self, crown: float) -> Camera:
        """The camera that frames a person whose crown is at this height, in metres."""
        return self.view.camera(crown)


LONG: Final = frozenset({"top_long", "bottom", "shoes", "hair"})
TURTLENECK: Final = frozenset({"turtleneck", "bottom", "shoes"})
BROWN_EYES: Final = ((0.36, 0.24, 0.13), (0.08, 0.05, 0.04), (0.48, 0.30, 0.13))
DARK_EYES: Final = ((0.19, 0.11, 0.06), (0.04, 0.02, 0.02), (0.24, 0.13, 0.07))
BLUE_EYES: Final = ((0.27, 0.40, 0.52), (0.08, 0.12, 0.18), (0.44, 0.44, 0.38))
GREEN_EYES: Final = ((0.34, 0.41, 0.31), (0.10, 0.12, 0.10), (0.48, 0.42, 0.24))


_HANGING: Final = {
    "left_abduct": 0.1144, "right_abduct": 0.1292, "left_elbow": 0.34, "right_elbow": 0.30,
    "left_flex": 0.02, "left_index_curl": 0.12, "left_middle_curl": 0.18,
    "left_ring_curl": 0.22, "left_little_curl": 0.24, "right_index_curl": 0.14,
    "right_middle_curl": 0.2, "right_ring_curl": 0.24, "right_little_curl": 0.26,
}  # fmt: skip


def _stand(
    smile: float = 0.2, lean: float = 0.0, arms: str = "", mirrored: bool = False, **more: float
) -> dict[str, float]:
    """At ease, with a closed, friendly mouth; ``arms`` as a performer's rest pose names them.

    Without it they hang a little away from the body. Hands before the waist are in the picture,
    and so is the skin that gestures show.
    """
    hands = rest_state(arms, mirrored) if arms else neutral()
    out = {NAMES[i]: round(float(hands[i]), 4) for i in np.flatnonzero(hands)}
    out |= {} if arms else _HANGING
    out |= {
        "mouthSmileLeft": smile, "mouthSmileRight": 0.9 * smile,
        "cheekSquintLeft": 0.3 * smile, "cheekSquintRight": 0.3 * smile,
        "browInnerUp": 0.06, "eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05,
        "eyeSquintLeft": 0.08, "eyeSquintRight": 0.08, "head_roll": lean,
    }  # fmt: skip
    return out | more


MIRA = Character(
    name="mira", title="Mira", age=30, presents="woman", framing="half-body",
    description="Warm and attentive, hair tied back, teal knitwear, before a bright wall.",
    prompt="calm, friendly, natural gestures",
    shape={
        "gender": 0.04, "age": 0.04, "muscle": 0.42, "weight": 0.40, "height": 0.5,
        "proportions": 0.35, "bust": 0.35, "african": 0.08, "asian": 0.17, "caucasian": 0.75,
        "shoulder_width": -0.35, "head_width": 0.1, "eye_size": 0.15, "lower_lip": 0.15,
        "jaw_width": -0.3, "chin_width": -0.25, "nose_width": -0.15, "waist": -0.1,
        "neck_width": -0.35, "head_height": 0.15, "brow_height": 0.15,
    },
    state=_stand(0.40, 0.015, "folded"),
    wear=LONG,
    look=Complexion(
        tone=(0.87, 0.70, 0.60), flush=(0.82, 0.44, 0.38), lips=(0.72, 0.36, 0.35),
        redness=0.55, freckles=0.25, scalp=(0.16, 0.10, 0.07),
    ),
    cut=Cut("tied", (0.22, 0.13, 0.075), strands=52000, brow=0.8, brow_colour=(0.19, 0.125, 0.08)),
    eyes=BROWN_EYES,
    outfit=Outfit("crew", Cloth((0.16, 0.38, 0.40), "knit"), Cloth((0.12, 0.13, 0.16), "denim")),
    backdrop=Backdrop("window", (0.76, 0.735, 0.70), 2),
)  # fmt: skip

JONAS = Character(
    name="jonas", title="Jonas", age=38, presents="man", framing="half-body",
    description="Composed and clear, short brown hair, a light shirt, in front of bookshelves.",
    prompt="composed, clear, measured gestures",
    shape={
        "gender": 1.0, "age": 0.16, "muscle": 0.58, "weight": 0.48, "height": 0.52,
        "proportions": 0.4, "african": 0.02, "asian": 0.05, "caucasian": 0.93,
        "jaw_width": 0.15, "nose_length": 0.15, "head_width": 0.2, "head_height": 0.2,
        "head_depth": 0.15, "shoulder_width": -0.3,
    },
    state=_stand(0.42, -0.01, "ready", browInnerUp=0.12, right_elbow=1.19),
    wear=LONG,
    look=Complexion(
        tone=(0.84, 0.65, 0.54), flush=(0.80, 0.42, 0.35), lips=(0.70, 0.43, 0.39),
        redness=0.65, shadow=0.38, scalp=(0.22, 0.15, 0.09), lines=0.3,
    ),
    cut=Cut("crop", (0.23, 0.15, 0.09), length=0.036, recede=0.3, stubble=0.4, brow=1.15),
    eyes=BLUE_EYES,
    outfit=Outfit("shirt", Cloth((0.80, 0.85, 0.92), "linen"), Cloth((0.10, 0.11, 0.15), "wool")),
    backdrop=Backdrop("shelves", (0.50, 0.45, 0.40), 5),
    seed=2,
)  # fmt: skip

AMARA = Character(
    name="amara", title="Amara", age=27, presents="woman", framing="half-body",
    description="Lively and open, close-cropped hair, a burgundy V-neck, plain studio wall.",
    prompt="energetic, enthusiastic, expressive gestures",
    shape={
        "gender": 0.06, "age": 0.02, "muscle": 0.5, "weight": 0.42, "height": 0.55,
        "proportions": 0.4, "bust": 0.4, "african": 0.95, "asian": 0.0, "caucasian": 0.05,
        "eye_size": 0.15, "cheek_bones": 0.3, "shoulder_width": -0.25, "head_width": 0.15,
        "head_height": 0.15, "neck_width": -0.25, "jaw_width": -0.25, "upper_lip": 0.2,
    },
    state=_stand(0.45, -0.02, "ready", left_elbow=1.31, left_flex=0.17),
    wear=LONG,
    look=Complexion(
        tone=(0.46, 0.30, 0.215), flush=(0.50, 0.24, 0.18), lips=(0.50, 0.25, 0.23),
        redness=0.3, scalp=(0.05, 0.04, 0.035), gloss=-0.3,
    ),
    cut=Cut("buzz", (0.045, 0.035, 0.03), length=0.016, strands=60000),
    eyes=DARK_EYES,
    outfit=Outfit("vneck", Cloth((0.50, 0.20, 0.24), "jersey"), Cloth((0.10, 0.10, 0.12), "denim")),
    backdrop=Backdrop("plain", (0.72, 0.70, 0.66), 3),
    seed=3,
)  # fmt: skip

OMAR = Character(
    name="omar", title="Omar", age=48, presents="man", framing="half-body",
    description="Calm authority, bald with a full beard, charcoal turtleneck.",
    prompt="calm, formal, few gestures",
    shape={
        "gender": 1.0, "age": 0.32, "muscle": 0.6, "weight": 0.58, "height": 0.5,
        "proportions": 0.4, "african": 0.30, "asian": 0.10, "caucasian": 0.60,
        "nose_hump": 0.3, "nose_length": 0.2, "head_width": 0.2, "head_height": 0.2,
        "head_depth": 0.15, "shoulder_width": -0.3,
    },
    state=_stand(0.34, 0.012, "folded", mirrored=True),
    wear=TURTLENECK,
    look=Complexion(
        tone=(0.68, 0.475, 0.355), flush=(0.66, 0.34, 0.26), lips=(0.60, 0.36, 0.31),
        redness=0.45, shadow=0.5, lines=0.5, gloss=0.7,
    ),
    cut=Cut(
        "bald", (0.08, 0.06, 0.05), beard=0.013, grey=0.15, brow=1.2, brow_colour=(0.07, 0.05, 0.04)
    ),
    eyes=DARK_EYES,
    outfit=Outfit("turtle", Cloth((0.17, 0.18, 0.20), "knit"), Cloth((0.1, 0.1, 0.12), "denim")),
    backdrop=Backdrop("plain", (0.52, 0.58, 0.64), 4),
    seed=4,
)  # fmt: skip

LUCIA = Character(
    name="lucia", title="Lucía", age=66, presents="woman", framing="half-body",
    description="Kind and experienced, silver pixie cut, a blue blouse, by a window.",
    prompt="warm, patient, gentle gestures",
    shape={
        "gender": 0.05, "age": 0.55, "muscle": 0.42, "weight": 0.50, "height": 0.45,
        "proportions": 0.3, "bust": 0.45, "african": 0.05, "asian": 0.10, "caucasian": 0.85,
        "shoulder_width": -0.25, "head_width": 0.15, "head_height": 0.15, "neck_width": -0.2,
    },
    state=_stand(0.42, 0.02, "folded"),
    wear=LONG,
    look=Complexion(
        tone=(0.84, 0.66, 0.56), flush=(0.80, 0.42, 0.36), lips=(0.69, 0.35, 0.35),
        redness=0.6, lines=0.8, scalp=(0.50, 0.48, 0.46),
    ),
    cut=Cut(
        "pixie", (0.58, 0.56, 0.53), 0.075, grey=0.8, lash=0.6, brow_colour=(0.36, 0.31, 0.28)
    ),
    eyes=GREEN_EYES,
    outfit=Outfit("shirt", Cloth((0.34, 0.40, 0.52), "linen"), Cloth((0.1, 0.1, 0.12), "denim")),
    backdrop=Backdrop("window", (0.70, 0.69, 0.68), 7),
    seed=5,
    view=View(top=1.072, bottom=0.52),
)  # fmt: skip

KENJI = Character(
    name="kenji", title="Kenji", age=33, presents="man", framing="full-body",
    description="Easy-going, seen from head to foot: slate sweater, dark trousers, pale shoes.",
    prompt="friendly, relaxed, natural gestures",
    shape={
        "gender": 1.0, "age": 0.08, "muscle": 0.52, "weight": 0.44, "height": 0.5,
        "proportions": 0.5, "african": 0.0, "asian": 1.0, "caucasian": 0.0,
        "head_width": 0.2, "head_height": 0.2, "head_depth": 0.15, "shoulder_width": -0.2,
        "brow_height": 0.25, "brow_angle": 0.25, "eye_size": 0.1,
    },
    state=_stand(0.40, 0.015, browInnerUp=0.14),
    wear=LONG,
    look=Complexion(
        tone=(0.82, 0.645, 0.515), flush=(0.78, 0.44, 0.35), lips=(0.68, 0.41, 0.36),
        redness=0.45, shadow=0.15, scalp=(0.08, 0.065, 0.06),
    ),
    cut=Cut("crop", (0.055, 0.045, 0.042), length=0.042, strands=38000, brow=1.05),
    eyes=DARK_EYES,
    outfit=Outfit(
        "crew", Cloth((0.33, 0.38, 0.44), "knit"), Cloth((0.20, 0.22, 0.28), "denim"),
        Cloth((0.62, 0.60, 0.57), "linen"),
    ),
    backdrop=Backdrop("floor", (0.74, 0.73, 0.71), 8),
    seed=6,
    view=View(top=1.09, bottom=-0.07, distance=4.2),
)  # fmt: skip

CAST: Final[Mapping[str, Character]] = {c.name: c for c in (MIRA, JONAS, AMARA, OMAR, LUCIA, KENJI)}
