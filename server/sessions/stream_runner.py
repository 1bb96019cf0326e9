"""One session's place in the engine: audio that waits for the stream, and frames it has made.

Two threads meet here. The event loop adds audio, interrupts and prompts. The engine's thread owns
the stream, and takes everything that waits at once, in order. Counts that both read are plain
integers with one writer.

The queue is bounded. It holds ``WAITING_S`` of audio; beyond that the oldest audio is dropped and
its time passes. An interrupt replaces all audio before it, a prompt replaces the prompt before it.
Of what the body is told meanwhile, the newest ``CUES`` orders are kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.interface import AvatarFrame, AvatarStream, Cue, DirectedStream, Speech, order_body
from pipeline.media.background import beside
from server.media import frame_marker
from server.media.clock import RATE
from server.media.deadline_monitor import FrameTiming
from server.media.encoders import Converter
from server.media.playout import FinishedFrame
from server.media.timing import StreamTiming
from server.sessions.step_cost import StepCost

WAITING_S = 20  # of audio; a stream takes 30 s, and has some of its own
CUES = 64
PIECE = RATE  # samples that pass unheard at a time


@dataclass(frozen=True, slots=True)
class Passed:
    """So many samples that are not performed; with an ``interrupt``, nor is what came before."""

    samples: int
    interrupt: bool = False


class StreamRunner:
    """A stream and everything that is on its way to it."""

    def __init__(
        self,
        stream: AvatarStream,
        on_shot: Callable[[FinishedFrame], None],
        on_failure: Callable[[Exception], None],
        mark: Callable[[int], frame_marker.FrameMarker] | None = None,
    ) -> None:
        self.stream = stream
        self.on_shot = on_shot
        self.on_failure = on_failure
        self.scale = 1.0  # of the picture that is encoded; the governor's
        self.pace = StepCost()
        self.timing = StreamTiming.of(stream)
        self.heard = 0  # samples given to the engine; the loop writes it
        self.made = 0  # the stream's media time; the engine writes it
        self.needs = stream.needs  # what must be heard for the next step; the engine writes it
        self.skipped = 0  # frames never made
        self.closed = False
        self._mark = mark
        self._convert = Converter()
        self._lock = threading.Lock()  # for a moment, of what both threads change
        self._inbox: deque[Speech | Passed] = deque()
        self._waiting = 0  # samples of audio in it
        self._prompt: str | None = None
        self._told: deque[float | Cue] = deque(maxlen=CUES)  # of the body
        self._urgent = False  # an interrupt or a prompt waits
        self._interrupts = 0  # so far; what was begun before the newest one is not shown
        self._begun = 0  # the newest interrupt that the stream knows of

    def hear(self, pcm: Speech) -> None:
        """Adds the next audio. Called in the loop."""
        with self._lock:
            self._inbox.append(pcm)
            self._waiting += len(pcm)
            while self._waiting > WAITING_S * RATE:
                self._drop_oldest()
        self.heard += len(pcm)

    def interrupt(self) -> None:
        """Drops all audio so far, and the frames made from it. Called in the loop."""
        with self._lock:
            passed = self._waiting + sum(p.samples for p in self._inbox if isinstance(p, Passed))
            self._inbox = deque([Passed(passed, interrupt=True)])
            self._waiting, self._urgent = 0, True
            self._interrupts += 1

    def set_prompt(self, prompt: str) -> None:
        """The style from the next step on. Called in the loop."""
        with self._lock:
            self._prompt, self._urgent = prompt, True

    def direct(self, order: float | Cue) -> None:
        """How much the body moves, or a cue, from the next step on. Called in the loop."""
        with self._lock:
            self._told.append(order)

    @property
    def due(self) -> bool:
        """Whether a step would find enough audio."""
        return not self.closed and (self._urgent or self.heard >= self.needs)

    def _drop_oldest(self) -> None:
        passed, interrupt = 0, False
        for _ in range(2):  # what has passed already, and the oldest audio behind it
            item = self._inbox.popleft()
            if not isinstance(item, Passed):
                passed, self._waiting = passed + len(item), self._waiting - len(item)
                break
            passed, interrupt = item.samples, item.interrupt
        self._inbox.appendleft(Passed(passed, interrupt))

    # What follows runs on the engine's thread.

    def take_in(self, playing: int) -> bool:
        """Pushes what waits, in its order, skips what can't be shown in time; True when ready."""
        for item in self._take():
            if isinstance(item, Passed):
                self._pass(item)
            else:
                self.stream.push(item)
        self._catch_up(playing)
        self._note()
        return self.stream.ready

    def deliver(
        self, frames: Iterable[AvatarFrame], post: Callable[[Callable[[], None]], None]
    ) -> None:
        """Makes pictures of frames and posts them to the loop, one by one."""
        step, begun = (self.made, self.needs), self._begun
        for frame in frames:
            shot = self._shot(frame, *step)
            post(lambda shot=shot: self._show(shot, begun))  # type: ignore[misc]
        self._note()

    def _show(self, shot: FinishedFrame, begun: int) -> None:
        """In the loop: what was begun before an interrupt is of what was interrupted."""
        if begun == self._interrupts:
            self.on_shot(shot)

    def _take(self) -> deque[Speech | Passed]:
        with self._lock:
            taken, self._inbox, self._waiting = self._inbox, deque(), 0
            prompt, self._prompt, self._urgent = self._prompt, None, False
            self._begun = self._interrupts
            told, self._told = self._told, deque(maxlen=CUES)
        if prompt is not None:
            self.stream.set_prompt(prompt)
        if isinstance(self.stream, DirectedStream):
            for order in told:
                order_body(self.stream, order)
        return taken

    def _pass(self, passed: Passed) -> None:
        """Lets time pass in the stream."""
        for start in range(0, passed.samples, PIECE):
            size = min(PIECE, passed.samples - start)
            self.stream.push(np.zeros(size, np.float32))
            dropped = self.stream.skip(size)
            self.skipped += 0 if passed.interrupt else dropped // self.timing.frame
        if passed.interrupt:
            self.stream.interrupt()

    def _catch_up(self, playing: int) -> None:
        """``playing`` is the media time that will leave when the next step has finished.

        The newest step that is complete is made, however late: to skip it would not make the next
        one sooner, and a model that is never in time would show nothing at all.
        """
        step = self.timing.step
        late = playing - (self.stream.media_time + step)
        spare = self.stream.samples_pushed - self.stream.needs
        steps = min(-(-late // step), spare // step)
        if late > 0 and steps > 0:
            self.skipped += self.stream.skip(steps * step) // self.timing.frame

    def _note(self) -> None:
        self.made, self.needs = self.stream.media_time, self.stream.needs

    def _shot(self, frame: AvatarFrame, start: int, needs: int) -> FinishedFrame:
        image = frame.image if frame.matte is None else beside(frame.image, frame.matte)
        if self._mark is not None:
            image = image if image.flags.writeable else image.copy()
            frame_marker.draw(image, self._mark(frame.media_time))
        made = FrameTiming(frame.media_time, start, needs)
        return FinishedFrame(frame.index, made, self._convert(image, self.scale))
