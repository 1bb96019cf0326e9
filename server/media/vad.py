"""Voice activity: ``webrtcvad`` over 20 ms frames of the media timeline, with hysteresis.

Positions are media times. An utterance starts at the first voiced frame of a sufficient run and
ends after its last voiced frame. Both are detected later than they happen; playout is later still,
so they are known in time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from server.media.clock import RATE

FRAME_20MS = RATE // 50
WINDOW = 6  # frames looked back on when silence is to become speech
VOICED = 4  # of which so many must be voiced
HANGOVER = RATE * 2 // 5  # silence that ends an utterance


@dataclass(frozen=True, slots=True)
class SpeechBoundary:
    """A start or an end of speech, at a media time."""

    media_time: int
    speaking: bool


class VoiceActivityDetector:
    """Speech state of one timeline."""

    def __init__(self, aggressiveness: int = 2) -> None:
        self._aggressiveness = aggressiveness
        self._vad = webrtcvad.Vad(aggressiveness)
        self._rest = np.zeros(0, np.float32)
        self._position = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._last_voiced = 0
        self.speaking = False

    def push(self, pcm: NDArray[np.float32]) -> list[SpeechBoundary]:
        """Takes the next float32 16 kHz audio; returns the boundaries found."""
        joined = np.concatenate([self._rest, pcm])
        whole = len(joined) - len(joined) % FRAME_20MS
        self._rest = joined[whole:]
        edges = [self._frame(frame) for frame in joined[:whole].reshape(-1, FRAME_20MS)]
        return [edge for edge in edges if edge]

    def _frame(self, frame: NDArray[np.float32]) -> SpeechBoundary | None:
        voiced = self._vad.is_speech((frame * 32767).astype(np.int16).tobytes(), RATE)
        self._recent.append(voiced)
        self._position += FRAME_20MS
        if voiced:
            self._last_voiced = self._position
        if not self.speaking and sum(self._recent) >= VOICED:
            self.speaking = True
            return SpeechBoundary(self._position - FRAME_20MS * len(self._recent), True)
        if self.speaking and self._position - self._last_voiced >= HANGOVER:
            return self.stop(self._last_voiced)
        return None

    def interrupt(self, media_time: int) -> SpeechBoundary | None:
        """Drops all state, the detector's own hangover too; ends an utterance at
        ``media_time``. Positions go on."""
        self._vad = webrtcvad.Vad(self._aggressiveness)
        self._rest = np.zeros_like(self._rest)
        self._recent.clear()
        return self.stop(media_time)

    def stop(self, media_time: int) -> SpeechBoundary | None:
        """Ends the utterance, if there is one, at ``media_time``."""
        if not self.speaking:
            return None
        self.speaking = False
        self._recent.clear()
        return SpeechBoundary(media_time, False)
