"""Utterances as peers hear them: told when their sound is played, not when it was received."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from server.media.vad import SpeechBoundary
from server.rtc import data_channel

MAX_WAITING = 256  # starts and ends of speech that wait to be played; then the oldest go untold


class Utterances:
    """Starts and ends of speech between receiving and playing; ``tell`` sends an event."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._waiting: deque[SpeechBoundary] = deque(maxlen=MAX_WAITING)
        self.audible = False  # between speaking_started and speaking_finished, as sent

    def add(self, boundaries: Iterable[SpeechBoundary]) -> None:
        """Speech begins or ends at these media times."""
        self._waiting.extend(boundaries)

    def played(self, media_time: int) -> None:
        """Sound up to ``media_time`` leaves now."""
        while self._waiting and self._waiting[0].media_time <= media_time:
            boundary = self._waiting.popleft()
            if boundary.speaking and not self.audible:
                self.audible = True
                self._send("speaking_started", boundary.media_time)
            elif not boundary.speaking and self.audible:
                self._finish(boundary.media_time, interrupted=False)

    def interrupt(self, media_time: int) -> None:
        """Nothing that waits will be played; an utterance that is heard ends here."""
        self._waiting.clear()
        if self.audible:
            self._finish(media_time, interrupted=True)

    def _finish(self, media_time: int, interrupted: bool) -> None:
        self.audible = False
        self._send("speaking_finished", media_time, interrupted=interrupted)
        self._send("idle", media_time)

    def _send(self, kind: str, media_time: int, **more: object) -> None:
        self._tell(data_channel.build(kind, media_time=media_time, **more))
