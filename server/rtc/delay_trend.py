"""Whether packets queue on the network: the trend of one-way delay. Pure.

The delay-based part of Google congestion control (draft-ietf-rmcat-gcc-02, sections 5.1 to 5.4),
with linear regression instead of its Kalman filter. Packets sent within 5 ms form a group. The
growth of delay from group to group is summed and smoothed; its slope is compared with a threshold
that adapts to the path's jitter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from server.rtc.sent_packets import Outcome

GROUP_S = 0.005
WINDOW = 20  # groups in the line
SMOOTHING = 0.9
GAIN = 4.0
MOST_DELTAS = 60
OVERUSE_S = 0.01  # above the threshold for so long
K_UP, K_DOWN = 0.0087, 0.039
LEAST_MS, START_MS, MOST_MS = 6.0, 12.5, 600.0
FAR_MS = 15.0  # above the threshold by more than this is a spike, which teaches nothing
JUMP_S = 3.0  # a clock that jumped, or a path that was dark


class Usage(Enum):
    """What the path makes of the rate."""

    UNDER = "under"
    NORMAL = "normal"
    OVER = "over"


@dataclass(slots=True)
class Group:
    """Packets that left together."""

    first_s: float
    last_s: float
    came_s: float


class Trend:
    """The slope of the delay, and what it means."""

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        self._group: Group | None = None
        self._before: Group | None = None
        self._reset()
        self._threshold_ms = START_MS

    def _reset(self) -> None:
        self._sum_ms = self._smooth_ms = self._slope = 0.0
        self._deltas = 0
        self._line: deque[tuple[float, float]] = deque(maxlen=WINDOW)  # came, smoothed; ms
        self._over_s: float | None = None
        self._overs = 0
        self.usage = Usage.NORMAL

    def add(self, packet: Outcome) -> Usage:
        """A packet that has come, in the order of sending."""
        assert packet.came_s is not None
        group = self._group
        if group is None:
            self._group = Group(packet.sent_s, packet.sent_s, packet.came_s)
        elif abs(packet.came_s - group.came_s) > JUMP_S:
            self._reset()
            self._before, self._group = None, Group(packet.sent_s, packet.sent_s, packet.came_s)
        elif self._joins(group, packet):
            group.last_s = max(group.last_s, packet.sent_s)
            group.came_s = max(group.came_s, packet.came_s)
        else:
            self._close(group)
            self._group = Group(packet.sent_s, packet.sent_s, packet.came_s)
        return self.usage

    def _joins(self, group: Group, packet: Outcome) -> bool:
        """Left within the group's 5 ms, or was held up with it and came in the same burst."""
        assert packet.came_s is not None
        if packet.sent_s - group.first_s <= GROUP_S:
            return True
        came = packet.came_s - group.came_s
        return came <= GROUP_S and came < packet.sent_s - group.last_s and (
            packet.came_s - group.first_s < 0.1 or came < 0
        )  # fmt: skip

    def _close(self, group: Group) -> None:
        before, self._before = self._before, group
        if before is None:
            return
        sent, came = group.last_s - before.last_s, group.came_s - before.came_s
        self._learn((came - sent) * 1000, group.came_s * 1000, max(sent, 0.0))

    def _learn(self, grew_ms: float, came_ms: float, sent_s: float) -> None:
        self._deltas = min(self._deltas + 1, 1000)
        self._sum_ms += grew_ms
        self._smooth_ms = SMOOTHING * self._smooth_ms + (1 - SMOOTHING) * self._sum_ms
        self._line.append((came_ms, self._smooth_ms))
        slope = self._fit() if len(self._line) == WINDOW else self._slope
        self._judge(slope, sent_s)
        self._slope = slope

    def _fit(self) -> float:
        """Least squares."""
        count = len(self._line)
        x_mean = sum(x for x, _ in self._line) / count
        y_mean = sum(y for _, y in self._line) / count
        spread = sum((x - x_mean) ** 2 for x, _ in self._line)
        if spread == 0:
            return self._slope
        return sum((x - x_mean) * (y - y_mean) for x, y in self._line) / spread

    def _judge(self, slope: float, sent_s: float) -> None:
        value = min(self._deltas, MOST_DELTAS) * slope * GAIN
        if value > self._threshold_ms:
            self._over_s = sent_s / 2 if self._over_s is None else self._over_s + sent_s
            self._overs += 1
            if self._over_s > OVERUSE_S and self._overs > 1 and slope >= self._slope:
                self._over_s, self._overs, self.usage = 0.0, 0, Usage.OVER
        else:
            self._over_s, self._overs = None, 0
            under = value < -self._threshold_ms
            self.usage = Usage.UNDER if under else Usage.NORMAL
        self._adapt(abs(value), min(sent_s * 1000, 100.0))

    def _adapt(self, value: float, elapsed_ms: float) -> None:
        """The threshold follows the path's jitter, so that this does not lose against TCP."""
        if value > self._threshold_ms + FAR_MS:
            return
        gain = K_DOWN if value < self._threshold_ms else K_UP
        moved = self._threshold_ms + gain * (value - self._threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(moved, LEAST_MS), MOST_MS)
