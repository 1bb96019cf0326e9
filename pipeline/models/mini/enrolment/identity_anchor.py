"""Enrolment: a picture and how a person stands in it become what every frame is drawn from.

One row of steps, each a function of the ones before it:

    pose_person     the fitted person in the pose of the picture
    cut_picture     the picture cut to the output's proportions around the person
    view_picture    what the picture shows of the surface, and what is foreground
    build_atlas     a texture for every layer, filled in where something hides it
    build_table     for every row of the surface its colours and its light
    build_layers    the background without the person, and sheets of what the body does not explain

It happens once; it costs a few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import contact_shadows
from pipeline.models.mini.enrolment.contact_shadows import Contact
from pipeline.models.mini.enrolment.person_parts import PersonParts
from pipeline.models.mini.enrolment.picture_cut import TEXELS, cut_picture
from pipeline.models.mini.enrolment.picture_layers import PictureLayers, build_layers
from pipeline.models.mini.enrolment.picture_view import PictureView, view_picture
from pipeline.models.mini.enrolment.posed_person import bundled_body, pose_person
from pipeline.models.mini.enrolment.skin import Folds
from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.enrolment.texture_atlas import build_atlas
from pipeline.models.mini.enrolment.vertex_table import VertexTable, build_table
from pipeline.models.mini.enrolment.what_moves import what_moves
from pipeline.models.mini.renderer import shading
from pipeline.models.mini.renderer.limb_warp import MovingArm
from pipeline.models.mini.renderer.warp_layer import Sheet
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import SHAPE_DIM, Fit, reference_vector
from pipeline.models.mini.rig.gesture import ready_to_speak
from pipeline.models.mini.rig.state import SLICES, STATE_DIM

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
    outlined: bool  # whether it is without: nobody knows where people in some paintings end
    sheets: tuple[Sheet, ...]  # of trunk and head, left arm, right arm
    arms: tuple[MovingArm, ...]  # of a photograph: drawn over the mesh
    notes: tuple[str, ...]  # which parts of a photograph move, and which do not and why
    tolerance: float  # metres of depth that make another surface
    reference: F32  # (REF_DIM,) what the generator is told: rig.fit
    features: F32  # (LAYERS, 3) mean colours that identity should keep, 0..1; NaN where unseen

    @property
    def rest_state(self) -> F32:
        """The rest (STATE_DIM,) that the generator is told of, from which gestures are read."""
        return self.reference[SHAPE_DIM : SHAPE_DIM + STATE_DIM]


def build_anchor(
    image: NDArray[np.uint8],
    fit: Fit,
    width: int = 512,
    height: int = 512,
    alpha: NDArray[np.uint8] | None = None,
    body: Body | None = None,
    parts: PersonParts | None = None,
) -> IdentityAnchor:
    """Enrol a picture (H, W, 3), or (H, W, 4) with the foreground in its alpha channel.

    ``alpha`` (H, W) gives the foreground where the picture does not; ``parts`` are the layers of a
    photograph, whose arms then move. The picture is cut to the output's proportions around the
    person. Raises ``ValueError``: no picture, a shape of another body, a person that is not in the
    picture.
    """
    posed = pose_person(fit if parts is None else _arms_down(fit), body or bundled_body())
    cut = cut_picture(image, alpha, posed, width, height, _hands(parts))
    seen = view_picture(cut, posed)
    atlas = build_atlas(seen)
    table = build_table(seen, atlas)
    layers = build_layers(seen, table, parts)
    cut_out = None if parts is None else [arm.side for arm in layers.arms]
    return _anchor(seen, table, layers, what_moves(posed.fit, cut_out, layers.still))


def _hands(parts: PersonParts | None) -> F32 | None:
    """Where the hands are in the picture (N, 2), px, that the frame should keep."""
    if parts is None or not parts.arms:
        return None
    return np.concatenate([arm.hand[:, :2] for arm in parts.arms.values()])


def _anchor(
    seen: PictureView, table: VertexTable, layers: PictureLayers, notes: tuple[str, ...]
) -> IdentityAnchor:
    posed, cut = seen.posed, seen.cut
    vertices = table.vertices.copy()
    vertices[:, shading.COVER] = layers.cover
    return IdentityAnchor(
        width=cut.width,
        height=cut.height,
        fit=posed.fit,
        camera=cut.camera,
        surface=layers.surface,
        vertices=vertices,
        offset=(seen.offset / TEXELS).astype(np.float32),
        relight=table.relight,
        seen=table.seen.copy(),
        facing=table.facing,
        light=table.light,
        folds=table.folds,
        contact=contact_shadows.build(posed.person, posed.surface, posed.vertices, posed.normals),
        texture=shading.pack(table.texture),
        plate=layers.background,
        outlined=layers.outlined,
        sheets=layers.sheets,
        arms=layers.arms,
        notes=notes,
        tolerance=max(0.008, 12 * seen.pixel),
        reference=reference_vector(_conditioning(posed.fit, layers.arms), cut.camera),
        features=table.features,
    )


def _arms_down(fit: Fit) -> Fit:
    """The fit with its arms hanging: arms that are layers of their own hide no trunk."""
    state = fit.state.copy()
    for part in ("left_arm", "right_arm"):
        state[SLICES[part]] = 0
    return replace(fit, state=state)


def _conditioning(fit: Fit, arms: tuple[MovingArm, ...]) -> Fit:
    """The fit that the generator is told of: hands that can move are ready to speak."""
    return replace(
        fit, state=ready_to_speak(fit.state, tuple(arm.side for arm in arms if arm.moves))
    )
