"""Lets heard speech out in time for each step, and fills in what has not come.

A step has a deadline: the moment from which its frames would be late. Until then it waits for
packets; after that, what is missing is concealed.
"""

from __future__ import annotations

import asyncio

from server.media.audio_receiver import AudioReceiver
from server.media.clock import RATE, SessionClock
from server.media.playout import RATIO_48K_16K, Playout, ms
from server.sessions.stream_runner import StreamRunner

PUMP_S = 0.02
SLACK = ms(4)  # a step is made up with silence this long before it would be too late
PATIENCE = ms(40)  # a late packet is worth a frame shown twice
STOOD_STILL = ms(1000)  # of a loop: the process was stopped, nothing else takes so long


class SpeechPacer:
    """One session's; its ``runner`` is set once there is a stream."""

    def __init__(self, clock: SessionClock, playout: Playout, receiver: AudioReceiver) -> None:
        self._clock, self._playout, self._receiver = clock, playout, receiver
        self.runner: StreamRunner | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deadline, before = self._deadline(), self._clock.now()
            await asyncio.sleep(min(max(self._clock.until(deadline), 0.001), PUMP_S))
            if self._clock.now() - before > STOOD_STILL:
                self._receiver.stood_still()
            self._receiver.release()
            late = self._clock.now() - deadline
            if late >= 0 and (late >= PATIENCE or not self._receiver.awaited):
                self._receiver.release_to(self._need() * RATIO_48K_16K)

    def _need(self) -> int:
        """Up to which media time the first step that lacks audio must hear."""
        timing = self._playout.timing
        needs = self.runner.needs if self.runner else timing.chunk
        return timing.next_need(needs, self._receiver.head // RATIO_48K_16K)

    def _deadline(self) -> int:
        """The position at which the next step must have its audio."""
        timing = self._playout.timing
        cost = int(self.runner.pace.generate_s * RATE) if self.runner else 0
        leaves = max(0, self._need() - timing.chunk) + self._playout.delay.samples
        return leaves - min(cost, timing.step) - SLACK
