"""Where the time of a frame goes, for the metrics; and which frames came too late."""

from __future__ import annotations

from server.media.clock import RATE
from server.media.deadline_monitor import DeadlineMonitor, FrameTiming
from server.media.playout import Delay
from server.observability.metrics import Metrics


class StageTimes:
    """One session's. Positions and media times count 16 kHz samples."""

    def __init__(self, metrics: Metrics, delay: Delay) -> None:
        self._metrics, self._delay = metrics, delay
        self._lateness = DeadlineMonitor()
        self._skipped = 0  # frames, when ``missed`` was asked last

    def observe(self, stage: str, seconds: float) -> None:
        """A stage took so long."""
        self._metrics.stage.labels(stage).observe(max(0.0, seconds))

    def heard(self, end: int, now: int) -> None:
        """Audio up to the media time ``end`` is there."""
        self._lateness.heard(end, now)

    def finished(self, made: FrameTiming, now: int) -> None:
        """A frame is finished."""
        observed = self._lateness.observe(made, now, self._delay.samples)
        if observed is None:
            return
        complete, took = observed
        self._delay.observe(took)
        for stage, samples in (
            ("wait", complete - made.media_time),
            ("generate", now - complete),
            ("playout", made.media_time + self._delay.samples - now),
        ):
            self.observe(stage, samples / RATE)

    def missed(self, skipped: int) -> int:
        """Frames too late since this was asked last, or never made; ``skipped`` are those of the
        latter so far."""
        never, self._skipped = skipped - self._skipped, skipped
        return self._lateness.take() + never
