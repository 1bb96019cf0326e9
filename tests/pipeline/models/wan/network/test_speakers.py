"""Two people in one picture: where they are, and at which position each token listens."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import ModelMismatch
from pipeline.models.wan.network.speakers import (
    HALVES,
    areas,
    likeness,
    places,
    regions,
    rotary,
)


def test_boxes_become_areas_of_tokens_and_the_rest_is_background() -> None:
    first, second, rest = regions(((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)), 2, 4)
    assert first.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert second.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert torch.equal(first + second + rest, torch.ones(8))


def test_a_box_in_which_no_token_begins_is_refused() -> None:
    latent = torch.zeros(1, 16, 1, 8, 8)
    assert areas(HALVES, latent, (1, 2, 2)) is not None
    with pytest.raises(ModelMismatch, match=r"the box 0\.3:0\.3:0\.4:0\.4 is too small.* 4 x 4"):
        areas((HALVES[0], (0.3, 0.3, 0.4, 0.4)), latent, (1, 2, 2))


def test_halves_leave_a_margin_and_no_token_to_both() -> None:
    shown = regions(HALVES, 40, 40)
    assert torch.equal(shown.sum(0), torch.ones(1600))
    assert shown[0].sum() == shown[1].sum() > 600
    assert shown[2].view(40, 40)[0].all() and shown[2].view(40, 40)[20, 19:21].any()


def test_a_token_listens_where_the_person_is_whom_it_resembles() -> None:
    """Keys of three areas point three ways; queries that point the same way find them."""
    ways = torch.eye(3).repeat_interleave(2, 0)  # six tokens, two of each area
    k = torch.zeros(1, 1, 6, 4)
    k[0, 0, :, :3] = 30 * ways
    q = torch.zeros(1, 1, 4, 4)
    q[0, 0, :3, :3] = torch.eye(3)
    q[0, 0, 3, 0] = 0.2  # a little like person one
    alike = likeness(q, k, ways.T[None])
    assert alike.argmax(-1).tolist() == [[0, 1, 2, 0]]
    assert torch.allclose(alike.sum(-1) * 2, torch.ones(1, 4), atol=1e-5), "shares of one softmax"
    at = places(alike)[0]
    assert at[0] == 4 and at[1] == 24 and at[2] == 12 and 0 < at[3] < 4


def test_an_area_without_tokens_resembles_nobody() -> None:
    shown = torch.tensor([[[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]])
    alike = likeness(torch.randn(1, 2, 8, 6), torch.randn(1, 2, 4, 6), shown)
    assert alike.isfinite().all() and (alike[..., 2] == 0).all()
    assert places(alike).isfinite().all()


def test_positions_turn_each_pair_by_its_own_frequency() -> None:
    cos, sin = rotary(torch.tensor([0.0, 2.0]), 4)
    assert torch.allclose(cos, torch.tensor([[1.0, 1.0], [2.0, 0.02]]).cos().where(
        torch.tensor([[False], [True]]), torch.ones(2, 2)))  # fmt: skip
    assert torch.allclose(sin[1], torch.tensor([2.0, 0.02]).sin())
