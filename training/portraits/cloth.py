"""Fabrics: colour, weave and pattern of a piece of clothing as a shader over places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.portraits.blend import Graph
from training.portraits.skin import Rgb, linear


@dataclass(frozen=True, slots=True)
class Cloth:
    """A fabric: sRGB colour, kind of weave, and an optional second colour for its pattern."""

    colour: Rgb
    weave: str = "jersey"  # jersey, knit, linen, wool, denim, leather
    pattern: str = "plain"  # plain, stripes, check, melange
    second: Rgb = (0.9, 0.9, 0.9)

    def material(self, name: str) -> Any:
        """The cloth itself; ``place`` gives the coordinates of its weave."""
        g = Graph(name)
        place = g.attribute("place")
        colour = self._colour(g, place)
        if self.weave == "leather":
            grain = g.node("TexVoronoi", Vector=place, Scale=500.0).outputs["Distance"]
            bump = g.node("Bump", Strength=0.15, Distance=0.0006, Height=grain)
            shader = g.node(
                "BsdfPrincipled",
                Base_Color=colour,
                Roughness=0.32,
                Normal=bump.outputs[0],
                Coat_Weight=0.2,
            )
            return g.surface(shader.outputs[0])
        strength = 0.3 if self.weave == "knit" else 0.5  # ribs are wide: more would glitter
        bump = g.node("Bump", Strength=strength, Distance=0.0010, Height=self._weave(g, place))
        return self._shade(g, colour, bump.outputs[0])

    def trim(self, name: str) -> Any:
        """Bands and collars: ribbed along their length where the mesh says how long they are."""
        g = Graph(name)
        place, rib = g.attribute("place"), g.attribute("rib")
        run = g.node("SeparateXYZ", Vector=rib).outputs[0]
        wave = g.math("SINE", g.math("MULTIPLY", run, 2 * np.pi / 0.0042))
        dark = g.ramp(
            g.math("MULTIPLY_ADD", wave, 0.5)
            if False
            else g.math("ADD", g.math("MULTIPLY", wave, 0.5), 0.5),
            (0.0, 0.72),
            (0.6, 1.0),
        )
        base = self._colour(g, place)
        colour = (
            g.mix(1.0, base, dark, "MULTIPLY") if self.weave in ("jersey", "knit", "wool") else base
        )
        height = wave if self.weave in ("jersey", "knit", "wool") else self._weave(g, place)
        bump = g.node("Bump", Strength=0.35, Distance=0.0010, Height=height)
        return self._shade(g, colour, bump.outputs[0])

    def _shade(self, g: Graph, colour: Any, normal: Any) -> Any:
        sheen = {"wool": 0.5, "knit": 0.4, "jersey": 0.25}.get(self.weave, 0.1)
        shader = g.node(
            "BsdfPrincipled", Base_Color=colour, Roughness=0.85, Specular_IOR_Level=0.25,
            Sheen_Weight=sheen, Sheen_Roughness=0.4, Normal=normal,
        )  # fmt: skip
        return g.surface(shader.outputs[0])

    def _colour(self, g: Graph, place: Any) -> Any:
        base, second = self._rgb(self.colour), self._rgb(self.second)
        patches = g.ramp(g.noise(place, 24.0, 3.0), (0.3, 0.90), (0.7, 1.08))
        colour = g.mix(1.0, base, patches, "MULTIPLY")
        parts = g.node("SeparateXYZ", Vector=place)
        x, y = parts.outputs[0], parts.outputs[1]
        if self.pattern == "stripes":
            phase = g.math("FRACT", g.math("MULTIPLY", y, 1 / 0.030))
            return g.mix(g.ramp(phase, (0.30, 0.0), (0.33, 1.0)), second, colour)
        if self.pattern == "check":
            for axis in (x, y):
                phase = g.math("FRACT", g.math("MULTIPLY", axis, 1 / 0.036))
                line = g.ramp(
                    g.math("ABSOLUTE", g.math("SUBTRACT", phase, 0.5)), (0.035, 1.0), (0.06, 0.0)
                )
                colour = g.mix(g.math("MULTIPLY", line, 0.55), colour, second)
            return colour
        if self.pattern == "melange":
            fleck = g.noise(place, 420.0, 4.0)
            return g.mix(g.ramp(fleck, (0.42, 0.0), (0.62, 0.8)), colour, second)
        return colour

    def _weave(self, g: Graph, place: Any) -> Any:
        if self.weave == "knit":
            parts = g.node("SeparateXYZ", Vector=place)
            column = g.math("SINE", g.math("MULTIPLY", parts.outputs[0], 2 * np.pi / 0.0090))
            row = g.math("SINE", g.math("MULTIPLY", parts.outputs[1], 2 * np.pi / 0.0075))
            return g.math("ADD", column, g.math("MULTIPLY", g.math("ABSOLUTE", row), 0.35))
        fine = g.noise(place, 900.0, 2.0)
        coarse = g.noise(place, 160.0, 3.0)
        return g.math("ADD", fine, g.math("MULTIPLY", coarse, 0.6))

    @staticmethod
    def _rgb(colour: Rgb) -> tuple[float, float, float]:
        r, g, b = linear(colour)
        return float(r), float(g), float(b)
