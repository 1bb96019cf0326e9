"""Transport-wide feedback, byte by byte."""

from __future__ import annotations

import random

import pytest

from server.rtc.sent_packets import SentPackets
from server.rtc.transport_feedback import Arrival, ArrivalLog, build, messages, parse


def came(*ticks: int | None, base: int = 0) -> list[Arrival]:
    """Packets that came so many quarter milliseconds after one another; None has not come."""
    out, at = list[Arrival](), 0
    for offset, tick in enumerate(ticks):
        at += tick or 0
        out.append(Arrival((base + offset) % 65536, None if tick is None else at * 0.00025))
    return out


def test_a_run_of_packets_with_small_steps_is_read() -> None:
    fci = bytes.fromhex("0005 0003 000002 07 2003 00 04 08".replace(" ", ""))
    assert [(a.number, a.at_s) for a in parse(fci)] == [(5, 0.128), (6, 0.129), (7, 0.131)]


def test_a_vector_of_two_bits_holds_missing_packets_and_steps_back_in_time() -> None:
    # small, missing, large (-1 ms), then four beyond the count
    fci = bytes.fromhex("ffff 0003 000001 00 d200 04 fffc".replace(" ", ""))
    assert [(a.number, a.at_s) for a in parse(fci)] == [(65535, 0.065), (0, None), (1, 0.064)]


def test_a_vector_of_one_bit_tells_come_from_missing() -> None:
    fci = bytes.fromhex("0000 000e 000000 00 a001 01 01".replace(" ", ""))
    found = parse(fci)
    assert [a.number for a in found if a.at_s is not None] == [0, 13] and len(found) == 14


def test_a_reference_time_before_zero_is_negative() -> None:
    fci = bytes.fromhex("0000 0001 ffffff 00 2001 00".replace(" ", ""))
    assert parse(fci)[0].at_s == -0.064


@pytest.mark.parametrize(
    "text", ["", "000000010000", "000000020000000020020004"[:20], "0000000300000000"]
)
def test_a_message_that_ends_early_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="feedback message"):
        parse(bytes.fromhex(text))


def test_what_is_built_is_read_back() -> None:
    rng = random.Random(5)
    for _ in range(200):
        ticks = [rng.choice([None, 0, 3, 200, 300, -40, 20_000]) for _ in range(rng.randint(0, 90))]
        rows = came(8, *ticks, base=rng.choice([0, 65_500]))
        fci = build(rows, 300)
        assert parse(fci) == rows and len(fci) % 4 == 0 and fci[7] == 300 % 256


def test_long_runs_take_two_bytes_and_not_two_bits_each() -> None:
    assert len(build(came(8, *[None] * 700, 8), 0)) < 24


def test_times_too_far_apart_for_a_message_are_refused() -> None:
    with pytest.raises(ValueError, match="8.250 s apart"):
        build(came(0, 33_000), 0)


def test_messages_are_found_in_compound_packets_and_their_padding_left_out() -> None:
    fci = build(came(1, 2, 3), 0)
    body = bytes(8) + fci
    feedback = bytes([0x8F, 205, 0, len(body) // 4]) + body
    padded = bytes([0xAF, 205, 0, len(body) // 4 + 1]) + body + bytes([0, 0, 0, 4])
    report = bytes([0x80, 201, 0, 1]) + bytes(4)
    nack = bytes([0x81, 205, 0, 3]) + bytes(12)
    found = list(messages(report + feedback + nack + padded + feedback[:-4]))
    assert found == [fci, fci]


class TestArrivalLog:
    def test_it_tells_ten_times_a_second_what_came_and_what_did_not(self) -> None:
        log, told = ArrivalLog(), list[list[Arrival]]()
        for number in range(100):
            if number % 10 != 3:
                message = log.add((65_530 + number) % 65_536, 7.0 + number / 100)
                told += [parse(message)] if message else []
        assert 8 <= len(told) <= 10
        numbers = [(a.number - 65_530) % 65_536 for rows in told for a in rows]
        assert numbers == list(range(len(numbers))), "each once, in order"
        missing = [(a.number - 65_530) % 65_536 for rows in told for a in rows if a.at_s is None]
        assert missing and all(number % 10 == 3 for number in missing)

    def test_a_packet_that_was_told_missing_and_comes_after_all_is_told(self) -> None:
        log = ArrivalLog(interval_s=0.0)
        log.add(10, 1.0)
        assert parse(log.add(12, 1.1) or b"")[-1].number == 12
        late = parse(log.add(11, 1.2) or b"")
        assert late[0].number == 11 and late[0].at_s == pytest.approx(1.2, abs=0.001)


class TestSentPackets:
    def test_each_packet_has_one_outcome_and_bytes_in_flight_go_down_to_none(self) -> None:
        sent = SentPackets()
        for i in range(5):
            assert sent.send(100, i * 0.01) == i
        assert sent.in_flight == 500
        rows = [Arrival(i, 9.0 + i) for i in (4, 0, 1, 2, 3)]
        outcomes = sent.outcomes(rows)
        assert [o.came_s for o in outcomes] == [9.0, 10.0, 11.0, 12.0, 13.0]
        assert sent.outcomes(rows) == [] and sent.in_flight == 0

    def test_a_missing_packet_is_lost_only_when_a_much_later_one_has_come(self) -> None:
        sent = SentPackets()
        for at_s in (0.0, 0.01, 0.15, 0.32):
            sent.send(100, at_s)
        assert [o.came_s for o in sent.outcomes([Arrival(0, None), Arrival(2, 5.0)])] == [5.0]
        outcomes = sent.outcomes([Arrival(3, 6.0)])
        assert [o.came_s for o in outcomes] == [None, None, 6.0] and sent.in_flight == 0

    def test_numbers_wrap(self) -> None:
        sent = SentPackets()
        for i in range(65_540):
            sent.send(1, i / 1000)
        found = sent.outcomes([Arrival(3, 1.0)])
        assert [o.sent_s for o in found if o.came_s is not None] == [65.539]

    def test_it_says_since_when_nothing_is_answered(self) -> None:
        sent = SentPackets()
        assert sent.waited_s(5.0) == 0.0
        sent.send(1, 1.0)
        sent.send(1, 2.0)
        assert sent.waited_s(5.0) == 4.0
        sent.outcomes([Arrival(0, 0.0)])
        assert sent.waited_s(5.0) == 3.0
