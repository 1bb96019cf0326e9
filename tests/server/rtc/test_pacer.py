"""When packets leave, which are sent again, and when a key frame is made."""

from __future__ import annotations

import pytest

from server.media.key_frames import KeyFrames
from server.rtc.pacer import FASTER, FULL_S, MOST_S, REPEATS, Pacer, Queued
from server.rtc.retransmission import REMEMBERED_S, SHARE, TIMES, History

RATE = 400_000
PACKET = 1250  # 10 kbit


def picture(name: str, packets: int) -> list[Queued[str]]:
    return [Queued(f"{name}{i}", PACKET) for i in range(packets)]


def drain(pacer: Pacer[str], from_s: float, to_s: float) -> list[tuple[float, str]]:
    left, now_s = [], from_s
    while now_s < to_s:
        while (packet := pacer.due(now_s)) is not None:
            left.append((round(now_s, 3), packet))
        now_s += 0.001
    return left


def test_a_key_frame_is_spread_at_a_little_more_than_the_estimate() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    assert pacer.picture(picture("k", 20), key=True)
    left = drain(pacer, 0.0, 1.0)
    took = left[-1][0] - left[0][0]
    assert len(left) == 20 and took == pytest.approx(19 * PACKET * 8 / (RATE * FASTER), rel=0.15)
    assert pacer.wait_s(1.0) is None


def test_pictures_leave_in_order_and_what_was_lost_leaves_first() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    pacer.picture(picture("a", 2), key=True)
    pacer.picture(picture("b", 1), key=False)
    pacer.repeat(Queued("lost", PACKET))
    assert [name for _, name in drain(pacer, 0.0, 1.0)] == ["lost", "a0", "a1", "b0"]


def test_sound_takes_its_room_from_pictures() -> None:
    alone, beside = Pacer[str](RATE), Pacer[str](RATE)
    for pacer in (alone, beside):
        pacer.picture(picture("a", 10), key=True)
    beside.spend(PACKET * 5, 0.0)
    assert drain(beside, 0.0, 1.0)[-1][0] > drain(alone, 0.0, 1.0)[-1][0] + 0.05


def test_it_is_full_when_a_picture_would_wait_and_not_after_it_has_emptied() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    assert not pacer.full
    pacer.picture(picture("a", int(RATE * FASTER * FULL_S / 8 / PACKET) + 2), key=True)
    assert pacer.full
    drain(pacer, 0.0, 1.0)
    assert not pacer.full and pacer.backlog_s == 0


def test_a_full_queue_drops_whole_pictures_until_a_key_frame_and_never_grows() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    taken = [pacer.picture(picture(str(i), 4), key=False) for i in range(20)]
    refused = taken.index(False)
    assert not any(taken[refused:]) and pacer.backlog_s < MOST_S + 0.1 and pacer.dropped == 1
    drain(pacer, 0.0, 0.5)
    assert not pacer.picture(picture("later", 1), key=False), "it could not be decoded"
    assert pacer.picture(picture("key", 1), key=True)
    assert pacer.picture(picture("next", 1), key=False)


def test_a_key_frame_replaces_what_waits_but_not_a_picture_that_has_begun() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    for name in "abcdef":
        pacer.picture(picture(name, 6), key=False)
    assert pacer.due(0.0) == "a0"
    assert pacer.picture(picture("k", 2), key=True)
    names = [name for _, name in drain(pacer, 0.1, 2.0)]
    assert names == ["a1", "a2", "a3", "a4", "a5", "k0", "k1"]


def test_what_was_lost_before_a_key_frame_does_not_hold_it_up() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    pacer.repeat(Queued("lost", PACKET))
    assert pacer.picture(picture("k", 2), key=True)
    pacer.repeat(Queued("of k", PACKET))
    assert [name for _, name in drain(pacer, 0.0, 1.0)] == ["of k", "k0", "k1"]
    assert pacer.backlog_s == 0


def test_packets_to_be_repeated_are_bounded() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    taken = [pacer.repeat(Queued("x", 10)) for _ in range(REPEATS + 5)]
    assert sum(taken) == REPEATS


def test_a_burst_pulls_what_waits_without_its_time_having_come() -> None:
    pacer: Pacer[str] = Pacer(RATE)
    pacer.picture(picture("a", 3), key=True)
    assert [pacer.pull(0.0) for _ in range(4)] == ["a0", "a1", "a2", None]
    pacer.picture(picture("b", 1), key=False)
    assert pacer.due(0.0) is None, "the burst has used up its time"


class TestHistory:
    def test_a_lost_packet_is_sent_again_but_not_while_it_may_be_on_its_way(self) -> None:
        history: History[str] = History()
        history.add(7, "seven", 1000, 0.0)
        assert history.again(8, 1e6, 0.1, 0.1) is None
        assert history.again(7, 1e6, 0.1, 0.10) == "seven"
        assert history.again(7, 1e6, 0.1, 0.15) is None
        assert history.again(7, 1e6, 0.1, 0.21) == "seven" and history.refused == 1

    def test_a_few_times_at_most_and_not_when_it_is_old(self) -> None:
        history: History[str] = History()
        history.add(7, "seven", 1000, 0.0)
        found = [history.again(7, 1e7, 0.01, 0.1 * i) for i in range(1, 12)]
        assert found.count("seven") == TIMES
        history.add(8, "eight", 1000, 2.0)
        assert history.again(8, 1e7, 0.01, 2.0 + REMEMBERED_S + 0.1) is None

    def test_all_of_it_stays_a_share_of_the_rate(self) -> None:
        history, bits = History[int](), 0
        for i in range(2000):
            history.add(i, i, 1250, i * 0.005)
            if history.again(i, RATE, 0.01, i * 0.005) is not None:
                bits += 10_000
        assert bits / 10.0 <= RATE * SHARE * 1.15
        assert history.refused > 500

    def test_nothing_from_before_a_key_frame_is_sent_again(self) -> None:
        history: History[int] = History()
        history.add(1, 1, 100, 0.0)
        history.settle()
        history.add(2, 2, 100, 0.1)
        assert history.again(1, 1e6, 0.01, 0.2) is None
        assert history.again(2, 1e6, 0.01, 0.2) == 2
        assert len(history.largest(4)) == 4, "it still fills a burst"

    def test_it_is_bounded(self) -> None:
        history: History[int] = History()
        for i in range(5000):
            history.add(i, i, 1250, i * 0.0001)
        assert len(history._sent) <= 1024
        assert len(history.largest(9)) == 9 and History[int]().largest(3) == []


class TestKeyFrames:
    def test_the_first_picture_is_one_and_requests_are_met_at_once(self) -> None:
        keys = KeyFrames(0.4)
        assert keys.take(0.0) and not keys.take(0.04)
        keys.request()
        assert keys.take(5.0) and not keys.take(5.04)

    def test_a_storm_of_requests_costs_a_few_a_second(self) -> None:
        keys, made = KeyFrames(0.4), 0
        for i in range(250):
            keys.request()
            made += keys.take(i * 0.04)
        assert 23 <= made <= 26

    def test_a_request_that_came_too_early_is_kept(self) -> None:
        keys = KeyFrames(0.4)
        assert keys.take(0.0)
        keys.request()
        assert not keys.take(0.1) and keys.take(0.41)

    def test_one_that_the_encoder_made_of_itself_counts(self) -> None:
        keys = KeyFrames(0.4)
        keys.request()
        keys.made(1.0)
        assert not keys.take(1.1) and not keys.take(2.0)
