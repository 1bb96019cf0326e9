"""Which sound and which frame leave now. Pure: positions are passed in; no clock, task or codec.

Audio is the master: a sample that arrived at position p leaves at p + ``delay``, whether or not the
model keeps up. Video shows the newest frame that is due, repeated if necessary. The delay follows
measured lateness: at once in silence. In speech it grows by a few percent, and shrinks by leaving
out one period of the voice where the next is similar.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.media.clock import RATE
from server.media.deadline_monitor import FrameTiming
from server.media.timing import StreamTiming

Pcm = NDArray[np.int16]

RATIO_48K_16K = 3  # 48 kHz samples per media-time sample
BLOCK = RATE // 50  # media samples in one outgoing audio packet
SLEW = BLOCK // 25  # how much of a block the delay may grow by while somebody speaks
FADE = 240
SPLICE = 480  # 48 kHz samples over which two places of the voice are joined
PERIODS = range(64, 161)  # samples that may be left out at a time: 4 to 10 ms, to the sample
ALIKE = 0.8  # how alike the two places must be
APART = 3  # blocks from one splice to the next
QUIET = 60.0  # RMS of what nobody hears
RECENT_S = 1.5  # what no frame of late has needed is given back
VOICE_S = 4.0
MAX_SHOTS = 32  # or four steps, where these are longer


def ms(milliseconds: float) -> int:
    """Milliseconds in samples."""
    return round(milliseconds * RATE / 1000)


@dataclass(frozen=True, slots=True)
class FinishedFrame:
    """A finished frame, ready to be encoded. ``picture`` is opaque here."""

    index: int
    made: FrameTiming
    picture: object


class AudioRing:
    """The last seconds of 48 kHz audio, read at any position; what was never written is silence."""

    def __init__(self, capacity_s: float = VOICE_S) -> None:
        self._ring = np.zeros(int(capacity_s * RATE) * RATIO_48K_16K, np.int16)
        self._end = 0

    def write(self, position: int, pcm: Pcm) -> None:
        """Writes audio that starts at the 48 kHz ``position``, not before anything written."""
        if position > self._end:
            self._put(self._end, np.zeros(min(position - self._end, len(self._ring)), np.int16))
        self._put(position, pcm)
        self._end = position + len(pcm)

    def read(self, position: int, size: int) -> Pcm:
        """``size`` samples from ``position``."""
        at = np.arange(position, position + size)
        known = (at >= 0) & (at < self._end) & (at >= self._end - len(self._ring))
        return np.where(known, self._ring[at % len(self._ring)], 0).astype(np.int16)

    def silence_from(self, position: int) -> None:
        """Fades out at ``position``; everything written after it is gone."""
        size = self._end - position
        if size <= 0:
            return
        fade = min(FADE, size)
        kept = self.read(position, fade) * np.linspace(1.0, 0.0, fade)
        self._put(
            position, np.concatenate([kept.astype(np.int16), np.zeros(size - fade, np.int16)])
        )

    def _put(self, position: int, pcm: Pcm) -> None:
        pcm = pcm[-len(self._ring) :]
        self._ring[np.arange(position, position + len(pcm)) % len(self._ring)] = pcm


@dataclass(frozen=True, slots=True)
class DelayLimits:
    """Bounds of the playout delay, in samples."""

    start: int = ms(230)
    least: int = ms(150)
    most: int = ms(450)
    margin: int = ms(12)
    timing: StreamTiming = field(default_factory=StreamTiming)


class Delay:
    """How long a sample waits: for its chunk, for late packets, for the model, and a margin."""

    def __init__(self, limits: DelayLimits) -> None:
        if not 0 < limits.least <= limits.start <= limits.most:
            raise ValueError(
                f"delays must satisfy 0 < least {limits.least} <= start {limits.start}"
                f" <= most {limits.most}"
            )
        self._limits, second = limits, round(limits.timing.fps)
        self._enough = second
        self._made: deque[int] = deque(maxlen=8 * second)
        self._recent: deque[int] = deque(maxlen=max(1, round(RECENT_S * float(limits.timing.fps))))
        self.jitter = 0  # how late packets come; set by the session
        self.samples = self.wanted = limits.start

    def observe(self, took: int) -> None:
        """A frame was finished ``took`` samples after its chunk's audio was complete."""
        self._made.append(took)
        self._recent.append(took)

    def reckon(self) -> None:
        """Computes the wanted delay from measured lateness; called once a second."""
        if len(self._made) < self._enough:
            return
        made = min(int(np.percentile(self._made, 97)), max(self._recent))
        wanted = self._limits.timing.chunk + self.jitter + made + self._limits.margin
        self.wanted = min(max(wanted, self._limits.least), self._limits.most)

    @property
    def excess(self) -> int:
        """By how much it is longer than wanted."""
        return max(0, self.samples - self.wanted)

    def move(self, speaking: bool) -> int:
        """Steps towards what is wanted; returns by how many samples the delay grew."""
        step = self.wanted - self.samples
        if abs(step) < ms(5) or (speaking and step < 0):
            return 0
        if speaking:
            step = min(step, SLEW)
        elif step < 0:
            step = max(step, -ms(10))
        self.samples += step
        return step


