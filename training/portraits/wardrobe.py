"""Garments: tops, trousers and shoes with necklines, ribs, collars, plackets and lapels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.portraits import cloth as fabric, cloth_pieces, skin
from training.portraits.blend import add_mesh
from training.portraits.figure import Figure, Surface
from training.portraits.hair import Ground, unit

Floats = NDArray[np.float32]
WRIST, ANKLE = 0.458, 0.066  # the body's own sleeves end there: what is cloth is drawn as cloth


def _black_leather() -> fabric.Cloth:
    return fabric.Cloth((0.06, 0.05, 0.05), "leather")


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears: the top's cut and cloth, what is below, lengths on the base mesh."""

    neck: str  # crew, vneck, turtle, shirt
    top: fabric.Cloth
    bottom: fabric.Cloth
    shoes: fabric.Cloth = field(default_factory=_black_leather)
    sleeve: float = WRIST  # where it ends, along the arm
    hem: float = 0.86
    slack: float = 0.006
    fold: float = 0.0055


def neckline(kind: str) -> cloth_pieces.Field:
    """The field whose zero is the neckline; negative is below it."""

    def ring(place: Floats, radius: float) -> Floats:
        off = place - np.float32([0, 1.395, 0.020])
        off[:, 1] = np.minimum(off[:, 1], 0)
        return np.asarray(radius - np.linalg.norm(off * np.float32([1.0, 0.88, 1.0]), axis=1))

    def wedge(place: Floats, width: float, depth: float) -> Floats:
        fall = 1 - (1.385 - place[:, 1]) / depth
        return np.asarray(
            np.where(place[:, 2] > 0.02, 0.6 * (width * fall - np.abs(place[:, 0])), -1)
        )

    def crew(place: Floats) -> Floats:
        return ring(place, 0.085)

    def vneck(place: Floats) -> Floats:
        return np.maximum(ring(place, 0.085), wedge(place, 0.062, 0.118))

    def turtle(place: Floats) -> Floats:
        return place[:, 1] - (1.432 - 0.25 * (place[:, 2] - 0.02))

    def shirt(place: Floats) -> Floats:
        return np.maximum(ring(place, 0.067), wedge(place, 0.030, 0.075))

    kinds = {"crew": crew, "vneck": vneck, "turtle": turtle, "shirt": shirt}
    if kind not in kinds:
        raise ValueError(f"neckline {kind!r} is not one of {sorted(kinds)}")
    return kinds[kind]


def cuffs(outfit: Outfit) -> cloth_pieces.Field:
    return lambda place: cloth_pieces.arm(place) - outfit.sleeve


def hem(outfit: Outfit) -> cloth_pieces.Field:
    return lambda place: np.where(np.abs(place[:, 0]) > 0.28, -1.0, outfit.hem - place[:, 1])


def hidden(figure: Figure, outfit: Outfit) -> NDArray[np.bool_]:
    """Base-mesh vertices (V,) of the skin that lie well under cloth."""
    place = figure.template.place
    under = (neckline(outfit.neck)(place) < -0.03) & (cuffs(outfit)(place) < -0.03)
    trunk = under & (place[:, 1] > ANKLE + 0.03) & (place[:, 1] < 1.40)
    return trunk | (place[:, 1] < ANKLE - 0.02)


def dress(figure: Figure, outfit: Outfit, rng_seed: int) -> None:
    """Put the outfit on the figure, into the scene."""
    tights = figure.surface("helper-tights", levels=3)
    skin_below = figure.surface("body", levels=1)
    ground = Ground.of(skin_below.points, skin_below.normals)
    _bottom(tights, outfit, np.random.default_rng(rng_seed))
    _top(tights, outfit, ground, np.random.default_rng(rng_seed + 1))


