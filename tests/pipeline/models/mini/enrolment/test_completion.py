"""Holes filled by what may be copied, so that it goes on; and soft borders of known shapes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import completion, matting, pure_colours, random_walk

pytestmark = pytest.mark.timeout(400)  # the first one may have to compile kernels

U8 = NDArray[np.uint8]
_SIZE = 96


def _checks() -> U8:
    rows, columns = np.indices((_SIZE, _SIZE))
    odd = ((rows // 8 + columns // 8) % 2).astype(bool)
    return np.where(odd[..., None], (200, 120, 60), (60, 80, 140)).astype(np.uint8)


def _square(low: int, high: int) -> NDArray[np.bool_]:
    out = np.zeros((_SIZE, _SIZE), bool)
    out[low:high, low:high] = True
    return out


def test_a_pattern_goes_on_through_a_hole() -> None:
    picture, hole = _checks(), _square(38, 60)
    broken = np.where(hole[..., None], 0, picture).astype(np.uint8)
    filled = completion.complete(broken, hole, ~hole)
    error = np.square(filled.astype(float) - picture)[hole].mean()
    assert 10 * np.log10(255**2 / max(error, 1e-6)) > 20  # the mean colour reaches 12 dB
    assert np.array_equal(filled[~hole], picture[~hole])


def test_only_what_may_be_copied_is_copied() -> None:
    picture = np.full((_SIZE, _SIZE, 3), (30, 60, 160), np.uint8)
    picture[:, 60:] = 250, 240, 230  # a wall right beside the hole
    hole = _square(40, 60)
    cloth = np.indices(hole.shape)[1] < 60
    filled = completion.complete(picture, hole, cloth & ~hole)
    assert np.abs(filled[hole].astype(int) - (30, 60, 160)).max() < 8


def test_a_hole_with_nothing_to_copy_is_filled_smoothly() -> None:
    picture = np.full((_SIZE, _SIZE, 3), 90, np.uint8)
    hole = _square(2, _SIZE - 2)
    assert np.abs(completion.complete(picture, hole, ~hole)[hole].astype(int) - 90).max() <= 1


def test_a_hole_as_large_as_the_picture_is_refused() -> None:
    picture, hole = _checks(), np.ones((_SIZE, _SIZE), bool)
    with pytest.raises(ValueError, match="whole picture"):
        completion.complete(picture, hole, ~hole)


def _disc(soft: float) -> NDArray[np.float32]:
    rows, columns = np.indices((_SIZE, _SIZE))
    far = np.hypot(rows - 47.5, columns - 47.5)
    return np.clip((30 - far) / soft + 0.5, 0, 1).astype(np.float32)


def test_a_soft_border_is_found_as_soft_as_it_is() -> None:
    true = _disc(6.0)[..., None]
    picture = (true * (220, 180, 150) + (1 - true) * _checks()).astype(np.uint8)
    found = matting.matte(picture, true[..., 0], 5.0, 5.0)
    assert np.abs(found - true[..., 0]).mean() < 0.02
    assert ((found > 0.1) & (found < 0.9)).sum() > 300  # a hard edge has hardly any


def test_colours_of_a_border_are_the_things_own() -> None:
    alpha = _disc(8.0)
    colour = np.array([0.8, 0.6, 0.5])
    picture = alpha[..., None] * colour + (1 - alpha[..., None]) * (0.1, 0.4, 0.1)
    front = pure_colours.pure_colours(picture.astype(np.float32), alpha)
    assert np.abs(front[alpha > 0.15] - colour).max() < 0.06


def test_regions_end_at_an_edge_though_their_seeds_do_not_reach_it() -> None:
    picture = np.full((_SIZE, _SIZE, 3), 100, np.uint8)
    picture[:, 61:] = 130
    prior = np.full((2, _SIZE, _SIZE), 0.5, np.float32)
    trust = np.full((_SIZE, _SIZE), 1e-4, np.float32)
    for label, columns in enumerate((slice(0, 10), slice(80, 96))):
        prior[:, :, columns] = 0
        prior[label, :, columns] = 1
        trust[:, columns] = 1
    shares = random_walk.regions(picture, prior, trust)
    assert np.allclose(shares.sum(0), 1, atol=1e-4)
    assert (shares[0, :, :60] > 0.5).mean() > 0.98
    assert (shares[1, :, 62:] > 0.5).mean() > 0.98
