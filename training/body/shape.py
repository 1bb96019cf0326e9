"""The shape space of the asset: named parameters, and the MakeHuman targets behind them.

The macro parameters (gender, age, weight, ...) mix full-body targets by products of piecewise
linear weights, so a face may age differently on a heavy man than on a slim woman. Their few
hundred targets are compressed to a small basis; the products stay exact. The local parameters
are sparse offsets with one target for each sign. Adults only: the young end is about 25 years.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.shape import MACROS, ORIGINS
from training.body.source import Source

Floats = NDArray[np.float64]

GENDER = ("male", "female")
AGE = ("young", "old")
MUSCLE = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHT = ("minweight", "averageweight", "maxweight")
HEIGHT = ("minheight", "maxheight")
PROPORTIONS = ("idealproportions", "uncommonproportions")
CUP = ("mincup", "maxcup")

# Local parameter -> (target for +1, target for -1); "?" stands for both sides, l and r.
LOCALS: Final = {
    "head_fat": ("head/head-fat-incr", "head/head-fat-decr"),
    "head_width": ("head/head-scale-horiz-incr", "head/head-scale-horiz-decr"),
    "head_height": ("head/head-scale-vert-incr", "head/head-scale-vert-decr"),
    "head_depth": ("head/head-scale-depth-incr", "head/head-scale-depth-decr"),
    "head_square": ("head/head-square", "head/head-round"),
    "head_taper": ("head/head-invertedtriangular", "head/head-triangular"),
    "head_oval": ("head/head-oval", "head/head-rectangular"),
    "forehead_slope": ("forehead/forehead-trans-backward", "forehead/forehead-trans-forward"),
    "forehead_height": ("forehead/forehead-scale-vert-incr", "forehead/forehead-scale-vert-decr"),
    "temple_width": ("forehead/forehead-temple-incr", "forehead/forehead-temple-decr"),
    "brow_height": ("eyebrows/eyebrows-trans-up", "eyebrows/eyebrows-trans-down"),
    "brow_angle": ("eyebrows/eyebrows-angle-up", "eyebrows/eyebrows-angle-down"),
    "eye_size": ("eyes/?-eye-scale-incr", "eyes/?-eye-scale-decr"),
    "eye_spacing": ("eyes/?-eye-trans-out", "eyes/?-eye-trans-in"),
    "eye_position": ("eyes/?-eye-trans-up", "eyes/?-eye-trans-down"),
    "eye_opening": ("eyes/?-eye-height2-incr", "eyes/?-eye-height2-decr"),
    "eye_inner_corner": ("eyes/?-eye-corner1-up", "eyes/?-eye-corner1-down"),
    "eye_outer_corner": ("eyes/?-eye-corner2-up", "eyes/?-eye-corner2-down"),
    "eye_fold": ("eyes/?-eye-eyefold-down", "eyes/?-eye-eyefold-up"),
    "nose_width": ("nose/nose-scale-horiz-incr", "nose/nose-scale-horiz-decr"),
    "nose_length": ("nose/nose-scale-vert-incr", "nose/nose-scale-vert-decr"),
    "nose_depth": ("nose/nose-scale-depth-incr", "nose/nose-scale-depth-decr"),
    "nose_position": ("nose/nose-trans-up", "nose/nose-trans-down"),
    "nose_hump": ("nose/nose-hump-incr", "nose/nose-hump-decr"),
    "nose_tip": ("nose/nose-point-up", "nose/nose-point-down"),
    "nose_tip_width": ("nose/nose-point-width-incr", "nose/nose-point-width-decr"),
    "nose_alae": ("nose/nose-width3-incr", "nose/nose-width3-decr"),
    "nose_bridge": ("nose/nose-width1-incr", "nose/nose-width1-decr"),
    "mouth_width": ("mouth/mouth-scale-horiz-incr", "mouth/mouth-scale-horiz-decr"),
    "mouth_position": ("mouth/mouth-trans-up", "mouth/mouth-trans-down"),
    "mouth_forward": ("mouth/mouth-trans-forward", "mouth/mouth-trans-backward"),
    "mouth_corners": ("mouth/mouth-angles-up", "mouth/mouth-angles-down"),
    "upper_lip": ("mouth/mouth-upperlip-height-incr", "mouth/mouth-upperlip-height-decr"),
    "lower_lip": ("mouth/mouth-lowerlip-height-incr", "mouth/mouth-lowerlip-height-decr"),
    "cupids_bow": ("mouth/mouth-cupidsbow-incr", "mouth/mouth-cupidsbow-decr"),
    "chin_height": ("chin/chin-height-incr", "chin/chin-height-decr"),
    "chin_width": ("chin/chin-width-incr", "chin/chin-width-decr"),
    "chin_prominence": ("chin/chin-prominent-incr", "chin/chin-prominent-decr"),
    "jaw_width": ("chin/chin-bones-incr", "chin/chin-bones-decr"),
    "jaw_drop": ("chin/chin-jaw-drop-incr", "chin/chin-jaw-drop-decr"),
    "cheek_bones": ("cheek/?-cheek-bones-incr", "cheek/?-cheek-bones-decr"),
    "cheek_volume": ("cheek/?-cheek-volume-incr", "cheek/?-cheek-volume-decr"),
    "ear_size": ("ears/?-ear-scale-incr", "ears/?-ear-scale-decr"),
    "ear_wing": ("ears/?-ear-wing-incr", "ears/?-ear-wing-decr"),
    "neck_width": ("neck/neck-scale-horiz-incr", "neck/neck-scale-horiz-decr"),
    "neck_length": ("neck/neck-scale-vert-incr", "neck/neck-scale-vert-decr"),
    "neck_double": ("neck/neck-double-incr", "neck/neck-double-decr"),
    "shoulder_width": ("torso/measure-shoulder-dist-incr", "torso/measure-shoulder-dist-decr"),
    "torso_length": ("torso/torso-scale-vert-incr", "torso/torso-scale-vert-decr"),
    "waist": ("torso/measure-waist-circ-incr", "torso/measure-waist-circ-decr"),
    "hips": ("torso/measure-hips-circ-incr", "torso/measure-hips-circ-decr"),
    "arm_length": ("arms/measure-upperarm-length-incr", "arms/measure-upperarm-length-decr"),
}  # fmt: skip


def macro_targets(source: Source) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Yield the factors whose weights multiply, and the dense offsets, of every adult target."""
    folder = "macrodetails"
    for gender, age in product(GENDER, AGE):
        for race in ORIGINS:
            yield (race, gender, age), source.target(f"{folder}/{race}-{gender}-{age}")
        for muscle, weight in product(MUSCLE, WEIGHT):
            build = (gender, age, muscle, weight)
            stem = "-".join(build)
            yield build, source.target(f"{folder}/universal-{stem}")
            for height in HEIGHT:
                yield (*build, height), source.target(f"{folder}/height/{stem}-{height}")
            for part in PROPORTIONS:
                yield (*build, part), source.target(f"{folder}/proportions/{stem}-{part}")
            if gender == "female":
                for cup in CUP:
                    name = f"breast/{stem}-{cup}-averagefirmness"
                    yield (*build, cup), source.target(name)


