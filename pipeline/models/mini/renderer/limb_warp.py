"""Where the nodes of an arm's sheet go: between the trunk's warp and the arm's bones.

Linear blend skinning in the frame. What hangs on the trunk moves exactly as the trunk's own sheet
does there, so that a sleeve never parts from its shoulder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED
from pipeline.models.mini.renderer.warp_layer import Sheet
from pipeline.models.mini.rig.arm_motion import ArmBones

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limb:
    """One layer of an arm. The last node of its sheet is the shoulder; no quad touches it."""

    sheet: Sheet
    weights: F32  # (M, BONES), summing to one


@dataclass(frozen=True, slots=True)
class MovingArm:
    """An arm of a picture that can move."""

    side: str
    bones: ArmBones
    limbs: tuple[Limb, ...]  # the layers, from the back to the front
    reach: F32  # (DIRECTIONS,) px that the wrist may go from its place
    joined: bool = False  # its hand touches the other one: they go together

    @property
    def moves(self) -> bool:
        """Whether it does more than go along with the trunk."""
        return bool(self.reach.any())


@njit(**COMPILED)
def bend(nodes, weights, transforms, moved):  # type: ignore[no-untyped-def]
    """Move nodes, which ``moved`` (M, 2) has where the trunk takes them, as their bones say."""
    for m in range(nodes.shape[0]):
        px, py = nodes[m, 0], nodes[m, 1]
        w = weights[m, 0]
        x, y = w * moved[m, 0], w * moved[m, 1]
        for b in range(1, weights.shape[1]):
            w = weights[m, b]
            if w > np.float32(0.0):
                t = transforms[b]
                x += w * (t[0, 0] * px + t[0, 1] * py + t[0, 2])
                y += w * (t[1, 0] * px + t[1, 1] * py + t[1, 2])
        moved[m, 0], moved[m, 1] = x, y
