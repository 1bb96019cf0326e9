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
            before = self._clock.now()
            wait_s = self._clock.until(self._deadline(self._need()))
            await asyncio.sleep(min(max(wait_s, 0.001), PUMP_S))
            if self._clock.now() - before > STOOD_STILL:
                self._receiver.stood_still()
            self._receiver.release()
            need = self._need()  # of now: speech or an interrupt may have come meanwhile
            late = self._clock.now() - self._deadline(need)
            if late >= 0:
                follows = late < PATIENCE and self._receiver.awaited
                self._receiver.release_to(need * RATIO_48K_16K, overtaken=follows)

    def _need(self) -> int:
        """Up to which media time the first step that lacks audio must hear."""
        timing = self._playout.timing
        needs = self.runner.needs if self.runner else timing.chunk
        return timing.next_need(needs, self._receiver.head // RATIO_48K_16K)

    def _deadline(self, need: int) -> int:
        """The position at which the step that hears up to ``need`` must have its audio."""
        timing = self._playout.timing
        cost = int(self.runner.pace.generate_s * RATE) if self.runner else 0
        leaves = max(0, need - timing.chunk) + self._playout.delay.samples
        return leaves - min(cost, timing.step) - SLACK
