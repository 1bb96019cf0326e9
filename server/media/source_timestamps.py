"""Which source sample is behind a media time: written by the loop, read by the engine's thread."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WRAP = 1 << 32


@dataclass(frozen=True, slots=True)
class SourceTimestamp:
    """A stretch of the timeline (media times) and its source's timestamp at the start."""

    start: int
    end: int
    rtp: int | None
    muted: bool
    speaking: bool


class SourceTimestamps:
    """The last few seconds of origins."""

    def __init__(self, per_sample: float = 3.0) -> None:
        self._known: deque[SourceTimestamp] = deque(maxlen=512)
        self.per_sample = per_sample  # RTP units in a media-time sample

    def add(self, origin: SourceTimestamp) -> None:
        """The timeline has grown."""
        self._known.append(origin)

    def at(self, media_time: int) -> tuple[int | None, SourceTimestamp | None]:
        """The RTP timestamp behind a media time, or None, and the stretch it lies in."""
        for origin in reversed(tuple(self._known)):
            if origin.start <= media_time < origin.end:
                if origin.rtp is None:
                    return None, origin
                return (
                    origin.rtp + int((media_time - origin.start) * self.per_sample)
                ) % WRAP, origin
        return None, None
