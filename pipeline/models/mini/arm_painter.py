"""Draws the arms of a photograph as a performance moves them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.renderer import layer_warp
from pipeline.models.mini.renderer.limb_warp import MovingArm, bend
from pipeline.models.mini.renderer.texture_sampling import Tables
from pipeline.models.mini.rig.arm_motion import CALM, Gesture, together, transforms
from pipeline.models.mini.rig.gesture import GestureReader
from pipeline.models.mini.rig.person import Person

F32 = NDArray[np.float32]


class ArmPainter:
    """The arms of one anchor; serves one thread."""

    def __init__(self, anchor: IdentityAnchor, person: Person) -> None:
        self._arms = anchor.arms
        self._reader = GestureReader(person, anchor.rest_state)
        self._moved = [
            [np.empty_like(limb.sheet.nodes) for limb in arm.limbs] for arm in self._arms
        ]

    def draw(
        self, state: F32, vertices: F32, settled: NDArray[np.bool_], tables: Tables,
        out: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Draw the arms of a state over ``out``, as ``vertices`` carry the trunk."""
        if not self._arms:
            return
        gestures = self._reader.read(state)
        for arm, moved in zip(self._arms, self._moved, strict=True):
            _place(arm, moved, self._gesture(arm, gestures), vertices)
            for limb, nodes in zip(arm.limbs, moved, strict=True):
                layer_warp.draw(limb.sheet, nodes, settled, tables, out)

    def _gesture(self, arm: MovingArm, gestures: Mapping[str, Gesture]) -> Gesture:
        if not arm.moves:
            return CALM
        if arm.joined:
            return together([gestures[each.side] for each in self._arms])
        return gestures[arm.side]


def _place(arm: MovingArm, moved: list[F32], gesture: Gesture, vertices: F32) -> None:
    """Move the nodes of an arm's layers."""
    for limb, nodes in zip(arm.limbs, moved, strict=True):
        layer_warp.move(limb.sheet, vertices, nodes)
    bones = transforms(arm.bones, gesture, arm.reach, moved[0][-1].copy())
    for limb, nodes in zip(arm.limbs, moved, strict=True):
        bend(limb.sheet.nodes, limb.weights, bones, nodes)
