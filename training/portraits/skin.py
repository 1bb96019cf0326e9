"""Skin: its colours painted per vertex from where a point lies on the base mesh, and its shader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.portraits.blend import Graph
from training.portraits.figure import Surface, Template

Floats = NDArray[np.float32]
Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Complexion:
    """A person's skin: sRGB colours 0..1 and amounts 0..1."""

    tone: Rgb
    flush: Rgb  # what blood adds at cheeks, nose and ears
    lips: Rgb
    redness: float = 0.5
    freckles: float = 0.0
    lines: float = 0.0  # wrinkles
    shadow: float = 0.0  # a shaven beard's shade
    scalp: Rgb | None = None  # hair colour that shines through at the roots
    gloss: float = 0.5
    lip_gloss: float = 0.4


def linear(rgb: Rgb) -> Floats:
    """sRGB 0..1 -> linear light."""
    c = np.asarray(rgb, np.float32)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def blob(
    place: Floats, centre: tuple[float, float, float], size: tuple[float, float, float]
) -> Floats:
    """A smooth bump around ``centre``, the same on both sides of the body."""
    at = np.stack([np.abs(place[:, 0]), place[:, 1], place[:, 2]], 1)
    off = (at - np.asarray(centre)) / np.asarray(size)
    return np.exp(-0.5 * (off**2).sum(1)).astype(np.float32)


def paint(
    template: Template, skin: Surface, look: Complexion, scalp: Floats, beard: Floats
) -> dict[str, Floats]:
    """Per-vertex attributes of the skin: colour, roughness, and how wrinkled it is."""
    place = skin.place
    head = place[:, 1] > 1.38
    lips = template.region("lips", skin.uv) * head
    ears = template.region("ears", skin.uv) * head
    nails = template.region("fingernails", skin.uv)
    mouth = template.region("inside-mouth", skin.uv) * head * (lips < 0.3)
    colour = np.repeat(linear(look.tone)[None], len(place), 0)

    def lay(amount: Floats, rgb: Floats) -> None:
        nonlocal colour
        colour = colour + np.clip(amount, 0, 1)[:, None] * (rgb - colour)

    flush, tone = linear(look.flush), linear(look.tone)
    r = look.redness
    lay(0.55 * r * blob(place, (0.043, 1.507, 0.125), (0.018, 0.015, 0.03)), flush)
    lay(0.60 * r * blob(place, (0.0, 1.507, 0.168), (0.013, 0.010, 0.014)), flush)
    lay(0.45 * r * blob(place, (0.012, 1.503, 0.155), (0.006, 0.006, 0.010)), flush)
    lay(0.30 * r * blob(place, (0.0, 1.440, 0.145), (0.018, 0.010, 0.02)), flush)
    lay(0.55 * r * ears, flush)
    lay(0.25 * blob(place, (0.031, 1.553, 0.140), (0.016, 0.005, 0.012)), flush * 0.75)
    lay(
        0.22 * blob(place, (0.028, 1.531, 0.138), (0.013, 0.0045, 0.012)),
        tone * np.float32([0.62, 0.55, 0.62]),
    )
    lay(
        0.7 * blob(place, (0.0165, 1.5405, 0.130), (0.0030, 0.0030, 0.006)),
        flush * np.float32([1.0, 0.75, 0.75]),
    )
    lay(0.20 * template.region("eyelids", skin.uv) * head, flush * 0.8)
    lay(
        0.18 * blob(place, (0.0, 1.60, 0.14), (0.05, 0.03, 0.05)),
        tone * np.float32([1.05, 1.03, 0.92]),
    )
    rim = _lid_rim(template, skin)
    upper = np.clip((place[:, 1] - 1.5425) / 0.003, 0, 1)
    lay(rim * (0.35 + 0.45 * upper), tone * np.float32([0.20, 0.13, 0.11]))
    hands = np.abs(place[:, 0]) > 0.40
    lay(0.35 * r * hands * (place[:, 1] < 1.03), flush)
    lay(look.shadow * beard, tone * np.float32([0.42, 0.45, 0.50]))
    if look.scalp is not None:
        lay(0.92 * scalp, linear(look.scalp))
    lay(0.16 * look.lines * creases(place), flush * 0.8)
    lay(0.85 * np.clip(lips * 1.3, 0, 1), linear(look.lips))
    lay(0.8 * nails, tone * 0.55 + flush * 0.35 + 0.12)
    lay(0.9 * mouth, np.float32([0.25, 0.06, 0.05]))
    rough = (
        0.46
        - 0.10 * blob(place, (0.0, 1.545, 0.155), (0.03, 0.08, 0.05))
        - 0.12 * look.lip_gloss * lips
    )
    rough = rough - 0.2 * nails + 0.2 * mouth + 0.15 * scalp
    return {
        "tint": colour.astype(np.float32),
        "rough": rough.astype(np.float32) + 0.1 * (0.5 - look.gloss),
        "lips": lips.astype(np.float32),
        "crease": look.lines * creases(place),
        "place": place,
    }


