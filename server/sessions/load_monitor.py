"""Load of the engine and lateness of frames, second by second, and what is shed because of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from server.observability.metrics import Metrics
from server.sessions.governor import Governor
from server.sessions.session import Session

log = logging.getLogger(__name__)


class LoadMonitor:
    """Hands each second's share of late frames to the governor, and its decisions to sessions."""

    def __init__(
        self,
        metrics: Metrics,
        sessions: Callable[[], Sequence[Session]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.governor = Governor()
        self._metrics = metrics
        self._sessions = sessions
        self._monotonic = monotonic
        self._busy_s = 0.0

    def stepped(self, streams: int, seconds: float) -> None:
        """The engine has stepped ``streams`` streams in ``seconds``."""
        self._busy_s += seconds
        self._metrics.tick.labels(str(streams)).observe(seconds)

    def rest(self) -> None:
        """Everybody has gone: what was shed for them comes back."""
        if self.governor.rest():
            self._metrics.level.set(self.governor.level)

    async def watch(self, frame_rate: float) -> None:
        """Once a second, until cancelled."""
        last = self._monotonic()
        while True:
            await asyncio.sleep(1.0)
            now = self._monotonic()
            elapsed_s, last = now - last, now
            load, self._busy_s = self._busy_s / elapsed_s, 0.0
            self._metrics.load.set(load)
            self._govern(self._late(frame_rate * elapsed_s))
            delays = (s.playout.delay.samples / 16_000 for s in self._sessions())
            backlogs = (s.receiver.backlog / 48_000 for s in self._sessions())
            self._metrics.delay.set(max(delays, default=0.0))
            self._metrics.backlog.set(max(backlogs, default=0.0))

    def _late(self, frames_due: float) -> float:
        """Share of the frames due that came too late, of the session that has it worst."""
        missed = max((session.missed() for session in self._sessions()), default=0)
        return min(1.0, missed / frames_due)

    def _govern(self, late: float) -> None:
        change = self.governor.second(late)
        if not change:
            return
        code, scale = "quality_reduced" if change > 0 else "quality_restored", self.governor.scale
        log.warning("%.0f %% of frames late: pictures at %.0f %%", late * 100, scale * 100)
        self._metrics.level.set(self.governor.level)
        for session in self._sessions():
            session.set_level(self.governor.level, scale)
            session.notice(code, "pictures came late" if change > 0 else "pictures are in time")
