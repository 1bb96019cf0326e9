"""What the body does not explain: loose hair, wide sleeves and shirts, as sheets by part.

What hangs on an arm goes with the arm, all else with trunk and head. Where an arm stands before
the trunk nobody sees how far a shirt reaches: there it reaches as far as its visible outline
above and below suggests.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.models.mini.enrolment import background
from pipeline.models.mini.enrolment.picture_view import PictureView
from pipeline.models.mini.enrolment.surface import LAYERS, PARTS
from pipeline.models.mini.enrolment.vertex_table import VertexTable
from pipeline.models.mini.renderer import shading, warp_layer
from pipeline.models.mini.renderer.warp_layer import Sheet

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BARE: Final = ("skin", "left_skin", "right_skin", "eyes", "mouth")
_MIXED: Final = 3.0  # px of the sheet's own texture, at the least
_BORDER: Final = 1.5  # px of a 512 px picture: what stands out less is the mesh's own border ...
_RIM: Final = 3.0  # ... and beside bare skin, which fits closer: nothing loose, but hair
_ROUND: Final = 5.0  # px around such hair that belong to it
_WIDE: Final = 13.0  # px around the mesh that a shirt hidden by an arm may reach
_LEAST: Final = 0.003  # of a part's area: less is no cloth, but the picture's blurred border
_LOOSE: Final = 0.008  # of the body's area that must be loose cloth before more is guessed
_SUGGESTS: Final = 45.0  # px from a loose outline that is seen to one that an arm hides
_SHADED: Final = 4.0  # px around an arm whose trunk is in its shadow


def elastic(seen: PictureView, table: VertexTable) -> Sheet:
    """The whole picture as one sheet: when nobody can say where the person ends."""
    alpha = np.ones(seen.view.covered.shape, np.float32)
    covered = seen.view.covered > 0.5
    return warp_layer.build(
        packed(seen.cut.fine, alpha), alpha, alpha > 0, table.points, table.seen,
        seen.cut.width, seen.cut.height, covered,
    )  # fmt: skip


def by_part(seen: PictureView, table: VertexTable) -> tuple[Sheet, ...]:
    """Sheets of trunk, left and right arm, as far as there are any.

    An exact body covers its own border, and below the ears there is little hair beside bare skin.
    """
    view, surface, alpha, solid = seen.view, seen.surface, seen.alpha, seen.solid
    picture, exact, unit = seen.cut.fine, seen.posed.fit.exact, seen.unit
    covered, layer, out = view.covered > 0.5, view.nearest(), []
    bare = np.isin(layer, _numbers(_BARE)) & (np.arange(len(layer))[:, None] > _ears(seen))
    for number, layers in enumerate(PARTS):
        mine = np.isin(layer, _numbers(layers))
        if number == 0:
            own = view.alone(surface, layers).covered > 0.5
            part, known = _behind_arms(alpha, mine, own, unit)
        else:
            own = covered & mine
            part, known = np.where(mine, alpha, 0).astype(np.float32), mine
        wanted = part > 0.1
        if exact:
            away = _far(own)
            loose = wanted & known & (away > max(_BORDER * unit, _MIXED))
            if loose.sum() > _LOOSE * own.sum():
                hidden = wanted & ~known & (away > 0)
                loose |= hidden & (_far(loose) < _SUGGESTS * unit)
            wanted = loose
            part = np.where(known | wanted, part, 0).astype(np.float32)
            hair = wanted & bare & (away > _RIM * unit)
            skin = bare & (_far(hair) > _ROUND * unit)
            part, wanted = np.where(skin, 0, part).astype(np.float32), wanted & ~skin
        if wanted.sum() <= (_LEAST * (part > 0.1).sum() if exact else 0):
            continue
        colours = picture.copy()
        box = ndimage.find_objects((part > 0).astype(np.int8))[0]
        if (solid & known)[box].any():
            colours[box] = background.extended(picture[box], (solid & known)[box], 0.0)
        of_part = np.isin(surface.layer, _numbers(layers))
        made = warp_layer.build(
            packed(colours, part), part, wanted, table.points, table.seen * of_part,
            seen.cut.width, seen.cut.height,
        )  # fmt: skip
        if not made.empty:
            out.append(made)
    return tuple(out)


def _ears(seen: PictureView) -> float:
    """How far down the picture the ears end, texels."""
    marks = seen.posed.person.body.landmarks
    lobes = [marks[f"ear_lobe_{side}"] for side in ("left", "right")]
    return float(seen.projected[lobes, 1].mean())


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [LAYERS.index(name) for name in names]


def _behind_arms(alpha: F32, mine: Mask, trunk: Mask, unit: float) -> tuple[F32, Mask]:
    """The trunk's alpha (H, W), guessed where arms hide it, and where it is known.

    ``trunk`` is what the mesh of trunk and head would cover alone.
    """
    arms = background.grow(~mine & (alpha > 0.1), _SHADED * unit)
    if not arms.any():
        return np.where(mine, alpha, 0).astype(np.float32), mine
    inside, outside = (alpha > 0.5) & ~arms, alpha <= 0.5  # a gap beside a hand is no cloth
    guess = np.clip((_far(outside) - _far(inside)) / (4 * unit) + 0.5, 0, 1)
    guess *= np.clip((_WIDE * unit - _far(trunk)) / (2 * unit), 0, 1)
    return np.where(arms, guess, alpha).astype(np.float32), ~arms


def _far(mask: Mask) -> F32:
    """Px (H, W) to the mask; far where there is none."""
    if not mask.any():
        return np.full(mask.shape, 1e6, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~mask), np.float32)


def packed(colours: F32, alpha: F32) -> NDArray[np.uint32]:
    """A sheet's texture: colours (H, W, 3) in 0..255 and alpha (H, W) in 0..1."""
    texture = np.dstack([colours, alpha * 255])
    return shading.pack(np.clip(texture + 0.5, 0, 255).astype(np.uint8))
