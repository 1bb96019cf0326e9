"""Pieces come out whole and in order, whatever the network did to their packets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiortc.rtp import RtpPacket

from client.receive import ASK_S, PATIENCE_S, Assembly, SenderClock


def packet(number: int, marker: int, data: bytes) -> RtpPacket:
    made: Any = RtpPacket(payload_type=96, sequence_number=number % 65536, timestamp=number // 3)
    made.marker, made._data = marker, data
    return made


def pictures(numbers: Iterable[int]) -> list[RtpPacket]:
    """Three packets make a picture; each packet's data is its number."""
    return [packet(n, int(n % 3 == 2), bytes([n % 3])) for n in numbers]


class Screen:
    def __init__(self, every_packet: bool = False) -> None:
        self.whole: list[tuple[int, bytes]] = []
        self.now_s = 0.0
        self.assembly = Assembly(every_packet, self._emit, lambda: self.now_s)

    def _emit(self, last: RtpPacket, data: bytes) -> bool:
        self.whole.append((last.timestamp, data))
        return True

    def take(self, packets: Iterable[RtpPacket], apart_s: float = 0.0) -> list[bool]:
        wanted = []
        for one in packets:
            wanted.append(self.assembly.add(one)[0])
            self.now_s += apart_s
        return wanted


def test_a_picture_is_whole_at_its_marker_not_when_the_next_begins() -> None:
    screen = Screen()
    screen.take(pictures(range(3)))
    assert screen.whole == [(0, bytes([0, 1, 2]))]


def test_disorder_and_duplicates_change_nothing() -> None:
    screen = Screen()
    screen.take(pictures([0, 2, 1, 1, 5, 4, 3, 4]))
    assert screen.whole == [(0, bytes([0, 1, 2])), (1, bytes([0, 1, 2]))]


def test_sequence_numbers_wrap() -> None:
    screen = Screen()
    screen.take(pictures(range(65535, 65541)))
    assert len(screen.whole) == 2


def test_a_hole_is_given_up_with_its_picture_and_a_key_picture_is_asked_for() -> None:
    screen = Screen()
    count = round(PATIENCE_S["video"] / 0.01) + 3
    wanted = screen.take(pictures([0, 1, 2, 3, *range(5, 5 + count)]), apart_s=0.01)
    assert wanted.count(True) == 1 and screen.assembly.lost == 1
    assert (1, bytes([0, 2])) not in screen.whole
    assert screen.whole[1] == (2, bytes([0, 1, 2]))
    assert len(screen.assembly._waiting) == 0


def test_a_hole_that_is_filled_in_time_costs_nothing() -> None:
    screen = Screen()
    wanted = screen.take(pictures([0, 1, 2, 3, *range(5, 20), 4]), apart_s=0.01)
    assert not any(wanted) and [at for at, _ in screen.whole] == [0, 1, 2, 3, 4, 5]


def test_many_holes_take_no_longer_than_one() -> None:
    screen = Screen()
    screen.take(pictures([0, 1, 2, *range(4, 30, 2)]))
    screen.now_s = PATIENCE_S["video"] + 0.01
    screen.take(pictures(range(29, 33)))
    assert screen.whole[-1] == (10, bytes([0, 1, 2]))


def test_what_is_missing_is_asked_for_again_while_there_is_hope() -> None:
    screen, asked = Screen(), list[list[int]]()
    for one in pictures([0, 1, 2, 3, 5, 7, *range(8, 20)]):
        screen.take([one], apart_s=0.01)
        asked += [missing] if (missing := screen.assembly.missing()) else []
    assert 2 <= len(asked) <= 0.15 / ASK_S + 1
    assert asked[0] == [4, 6] and asked[-1] == [4, 6]


def test_every_packet_of_sound_is_whole_and_a_lost_one_costs_only_itself() -> None:
    screen = Screen(every_packet=True)
    wanted = screen.take(pictures([0, *range(2, 12)]), apart_s=0.02)
    assert not any(wanted) and len(screen.whole) == 11 and screen.assembly.missing() == []


def test_a_senders_clock_maps_timestamps_across_the_wrap() -> None:
    clock = SenderClock(90_000)
    first = clock.unwrap((1 << 32) - 90_000)
    assert clock.at(first) is None
    clock.report(int((2_208_988_800 + 1000.0) * (1 << 32)), (1 << 32) - 90_000)
    later = clock.unwrap(90_000)
    at = clock.at(later)
    assert at is not None and abs(at - 1002.0) < 1e-6
    assert clock.unwrap((1 << 32) - 45_000) < later
