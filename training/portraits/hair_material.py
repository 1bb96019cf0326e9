"""Hair in the scene: the shader of a strand and the thickness of each kind of hair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.portraits import facial_hair, haircuts
from training.portraits.blend import Graph, add_curves
from training.portraits.figure import Figure, Surface
from training.portraits.hair import Strands
from training.portraits.hair_growth import Cut
from training.portraits.skin import Rgb, linear

Floats = NDArray[np.float32]
HEAD, BROW, LASH, BEARD = 0.00016, 0.00013, 0.00026, 0.00015  # root diameters, metres


def add_all(
    figure: Figure,
    rest: Figure,
    before: Surface,
    after: Surface,
    cut: Cut,
    rng: np.random.Generator,
    share: float = 1.0,
) -> None:
    """Groom on the rest figure's skin ``before`` and film it on the posed skin ``after``."""
    cut = replace(cut, strands=int(cut.strands * share))
    skull = before.place[:, 1] > 1.60
    main = material("hair", cut.colour, cut.grey)
    brow = material("brow", cut.brow_colour or cut.colour, cut.grey * 0.7)

    def film(name: str, strands: Strands, width: float, paint: Any) -> None:
        curves = strands.follow(before, after, skull)
        add_curves(name, curves, taper(curves, width), paint, {"ring": strands.ring})

    for i, strands in enumerate(haircuts.head_hair(rest, before, cut, rng)):
        film(f"hair-{i}", strands, HEAD, main)
    film("brows", facial_hair.brows(rest, before, cut, rng), BROW, brow)
    beard = facial_hair.beard(rest, before, cut, rng)
    if beard is not None:
        film("beard", beard, BEARD, main)
    curves = facial_hair.lashes(figure, cut, rng)
    black = material("lash", (0.07, 0.05, 0.045), 0.0)
    add_curves("lashes", curves, taper(curves, LASH), black, {"ring": rng.random(len(curves))})


def taper(curves: Floats, width: float) -> Floats:
    """Radii (S, K) that thin towards the tip."""
    s = np.linspace(0, 1, curves.shape[1], dtype=np.float32)
    return np.repeat((0.5 * width * (1 - 0.75 * s**2))[None], len(curves), 0)


def material(name: str, colour: Rgb, grey: float) -> Any:
    """A strand of this sRGB colour, each a little different, ``grey`` of them silver."""
    g = Graph(name)
    ring = g.attribute("ring", "Fac")
    base = linear(colour)
    dark, light = (tuple(float(x) for x in base * k) for k in (0.70, 1.35))
    tint = g.ramp(ring, (0.0, dark), (1.0, light))
    if grey > 0:
        silver = g.ramp(
            g.math("FRACT", g.math("MULTIPLY", ring, 7.13)), (grey - 0.02, 1.0), (grey + 0.02, 0.0)
        )
        tint = g.mix(silver, tint, tuple(float(x) for x in linear((0.74, 0.73, 0.71))))
    shader = g.node(
        "BsdfHairPrincipled", {"parametrization": "COLOR"},
        Color=tint, Roughness=0.32, Radial_Roughness=0.45, Coat=0.0, Random_Roughness=0.2,
    )  # fmt: skip
    return g.surface(shader.outputs[0])