class Playout:
    """Finished frames and their audio, waiting for their time."""

    def __init__(self, limits: DelayLimits | None = None) -> None:
        limits = limits or DelayLimits()
        self.timing = limits.timing
        self.delay = Delay(limits)
        self.voice = AudioRing(max(VOICE_S, 2 * limits.most / RATE))
        steps = 4 * self.timing.step // self.timing.frame
        self._shots: deque[FinishedFrame] = deque(maxlen=max(MAX_SHOTS, steps))
        self._shown: FinishedFrame | None = None
        self._spliced = 0  # the position of the last splice

    def add(self, shot: FinishedFrame) -> bool:
        """Takes a finished frame; False when a later one has been shown already."""
        if self._shown is not None and shot.index <= self._shown.index:
            return False
        self._shots.append(shot)
        return True

    def playing(self, now: int) -> int:
        """The media time that leaves at position ``now``."""
        return now - self.delay.samples

    def due(self, index: int) -> int:
        """The position at which frame ``index`` leaves."""
        return index * self.timing.frame + self.delay.samples

    def index_at(self, now: int) -> int:
        """The frame that is due at position ``now``; negative before the first."""
        return self.playing(now) // self.timing.frame

    def frame(self, index: int) -> tuple[FinishedFrame | None, bool]:
        """The newest frame not after ``index``, and whether it is a new one."""
        new = False
        while self._shots and self._shots[0].index <= index:
            self._shown, new = self._shots.popleft(), True
        return self._shown, new

    def move(self, now: int, speaking: bool) -> int:
        """Moves the delay for the block that leaves at ``now``; returns by how much it grew."""
        grew = self.delay.move(speaking)
        if grew or not speaking or self.delay.excess < ms(25):
            return grew
        if now - self._spliced < APART * BLOCK:
            return 0
        shorter = self._alike(now)
        if shorter:
            self._spliced = now
            self.delay.samples -= shorter
        return -shorter

    def _alike(self, now: int) -> int:
        """How many samples can be left out here inaudibly; 0 for none."""
        start = self.playing(now) * RATIO_48K_16K
        wave = self.voice.read(start, SPLICE + PERIODS[-1] * RATIO_48K_16K).astype(np.float64)
        here = wave[:SPLICE]
        if np.sqrt(np.mean(here**2)) < QUIET:
            return PERIODS[-1]
        there = np.stack(
            [wave[lag * RATIO_48K_16K : lag * RATIO_48K_16K + SPLICE] for lag in PERIODS]
        )
        norms = np.linalg.norm(there, axis=1) * np.linalg.norm(here)
        likeness = there @ here / np.maximum(norms, 1.0)
        best = int(np.argmax(likeness))
        return PERIODS[best] if likeness[best] >= ALIKE else 0

    def audio(self, now: int, grew: int = 0, ahead: int = 0) -> Pcm:
        """20 ms of 48 kHz audio that leave at ``now``, or ``ahead`` 48 kHz samples later.

        When the delay has just grown a little in speech, the block goes on where the last one
        ended and is stretched to reach where the next one begins. When it has shrunk, the block
        fades from where the last one would have gone on to where it goes on now.
        """
        start, size = self.playing(now) * RATIO_48K_16K + ahead, BLOCK * RATIO_48K_16K
        block = self.voice.read(start, size)
        if grew < 0:
            before = self.voice.read(start + grew * RATIO_48K_16K, SPLICE)
            fade = np.linspace(0.0, 1.0, SPLICE)
            block[:SPLICE] = (before * (1 - fade) + block[:SPLICE] * fade).astype(np.int16)
        if grew <= 0 or grew > SLEW:
            return block
        short = size - grew * RATIO_48K_16K
        source = self.voice.read(start + grew * RATIO_48K_16K, short)
        at = np.linspace(0, short, size, endpoint=False)
        return np.interp(at, np.arange(short), source).astype(np.int16)

    def clear(self, cut: int) -> None:
        """Drops every frame that waits, and the sound from the media time ``cut`` on."""
        self._shots.clear()
        self.voice.silence_from(cut * RATIO_48K_16K)
