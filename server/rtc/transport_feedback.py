"""Transport-wide feedback: which packets arrived, and when. Pure.

Format: draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1. Each packet of a transport
carries a 16-bit number in a header extension; the receiver reports the arrival time of each number
in steps of 250 microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack, unpack_from

URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RTPFB, FORMAT = 205, 15  # RTCP packet type and feedback message type
TICK_S = 0.00025
REFERENCE_S = 0.064
WRAP = 1 << 16
MISSING, SMALL, LARGE = 0, 1, 2
MOST = 1024  # packets in one message
RUN = 0x1FFF


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet and when it came, by the receiver's clock; None when it has not come."""

    number: int
    at_s: float | None


def messages(rtcp: bytes) -> Iterator[bytes]:
    """The feedback control information of every such message in a compound packet."""
    at = 0
    while at + 4 <= len(rtcp):
        first, kind, words = unpack_from("!BBH", rtcp, at)
        end = at + 4 + 4 * words
        if end > len(rtcp):
            return
        if kind == RTPFB and first & 0x1F == FORMAT and first >> 6 == 2 and words >= 4:
            padding = rtcp[end - 1] if first & 0x20 else 0
            yield rtcp[at + 12 : max(at + 12, end - padding)]
        at = end


def parse(fci: bytes) -> list[Arrival]:
    """What one message says. Raises ``ValueError`` when it ends before it has said it."""
    if len(fci) < 8:
        raise ValueError(f"a feedback message has at least 8 bytes, not {len(fci)}")
    base, count = unpack_from("!HH", fci, 0)
    reference = int.from_bytes(fci[4:7], "big", signed=True)
    symbols, at = _symbols(fci, count)
    ticks, arrivals = 0, []
    for offset, symbol in enumerate(symbols):
        size = symbol if symbol in (SMALL, LARGE) else 0
        if at + size > len(fci):
            raise ValueError(f"a feedback message of {len(fci)} bytes lacks the times it announces")
        ticks += int.from_bytes(fci[at : at + size], "big", signed=symbol == LARGE)
        at += size
        came_s = reference * REFERENCE_S + ticks * TICK_S if size else None
        arrivals.append(Arrival((base + offset) % WRAP, came_s))
    return arrivals


def _symbols(fci: bytes, count: int) -> tuple[list[int], int]:
    """The status of each of ``count`` packets, and where the times begin."""
    symbols: list[int] = []
    at = 8
    while len(symbols) < count:
        if at + 2 > len(fci):
            raise ValueError(f"a feedback message of {len(fci)} bytes ends before {count} packets")
        (chunk,) = unpack_from("!H", fci, at)
        symbols += _chunk(chunk)
        at += 2
    return symbols[:count], at


def _chunk(chunk: int) -> list[int]:
    if not chunk & 0x8000:
        return [chunk >> 13 & 3] * (chunk & RUN)
    if chunk & 0x4000:
        return [chunk >> shift & 3 for shift in range(12, -1, -2)]
    return [chunk >> shift & 1 for shift in range(13, -1, -1)]


def build(arrivals: list[Arrival], message: int) -> bytes:
    """One message about packets that follow one another; ``message`` counts them, modulo 256.

    Raises ``ValueError`` when none has come, and for times too far apart for one message.
    """
    first = next((arrival.at_s for arrival in arrivals if arrival.at_s is not None), None)
    if first is None:
        raise ValueError("a feedback message tells of a packet that has come")
    reference = int(first // REFERENCE_S)
    ticks, symbols, deltas = reference * round(REFERENCE_S / TICK_S), list[int](), b""
    for arrival in arrivals:
        step = 0 if arrival.at_s is None else round(arrival.at_s / TICK_S) - ticks
        if not -32768 <= step <= 32767:
            raise ValueError(f"packets {step * TICK_S:.3f} s apart do not fit into one message")
        ticks += step
        small = 0 <= step <= 255
        symbols.append(MISSING if arrival.at_s is None else SMALL if small else LARGE)
        if arrival.at_s is not None:
            deltas += pack("!B" if small else "!h", step)
    head = pack("!HH", arrivals[0].number, len(arrivals))
    time = (reference % (1 << 24)).to_bytes(3, "big")
    body = head + time + bytes([message % 256]) + _chunks(symbols) + deltas
    return body + bytes(-len(body) % 4)


def _chunks(symbols: list[int]) -> bytes:
    out, at = b"", 0
    while at < len(symbols):
        run = next((i for i, s in enumerate(symbols[at:]) if s != symbols[at]), len(symbols) - at)
        if run >= 7:
            run = min(run, RUN)
            out += pack("!H", symbols[at] << 13 | run)
            at += run
        else:
            seven = (symbols[at : at + 7] + [MISSING] * 7)[:7]
            shifts = range(12, -1, -2)
            bits = sum(symbol << shift for symbol, shift in zip(seven, shifts, strict=True))
            out += pack("!H", 0xC000 | bits)
            at += 7
    return out


class ArrivalLog:
    """Arrivals since the receiver's last report."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._came: dict[int, float] = {}  # by unwrapped number
        self._highest: int | None = None
        self._told_s = float("-inf")
        self._next: int | None = None  # everything before it is reported
        self._messages = 0

    def add(self, number: int, now_s: float) -> bytes | None:
        """A packet has come; returns a message when it is time for one."""
        if self._highest is None:
            self._highest, self._told_s = number, now_s
        step = (number - self._highest + WRAP // 2) % WRAP - WRAP // 2
        self._highest = max(self._highest, self._highest + step)
        at = self._highest + min(step, 0)
        self._came.setdefault(at, now_s)
        due = now_s - self._told_s >= self._interval_s or len(self._came) >= MOST // 2
        return self._tell(now_s) if due else None

    def _tell(self, now_s: float) -> bytes | None:
        """Missing packets are reported once; a late arrival starts the next message."""
        first = min(self._came)
        if self._next is not None and self._next < first and first - self._next < MOST // 2:
            first = self._next
        last = min(max(self._came), first + MOST - 1)
        rows = [Arrival(n % WRAP, self._came.get(n)) for n in range(first, last + 1)]
        self._next = max(last + 1, self._next or 0)
        self._came, self._told_s = {}, now_s
        self._messages += 1
        try:
            return build(rows, self._messages - 1)
        except ValueError:
            return None  # a silence of seconds lies between: the sender takes it for lost
