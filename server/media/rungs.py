"""Bitrate, size and frame rate that go together. Pure; its seconds are handed to it.

Each change of a VP8 or H.264 context costs a key frame, so the bitrate moves in steps: down at
once, up when the next step has fitted for a second. Below what its pixels need, the picture gets
smaller, down to 256 pixels, and below what these need at full rate, it moves 15 times a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from server.media.encoders import AUDIO_BITRATE, AUDIO_TIGHT, Bitrates

STEP = 1.4  # from one rung to the next
SPARE = 1.1  # of a rung that is to be climbed to
PATIENCE_S = 1.0
SCALES = (1.0, 0.75, 0.625, 0.5, 0.375, 0.25)
SMALLEST = 256  # pixels of the shorter side
BITS = 0.045  # for each pixel that is sent
SLOW = 15  # frames a second at the floor
NARROW, WIDE = 150_000, 250_000  # for pictures: below, the voice takes less; above, all again
BEHIND = 3.0  # a viewer who can take so many times less than the best does not hold the others up


@dataclass(frozen=True, slots=True)
class Shape:
    """How a picture is made: by how much smaller, and which share of the frames."""

    scale: float = 1.0
    share: Fraction = Fraction(1)

    def shows(self, index: int) -> bool:
        """Whether frame ``index`` is among them."""
        return floor((index + 1) * self.share) > floor(index * self.share)


def shape(bitrate: int, width: int, height: int, fps: Fraction) -> Shape:
    """The largest picture that looks well at ``bitrate``."""
    small = min(width, height)
    scales = [s for s in SCALES if s == 1.0 or small * s >= SMALLEST]
    need = width * height * float(fps) * BITS
    scale = next((s for s in scales if need * s * s <= bitrate), scales[-1])
    starved = need * scale * scale > bitrate * 1.5
    return Shape(scale, min(Fraction(1), SLOW / fps) if starved else Fraction(1))


def ladder(limits: Bitrates) -> tuple[int, ...]:
    """Every bitrate, from the least to the most."""
    rungs = [float(limits.least)]
    while rungs[-1] * STEP < limits.most:
        rungs.append(rungs[-1] * STEP)
    return (*(int(rung) for rung in rungs), limits.most)


class BitratePolicy:
    """Which bitrate to encode at, given what gets through."""

    def __init__(self, limits: Bitrates) -> None:
        self._rungs = ladder(limits)
        self.target = max(rung for rung in self._rungs if rung <= limits.start)
        self._fits_since: float | None = None

    def follow(self, available: float, now_s: float) -> int:
        """``available`` bits a second get through; returns the target."""
        below = max((r for r in self._rungs if r <= available), default=self._rungs[0])
        above = max((r for r in self._rungs if r * SPARE <= available), default=self._rungs[0])
        if below < self.target:
            self.target, self._fits_since = below, None
        elif above <= self.target:
            self._fits_since = None
        elif self._fits_since is None:
            self._fits_since = now_s
        elif now_s - self._fits_since >= PATIENCE_S:
            self.target, self._fits_since = above, None
        return self.target


def voice(available: float, before: int) -> int:
    """The voice's bitrate where ``available`` bits a second are left for pictures."""
    if available < NARROW:
        return AUDIO_TIGHT
    return AUDIO_BITRATE if available > WIDE else before


def shared(estimates: Sequence[float]) -> float:
    """What one encode for several viewers may use: what the slowest can take, but for those who are
    far behind the best. They get what their path carries, picture by picture."""
    return max(min(estimates), max(estimates) / BEHIND)