FURROWS = (  # polylines of (|x|, y) on the base mesh, and how deep they are
    ([(0.0, 1.589), (0.022, 1.591), (0.040, 1.586)], 0.55),
    ([(0.0, 1.599), (0.024, 1.602), (0.044, 1.596)], 0.65),
    ([(0.0, 1.609), (0.020, 1.611), (0.038, 1.606)], 0.45),
    ([(0.0050, 1.562), (0.0060, 1.571)], 0.6),
    ([(0.0500, 1.5475), (0.0590, 1.5520)], 0.7),
    ([(0.0505, 1.5450), (0.0605, 1.5450)], 0.8),
    ([(0.0500, 1.5425), (0.0590, 1.5380)], 0.7),
    ([(0.0190, 1.5080), (0.0260, 1.4990), (0.0310, 1.4880), (0.0325, 1.4770)], 1.0),
    ([(0.0265, 1.4740), (0.0285, 1.4620)], 0.7),
    ([(0.0170, 1.5290), (0.0270, 1.5245), (0.0390, 1.5260)], 0.6),
)


def creases(place: Floats) -> Floats:
    """How deep the face's furrows are at each place (M,), 0..1."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    wave = 0.0007 * np.sin(x * 260) + 0.0005 * np.sin(x * 610 + 30 * y)
    deep = np.zeros(len(place), np.float32)
    for line, depth in FURROWS:
        far = np.full(len(place), 1.0)
        for (ax, ay), (bx, by) in zip(line, line[1:], strict=False):
            along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / (
                (bx - ax) ** 2 + (by - ay) ** 2
            )
            t = np.clip(along, 0, 1)
            far = np.minimum(far, np.hypot(x - ax - t * (bx - ax), y + wave - ay - t * (by - ay)))
        deep = np.maximum(deep, depth * np.exp(-((far / 0.0013) ** 2)))
    return (deep * (place[:, 2] > 0.07) * (y > 1.42)).astype(np.float32)


def _lid_rim(template: Template, skin: Surface) -> Floats:
    """The lids' edges, where lashes root: skin that almost touches the eyeballs' front."""
    rim = np.zeros(len(skin.place), np.float32)
    for side in "lr":
        ball = template.place[template.source.groups[f"helper-{side}-eye"].vertices]
        centre = ball.mean(0)
        off = skin.place - centre
        far = np.linalg.norm(off, axis=1) / np.linalg.norm(ball - centre, axis=1).mean()
        close = np.clip((1.16 - far) / 0.06, 0, 1) * (far > 1.0) * (off[:, 2] > 0.004)
        inner = np.clip((np.abs(skin.place[:, 0]) - 0.018) / 0.003, 0, 1)
        rim = np.maximum(rim, close * inner)
    return rim.astype(np.float32)


def material(look: Complexion) -> Any:
    """Subsurface skin with mottling, freckles and pores in the place coordinates."""
    g = Graph("skin")
    place, tint = g.attribute("place"), g.attribute("tint")
    lips = g.attribute("lips", "Fac")
    mottle = g.ramp(g.noise(place, 55.0, 5.0), (0.3, (0.86, 0.80, 0.78)), (0.7, (1.10, 1.06, 1.05)))
    colour = g.mix(0.5, tint, mottle, "MULTIPLY")
    fine = g.ramp(g.noise(place, 420.0, 3.0), (0.3, 0.88), (0.7, 1.10))
    colour = g.mix(0.55, colour, fine, "MULTIPLY")
    if look.freckles > 0:
        spots = g.node("TexVoronoi", Vector=place, Scale=330.0).outputs["Distance"]
        patch = g.ramp(g.noise(place, 40.0, 2.0), (0.42, 0.0), (0.62, 1.0))
        dots = g.ramp(spots, (0.10, 1.0), (0.34, 0.0))
        amount = g.math("MULTIPLY", g.math("MULTIPLY", dots, patch), look.freckles)
        brown = tuple(float(x) for x in linear(look.tone) * np.float32([0.55, 0.40, 0.30]))
        colour = g.mix(amount, colour, brown)
    pores = g.node("TexVoronoi", Vector=place, Scale=900.0).outputs["Distance"]
    grain = g.noise(place, 500.0, 4.0)
    wave = g.node("TexWave", {"bands_direction": "X"}, Vector=place, Scale=260.0, Distortion=3.0)
    lip_lines = g.out(wave, "Fac")
    height = g.math("ADD", g.math("MULTIPLY", pores, 0.35), g.math("MULTIPLY", grain, 0.65))
    height = g.math("ADD", height, g.math("MULTIPLY", g.math("MULTIPLY", lip_lines, lips), 1.2))
    bump = g.node("Bump", Strength=0.28, Distance=0.0007, Height=height)
    crease = g.math("SUBTRACT", 1.0, g.attribute("crease", "Fac"))
    bump = g.node("Bump", Strength=0.8, Distance=0.0012, Height=crease, Normal=bump.outputs[0])
    shader = g.node(
        "BsdfPrincipled",
        Base_Color=colour,
        Roughness=g.attribute("rough", "Fac"),
        Subsurface_Weight=0.85,
        Subsurface_Radius=(1.0, 0.36, 0.20),
        Subsurface_Scale=0.0045,
        Specular_IOR_Level=0.42,
        Coat_Weight=0.03,
        Coat_Roughness=0.35,
        Normal=bump.outputs[0],
    )
    return g.surface(shader.outputs[0])


def plain(name: str, rgb: Rgb, roughness: float) -> Any:
    """Teeth and tongue: one wet colour."""
    g = Graph(name)
    r, gr, b = linear(rgb)
    shader = g.node(
        "BsdfPrincipled",
        Base_Color=(float(r), float(gr), float(b)),
        Roughness=roughness,
        Subsurface_Weight=0.3,
        Subsurface_Radius=(1.0, 0.6, 0.5),
        Subsurface_Scale=0.003,
    )
    return g.surface(shader.outputs[0])
