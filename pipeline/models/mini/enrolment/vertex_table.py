"""Step four of enrolment: for every row of a surface its colours and its light.

Of three sources the first that knows is taken: the row's own place in the texture, a second
place (where cloth goes on, a mirrored twin's, painted teeth), a fill colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import fill_colours, hidden_cloth, mouth_interior, skin
from pipeline.models.mini.enrolment.picture_cut import TEXELS
from pipeline.models.mini.enrolment.picture_view import PictureView
from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.enrolment.texture_atlas import Atlas, sample, with_piece
from pipeline.models.mini.renderer import lighting as light, shading
from pipeline.models.mini.rig.person import Person

F32 = NDArray[np.float32]

_GRAZING = 0.15  # cosine to the camera below which a colour is that of a rim
_LASHES = 2.0  # px around an eye, of a 512 px picture, that say nothing of a closed lid
_FRONTAL = 0.3  # cosine to the camera above which cloth's texture is no smear
_SKIN = ("skin", "left_skin", "right_skin")
_RIM = 2.0  # how fast brightness beyond the usual makes skin a rim
_HIDDEN = 0.45  # a rim's least: so that it stays in the pose of the picture
_SHADOWED = 1.7  # the most that a shadow on a hand is believed to take
_CLOTH = np.float32(0.65)  # of cloth that nobody saw is weave, the rest is its mean colour
_GLARE = 0.8  # below it a twin is no better
_LIT = ("skin", "clothes", "hair")  # layers from which the light is read
_UNLIKE = ("eyes", "mouth")  # layers that take nothing from their twins
_MOUTH_WIDTH = 46.0  # mm
_HOLLOW = 0.6  # how much of the light that hollows lose a fill colour loses


@dataclass(frozen=True, slots=True)
class VertexTable:
    """R rows."""

    vertices: F32  # (R, 16) as ``shade`` draws them, all of them in full
    relight: F32  # (R,) one over the brightness that a row's texture was seen in
    facing: F32  # (R,) cosine to the camera at which it was
    light: F32  # of renderer.lighting
    folds: skin.Folds
    texture: NDArray[np.uint8]  # (H, W, 4)
    features: F32  # (LAYERS, 3) mean colours of what is seen, 0..1; NaN where nothing is

    @property
    def points(self) -> F32:
        """(R, 3) x px, y px of the output, depth."""
        return self.vertices[:, [shading.X, shading.Y, shading.DEPTH]]

    @property
    def seen(self) -> F32:
        """(R,) how far the picture shows each row, 0..1."""
        return self.vertices[:, shading.SEEN]


@dataclass(frozen=True, slots=True)
class _Trust:
    """How far (R,) the picture shows each row, unmixed with others, and from the front."""

    sure: F32
    clean: F32
    frontal: F32


def build_table(seen: PictureView, atlas: Atlas) -> VertexTable:
    """What every row is drawn with."""
    person, surface = seen.posed.person, seen.surface
    facing, normals = seen.view.facing, seen.posed.normals[surface.vertex]
    trust = _trust(seen, atlas)
    sure = trust.sure
    colours = sample(atlas.texture, atlas.position)
    chosen = (sure > 0.95) & np.isin(surface.layer, _numbers(_LIT))
    direction = light.estimate(colours[chosen], normals[chosen], surface.material[chosen])
    bright = light.brightness(normals, direction)
    twin = surface.mirrored(person.body.mirror)
    whole = (sure > 0.9) & (facing > _FRONTAL)
    lit = _layer_means(surface, bright, whole)
    cloth = hidden_cloth.continued(surface, twin, _woven(surface, atlas), lit, whole)
    second = np.where(cloth.found[:, None], cloth.position, atlas.position[twin])
    other = sure[twin] * trust.frontal[twin] * (twin != np.arange(len(twin)))
    other[np.isin(surface.layer, _numbers(_UNLIKE))] = 0
    unlit = _unlit(surface, colours / bright[:, None], sure)
    other *= unlit[twin] > _GLARE
    white = fill_colours.white_level(surface, colours, sure)
    out = np.zeros((len(sure), shading.VERTEX_WIDTH), np.float32)
    out[:, [shading.X, shading.Y]] = seen.view.points[:, :2] / TEXELS
    out[:, shading.DEPTH] = seen.view.points[:, 2]
    out[:, [shading.U, shading.V]] = atlas.position
    out[:, [shading.MIRROR_U, shading.MIRROR_V]] = second
    out[:, shading.SEEN] = sure
    out[:, shading.MIRROR_SEEN] = np.where(cloth.found, _CLOTH, other)
    fill = _fill(person, surface, colours / bright[:, None], trust, white)
    out[:, shading.RED : shading.BLUE + 1] = fill
    out[:, shading.COVER] = out[:, shading.SHADE] = 1
    folds = skin.folds(person, surface)
    out[folds.rows, shading.MIRROR_SEEN] = 0
    texture = _teeth(person, surface, atlas, white, out)
    base = sure * bright + (1 - sure) * np.where(cloth.found, cloth.bright, bright[twin])
    relight = _unshadowed(surface, sure, colours, fill * bright[:, None]) / base
    turned = (facing * unlit).astype(np.float32)
    features = _features(surface, colours, sure)
    return VertexTable(out, relight.astype(np.float32), turned, direction, folds, texture, features)


def _trust(seen: PictureView, atlas: Atlas) -> _Trust:
    surface, view = seen.surface, seen.view
    sure = view.seen(surface, seen.pixel) * atlas.known
    if not view.shows_mouth(surface):
        sure[surface.layer == LAYERS.index("mouth")] = 0
    frontal = np.clip((view.facing - _GRAZING) / 0.2, 0, 1)
    clean = sure * frontal * (view.away_from("eyes") > _LASHES * seen.unit)
    return _Trust(sure, clean, frontal)


def _features(surface: Surface, colours: F32, sure: F32) -> F32:
    """Mean colour of every layer where the picture shows it."""
    out = np.full((len(LAYERS), 3), np.nan, np.float32)
    for number in range(len(LAYERS)):
        mine = (surface.layer == number) & (sure > 0.9)
        if mine.any():
            out[number] = colours[mine].mean(0) / 255
    return out


def _woven(surface: Surface, atlas: Atlas) -> F32:
    """Where each row (R, 2) finds its cloth without shading."""
    down = atlas.weave[surface.layer]
    return atlas.position + np.stack([np.zeros_like(down), down], 1)


def _layer_means(surface: Surface, values: F32, chosen: NDArray[np.bool_]) -> F32:
    """The mean (R,) of the ``chosen`` values of each row's layer; 1 where there are none."""
    size = len(LAYERS)
    total = np.bincount(surface.layer[chosen], values[chosen], size)
    count = np.bincount(surface.layer[chosen], minlength=size)
    mean = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return np.asarray(mean[surface.layer], np.float32)


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [LAYERS.index(name) for name in names]


