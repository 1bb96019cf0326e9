"""Enrolment: a picture and how a person stands in it become what every frame is drawn from.

``build_anchor`` poses the person as fitted, finds what the picture shows of the surface, fills in
what it hides, takes the person out of the background and lifts what the body does not explain
into a sheet. It happens once; it costs a few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.interface import Landmarks
from pipeline.models.mini.enrolment import (
    background as plate,
    contact_shadows as contact,
    loose_parts,
    photo_limits,
    texture_atlas,
    vertex_table,
)
from pipeline.models.mini.enrolment.contact_shadows import Contact
from pipeline.models.mini.enrolment.skin import Folds
from pipeline.models.mini.enrolment.surface import LAYERS, Surface, View, facing
from pipeline.models.mini.renderer import shading
from pipeline.models.mini.renderer.warp_layer import Sheet
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit, reference_vector
from pipeline.models.mini.rig.person import Person

TEXELS: Final = (
    2  # of texture per output pixel: sharp wherever between pixels a surface comes to lie
)
_MIXED: Final = 1.2  # px of the picture that a border between person and background may blur
_GRAZING: Final = 0.15  # cosine to the camera below which a colour is that of a rim
_LASHES: Final = 2.0  # px around an eye, of a 512 px picture, that say nothing of a closed lid
_PLATE_MARGIN: Final = 3.0  # px around the person, of a 512 px picture, that the plate forgets

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IdentityAnchor:
    """What frames of one person are drawn from, and what the generator is told of them."""

    width: int
    height: int
    fit: Fit
    camera: Camera  # of the output frame
    surface: Surface
    vertices: F32  # (R, 16) rows as ``shade`` draws them, posed as in the reference
    offset: F32  # (R, 2) px that landmarks move each row from where the body puts it
    relight: F32  # (R,) one over the brightness that a row's texture was seen in
    seen: F32  # (R,) how far the picture shows each row
    facing: F32  # (R,) cosine to the camera at which it does
    light: F32  # (TERMS,) of renderer.lighting
    folds: Folds
    contact: Contact
    texture: NDArray[np.uint32]  # packed atlas
    plate: NDArray[np.uint8]  # (H, W, 3) the picture without the person
    sheets: tuple[Sheet, ...]  # of trunk and head, left arm, right arm
    tolerance: float  # metres of depth that make another surface
    reference: F32  # (REF_DIM,) what the generator is told: rig.fit
    features: F32  # (LAYERS, 3) mean colours that identity should keep, 0..1; NaN where unseen


@cache
def bundled_body() -> Body:
    """The body asset, read once."""
    return Body.load()


def build_anchor(
    image: NDArray[np.uint8],
    fit: Fit,
    width: int = 512,
    height: int = 512,
    alpha: NDArray[np.uint8] | None = None,
    body: Body | None = None,
) -> IdentityAnchor:
    """Enrol a picture (H, W, 3), or (H, W, 4) with the foreground in its alpha channel.

    ``alpha`` (H, W) gives the foreground where the picture does not. The picture is cut to the
    output's proportions around the person. Raises ``ValueError``: no picture, a shape of another
    body, a person that is not in the picture.
    """
    picture, alpha = _split(image, alpha)
    body = body or bundled_body()
    if fit.shape.shape != (len(body.shape_names),):
        raise ValueError(
            f"the body has {len(body.shape_names)} shape numbers, got {len(fit.shape)}"
        )
    person = Person(body, fit.shape, fit.wear)
    posed = person.pose(fit.state)
    scene = _cut(picture, alpha, fit.camera, posed, width, height)
    return _assemble(scene, fit, person, posed)


def _split(
    image: NDArray[np.uint8], alpha: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise ValueError(f"a picture is uint8 (H, W, 3 or 4), got {image.dtype} {image.shape}")
    if min(image.shape[:2]) < 64:
        raise ValueError(f"a picture is at least 64 px a side, got {image.shape[:2]}")
    if image.shape[2] == 4 and alpha is None and image[..., 3].min() < 255:
        alpha = image[..., 3]
    if alpha is not None and alpha.shape != image.shape[:2]:
        raise ValueError(f"the mask {alpha.shape} does not fit the picture {image.shape[:2]}")
    return image[..., :3], alpha


@dataclass(frozen=True, slots=True)
class _Scene:
    """The picture cut to the frame, at the output's size and at the texture's."""

    camera: Camera
    frame: F32  # (H, W, 3)
    picture: F32  # (TEXELS H, TEXELS W, 3)
    alpha: F32 | None  # of ``picture``'s size, 0..1
    source: float  # texels per pixel of the picture that was handed in
    corner: tuple[float, float]  # where the cut begins in that picture, px

    def texels(self, landmarks: Landmarks) -> dict[str, tuple[float, float]]:
        """Landmarks of the picture that was handed in, in texels."""
        left, top = self.corner
        return {n: ((x - left) * self.source, (y - top) * self.source)
                for n, (x, y) in landmarks.items()}  # fmt: skip


def _cut(
    picture: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None,
    camera: Camera,
    posed: F32,
    width: int,
    height: int,
) -> _Scene:
    """The largest part of the picture with the frame's proportions that keeps the head central."""
    high, wide = picture.shape[:2]
    cut_w, cut_h = min(wide, high * width / height), min(high, wide * height / width)
    head = camera.project(posed[posed[:, 1] > posed[:, 1].max() - 0.2], wide, high)
    if head[:, 2].min() <= 0.1 or not (
        0 <= head[:, 0].mean() < wide and -high < head[:, 1].mean() < high
    ):
        raise ValueError("the fitted person's head is outside the picture")
    left = float(np.clip(head[:, 0].mean() - cut_w / 2, 0, wide - cut_w))
    top = float(np.clip(head[:, 1].min() - 0.15 * cut_h, 0, high - cut_h))
    box = (left, top, left + cut_w, top + cut_h)
    frame = _resized(picture, box, width, height)
    fine = _resized(picture, box, TEXELS * width, TEXELS * height)
    for _ in range(2):  # so that the mean of a pixel's texels is the pixel
        fine += np.kron(frame - _halved(fine), np.ones((TEXELS, TEXELS, 1), np.float32))
    mask = None
    if alpha is not None:
        mask = _resized(alpha[..., None], box, TEXELS * width, TEXELS * height)[..., 0]
        mask /= np.float32(255)
    view = replace(
        camera,
        focal=camera.focal * high / cut_h,
        center_x=(camera.center_x * wide - left) / cut_w,
        center_y=(camera.center_y * high - top) / cut_h,
    )
    return _Scene(view, frame, fine, mask, TEXELS * height / cut_h, (left, top))


