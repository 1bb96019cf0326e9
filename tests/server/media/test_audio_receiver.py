"""Intake with a clock of its own: what arrives, how, and what the timeline makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, Future
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from server.media.audio_decoder import Packet, SpeechDecoder
from server.media.audio_receiver import INBOX, AudioBlock, AudioReceiver
from tests.server.caller import BLOCK, voice

OPUS = RTCRtpCodecParameters("audio/opus", 48_000, 2, 96)
G722 = RTCRtpCodecParameters("audio/G722", 8_000, 1, 9)


class Inline(Executor):
    """Runs at once, so that a test is done when it has waited for the loop."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def,override]
        done: Future[object] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@cache
def packets(count: int) -> list[bytes]:
    codec = av.CodecContext.create("libopus", "w")
    codec.format, codec.layout, codec.sample_rate = "s16", "mono", 48_000
    codec.bit_rate, codec.time_base = 64_000, Fraction(1, 48_000)
    made = []
    for block in range(count + 1):
        frame = av.AudioFrame.from_ndarray(voice(block)[None], "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, block * BLOCK
        made += [bytes(packet) for packet in codec.encode(frame)]
    return made[:count]


class Bench:
    """An intake, its clock in blocks of 20 ms, and what came out."""

    def __init__(self, backlog_s: float = 5.0) -> None:
        self.at = 100.0
        self.heard: list[AudioBlock] = []
        self.notices: list[str] = []
        self.receiver = AudioReceiver(
            Inline(),
            lambda: int(self.at * BLOCK),
            self.heard.append,
            lambda code, message: self.notices.append(code),
            backlog_s=backlog_s,
        )
        self.receiver.new_source(48_000, live=False)
        self.receiver.release_to(100 * BLOCK)  # silence until now

    async def send(self, *blocks: int) -> None:
        """Packets arrive now."""
        for block in blocks:
            payload = packets(300)[block % 300]
            self.receiver.packet(OPUS, block, (block * BLOCK) % (1 << 32), payload)
            await self.settle()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    def advance(self, blocks: float = 1.0) -> None:
        self.at += blocks
        self.receiver.release()

    @property
    def pcm_48k(self) -> np.ndarray:
        return np.concatenate([h.pcm_48k for h in self.heard]) if self.heard else np.zeros(0)

    @property
    def loud(self) -> np.ndarray:
        """Which 20 ms blocks of the output have sound."""
        whole = self.pcm_48k[: len(self.pcm_48k) // BLOCK * BLOCK].reshape(-1, BLOCK)
        return np.abs(whole.astype(int)).max(axis=1) > 300


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    running = asyncio.create_task(made.receiver.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_speech_joins_the_timeline_as_it_arrives(bench: Bench) -> None:
    for block in range(50):
        bench.advance()
        await bench.send(block)
    bench.receiver.release_to(bench.receiver.head + BLOCK)
    assert bench.heard[-1].position + len(bench.heard[-1].pcm_48k) == bench.receiver.head
    assert bench.loud.sum() >= 45 and bench.receiver.late == 0
    assert sum(len(h.pcm_16k) for h in bench.heard) * 3 == len(bench.pcm_48k)


async def test_the_timeline_is_gapless_whatever_is_lost(bench: Bench) -> None:
    lost = {3, 7, 8, 20}
    for block in range(40):
        bench.advance()
        if block not in lost:
            await bench.send(block)
        bench.receiver.release_to(int(bench.at - 3) * BLOCK)
    positions = [h.position for h in bench.heard]
    ends = [h.position + len(h.pcm_48k) for h in bench.heard]
    assert positions[1:] == ends[:-1]
    assert len(lost) * BLOCK <= bench.receiver.concealed - 100 * BLOCK <= 2 * len(lost) * BLOCK


async def test_packets_out_of_order_are_put_in_order(bench: Bench) -> None:
    bench.advance()
    await bench.send(0)
    for first, second in ((2, 1), (4, 3), (6, 5)):
        bench.advance(2)
        await bench.send(first, second)
    assert bench.receiver.late == 0 and bench.receiver.backlog == 0
    assert next(h.rtp for h in bench.heard if h.rtp is not None) == 0


async def test_a_burst_is_spoken_in_order_whole_and_at_its_own_pace(bench: Bench) -> None:
    bench.advance()
    await bench.send(*range(200))
    assert bench.receiver.backlog > 190 * BLOCK
    for _ in range(205):
        bench.advance()
        assert bench.receiver.head <= (bench.at + 3) * BLOCK, "no faster than real time"
    bench.receiver.release_to(int(bench.at) * BLOCK)
    assert bench.receiver.dropped == 0 and bench.loud.sum() >= 190


async def test_a_burst_of_more_than_a_minute_is_kept_whole() -> None:
    bench = Bench(backlog_s=100.0)
    running = asyncio.create_task(bench.receiver.run())
    bench.advance()
    await bench.send(*range(4500))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bench.receiver.backlog >= 4490 * BLOCK and bench.receiver.dropped == 0
    assert bench.receiver.late == 0 and bench.notices == []


async def test_more_than_the_backlog_is_dropped_and_said_once(bench: Bench) -> None:
    bench.advance()
    await bench.send(*range(300))
    assert bench.notices == ["backlog_full"] and bench.receiver.dropped > 0
    assert bench.receiver.backlog <= 250 * BLOCK


async def test_a_live_source_that_was_held_up_is_soon_back_in_time(bench: Bench) -> None:
    bench.receiver.new_source(48_000, live=True)
    bench.advance()
    await bench.send(0)
    bench.advance()
    await bench.send(*range(1, 60))
    bench.advance(6)
    assert bench.receiver.backlog <= 17 * BLOCK, "a microphone cannot be ahead of time"


async def test_a_source_that_falls_silent_is_heard_as_silence_and_then_again(bench: Bench) -> None:
    for block in range(20):
        bench.advance()
        await bench.send(block)
    bench.advance(50)
    bench.receiver.release_to(int(bench.at - 3) * BLOCK)
    assert not bench.receiver.awaited and not bench.loud[-20:].any()
    for block in range(70, 90):
        bench.advance()
        await bench.send(block)
    bench.receiver.release_to(int(bench.at) * BLOCK)
    assert bench.loud[-10:].all()


async def test_mute_makes_silence_for_the_model_and_for_listeners(bench: Bench) -> None:
    bench.receiver.muted = True
    for block in range(20):
        bench.advance()
        await bench.send(block)
    assert len(bench.pcm_48k) and not bench.pcm_48k.any()
    assert not any(h.pcm_16k.any() for h in bench.heard)
    assert all(h.rtp is None for h in bench.heard)


async def test_an_interrupt_forgets_what_waits_and_what_it_has_overtaken(bench: Bench) -> None:
    bench.advance()
    await bench.send(*range(99), 100)
    bench.receiver.interrupt(media_time=0)
    known = len(bench.heard)
    await bench.send(99, 50)
    bench.advance()
    assert bench.receiver.backlog == 0 and len(bench.heard) == known


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("after", [0, 1, 3, 25])
async def test_a_reply_loses_nothing_however_soon_it_follows_an_interrupt(
    bench: Bench, after: int, live: bool
) -> None:
    bench.receiver.new_source(48_000, live)
    for block in range(40):
        bench.advance()
        await bench.send(block)
    bench.receiver.interrupt(media_time=0)
    head = bench.receiver.head
    bench.advance(after)
    for block in range(100, 125):
        await bench.send(block)
        bench.advance()
    bench.receiver.release_to(int(bench.at) * BLOCK)
    reply = bench.pcm_48k[head - bench.heard[0].position :]
    loud = np.abs(reply[: len(reply) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(int)).max(1) > 300
    assert loud.sum() >= 25 and bench.receiver.late == 0 and bench.receiver.dropped == 0


async def test_silence_after_an_interrupt_is_no_speech(bench: Bench) -> None:
    for block in range(60):
        bench.advance()
        await bench.send(block)
    bench.receiver.release_to(int(bench.at) * BLOCK)
    assert bench.receiver.speaking
    bench.receiver.interrupt(media_time=0)
    known = len(bench.heard)
    for _ in range(50):
        bench.advance()
        bench.receiver.release_to(int(bench.at) * BLOCK)
    after = bench.heard[known:]
    assert [edge for heard in after for edge in heard.edges] == []
    assert not any(heard.pcm_48k.any() or heard.pcm_16k.any() for heard in after)


async def test_what_is_being_decoded_at_an_interrupt_is_not_heard_after_it(bench: Bench) -> None:
    bench.advance()
    bench.receiver.packet(OPUS, 0, 0, packets(300)[0])
    plain = bench.receiver._decoder.batch

    def interrupted(batch: list[Packet]) -> list[np.ndarray | None]:
        bench.receiver.interrupt(media_time=0)
        return plain(batch)

    bench.receiver._decoder.batch = interrupted  # type: ignore[method-assign]
    await bench.settle()
    assert bench.receiver.packets == 0 and bench.receiver.backlog == 0


async def test_a_decoder_that_breaks_at_a_packet_loses_that_packet(bench: Bench) -> None:
    def broken(packet: Packet) -> np.ndarray | None:
        if packet.sequence == 1:
            raise RuntimeError("broken")
        return np.ones(BLOCK, np.int16)

    bench.receiver._decoder = decoder = SpeechDecoder()
    decoder.__class__ = type("Broken", (SpeechDecoder,), {"__call__": lambda self, p: broken(p)})
    bench.advance()
    await bench.send(0, 1, 2)
    assert bench.receiver.packets == 2 and decoder.damaged == 1


async def test_packets_that_wait_to_be_decoded_have_a_bound() -> None:
    made = Bench()
    for block in range(3 * INBOX):
        made.receiver.packet(OPUS, block, block * BLOCK, b"")
    assert len(made.receiver._inbox) == INBOX
    assert made.receiver._inbox[-1].sequence == 3 * INBOX - 1, "the oldest are dropped"


async def test_an_interrupt_lets_a_full_backlog_be_told_again(bench: Bench) -> None:
    bench.advance()
    await bench.send(*range(290))
    bench.receiver.interrupt(media_time=0)
    bench.receiver._timeline.capacity = 3
    bench.receiver._place(
        Packet(OPUS, 300, 400 * BLOCK, b"", bench.receiver._now()), np.ones(BLOCK)
    )
    assert bench.notices == ["backlog_full"] * 2


async def test_a_damaged_packet_is_dropped_and_the_rest_is_heard(bench: Bench) -> None:
    bench.advance(2)
    await bench.send(0, 1)
    bench.receiver.packet(OPUS, 2, 2 * BLOCK, b"\xff" * 7)
    await bench.settle()
    for block in range(3, 20):
        bench.advance()
        await bench.send(block)
    bench.receiver.release_to(int(bench.at - 2) * BLOCK)
    assert bench.loud.sum() >= 10


async def test_other_codecs_are_heard_at_the_right_length(bench: Bench) -> None:
    bench.receiver.new_source(8_000, live=True)
    for block in range(25):
        bench.advance()
        bench.receiver.packet(G722, block, block * 160, bytes(160))
        await bench.settle()
    bench.receiver.release_to(int(bench.at) * BLOCK)
    assert bench.receiver.packets == 25 and bench.receiver.late <= 2 * BLOCK


async def test_after_the_process_was_stopped_only_what_is_said_now_is_heard(bench: Bench) -> None:
    for block in range(20):
        bench.advance()
        await bench.send(block)
    bench.at += 200  # four seconds; what came meanwhile is read at once
    bench.receiver.stood_still()
    bench.receiver.release_to(int(bench.at) * BLOCK)
    heard = len(bench.pcm_48k) // BLOCK
    await bench.send(*range(20, 220))
    for _ in range(10):
        bench.advance()
        bench.receiver.release_to(int(bench.at) * BLOCK)
    assert not bench.loud[heard:].any() and bench.receiver.backlog == 0
    for block in range(230, 240):
        bench.advance()
        await bench.send(block)
    assert bench.loud[heard:].sum() >= 8


async def test_a_hole_before_what_has_come_is_concealed_and_what_follows_is_still_awaited(
    bench: Bench,
) -> None:
    for block in range(20):
        bench.advance()
        await bench.send(block)
    head = bench.receiver.head
    bench.advance(3)
    await bench.send(22)
    bench.receiver.release_to(head + 6 * BLOCK, overtaken=True)
    assert bench.receiver.head == head + 3 * BLOCK
    bench.receiver.release_to(head + 6 * BLOCK, overtaken=True)
    assert bench.receiver.head == head + 3 * BLOCK, "nothing newer is here"
    bench.receiver.release_to(head + 6 * BLOCK)
    assert bench.receiver.head == head + 6 * BLOCK
