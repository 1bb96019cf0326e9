"""When heard speech is let out, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

from benchmarks.stress import virtual_time
from server.media.audio_receiver import AudioReceiver
from server.media.clock import RATE, SessionClock
from server.media.playout import Playout
from server.sessions.speech_pacer import PATIENCE, PUMP_S, SLACK, SpeechPacer
from server.sessions.stream_runner import StreamRunner


class Listener(AudioReceiver):
    """Counts how often it is told of a stop; ``turns`` has an entry each time it is let out."""

    stops = 0
    turns: asyncio.Queue[None]

    def release(self) -> None:
        self.turns.put_nowait(None)

    def stood_still(self) -> None:
        self.stops += 1


async def test_what_waited_while_the_process_was_stopped_is_known_to_be_old() -> None:
    seconds = [100.0]
    clock = SessionClock(lambda: seconds[0], lambda: 0.0)
    with ThreadPoolExecutor(1) as executor:
        heard = Listener(executor, clock.now, lambda block: None, lambda code, message: None)
        heard.turns = asyncio.Queue()
        pacer = asyncio.create_task(SpeechPacer(clock, Playout(), heard).run())
        try:
            for stop_s, stops in ((0.0, 0), (0.3, 0), (5.0, 1), (0.0, 1)):
                seconds[0] += stop_s
                async with asyncio.timeout(10):
                    for _ in range(3):
                        await heard.turns.get()
                assert heard.stops == stops
        finally:
            pacer.cancel()
            await asyncio.gather(pacer, return_exceptions=True)


class Source:
    """A receiver that gets nothing; each time that it must reach a position is kept."""

    head = 0
    awaited = True

    def __init__(self, clock: SessionClock) -> None:
        self._clock = clock
        self.filled: list[tuple[int, int, bool]] = []  # when, up to where, only what was overtaken
        self.on_release: Callable[[], None] = lambda: None

    def release(self) -> None:
        self.on_release()

    def release_to(self, position: int, overtaken: bool = False) -> None:
        self.filled.append((self._clock.now(), position, overtaken))
        if not overtaken:
            self.head = position


async def paced(interrupted_at: int | None) -> tuple[Source, SimpleNamespace, Playout]:
    """A pacer over half a second of nothing; an interrupt makes the next step another one."""
    loop = asyncio.get_running_loop()
    clock, playout = SessionClock(loop.time, lambda: 0.0), Playout()
    source = Source(clock)
    source.awaited = interrupted_at is None
    runner = SimpleNamespace(needs=playout.timing.chunk, pace=SimpleNamespace(generate_s=0.0))

    def interrupt() -> None:
        if interrupted_at is not None and clock.now() >= interrupted_at:
            runner.needs = 3 * playout.timing.chunk

    source.on_release = interrupt
    pacer = SpeechPacer(clock, playout, cast(AudioReceiver, source))
    pacer.runner = cast(StreamRunner, runner)
    running = asyncio.create_task(pacer.run())
    await asyncio.sleep(0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return source, runner, playout


def test_what_a_flowing_source_has_not_sent_yet_has_some_patience() -> None:
    source, _, playout = virtual_time.run(paced(None))
    due = playout.delay.samples - SLACK
    first = next(at for at, _, overtaken in source.filled if not overtaken)
    assert due + PATIENCE <= first <= due + PATIENCE + RATE * PUMP_S
    early = [row for row in source.filled if row[0] < due + PATIENCE]
    assert early and all(at >= due and overtaken for at, _, overtaken in early)


def test_a_step_that_an_interrupt_puts_off_is_not_made_up_at_the_time_of_the_one_before() -> None:
    due = Playout().delay.samples - SLACK
    source, runner, playout = virtual_time.run(paced(interrupted_at=due - 10))
    again = runner.needs - playout.timing.chunk + playout.delay.samples - SLACK
    assert again > due + PATIENCE
    assert all(at >= again for at, _, _ in source.filled)