def _resized(
    picture: NDArray[np.uint8], box: tuple[float, float, float, float], width: int, height: int
) -> F32:
    channels = [
        Image.fromarray(picture[..., c]).resize((width, height), Image.Resampling.LANCZOS, box)
        for c in range(picture.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], -1).astype(np.float32)


def _halved(picture: F32) -> F32:
    high, wide = picture.shape[0] // TEXELS, picture.shape[1] // TEXELS
    return np.asarray(picture.reshape(high, TEXELS, wide, TEXELS, -1).mean((1, 3)), np.float32)


def _assemble(scene: _Scene, fit: Fit, person: Person, posed: F32) -> IdentityAnchor:
    """See, texture and light the surface; make plate and sheet."""
    height, width = scene.frame.shape[:2]
    fine_h, fine_w = scene.picture.shape[:2]
    surface = Surface.of(person)
    normals = person.normals(posed)
    touch = contact.build(person, surface, posed, normals)
    normals = normals[surface.vertex]
    projected = scene.camera.project(posed, fine_w, fine_h)
    bent = photo_limits.corrections(person, projected, scene.texels(fit.landmarks))
    offset = photo_limits.rigid(person, surface, bent)
    points = projected[surface.vertex]
    points[:, :2] += offset
    eye = np.array([0, scene.camera.look_y, scene.camera.distance], np.float32)
    view = View.of(surface, points, facing(posed[surface.vertex], normals, eye), fine_w, fine_h)
    if not view.covered.any():
        raise ValueError("the fitted body is outside the picture")
    alpha = _foreground(scene, fit, view)
    solid = plate.shrink(alpha > 0.9, max(_MIXED * scene.source, 1.0))
    slack = plate.slack(alpha, view.covered > 0.5) if fit.exact else 0.0
    atlas = texture_atlas.atlas(scene.picture, surface, view, solid, scene.source, slack)
    pixel = float(np.median(points[:, 2])) / (scene.camera.focal * fine_h)
    sure = view.seen(surface, pixel) * atlas.known
    if not view.shows_mouth(surface):
        sure[surface.layer == LAYERS.index("mouth")] = 0
    frontal = np.clip((view.facing - _GRAZING) / 0.2, 0, 1)
    clean = sure * frontal * (view.away_from("eyes") > _LASHES * fine_h / 512)
    table = vertex_table.table(person, surface, view.facing, atlas, sure, clean, frontal, normals)
    vertices = table.vertices
    vertices[:, [shading.X, shading.Y]] = points[:, :2] / TEXELS
    vertices[:, shading.DEPTH] = points[:, 2]
    background = _background(scene, fit, view, alpha)
    ears = float(
        projected[[person.body.landmarks[f"ear_lobe_{s}"] for s in ("left", "right")], 1].mean()
    )
    sheets = _sheets(scene, fit, view, surface, alpha, solid, vertices[:, :3], sure, ears)
    if not fit.exact:
        projected[:, :2] += bent
        share = photo_limits.cover(person, surface, projected, sure)
        vertices[:, shading.COVER] = share
        surface = surface.only(np.asarray((share > 0)[surface.faces].any(1)))
    return IdentityAnchor(
        width=width,
        height=height,
        fit=fit,
        camera=scene.camera,
        surface=surface,
        vertices=vertices,
        offset=(offset / TEXELS).astype(np.float32),
        relight=table.relight,
        seen=table.vertices[:, shading.SEEN].copy(),
        facing=table.facing,
        light=table.light,
        folds=table.folds,
        contact=touch,
        texture=shading.pack(table.texture),
        plate=background,
        sheets=sheets,
        tolerance=max(0.008, 12 * pixel),
        reference=reference_vector(fit, scene.camera),
        features=_features(surface, atlas, sure),
    )