def _unshadowed(surface: Surface, sure: F32, seen: F32, usual: F32) -> F32:
    """What to brighten (R,) the texture of hands by: fingers shade each other, and then move."""
    hands = np.isin(surface.layer, _numbers(_SKIN[1:])) & (sure > 0)
    out = np.ones(len(seen), np.float32)
    ratio = usual[hands].mean(1) / np.maximum(seen[hands].mean(1), 1.0)
    out[hands] = np.clip(ratio, 1, _SHADOWED) ** 0.8
    return out


def _unlit(surface: Surface, colours: F32, sure: F32) -> F32:
    """How well (R,) what is seen of skin is its own colour, 1, and not the light of a rim.

    A rim is seen at a glance. It takes its place in the picture, but gives way to the twin's
    texture, or to a fill colour, sooner than others as it turns to the camera.
    """
    out = np.ones(len(colours), np.float32)
    bare = np.isin(surface.layer, _numbers(_SKIN))
    good = bare & (sure > 0.9)
    if good.sum() >= 30:
        luma = colours.mean(1)
        excess = luma[bare] / max(float(np.median(luma[good])), 1.0)
        out[bare] = np.clip(1 - _RIM * (excess - 1.12), _HIDDEN, 1)
    return out


def _fill(person: Person, surface: Surface, colours: F32, trust: _Trust, white: float) -> F32:
    """Fill colours (R, 3) of all rows, in a brightness of one."""
    fill = fill_colours.fill_colours(surface, colours, trust.sure, trust.clean)
    fill = skin.shaded(person, surface, fill, white)
    hollow = fill_colours.hollows(surface, person.rest, person.normals(person.rest))
    hollow[np.isin(surface.layer, _numbers(_UNLIKE))] = 1
    fill *= 1 - _HOLLOW * (1 - hollow[:, None])
    inside, paints = mouth_interior.colours(person, surface, white)
    fill[inside] = paints
    return fill


def _teeth(
    person: Person, surface: Surface, atlas: Atlas, white: float, out: F32
) -> NDArray[np.uint8]:
    """The texture with painted teeth below it, and the teeth's rows pointed there."""
    marks = person.body.landmarks
    ends = [marks[f"mouth_corner_{side}"] for side in ("left", "right")]
    corners = [int(np.argmax(surface.vertex == end)) for end in ends]
    span = float(np.linalg.norm(np.diff(atlas.position[corners], axis=0)))
    piece = mouth_interior.teeth_piece(max(span, 8.0) / _MOUTH_WIDTH) * white
    grown, top = with_piece(atlas, piece)
    rows, at = mouth_interior.teeth_position(person, surface, piece.shape[1], len(piece))
    out[rows, shading.MIRROR_U], out[rows, shading.MIRROR_V] = at[:, 0], at[:, 1] + top
    out[rows, shading.MIRROR_SEEN] = 1
    return grown.texture