def _bottom(tights: Surface, outfit: Outfit, rng: np.random.Generator) -> None:
    legs = cloth_pieces.clip(
        tights, lambda p: np.maximum(p[:, 1] - outfit.hem - 0.02, ANKLE - p[:, 1])
    )
    legs = cloth_pieces.clip(legs, lambda p: np.abs(p[:, 0]) - 0.30)
    y = legs.place[:, 1]
    slack = 0.004 + 0.016 * np.clip((0.75 - y) / 0.5, 0, 1)
    slack -= 0.010 * np.clip((y - outfit.hem + 0.03) / 0.03, 0, 1)  # tucked under the top
    legs = cloth_pieces.loosen(legs, slack.astype(np.float32), 16, rng, 0.006)
    _show("bottom", legs, outfit.bottom.material("bottom"))
    feet = cloth_pieces.clip(
        tights, lambda p: np.maximum(p[:, 1] - ANKLE - 0.03, np.abs(p[:, 0]) - 0.33)
    )
    feet = cloth_pieces.loosen(feet, np.full(len(feet.points), 0.006, np.float32), 90, rng, 0.0)
    _show("shoes", feet, outfit.shoes.material("shoes"))
    sole = cloth_pieces.clip(feet, lambda p: p[:, 1] - 0.028)
    points = sole.points + sole.normals * np.float32([0.004, 0, 0.004])
    points[:, 1] = np.minimum(points[:, 1], 0.022)
    add_mesh("soles", points, sole.faces, skin.plain("sole", (0.88, 0.87, 0.84), 0.6))


def _top(tights: Surface, outfit: Outfit, ground: Ground, rng: np.random.Generator) -> None:
    neck, wrist, low = neckline(outfit.neck), cuffs(outfit), hem(outfit)
    top = cloth_pieces.clip(cloth_pieces.clip(cloth_pieces.clip(tights, neck), wrist), low)
    x, y = np.abs(top.place[:, 0]), top.place[:, 1]
    slack = outfit.slack * (0.35 + 0.65 * np.clip((1.36 - y) / 0.08, 0, 1))
    slack += 0.009 * np.exp(-(((y - 1.03) / 0.09) ** 2)) * (x < 0.25)
    slack += 0.008 * np.clip((outfit.hem + 0.08 - y) / 0.08, 0, 1) * (x < 0.28)
    ends = np.clip((outfit.sleeve - cloth_pieces.arm(top.place)) / 0.05, 0, 1)
    slack = (
        slack * (0.3 + 0.7 * ends) * (1 - 0.45 * np.clip(cloth_pieces.arm(top.place) / 0.08, 0, 1))
    )
    top = cloth_pieces.loosen(top, slack.astype(np.float32), 14, rng, outfit.fold * ends)
    top = cloth_pieces.settle(top, neck, ground, 0.0035, 0.035)
    top = cloth_pieces.settle(top, wrist, ground, 0.0025, 0.050)
    _show("top", top, outfit.top.material("top"))
    trim = outfit.top.trim("trim")
    if outfit.neck in ("crew", "vneck"):
        _ribs(top, neck, 0.018, trim)
    _ribs(top, wrist, 0.016, trim)
    _ribs(top, low, 0.024, trim)
    if outfit.neck == "shirt":
        _ribs(top, neck, 0.007, trim)
        _collar(top, neck, trim)
        _placket(top, trim, skin.plain("button", (0.86, 0.84, 0.80), 0.25))


def _show(name: str, piece: Surface, material: Any) -> None:
    add_mesh(name, piece.points, piece.faces, material, {"place": piece.place})


def _ribs(piece: Surface, field: cloth_pieces.Field, width: float, material: Any) -> None:
    """A ribbed band on every rim that lies on the field's line."""
    normals = piece.normals
    for i, chain in enumerate(cloth_pieces.rims(piece, field)):
        if len(chain) < 24:
            continue
        line = cloth_pieces.even(
            np.concatenate([piece.points[chain], normals[chain], piece.place[chain]], 1), 220
        )
        out, up = cloth_pieces.frame(line[:, :3], unit(line[:, 3:6]))
        inward = np.sign(((piece.points.mean(0) - line[:, :3]) * up).sum())
        middle = line[:, :3] + out * 0.0008 + up * inward * width * 0.25
        grid = cloth_pieces.band(middle, out, up, width, 0.0042)
        points, quads = cloth_pieces.sweep(grid)
        s = np.linspace(0, 1, grid.shape[1]) * np.linalg.norm(np.diff(middle, axis=0), axis=1).sum()
        across = np.linspace(0, 1, grid.shape[0])
        rib = np.stack(np.broadcast_arrays(s[None], across[:, None], 0.0), -1)
        add_mesh(
            f"rib-{i}",
            points,
            quads,
            material,
            {"place": np.tile(line[:, 6:9], (len(grid), 1)), "rib": rib.reshape(-1, 3)},
        )


