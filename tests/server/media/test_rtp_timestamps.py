"""Timestamps meet arrival: jitter, loss, silence, skew, bursts, wrap-around, a stalled path."""

import numpy as np
import pytest

from server.media.arrival_statistics import BLOCK, RATE
from server.media.rtp_timestamps import WRAP, RtpTimestamps


def feed(
    arrivals: RtpTimestamps,
    seconds: float,
    now: float = 10_000,
    rtp: int = 777,
    pace: float = 1.0,
    jitter: float = 0.0,
) -> tuple[list[int], list[int]]:
    """20 ms packets; returns positions and moments of arrival."""
    rng = np.random.default_rng(1)
    positions, moments = [], []
    for index in range(int(seconds * 50)):
        late = abs(rng.normal(0, jitter)) * RATE if index else 0
        moment = int(now + index * BLOCK / pace + late)
        positions.append(arrivals.place((rtp + index * BLOCK) % WRAP, BLOCK, moment))
        moments.append(moment)
    return positions, moments


def test_packets_follow_each_other_without_a_gap() -> None:
    positions, _ = feed(RtpTimestamps(), 1.0, jitter=0.01)
    assert set(np.diff(positions)) == {BLOCK}


def test_the_first_packet_ends_at_the_last_whole_block() -> None:
    arrivals = RtpTimestamps()
    position = arrivals.place(123_456, BLOCK, 10_001)
    assert (position + BLOCK) % BLOCK == 0 and 0 <= 10_001 - (position + BLOCK) < BLOCK


def test_timestamps_wrap_around_unnoticed() -> None:
    positions, _ = feed(RtpTimestamps(), 1.0, rtp=WRAP - 20 * BLOCK)
    assert set(np.diff(positions)) == {BLOCK}


def test_a_lost_packet_leaves_its_place_empty() -> None:
    arrivals = RtpTimestamps()
    first = arrivals.place(0, BLOCK, 10_000)
    assert arrivals.place(2 * BLOCK, BLOCK, 10_000 + 2 * BLOCK) == first + 2 * BLOCK


def test_silence_that_was_not_sent_is_kept_as_long_as_it_was() -> None:
    arrivals = RtpTimestamps()
    first = arrivals.place(0, BLOCK, 10_000)
    later = arrivals.place(100 * BLOCK, BLOCK, 10_000 + 100 * BLOCK)
    assert later - first == 100 * BLOCK and arrivals.anchors == 1


def test_a_sender_that_paused_without_counting_is_heard_at_once() -> None:
    arrivals = RtpTimestamps()
    arrivals.place(0, BLOCK, 10_000)
    position = arrivals.place(BLOCK, BLOCK, 10_000 + 3 * RATE)
    assert 0 <= (10_000 + 3 * RATE) - (position + BLOCK) < BLOCK and arrivals.anchors == 2


def test_a_path_that_stalled_gives_its_delay_back() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 3.0)
    after = 10_000 + 3 * RATE
    for index in range(100):  # two seconds of packets, all held up until the end
        arrivals.place(777 + (150 + index) * BLOCK, BLOCK, after + 100 * BLOCK + index)
    assert arrivals.anchors == 2 and arrivals.correction() == 0
    for index in range(100, 110):  # and then live again
        arrivals.place(777 + (150 + index) * BLOCK, BLOCK, after + index * BLOCK)
    shift = arrivals.correction()
    assert -2.1 * RATE < shift < -1.8 * RATE
    arrivals.shift(shift)
    end = arrivals.place(777 + 260 * BLOCK, BLOCK, after + 110 * BLOCK) + BLOCK
    assert abs(after + 110 * BLOCK - end) <= BLOCK


def test_a_microphone_is_never_far_ahead_of_its_time() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 1.0, pace=3.0)
    assert arrivals.correction() == 0
    shift = arrivals.correction(live=True)
    assert -0.7 * RATE < shift < -0.6 * RATE and shift % BLOCK == 0


def test_a_tts_that_pauses_and_then_sends_faster_loses_nothing() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 3.0)
    after = 10_000 + 5 * RATE
    for index in range(250):  # five seconds of speech within half a second
        arrivals.place(777 + (150 + index) * BLOCK, BLOCK, after + index * 96)
        assert arrivals.correction() == 0


def test_a_burst_keeps_its_order_and_is_not_taken_for_drift() -> None:
    arrivals = RtpTimestamps()
    positions, _ = feed(arrivals, 5.0, pace=20.0)
    assert set(np.diff(positions)) == {BLOCK}
    assert arrivals.correction() == 0