def _foreground(scene: _Scene, fit: Fit, view: View) -> F32:
    """The person's alpha: as given, guessed for exact fits, else unknown and all of the picture."""
    if scene.alpha is not None:
        return scene.alpha
    if fit.exact:
        return plate.foreground(scene.picture, view.covered)
    return np.ones(view.covered.shape, np.float32)


def _background(scene: _Scene, fit: Fit, view: View, alpha: F32) -> NDArray[np.uint8]:
    """The frame without the person; as it is when nobody can say where the person ends."""
    height, width = scene.frame.shape[:2]
    background = scene.frame
    if fit.exact or scene.alpha is not None:
        gone = alpha > 0.04
        if fit.exact:
            gone |= view.covered > 0
        gone = np.asarray(gone.reshape(height, TEXELS, width, TEXELS).any((1, 3)))
        if not plate.grow(gone, margin := _PLATE_MARGIN * height / 512).all():
            background = plate.without(scene.frame, gone, margin)
    return np.asarray(np.clip(background + 0.5, 0, 255), np.uint8)


def _sheets(
    scene: _Scene,
    fit: Fit,
    view: View,
    surface: Surface,
    alpha: F32,
    solid: NDArray[np.bool_],
    points: F32,
    sure: F32,
    ears: float,
) -> tuple[Sheet, ...]:
    """What the mesh does not explain; elastic over the whole picture when no mask says more."""
    height, width = scene.frame.shape[:2]
    if not fit.exact and scene.alpha is None:
        return (loose_parts.elastic(scene.picture, view, points, sure, width, height),)
    return loose_parts.by_part(
        scene.picture, alpha, solid, view, surface, points, sure, width, height, ears, fit.exact
    )


def _features(surface: Surface, atlas: texture_atlas.Atlas, sure: F32) -> F32:
    """Mean colour of every layer where the picture shows it."""
    colours = texture_atlas.sample(atlas.texture, atlas.position)
    out = np.full((len(LAYERS), 3), np.nan, np.float32)
    for number in range(len(LAYERS)):
        mine = (surface.layer == number) & (sure > 0.9)
        if mine.any():
            out[number] = colours[mine].mean(0) / 255
    return out