def _collar(piece: Surface, field: cloth_pieces.Field, material: Any) -> None:
    """A shirt collar: a stand around the neck that folds over into two points at the front."""
    chain = max(cloth_pieces.rims(piece, field), key=len)
    if chain[0] == chain[-1]:
        chain = chain[:-1]
    front = int(np.argmin(np.where(piece.place[chain, 2] > 0.05, np.abs(piece.place[chain, 0]), 9)))
    chain = np.roll(chain, -front)
    line = cloth_pieces.even(np.concatenate([piece.points[chain], piece.normals[chain]], 1), 160)
    base = line[:, :3]
    centre = base.mean(0)
    out = unit((base - centre) * np.float32([1, 0, 1]))
    t = np.abs(np.linspace(-1, 1, len(base)))[:, None]  # 1 at the front ends, 0 at the nape
    up = unit(np.float32([0, 1, 0]) - 0.22 * out)
    stand = 0.028 - 0.008 * t
    fall = 0.036 + 0.030 * t**4
    lean = out * (0.004 + 0.003 * t)
    rows = [
        base - up * 0.004,
        base + up * stand * 0.5 + out * 0.001,
        base + up * stand + out * 0.002,
    ]
    top = base + up * (stand + 0.001) + out * 0.005
    rows += [top]
    wing = unit(np.stack([np.sign(base[:, 0]), -1.9 + 0 * base[:, 0], 0.9 + 0 * base[:, 0]], 1))
    down = unit(np.float32([0, -1, 0]) + 0.30 * out)
    way = unit(down * (1 - t**4) + wing * t**4)
    for f in (0.25, 0.5, 0.75, 1.0):
        rows.append(top + lean + way * fall * f)
    ground = Ground.of(piece.points, piece.normals)
    for k in range(4, 8):
        height, normal = ground.height(rows[k])
        rows[k] = rows[k] + normal * np.maximum(0, 0.0045 - height)[:, None]
    points, quads = cloth_pieces.sweep(np.stack(rows))
    thing = add_mesh("collar", points, quads, material, {"place": points * 1.0})
    _thicken(thing, 0.0022)


def _button(centre: Floats, out: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """A small rounded disc that faces ``out``."""
    side = unit(np.cross(out, np.float32([0, 1, 0])))
    ring = np.linspace(0, 2 * np.pi, 25)
    rows = [
        centre
        + r * (np.cos(ring)[:, None] * side + np.sin(ring)[:, None] * np.cross(side, out))
        + h * out
        for r, h in (
            (0.0055, -0.001),
            (0.0056, 0.0008),
            (0.0048, 0.0014),
            (0.0035, 0.0009),
            (1e-5, 0.0008),
        )
    ]
    return cloth_pieces.sweep(np.stack(rows))


def _placket(piece: Surface, material: Any, button: Any) -> None:
    """The buttoned strip down the front, with its buttons."""
    front = (np.abs(piece.place[:, 0]) < 0.012) & (piece.place[:, 2] > 0.03)
    points, normals = piece.points[front], piece.normals[front]
    height = np.linspace(points[:, 1].max() - 0.002, points[:, 1].min() + 0.004, 60)
    near = np.exp(-(((height[:, None] - points[None, :, 1]) / 0.008) ** 2))
    near /= near.sum(1, keepdims=True)
    line = cloth_pieces.even(np.concatenate([near @ points, near @ normals], 1), 120)
    line[:, 0] = np.median(line[:, 0]) * 0.5 + line[:, 0] * 0.5
    out, up = cloth_pieces.frame(line[:, :3], unit(line[:, 3:6]))
    grid = cloth_pieces.band(line[:, :3] + out * 0.0012, out, up, 0.030, 0.0026)
    points, quads = cloth_pieces.sweep(grid)
    add_mesh("placket", points, quads, material, {"place": points * 1.0})
    spots = line[8:-6:13]
    for k, spot in enumerate(spots):
        points, quads = _button(spot[:3] + out[8 + 13 * k] * 0.0028, out[8 + 13 * k])
        add_mesh(f"button-{k}", points, quads, button)


def _thicken(thing: Any, thickness: float) -> None:
    solid = thing.modifiers.new("solid", "SOLIDIFY")
    solid.thickness, solid.offset = thickness, 0.0
    smooth = thing.modifiers.new("smooth", "SUBSURF")
    smooth.levels = smooth.render_levels = 1
