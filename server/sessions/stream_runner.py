"""One session's place in the engine: what waits to be pushed, and what the stream has made.

Two threads meet here. The loop appends audio and orders; the engine's thread owns the stream. The
counts that both read are plain integers that one side writes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.media import frame_marker
from server.media.deadline_monitor import Made
from server.media.encoders import Converter
from server.media.playout import Shot
from server.media.timing import Beat, Paced

Audio = NDArray[np.float32]


class Frame(Protocol):
    """``pipeline.AvatarFrame``."""

    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def index(self) -> int: ...
    @property
    def media_time(self) -> int: ...


class Stream(Paced, Protocol):
    """``pipeline.AvatarStream``, as far as the server knows it."""

    @property
    def needs(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def media_time(self) -> int: ...
    @property
    def samples_pushed(self) -> int: ...
    def push(self, pcm: Audio) -> None: ...
    def step(self) -> Iterator[Frame]: ...
    def skip(self, samples: int) -> int: ...
    def interrupt(self) -> None: ...
    def set_prompt(self, prompt: str) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Pace:
    """What the engine has measured of one stream, in seconds; the newest sixteenth counts."""

    generate_s: float = 0.05
    worst_s: float = 0.05

    def observe(self, seconds: float) -> None:
        self.generate_s += (seconds - self.generate_s) / 16
        self.worst_s = max(seconds, self.worst_s * 0.98)


class Performer:
    """A stream and everything that is on its way to it."""

    def __init__(
        self,
        stream: Stream,
        on_shot: Callable[[Shot], None],
        on_failure: Callable[[Exception], None],
        mark: Callable[[int], frame_marker.Mark] | None = None,
    ) -> None:
        self.stream = stream
        self.on_shot = on_shot
        self.on_failure = on_failure
        self.scale = 1.0  # of the picture that is encoded; the governor's
        self.pace = Pace()
        self.beat = Beat.of(stream)
        self.heard = 0  # samples given to the engine; the loop writes it
        self.made = 0  # the stream's media time; the engine writes it
        self.needs = stream.needs  # what must be heard for the next step; the engine writes it
        self.skipped = 0  # frames never made
        self.closed = False
        self._mark = mark
        self._convert = Converter()
        self._inbox: deque[Audio] = deque()
        self._orders: deque[Callable[[Stream], None]] = deque()

    def hear(self, pcm: Audio) -> None:
        """Audio that follows what was heard before. Called in the loop."""
        self._inbox.append(pcm)
        self.heard += len(pcm)

    def order(self, order: Callable[[Stream], None]) -> None:
        """Something the stream shall do before its next step. Called in the loop."""
        self._orders.append(order)

    @property
    def due(self) -> bool:
        """Whether a step would find enough audio."""
        return not self.closed and (bool(self._orders) or self.heard >= self.needs)

    # What follows runs on the engine's thread.

    def take_in(self, playing: int) -> bool:
        """Obeys orders, pushes audio, skips what can't be shown in time; True when ready."""
        while self._orders:
            self._orders.popleft()(self.stream)
        while self._inbox:
            self.stream.push(self._inbox.popleft())
        self._catch_up(playing)
        self._note()
        return self.stream.ready

    def deliver(self, frames: Iterable[Frame], post: Callable[[Callable[[], None]], None]) -> None:
        """Makes pictures of frames and posts them to the loop, one by one."""
        started, step = time.perf_counter(), (self.made, self.needs)
        for frame in frames:
            shot = self._shot(frame, *step)
            post(lambda shot=shot: self.on_shot(shot))  # type: ignore[misc]
        self._note()
        self.pace.observe(time.perf_counter() - started)

    def _catch_up(self, playing: int) -> None:
        """``playing`` is the media time that will leave when the next step has finished.

        The newest step that is complete is made, however late: to skip it would not make the next
        one sooner, and a model that is never in time would show nothing at all.
        """
        step = self.beat.step
        late = playing - (self.stream.media_time + step)
        spare = self.stream.samples_pushed - self.stream.needs
        steps = min(-(-late // step), spare // step)
        if late > 0 and steps > 0:
            self.skipped += self.stream.skip(steps * step) // self.beat.frame

    def _note(self) -> None:
        self.made, self.needs = self.stream.media_time, self.stream.needs

    def _shot(self, frame: Frame, start: int, needs: int) -> Shot:
        image = frame.image
        if self._mark is not None:
            image = image if image.flags.writeable else image.copy()
            frame_marker.draw(image, self._mark(frame.media_time))
        made = Made(frame.media_time, start, needs)
        return Shot(frame.index, made, self._convert(image, self.scale))