def local_targets(source: Source) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield every local parameter with its dense offsets at +1 and at -1."""
    for name, (positive, negative) in LOCALS.items():
        yield name, _both_sides(source, positive), _both_sides(source, negative)


def _both_sides(source: Source, name: str) -> NDArray[np.float64]:
    if "?" not in name:
        return source.target(name)
    return source.target(name.replace("?", "l")) + source.target(name.replace("?", "r"))


def population(count: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """Macro parameters of random adults, extremes included: what the basis is fitted to."""
    people = []
    for _ in range(count):
        person = {name: float(rng.random()) for name in MACROS}
        if rng.random() < 0.7:
            person["gender"] = float(rng.random() < 0.5)
        person |= dict(zip(ORIGINS, rng.dirichlet([0.4] * len(ORIGINS)).tolist(), strict=True))
        people.append(person)
    return people


def compress(targets: Floats, use: Floats, importance: Floats, rank: int) -> tuple[Floats, Floats]:
    """Factor targets (T, V, 3) into coefficients (T, rank) and a basis (rank, V, 3).

    ``use`` (S, T) are the weights of the targets in a sample of people; ``importance`` (V,) is
    what an error costs at each vertex. The basis is the best one for those people.
    """
    weighted = (targets * importance[None, :, None]).reshape(len(targets), -1)
    second_moment = use.T @ use / len(use) + 1e-6 * np.eye(len(targets))
    seen = np.linalg.cholesky(second_moment).T @ weighted
    _, _, right = np.linalg.svd(seen, full_matrices=False)
    basis = right[:rank].reshape(rank, -1, 3) / importance[None, :, None]
    return weighted @ right[:rank].T, basis
