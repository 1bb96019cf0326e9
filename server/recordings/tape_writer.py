"""Writes what a session's viewers see and hear to a tape, on a thread that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

import av

from server.recordings.tape import SOUND_RATE, Pcm, Tape

OpenTape = Callable[[int, int, int], Tape]
"""A tape for pictures of this width and height, from this position of the session's clock on."""
MAX_PICTURES: Final = 75  # that wait for the encoder; then pictures are left out
MAX_SOUNDS: Final = 1500  # half a minute; then what is written to is too slow


class TapeWriter:
    """Writes until it is closed. ``picture`` and ``sound`` are called in the loop, never wait.

    ``open_tape`` and, when the disk is full, a connection breaks or the encoder fails,
    ``on_failed`` are called on the recorder's thread; nothing more is written then.
    """

    def __init__(
        self,
        name: str,
        open_tape: OpenTape,
        on_failed: Callable[[Exception], None] = lambda failure: None,
    ) -> None:
        self._open = open_tape
        self.left_out = 0  # pictures that the encoder was too slow for
        self.samples = 0  # of 48 kHz sound, written
        self.pictures = 0  # written
        self._on_failed = on_failed
        self._queue: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Length of what was written."""
        return self.samples / SOUND_RATE

    def picture(self, at: int, picture: av.VideoFrame) -> None:
        """A picture that leaves at position ``at`` of the session's clock (16 kHz samples)."""
        if not self._closed and self._queue.qsize() < MAX_PICTURES:
            self._queue.put((at, picture))
        else:
            self.left_out += not self._closed

    def sound(self, at: int, pcm: Pcm) -> None:
        """48 kHz mono that leaves at ``at``."""
        if not self._closed and self._queue.qsize() < MAX_SOUNDS:
            self._queue.put((at, pcm))

    def close(self) -> None:
        """Writes what waits and ends the file; blocks. Harmless when it has ended."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    # What follows runs on the recorder's thread.

    def _run(self) -> None:
        try:
            self._write()
        except Exception as failure:  # the session goes on without its recording
            self._closed = True
            self._on_failed(failure)

    def _write(self) -> None:
        tape: Tape | None = None
        try:
            while (item := self._queue.get()) is not None:
                at, media = item
                if isinstance(media, av.VideoFrame):
                    tape = tape or self._open(media.width, media.height, at)
                    tape.picture(at, media)
                elif tape is not None:
                    tape.sound(at, media)
                if tape is not None:
                    self.samples, self.pictures = tape.samples, tape.pictures
        finally:
            if tape is not None:
                tape.close()
