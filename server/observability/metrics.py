"""Prometheus metrics. One registry for each application, so that tests do not share counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0)


class Metrics:
    """Named once here, observed elsewhere."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "continuum_"
        self.tick = Histogram(
            name + "tick_seconds",
            "One step of the engine: generation, drawing, colour conversion",
            ["streams"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stage = Histogram(
            name + "stage_seconds",
            "Latency by stage: packet to timeline (intake), first sample to complete chunk (wait), "
            "chunk to frame (generate), frame to its time (playout), picture to packet (encode)",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.repeats = self._counter("frame_repeats", "Frames shown again, the next being late")
        self.skips = self._counter("frame_skips", "Frames never made, to catch up")
        self.refused = self._counter("admission_refusals", "Sessions refused for want of a slot")
        self.ended = self._counter("sessions_ended", "Sessions that have ended")
        self.sessions = self._gauge("sessions", "Sessions that hold a slot")
        self.slots = self._gauge("slots", "Sessions that fit")
        self.level = self._gauge("quality_level", "The governor's level; 0 is full quality")
        self.backlog = self._gauge("intake_backlog_seconds", "Speech waiting, the longest session")
        self.delay = self._gauge("playout_delay_seconds", "Playout delay, the longest session")
        self.load = self._gauge("engine_load", "Share of real time that the engine is busy")

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter("continuum_" + name, text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge("continuum_" + name, text, registry=self.registry)
