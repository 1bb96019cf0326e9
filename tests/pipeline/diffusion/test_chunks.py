"""The arithmetic of chunks and the agreement between them."""

import pytest
import torch
from hypothesis import given, strategies as st

from pipeline.diffusion.chunks import Chunk, plan
from pipeline.diffusion.continuum import OverlapTrace, blend, harmonise, ramp


@given(st.integers(0, 10**9), st.integers(1, 400), st.integers(1, 40), st.data())
def test_chunks_cover_everything_in_order_with_the_overlap(start, total, length, data):
    overlap = data.draw(st.integers(0, length // 2))
    chunks = plan(start, total, length, overlap)
    assert chunks[0].start == start and chunks[-1].stop >= start + total
    assert chunks[-1].stop - (start + total) < max(length, 1)
    for a, b in zip(chunks, chunks[1:], strict=False):
        assert a.stop - b.start == overlap == a.right == b.left


@pytest.mark.parametrize(("total", "length", "overlap"), [(0, 4, 1), (5, 4, 3)])
def test_a_plan_that_cannot_be_is_refused(total, length, overlap):
    with pytest.raises(ValueError, match=r"\d"):
        plan(0, total, length, overlap)


def test_interpolating_equal_chunks_is_the_identity_to_the_bit():
    whole = torch.randn(3, 20, 1, 5) * 1e3
    chunks = plan(0, 20, 8, 4)
    fields = torch.stack([whole[:, c.start : c.stop] for c in chunks])
    assert torch.equal(harmonise(fields, chunks), fields)


def test_harmonised_chunks_agree_to_the_bit_where_they_overlap():
    chunks = plan(7, 30, 12, 5)
    out = harmonise(torch.randn(len(chunks), 3, 12, 1, 5), chunks)
    for k in range(len(chunks) - 1):
        assert torch.equal(out[k, :, -5:], out[k + 1, :, :5])


def test_latents_of_one_chunk_alone_are_untouched():
    chunks = plan(0, 20, 12, 4)
    fields = torch.randn(2, 3, 12, 1, 5)
    out = harmonise(fields, chunks)
    assert torch.equal(out[0, :, :8], fields[0, :, :8])
    assert torch.equal(out[1, :, 4:], fields[1, :, 4:])


def test_weights_are_smooth_sum_to_one_and_fall_to_one_chunk():
    later = ramp(8)
    torch.testing.assert_close(later + later.flip(0), torch.ones(8))
    assert (later.diff() > 0).all() and later[0] < 0.02 and later[-1] > 0.98
    assert later.diff().max() < 0.25


def test_blend_at_zero_keeps_the_first_to_the_bit():
    a, b = torch.randn(2, 4, 1, 5), torch.randn(2, 4, 1, 5)
    assert torch.equal(blend(a, b, 0.0), a)


def test_a_trace_pulls_where_it_covers_and_fades_out():
    trace = OverlapTrace([0.5, 0.0])
    trace.leave(10, [torch.ones(2, 4, 1, 5), torch.ones(2, 4, 1, 5)])
    pulled = trace.pull(torch.zeros(2, 6, 1, 5), 11, level=0)[0, :, 0, 0]
    assert 0.4 < pulled[0] < 0.5 and (pulled.diff()[:2] < 0).all() and (pulled[3:] == 0).all()


def test_a_trace_weighs_nothing_at_the_last_level():
    trace = OverlapTrace([0.5, 0.0])
    trace.leave(10, [torch.ones(2, 4, 1, 5)] * 2)
    field = torch.randn(2, 4, 1, 5)
    assert torch.equal(trace.pull(field, 10, level=1), field)


def test_a_trace_holds_the_columns_it_is_told_to_and_frees_the_others():
    trace = OverlapTrace([0.5, 0.0], hold=[0.0, 1.0])
    trace.leave(0, [torch.ones(3, 4, 1, 2)] * 2)
    field = torch.zeros(3, 4, 1, 2)
    pulled = trace.pull(field, 0, level=0)
    assert torch.equal(pulled[..., 0], field[..., 0]) and (pulled[..., 1] > 0).all()


def test_a_cleared_trace_leaves_the_field_alone():
    trace = OverlapTrace([1.0])
    trace.leave(0, [torch.ones(2, 4, 1, 5)])
    trace.clear()
    field = torch.randn(2, 4, 1, 5)
    assert torch.equal(trace.pull(field, 0, level=0), field)


def test_chunk_stop_follows_its_start():
    assert Chunk(5, 4, 0, 0).stop == 9
