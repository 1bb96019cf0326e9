"""When heard speech is let out, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from server.media.audio_receiver import AudioReceiver
from server.media.clock import SessionClock
from server.media.playout import Playout
from server.sessions.speech_pacer import SpeechPacer


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
