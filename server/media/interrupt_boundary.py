"""Where an interrupt cuts a source's packets: what was sent before it, what answers it. Pure."""

from __future__ import annotations

from aiortc.utils import uint16_gt

from server.media.arrival_statistics import BLOCK

OVERTAKEN = 50 * BLOCK  # so long after an interrupt, what was sent before it may still arrive


class InterruptBoundary:
    """Knows the newest RTP sequence number at the last interrupt.

    Packets up to that one belong to the interrupted speech, later ones to the reply, so that a
    reply that is sent at once loses nothing. Times are positions of 48 kHz samples.
    """

    def __init__(self) -> None:
        self._newest: int | None = None  # of all that came
        self._cut: tuple[int, int] | None = None  # when, and the newest packet then

    def overtaken(self, sequence: int, now: int) -> bool:
        """Whether a packet that arrives now was sent before the interrupt."""
        if self._cut is not None:
            at, newest = self._cut
            if now - at < OVERTAKEN and not uint16_gt(sequence, newest):
                return True
        if self._newest is None or uint16_gt(sequence, self._newest):
            self._newest = sequence
        return False

    def interrupt(self, now: int) -> None:
        """What has come so far is over."""
        self._cut = None if self._newest is None else (now, self._newest)
