"""Whole calls in virtual time: what the estimate makes of a path, and what a viewer sees of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from server.rtc.bandwidth import Bandwidth
from tests.server.rtc.network_model import Call


@pytest.fixture
def call() -> Call:
    """Four seconds into a call over a path without bounds."""
    call = Call()
    call.run(4)
    return call


def test_an_open_path_is_found_out_bit_by_bit(call: Call) -> None:
    assert call.bandwidth.bitrate > 1_200_000 and call.skipped == 0
    assert call.worst_delay_s(1.0) < 0.06


@pytest.mark.parametrize("rate", [1_000_000, 300_000, 150_000])
def test_a_narrow_path_is_used_and_no_queue_stays_in_front_of_it(call: Call, rate: int) -> None:
    call.path.link.rate = rate
    call.run(2)
    calm_s = call.now_s
    assert 0.75 * rate < call.estimate_over(8) < 1.1 * rate
    assert call.worst_delay_s(calm_s) < 0.3
    made = [at for at, _ in call.delays if at > calm_s]
    assert len(made) > 8 * 20, "frames a second"


def test_a_path_that_narrows_is_known_for_what_it_takes_in_one_step(call: Call) -> None:
    before = call.bandwidth.bitrate
    call.path.link.rate = 300_000
    while call.bandwidth.bitrate >= before:
        before = call.bandwidth.bitrate
        call.run(0.01)
    assert 200_000 < call.bandwidth.bitrate < 300_000


@pytest.mark.parametrize("phase_s", [0.013 * step for step in range(1, 7)])
def test_a_path_that_narrows_costs_a_moment_and_not_seconds(call: Call, phase_s: float) -> None:
    call.run(phase_s)  # a queue fills between one piece of feedback and the next
    narrow_s = call.now_s
    call.path.link.rate = 300_000
    call.run(4)
    came = sorted(at + took for at, took in call.delays if at + took > narrow_s)
    gaps = [b - a for a, b in pairwise([narrow_s, *came])]
    assert max(gaps) < 0.5 and call.worst_delay_s(narrow_s) < 0.5


def test_sound_is_unbroken_on_a_path_of_150_kbit_when_its_first_second_is_over(call: Call) -> None:
    call.path.link.rate = 150_000
    since = call.now_s
    call.run(10)
    made = [at for at, _ in call.sounds if at >= since]
    assert max(b - a for a, b in pairwise(made)) < 0.2
    settled = [at for at in made if at >= since + 1]
    assert max(b - a for a, b in pairwise(settled)) < 0.05
    assert max(took for at, took in call.sounds if took is not None and at >= since + 2) < 0.15


def test_a_path_that_widens_is_used_again(call: Call) -> None:
    call.path.link.rate = 300_000
    call.run(6)
    call.path.link.rate = 0
    before = call.bandwidth.bitrate
    call.run(6)
    assert call.bandwidth.bitrate > 1.35 * before


def test_loss_that_has_nothing_to_do_with_the_rate_does_not_starve_the_picture(call: Call) -> None:
    call.path.loss = 0.1
    call.run(15)
    assert call.estimate_over(5) > 500_000


def test_loss_that_begins_with_the_rate_lowers_it() -> None:
    found = Bandwidth(1_000_000, 60_000, 3_000_000)
    for second in range(10):
        found.report(0.0, second)
    before = found.bitrate
    for second in range(10, 14):
        found.report(0.3, second)
    assert found.bitrate < 0.7 * before
    for second in range(14, 40):
        found.report(0.0, second)
    assert found.bitrate == before


def test_jitter_alone_is_no_reason_to_starve(call: Call) -> None:
    call.path.jitter_s = 0.08
    assert call.estimate_over(10) > 500_000


def test_a_black_out_says_nothing_of_the_rate(call: Call) -> None:
    before = call.bandwidth.bitrate
    call.path.dark = True
    call.run(3)
    assert call.sent.waited_s(call.now_s) > 2.5
    call.path.dark = False
    call.run(2)
    assert call.bandwidth.bitrate > 0.6 * before


def test_without_feedback_a_peer_is_believed_what_it_says_of_itself() -> None:
    found = Bandwidth(1_000_000, 60_000, 3_000_000)
    found.remb(400_000, sent=900_000, now_s=0.0)
    assert found.bitrate == 340_000
    for half in range(20):
        found.remb(2_000_000, sent=300_000, now_s=0.5 * half)
    assert found.bitrate == 1_000_000


def test_an_estimate_above_what_is_sent_is_no_reason_to_shrink() -> None:
    found = Bandwidth(1_000_000, 60_000, 3_000_000)
    found.remb(400_000, sent=250_000, now_s=0.0)
    assert found.bitrate == 1_000_000


def test_with_feedback_what_a_peer_says_of_itself_does_not_count(call: Call) -> None:
    before = call.bandwidth.bitrate
    call.bandwidth.remb(100_000, sent=1_000_000, now_s=call.now_s)
    call.bandwidth.report(0.5, now_s=call.now_s)
    assert call.bandwidth.bitrate == before


def test_bounds_out_of_order_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="least 500 <= start 100"):
        Bandwidth(100, 500, 1000)
