"""The bandwidth estimate of one peer: all that is known of its path, as one number. Pure.

With transport-wide feedback, delay and loss of each packet count. For a peer without it, its own
estimate (REMB) is used, and its receiver reports are watched for loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from server.rtc.delay_trend import Trend, Usage
from server.rtc.rate_control import BACK_OFF, RateControl
from server.rtc.sent_packets import Outcome

RATE_WINDOW_S = 0.5
NARROWED_S = 0.15  # what came before a path narrowed says nothing of what it takes now
LOSS_WINDOW_S = 1.0
LOSSES = 8  # windows; the least of them is what this path loses whatever is sent
MUCH, LITTLE = 0.10, 0.02
RECOVERY = 1.15  # of the loss-based bound, in a window without loss
STANDING_S, BASE_S = 0.25, 15.0
PATIENCE = 0.08  # seconds of standing queue that are left alone
REGAIN = 1.25  # of the bound by REMB, at each that allows more
DARK_S = 1.0  # without feedback
SILENT_S = 2.0  # without feedback, REMB counts again


class Bandwidth:
    """One path's estimate, bits a second on the wire."""

    def __init__(self, start: int, least: int, most: int) -> None:
        if not 0 < least <= start <= most:
            raise ValueError(f"a rate needs 0 < least {least} <= start {start} <= most {most}")
        self._least, self._most = least, most
        self._delay = RateControl(start, least, most)
        self._loss = float(most)
        self._remb = float(most)
        self._trend = Trend()
        self._arrived: deque[tuple[float, int]] = deque()  # when by the receiver's clock, bytes
        self._delays: deque[tuple[float, float]] = deque()  # sent, came - sent
        self._bases: deque[tuple[float, float]] = deque()  # of each second, the least delay
        self._lost = self._told = 0
        self._loss_since: float | None = None
        self._losses: deque[float] = deque(maxlen=LOSSES)
        self._fed_s = float("-inf")
        self.rtt_s = 0.1

    @property
    def bitrate(self) -> int:
        """What may be sent. While packets stand in a queue on the way, less, so that it empties."""
        bound = min(self._delay.bitrate, self._loss, self._remb)
        relief = max(0.4, 1.0 - max(0.0, self.queue_s - PATIENCE))
        return int(max(bound * relief, self._least))

    @property
    def queue_s(self) -> float:
        """How long packets stand in a queue on the way: the least delay of late over the least."""
        if not self._delays or not self._bases:
            return 0.0
        return max(0.0, min(d for _, d in self._delays) - min(d for _, d in self._bases))

    @property
    def arriving(self) -> float | None:
        """Bits a second that the receiver gets; None before it is known."""
        if len(self._arrived) < 2 or self._arrived[-1][0] - self._arrived[0][0] < 0.1:
            return None
        span = max(self._arrived[-1][0] - self._arrived[0][0], RATE_WINDOW_S / 2)
        return sum(size for _, size in list(self._arrived)[1:]) * 8 / span

    @property
    def squeezed(self) -> float | None:
        """What arrives while a queue grows: of the newest packets alone, where they are fewer."""
        if (usual := self.arriving) is None:
            return None
        newest = self._arrived[-1][0]
        recent = [row for row in self._arrived if row[0] >= newest - NARROWED_S]
        span = newest - recent[0][0]
        if span < NARROWED_S / 2:
            return usual
        return min(usual, sum(size for _, size in recent[1:]) * 8 / span)

    def feedback(self, outcomes: Sequence[Outcome], now_s: float) -> None:
        """What became of packets, in the order of sending."""
        if not outcomes:
            return
        dark = now_s - self._fed_s > DARK_S
        self._fed_s, self._remb = now_s, float(self._most)
        usage = Usage.NORMAL
        came = [one for one in outcomes if one.came_s is not None]
        for packet in came:
            found = self._trend.add(packet)
            usage = found if usage is not Usage.OVER else usage
        if came:
            self.rtt_s += (max(0.0, now_s - came[-1].sent_s) - self.rtt_s) / 8
            self._note(came)
            arriving = self.squeezed if usage is Usage.OVER else self.arriving
            self._delay.update(usage, arriving, self.rtt_s, now_s)
        if not dark:  # what a path that was dark has lost says nothing of its rate
            self._count(len(outcomes), len(outcomes) - len(came), now_s)

    @property
    def calm(self) -> bool:
        """Whether nothing stands in a queue or is about to."""
        return self._trend.usage is Usage.NORMAL and self.queue_s < PATIENCE

    def probed(self, outcomes: Sequence[Outcome]) -> bool:
        """What became of a burst sent faster than the estimate; whether it raised it."""
        came = sorted(one.came_s for one in outcomes if one.came_s is not None)
        if len(came) < 5 or came[-1] <= came[0] or len(came) < 0.9 * len(outcomes):
            return False
        left = sorted(one.sent_s for one in outcomes)
        bits = sum(one.size for one in outcomes) / len(outcomes) * 8
        rate = min(  # nobody can receive faster than was sent
            bits * (len(came) - 1) / (came[-1] - came[0]),
            bits * (len(left) - 1) / max(left[-1] - left[0], 1e-3),
        )
        before = self._delay.bitrate
        self._delay.raise_to(0.85 * rate)
        return self._delay.bitrate > before * 1.05

    def remb(self, bitrate: int, sent: float, now_s: float) -> None:
        """The receiver's own estimate while ``sent`` bits a second leave.

        It follows what it gets, and a quiet picture is far below its target; so it only counts
        against us when it is below what is truly sent.
        """
        if now_s - self._fed_s <= SILENT_S:
            return
        if bitrate < 0.95 * sent:
            self._remb = max(BACK_OFF * bitrate, float(self._least))
        elif bitrate > self._remb:
            self._remb = min(self._remb * REGAIN, float(self._most), float(bitrate))

    def report(self, lost_share: float, now_s: float) -> None:
        """A receiver report; counts only where no feedback comes."""
        if now_s - self._fed_s > SILENT_S:
            self._judge(lost_share)

    def _note(self, came: Sequence[Outcome]) -> None:
        """Remembers what arrived and how long it took."""
        for one in came:
            assert one.came_s is not None
            self._arrived.append((one.came_s, one.size))
            self._delays.append((one.sent_s, one.came_s - one.sent_s))
        self._arrived = deque(sorted(self._arrived)) if _mixed(self._arrived) else self._arrived
        while self._arrived[0][0] < self._arrived[-1][0] - RATE_WINDOW_S:
            self._arrived.popleft()
        newest = self._delays[-1][0]
        while self._delays[0][0] < newest - STANDING_S:
            self._delays.popleft()
        self._bases.append((newest, min(delay for _, delay in self._delays)))
        while self._bases[0][0] < newest - BASE_S:
            self._bases.popleft()

    def _count(self, told: int, lost: int, now_s: float) -> None:
        self._told, self._lost = self._told + told, self._lost + lost
        self._loss_since = now_s if self._loss_since is None else self._loss_since
        if now_s - self._loss_since >= LOSS_WINDOW_S and self._told >= 20:
            self._judge(self._lost / self._told)
            self._told, self._lost, self._loss_since = 0, 0, now_s

    def _judge(self, share: float) -> None:
        """The loss-based part (section 6 of the draft), for what is lost beyond the usual.

        A radio that always loses a tenth is not helped by sending less.
        """
        usual = min(self._losses) if len(self._losses) == LOSSES else 0.0
        self._losses.append(share)
        excess = share - usual
        if excess > MUCH:
            self._loss = max(min(self._loss, self._delay.bitrate) * (1 - 0.5 * excess), self._least)
        elif excess < LITTLE:
            self._loss = min(self._loss * RECOVERY, self._most)


def _mixed(rows: deque[tuple[float, int]]) -> bool:
    return any(a[0] > b[0] for a, b in zip(rows, list(rows)[1:]))
