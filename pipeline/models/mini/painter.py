"""``FrameRenderer``: a body state becomes a frame.

Poses the person, projects and relights the surface, draws the pixels that one triangle covers
completely, then the warped layers between them and the background, then the silhouette over both.
One renderer serves one thread at a time; renderers of one anchor share constant data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.media.background import cut_out
from pipeline.media.label import Label
from pipeline.models.mini.arm_painter import ArmPainter
from pipeline.models.mini.enrolment import contact_shadows
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.enrolment.photo_limits import restrained
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.enrolment.skin import unfolded
from pipeline.models.mini.renderer import layer_warp
from pipeline.models.mini.renderer.projection import hide, project, view_of
from pipeline.models.mini.renderer.shading import Canvas, find, finish
from pipeline.models.mini.renderer.texture_sampling import tables
from pipeline.models.mini.renderer.vertex_layout import MIRROR_SEEN, SHADE, split
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.person import Person

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Drawn = tuple[U8, U8 | None]  # a frame, and its matte before a transparent background


class FrameRenderer:
    """Draws frames of one anchor, at its size."""

    def __init__(self, anchor: IdentityAnchor, body: Body | None = None) -> None:
        self.anchor = anchor
        self._person = Person(body or bundled_body(), anchor.fit.shape, anchor.fit.wear)
        self._posed = np.empty_like(self._person.rest)
        self._normals = np.empty_like(self._person.rest)
        self._vertices, self._looks = split(anchor.vertices)
        self._twin = anchor.vertices[:, MIRROR_SEEN].copy()
        self._seen = anchor.seen.copy()
        self._taken = np.empty_like(anchor.contact.taken)
        self._unfolded = unfolded(anchor.fit.state)
        self._moved = [np.empty_like(each.nodes) for each in anchor.sheets]
        self._arms = ArmPainter(anchor, self._person)
        self._tables = tables()
        self._nothing = np.zeros((anchor.height, anchor.width), np.bool_)
        self._canvas = Canvas(anchor.width, anchor.height, len(anchor.surface.faces))
        self._view = view_of(anchor.camera, anchor.width, anchor.height)

    def paint(self, state: F32, out: U8 | None = None, plate: U8 | int | None = None) -> U8:
        """The frame (H, W, 3) of a state (STATE_DIM,), into ``out`` when it is given.

        ``plate`` is the background, or one grey for all of it; the anchor's own by default.
        """
        anchor = self.anchor
        shape = (anchor.height, anchor.width, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out must be uint8 {shape}, got {out.dtype} {out.shape}")
        if not np.all(np.isfinite(state)):
            raise ValueError("the numbers of a state must be finite")
        performed = state
        if not anchor.fit.exact:
            state = restrained(state, anchor.fit.state)
        self._person.pose(state, self._posed)
        self._person.normals(self._posed, self._normals)
        self._unfold(state)
        project(
            self._posed, self._normals, anchor.surface.vertex, anchor.offset, anchor.relight,
            self._seen, self._twin, anchor.facing, anchor.light, self._view, self._vertices,
        )  # fmt: skip
        contact_shadows.darken(
            anchor.contact, self._posed, self._normals, self._taken, SHADE, self._vertices
        )
        out[:] = anchor.plate if plate is None else plate
        surface, canvas = anchor.surface, self._canvas
        find(
            self._vertices, surface.faces, surface.face_layer, surface.two_sided, anchor.texture,
            out, canvas, anchor.tolerance,
        )  # fmt: skip
        for each, moved in zip(anchor.sheets, self._moved, strict=True):
            layer_warp.move(each, self._vertices, moved)
            layer_warp.draw(each, moved, canvas.settled, self._tables, out)
        finish(self._vertices, self._looks, surface.faces, anchor.texture, out, canvas)
        self._arms.draw(performed, self._vertices, self._nothing, self._tables, out)
        return out

    def marked(self, state: F32, label: Label, transparent: bool) -> Drawn:
        """The frame of a state with the label. A transparent one is drawn over black and over
        white: what both have in common is the person."""
        if not transparent:
            return label.stamp(self.paint(state)), None
        return cut_out(*(label.stamp(self.paint(state, plate=grey)) for grey in (0, 255)))

    def _unfold(self, state: F32) -> None:
        """What the picture shows of open lids and closed lips is hidden as they unfold."""
        folds, more = self.anchor.folds, np.maximum(unfolded(state) - self._unfolded, 0)
        hide(folds.rows, folds.follow, more, self.anchor.seen, self._seen)
