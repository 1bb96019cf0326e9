"""Eyeballs: a painted ball with a domed, clear cornea in place of the body's coarse one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.portraits.blend import Graph, add_mesh
from training.portraits.figure import Figure
from training.portraits.skin import Rgb, linear

Floats = NDArray[np.float32]
IRIS = 0.4305  # the iris' rim, as sine of the angle from the gaze: 25.5 degrees, as the body has it
RINGS, SPOKES = 64, 96


def ball(
    centre: Floats, radius: float, gaze: Floats, cornea: bool
) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Points, quads and (x, y, radial) of a ball whose pole looks along ``gaze``."""
    polar = np.pi * (np.arange(RINGS + 1) / RINGS) ** 1.5
    around = 2 * np.pi * np.arange(SPOKES) / SPOKES
    side = np.cross([0.0, 1.0, 0.0], gaze)
    side /= np.linalg.norm(side)
    up = np.cross(gaze, side)
    sin, cos = np.sin(polar)[:, None], np.cos(polar)[:, None]
    rise = radius * np.where(polar < 1.2, _rise(np.sin(polar), cornea), 0.0)[:, None]
    x, y = sin * np.cos(around), sin * np.sin(around)
    ray = x[..., None] * side + y[..., None] * up + (cos + 0 * x)[..., None] * gaze
    points = centre + ray * (radius + rise)[..., None]
    flat = np.where(polar < np.pi / 2, np.sin(polar), 2 - np.sin(polar))[:, None] + 0 * x
    local = np.stack([x, y, flat], -1)
    i, j = np.meshgrid(np.arange(RINGS), np.arange(SPOKES), indexing="ij")
    k = (j + 1) % SPOKES
    quads = np.stack(
        [i * SPOKES + j, (i + 1) * SPOKES + j, (i + 1) * SPOKES + k, i * SPOKES + k], -1
    )
    return (
        points.reshape(-1, 3).astype(np.float32),
        quads.reshape(-1, 4).astype(np.int32),
        local.reshape(-1, 3).astype(np.float32),
    )


def _rise(s: Floats, cornea: bool) -> Floats:
    """How far the surface stands off the ball: a dome for the cornea, a dish for the iris."""
    inside = np.clip(1 - (s / (IRIS * 1.08)) ** 2, 0, 1)
    return np.asarray(0.035 * inside**0.8 + 0.006 if cornea else -0.07 * inside**0.6)


def add(figure: Figure, iris: Rgb, rim: Rgb, ring: Rgb) -> None:
    """Put both eyes into the scene."""
    under, clear = _ball_material(iris, rim, ring), _cornea_material()
    for side in "lr":
        centre, radius, gaze = figure.eye(side)
        radius *= 0.995
        points, quads, local = ball(centre, radius, gaze, cornea=False)
        add_mesh(f"eye-{side}", points, quads, under, {"eye": local})
        points, quads, local = ball(centre, radius, gaze, cornea=True)
        add_mesh(f"cornea-{side}", points, quads, clear, {"eye": local})


def _ball_material(iris: Rgb, rim: Rgb, ring: Rgb) -> Any:
    g = Graph("eye")
    eye = g.attribute("eye")
    parts = g.node("SeparateXYZ", Vector=eye)
    radial = g.math("DIVIDE", parts.outputs[2], IRIS)
    angle = g.math("ARCTAN2", parts.outputs[1], parts.outputs[0])
    spoke = g.node(
        "CombineXYZ",
        X=g.math("SINE", angle),
        Y=g.math("COSINE", angle),
        Z=g.math("MULTIPLY", radial, 0.16),
    )
    fibres = g.noise(spoke.outputs[0], 11.0, 6.0, Roughness=0.72)
    fibres = g.ramp(fibres, (0.30, 0.35), (0.72, 1.75))
    inner, outer, dark = (tuple(float(x) for x in linear(c)) for c in (ring, iris, rim))
    wobble = g.math(
        "ADD",
        radial,
        g.math("MULTIPLY", g.math("SUBTRACT", g.noise(spoke.outputs[0], 5.0), 0.5), 0.10),
    )
    hue = g.ramp(wobble, (0.47, inner), (0.66, outer), (0.86, outer), (0.97, dark))
    coloured = g.mix(1.0, hue, fibres, "MULTIPLY")
    pupil = g.ramp(radial, (0.42, (0.002, 0.002, 0.002)), (0.455, (1.0, 1.0, 1.0)))
    coloured = g.mix(1.0, coloured, pupil, "MULTIPLY")
    veins = g.noise(eye, 7.0, 8.0, Roughness=0.75, Distortion=1.5)
    white = g.ramp(
        veins, (0.44, (0.68, 0.62, 0.585)), (0.50, (0.60, 0.36, 0.32)), (0.53, (0.68, 0.62, 0.585))
    )
    far = g.ramp(parts.outputs[2], (0.55, (1.0, 1.0, 1.0)), (0.98, (0.90, 0.66, 0.60)))
    white = g.mix(1.0, white, far, "MULTIPLY")
    edge = g.ramp(radial, (0.965, 0.0), (1.07, 1.0))
    colour = g.mix(edge, coloured, white)
    shader = g.node(
        "BsdfPrincipled",
        Base_Color=colour,
        Roughness=0.5,
        Specular_IOR_Level=0.15,
        Subsurface_Weight=g.math("MULTIPLY", edge, 0.3),
        Subsurface_Radius=(1.0, 0.5, 0.4),
        Subsurface_Scale=0.002,
    )
    return g.surface(shader.outputs[0])


def _cornea_material() -> Any:
    """A clear film: what it mirrors lies over what is behind it, without refraction's noise."""
    g = Graph("cornea")
    clear = g.node("BsdfTransparent")
    shine = g.node("BsdfGlossy", Roughness=0.04, Color=(1.0, 1.0, 1.0))
    facing = g.node("Fresnel", IOR=1.42)
    both = g.node("MixShader", Fac=facing.outputs[0])
    g.tree.links.new(clear.outputs[0], both.inputs[1])
    g.tree.links.new(shine.outputs[0], both.inputs[2])
    return g.surface(both.outputs[0])
