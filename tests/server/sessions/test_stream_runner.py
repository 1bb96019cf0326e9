"""What waits for a stream: in its true order, bounded, and gone when it is interrupted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.interface import AvatarFrame, Cue
from server.media.playout import FinishedFrame
from server.sessions.stream_runner import CUES, PIECE, WAITING_S, StreamRunner
from tests.fakes_server import RATE, Behaviour, FakeStream

STEP = 2 * 640
NEED = STEP + 640


class Noted(FakeStream):
    """A stream that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__(16, Behaviour())
        self.done: list[str] = []
        self.heard = np.zeros(0, np.float32)

    def push(self, pcm: np.ndarray) -> None:
        assert len(self._pending) + len(pcm) <= 30 * RATE, "a stream takes no more"
        self.done.append(f"push {pcm[0]:g}" if len(pcm) else "push")
        self.heard = np.concatenate([self.heard, pcm])
        super().push(pcm)

    def interrupt(self) -> None:
        self.done.append("interrupt")
        super().interrupt()

    def set_prompt(self, prompt: str) -> None:
        self.done.append(f"prompt {prompt}")


class Bench:
    def __init__(self) -> None:
        self.stream = Noted()
        self.shots: list[FinishedFrame] = []
        self.runner = StreamRunner(self.stream, self.shots.append, lambda failure: None)
        self.posted: list[Any] = []

    def hear(self, value: float, samples: int = 320) -> None:
        self.runner.hear(np.full(samples, value, np.float32))

    def step(self) -> None:
        if self.runner.take_in(0):
            self.runner.deliver(self.stream.step(), self.posted.append)

    def post(self) -> None:
        while self.posted:
            self.posted.pop(0)()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_interrupt_comes_after_the_audio_before_it_and_before_the_audio_after_it(
    bench: Bench,
) -> None:
    bench.hear(1)
    bench.step()
    bench.hear(2)
    bench.runner.interrupt()
    bench.hear(3, NEED)
    assert bench.runner.due
    bench.step()
    assert bench.stream.done == ["push 1", "push 0", "interrupt", "push 3"]
    assert not (bench.stream.heard == 2).any(), "what was interrupted is not even heard"
    assert (bench.stream.heard == 3).sum() == NEED, "and what comes after it is, all of it"


def test_time_goes_on_over_an_interrupt(bench: Bench) -> None:
    bench.hear(1, 5000)
    bench.runner.interrupt()
    bench.runner.interrupt()
    bench.hear(2, 333)
    bench.step()
    assert bench.stream.samples_pushed == bench.runner.heard == 5333
    assert bench.runner.skipped == 0, "what was interrupted is not counted as late"


def test_frames_that_were_begun_before_an_interrupt_are_not_shown_after_it(bench: Bench) -> None:
    bench.hear(1, NEED)
    bench.step()
    bench.runner.interrupt()
    bench.post()
    assert bench.shots == []
    bench.hear(2, NEED + STEP)
    bench.step()
    bench.post()
    assert len(bench.shots) == 2


def test_the_newest_prompt_is_the_one_that_counts(bench: Bench) -> None:
    for number in range(1000):
        bench.runner.set_prompt(str(number))
    assert bench.runner.due
    bench.step()
    assert bench.stream.done == ["prompt 999"] and not bench.runner.due


def test_gesture_scales_and_cues_come_in_their_order_and_wait_in_a_bound(bench: Bench) -> None:
    for number in range(1000):
        bench.runner.direct(Cue("nod", at=number))
    bench.runner.direct(0.1)
    bench.runner.direct(0.5)
    bench.step()
    assert bench.stream.gestures == [0.1, 0.5]
    assert [cue.at for cue in bench.stream.cues] == list(range(1000 - CUES + 2, 1000))
    bench.step()
    assert len(bench.stream.cues) == CUES - 2, "each is performed once"


def test_interrupts_do_not_pile_up(bench: Bench) -> None:
    for _ in range(1000):
        bench.hear(1)
        bench.runner.interrupt()
    assert len(bench.runner._inbox) == 1
    bench.step()
    assert bench.stream.done.count("interrupt") == 1
    assert bench.stream.samples_pushed == bench.runner.heard


def test_audio_that_waits_has_a_bound_and_its_time_passes(bench: Bench) -> None:
    """An engine that stands still for a minute hears the newest audio at its right time."""
    for second in range(60):
        bench.hear(second + 1, RATE)
    waiting = sum(len(piece) for piece in bench.runner._inbox if isinstance(piece, np.ndarray))
    assert waiting == WAITING_S * RATE
    assert len(bench.runner._inbox) == WAITING_S + 1
    bench.step()
    assert bench.stream.samples_pushed == bench.runner.heard == 60 * RATE
    assert (bench.stream.heard[-WAITING_S * RATE :] == np.repeat(np.arange(41, 61), RATE)).all()
    assert bench.runner.skipped == (60 - WAITING_S) * 25
    assert PIECE <= RATE


def test_an_interrupt_that_waits_behind_a_full_inbox_is_not_forgotten(bench: Bench) -> None:
    bench.hear(1, RATE)
    bench.runner.interrupt()
    for _ in range(2 * WAITING_S):
        bench.hear(2, RATE)
    bench.step()
    assert bench.stream.done.count("interrupt") == 1
    assert bench.stream.samples_pushed == bench.runner.heard


def test_a_transparent_frame_leaves_with_its_matte_beside_it() -> None:
    seen: list[np.ndarray] = []
    runner = StreamRunner(Noted(), lambda shot: None, lambda failure: None)
    runner._convert = lambda image, scale: seen.append(image)
    picture = np.full((16, 16, 3), 90, np.uint8)
    matte = np.tile(np.arange(16, dtype=np.uint8), (16, 1))
    runner._shot(AvatarFrame(picture, 0, 0, matte), 0, 0)
    (shown,) = seen
    assert shown.shape == (16, 32, 3)
    assert (shown[:, :16] == 90).all() and (shown[:, 16:] == matte[..., None]).all()