def test_a_clock_that_runs_slow_is_followed_in_whole_blocks() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 60.0, pace=0.999)
    correction = arrivals.correction()
    assert correction > 0 and correction % BLOCK == 0


def test_a_clock_that_runs_fast_is_followed_in_whole_blocks() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 60.0, pace=1.001)
    correction = arrivals.correction()
    assert correction < 0 and correction % BLOCK == 0


def test_a_first_packet_that_was_held_up_does_not_delay_the_rest_for_ever() -> None:
    arrivals = RtpTimestamps()
    arrivals.place(0, BLOCK, 10_000 + 6 * BLOCK)
    feed(arrivals, 3.0, now=10_000 + BLOCK, rtp=BLOCK)
    correction = arrivals.correction()
    assert -7 * BLOCK < correction <= -5 * BLOCK and correction % BLOCK == 0
    arrivals.shift(correction)
    assert arrivals.correction() == 0


def test_jitter_is_how_late_the_late_ones_come() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 5.0, now=9_600, jitter=0.02)
    assert 0.02 * RATE < arrivals.jitter < 0.06 * RATE


def test_jitter_is_forgotten_after_two_seconds_of_calm() -> None:
    arrivals, rng = RtpTimestamps(), np.random.default_rng(2)
    for index in range(500):  # ten seconds, every tenth packet overtaken by two others
        late = 2 * BLOCK if rng.random() < 0.1 else 0
        arrivals.place(index * BLOCK, BLOCK, 9_600 + index * BLOCK + late)
    assert arrivals.jitter >= BLOCK
    for index in range(500, 625):
        arrivals.place(index * BLOCK, BLOCK, 9_600 + index * BLOCK)
    assert arrivals.jitter == 0


def test_the_source_timestamp_of_a_position_is_the_one_that_was_sent() -> None:
    arrivals = RtpTimestamps()
    position = arrivals.place(WRAP - 100, BLOCK, 10_000)
    assert arrivals.rtp(position + 300) == 200
    arrivals.reset()
    assert arrivals.rtp(position) is None


def test_narrow_codecs_count_in_their_own_clock() -> None:
    arrivals = RtpTimestamps(clock_rate=8000)
    first = arrivals.place(0, BLOCK, 10_000)
    assert arrivals.place(160, BLOCK, 10_000 + BLOCK) == first + BLOCK
    assert arrivals.rtp(first + BLOCK) == 160


def test_a_clock_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="0"):
        RtpTimestamps(0)


def jittery(arrivals: RtpTimestamps, spread_s: float, count: int = 500) -> list[int]:
    """Packets whose delays are drawn one by one, so that they overtake; where each was placed,
    from where the source's own spacing has it."""
    rng = np.random.default_rng(3)
    moments = [10_000 + i * BLOCK + abs(rng.normal(0, spread_s)) * RATE for i in range(count)]
    order = sorted(range(count), key=moments.__getitem__)
    return [arrivals.place(i * BLOCK, BLOCK, int(moments[i])) - i * BLOCK for i in order]


def test_packets_that_others_have_overtaken_do_not_move_the_anchor_however_late() -> None:
    arrivals = RtpTimestamps()
    arrivals.place(-BLOCK % WRAP, BLOCK, 10_000 - BLOCK)
    assert len(set(jittery(arrivals, 0.08))) == 1 and arrivals.anchors == 1
    assert 0.12 * RATE < arrivals.jitter < 0.2 * RATE and arrivals.correction(live=True) == 0


def test_a_source_that_counts_anew_from_below_is_heard_at_once() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 3.0, rtp=10_000_000)
    now = 10_000 + 4 * RATE
    assert 0 <= now - (arrivals.place(0, BLOCK, now) + BLOCK) < BLOCK and arrivals.anchors == 2
    assert arrivals.place(BLOCK, BLOCK, now + BLOCK) + BLOCK > now


def test_what_waited_while_we_stood_still_is_late_and_what_follows_is_not() -> None:
    arrivals = RtpTimestamps()
    feed(arrivals, 3.0)
    woken = 10_000 + 8 * RATE
    arrivals.stood_still(until=woken + RATE // 2)
    for index in range(150, 400):
        end = arrivals.place(777 + index * BLOCK, BLOCK, woken + index) + BLOCK
        assert end <= 10_000 + index * BLOCK
    for index in range(400, 500):
        now = 10_000 + index * BLOCK
        assert now - (arrivals.place(777 + index * BLOCK, BLOCK, now) + BLOCK) < BLOCK
        assert arrivals.correction(live=True) == 0
    assert arrivals.anchors == 1 and arrivals.jitter <= BLOCK
