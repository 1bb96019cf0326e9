"""The shape space that people read: parameter names, and the weights of full-body targets.

Macro parameters multiply: a target that belongs to old, heavy women weighs as much as the
person is old and heavy and a woman. All weights are piecewise linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Macro parameters lie in [0, 1]; here with their averages.
MACROS: Final[Mapping[str, float]] = {
    "gender": 0.5,  # 0 woman, 1 man
    "age": 0.2,  # 0 about 25 years, 1 about 90
    "muscle": 0.5,
    "weight": 0.5,
    "height": 0.5,
    "proportions": 0.5,  # 0 uncommon, 1 ideal
    "bust": 0.5,  # women's
    "african": 1 / 3,  # the three are normalised to sum to one
    "asian": 1 / 3,
    "caucasian": 1 / 3,
}
ORIGINS: Final = ("african", "asian", "caucasian")


def macro_weights(
    macros: Mapping[str, float], factors: Iterable[tuple[str, ...]]
) -> NDArray[np.float32]:
    """The weight of every macro target (T,): a product over the names it depends on."""
    table = _factor_weights({name: float(value) for name, value in macros.items()})
    return np.array([prod(table[name] for name in names) for names in factors], np.float32)


def _factor_weights(m: Mapping[str, float]) -> dict[str, float]:
    table = {"female": 1 - m["gender"], "male": m["gender"], "young": 1 - m["age"], "old": m["age"]}
    for name in ("muscle", "weight"):
        table[f"average{name}"] = 1 - abs(2 * m[name] - 1)
    for low, high, name in (
        ("minmuscle", "maxmuscle", "muscle"), ("minweight", "maxweight", "weight"),
        ("minheight", "maxheight", "height"), ("mincup", "maxcup", "bust"),
        ("uncommonproportions", "idealproportions", "proportions"),
    ):  # fmt: skip
        table[low], table[high] = max(0.0, 1 - 2 * m[name]), max(0.0, 2 * m[name] - 1)
    total = sum(max(0.0, m[name]) for name in ORIGINS)
    for name in ORIGINS:
        table[name] = max(0.0, m[name]) / total if total > 0 else 1 / len(ORIGINS)
    return table
