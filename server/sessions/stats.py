"""The ``quality`` event: one session's last second in numbers (docs/protocol.md, section 6)."""

from __future__ import annotations

from server.media.audio_receiver import AudioReceiver
from server.media.clock import RATE
from server.media.playout import RATIO_48K_16K
from server.media.sender import MediaSender
from server.observability.metrics import Metrics
from server.sessions.stream_runner import StreamRunner


class SessionStats:
    """Counts from one second to the next."""

    def __init__(self, stage: MediaSender, receiver: AudioReceiver, metrics: Metrics) -> None:
        self._stage, self._intake, self._metrics = stage, receiver, metrics
        self._counts = (0, 0, 0)
        self.last: dict[str, object] = {}

    def second(self, runner: StreamRunner | None, played: int, level: int) -> dict[str, object]:
        """What happened since this was called last; ``played`` is the media time that leaves."""
        frames, repeats, skips = self._count(runner.skipped if runner else 0)
        self._metrics.repeats.inc(repeats)
        self._metrics.skips.inc(skips)
        self.last = {
            "media_time": played,
            "fps": float(frames - repeats),
            "repeats": repeats,
            "skips": skips,
            "latency_ms": self._latency(runner.pace.generate_s if runner else 0.0),
            "delay_ms": _ms(self._stage.playout.delay.samples / RATE),
            "bitrate": self._stage.bitrate,
            "encode_ms": round(self._stage.encode_s * 1e3, 2),
            "level": level,
        }
        return self.last

    def _count(self, skipped: int) -> tuple[int, int, int]:
        now, before = (self._stage.frames, self._stage.repeats, skipped), self._counts
        self._counts = now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2]

    def _latency(self, generate_s: float) -> dict[str, float]:
        playout = self._stage.playout
        delay_s, wait_s = playout.delay.samples / RATE, playout.timing.chunk / RATE
        return {
            "intake": _ms(self._intake.jitter / RATIO_48K_16K / RATE),
            "wait": _ms(wait_s),
            "generate": _ms(generate_s),
            "playout": _ms(max(0.0, delay_s - wait_s - generate_s)),
            "total": _ms(delay_s + self._stage.encode_s),
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)
