"""Peers that behave badly, and a model that is too slow: bounded, and at nobody else's cost.

What is refused over HTTP is in ``test_http``; here is what goes wrong once media flows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from server.media.clock import RATE
from server.media.encoders import stamped
from server.media.playout import BLOCK, RATIO_48K_16K, DelayLimits, Playout, ms
from server.media.tracks import DEPTH, OutgoingTrack
from server.rtc import data_channel
from server.rtc.aiortc_adapter import UNHEARD_S, Peer
from server.rtc.participant import CHANNEL_HIGH_WATER, Participant
from server.rtc.sdp_offer import PeerRole
from server.sessions.stream_runner import StreamRunner
from server.settings import Settings
from tests.fakes_server import Behaviour, FakeStream, Rhythm
from tests.server.caller import calling, silence, tone
from tests.server.conftest import Served
from tests.server.media.test_audio_receiver import OPUS, Bench, bench

__all__ = ["bench"]


async def test_silence_for_minutes_with_a_clock_that_drifts_piles_nothing_up(bench: Bench) -> None:
    """Five minutes of a microphone in a quiet room, 300 ppm fast, in Opus' DTX manner."""
    quiet = b"\xf8\xff\xfe"  # Opus: 20 ms of nothing
    sent = late = early = 0
    for block in range(15_000):
        while sent <= block * 1.0003:
            if sent % 20 == 0 or sent < 50:
                bench.receiver.packet(OPUS, sent % 65536, sent * 960, quiet)
            sent += 1
        await bench.settle()
        bench.advance()
        bench.receiver.release_to(int(bench.at - 10) * 960)  # as playout asks, 200 ms late
        late = max(late, int(bench.at * 960) - bench.receiver.head)
        early = max(early, bench.receiver.head + bench.receiver.backlog - int(bench.at * 960))
        bench.heard[:-5] = []
    assert early <= 3 * 960, "speech that follows is not held up by what the clock gained"
    assert late <= 11 * 960, "the timeline keeps up with time"
    assert not bench.notices and not bench.receiver.speaking
    assert not any(heard.edges for heard in bench.heard)


class Channel:
    """A data channel whose peer has stopped reading."""

    label, readyState = "events", "open"  # noqa: N815

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    @property
    def bufferedAmount(self) -> int:  # noqa: N802
        return sum(len(message) for message in self.sent)

    def on(self, event: str, handler: Callable[..., None]) -> None:
        self.heard = handler

    def send(self, message: str) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def channel() -> Channel:
    return Channel()


async def participant(channel: Channel, role: PeerRole = PeerRole.CALLER) -> Participant:
    made = Participant("p", role, Peer([], True), "ufrag")
    made._channel_opened(channel)  # type: ignore[arg-type]
    return made


async def test_events_for_a_peer_that_does_not_read_are_dropped(channel: Channel) -> None:
    reader = await participant(channel)
    for _ in range(3000):
        reader.send(data_channel.build("quality", text="x" * 500))
    assert channel.bufferedAmount < CHANNEL_HIGH_WATER + 1000
    await reader.close()


async def test_a_channel_that_goes_on_after_hundreds_of_refusals_is_closed(
    channel: Channel,
) -> None:
    talker = await participant(channel)
    for _ in range(400):
        channel.heard("{")
    assert channel.closed
    told = [json.loads(message)["code"] for message in channel.sent]
    assert told.count("rate_limited") == 1 and told.count("bad_json") == 40
    await talker.close()


async def test_a_viewer_whose_feedback_ended_before_its_connection_is_lost_since_then() -> None:
    now = [1000.0]
    viewer = Participant("v", PeerRole.VIEWER, Peer([], True), "ufrag", now=lambda: now[0])
    viewer.tracks = [OutgoingTrack("video"), OutgoingTrack("audio")]
    now[0] += 60
    assert not viewer.lost, "nothing was sent to it yet"
    for dark in (False, True):
        viewer.tracks[0].room = SimpleNamespace(bitrate=1, full=dark, dark=dark)
        assert viewer.lost is dark
    assert viewer.last_s == now[0] - UNHEARD_S
    await viewer.close()


async def test_a_viewer_that_stops_reading_keeps_the_newest_and_asks_for_a_key_frame() -> None:
    asked: list[bool] = []
    video = OutgoingTrack("video", lambda: asked.append(True))
    sound = OutgoingTrack("audio")
    for track in (video, sound):
        track.live = True
        for at in range(100):
            track.offer(stamped(b"x", at, 90_000))
    assert len(video._queue) <= DEPTH and len(asked) >= 100 // (DEPTH + 1)
    assert [packet.pts for packet in sound._queue] == list(range(100 - DEPTH, 100))
    assert (await sound.recv()).pts == 100 - DEPTH


async def test_a_message_larger_than_the_channel_takes_is_refused_and_the_call_goes_on(
    served: Served,
) -> None:
    async with calling(served.http, tone) as caller:
        await caller.event("ready")
        caller.peer.sctp._remote_max_message_size = 0  # a client that does not ask
        caller.channel.send('{"type": "prompt", "text": "' + "x" * 100_000 + '"}')
        errors = await caller.until(
            lambda: [e for e in caller.events if e.get("code") == "too_large"], 60
        )
        assert "4096" in errors[0]["message"] and "1000" in errors[0]["message"]
        count = len(caller.pictures)
        await caller.until(lambda: len(caller.pictures) > count + 10)
        assert served.pipeline.streams[-1].prompts == []


class TestVanishing:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return Settings(slots=2, grace_s=1.0, keys=settings.keys)

    async def test_a_peer_that_vanishes_without_a_word_gives_its_slot_back(
        self, served: Served
    ) -> None:
        async with calling(served.http, silence) as caller:
            await caller.until(lambda: caller.pictures)
            assert served.manager.slots.taken == 1
            unplug(caller.peer)
            async with asyncio.timeout(20):  # ICE gives up after 9 s; then the slot is a newcomer's
                while served.manager.slots.taken:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


def unplug(peer: Any) -> None:
    """Takes the network away: nothing leaves any more, and nothing arrives."""
    for transceiver in peer.getTransceivers():
        ice = transceiver.sender.transport.transport._connection
        for protocol in ice._protocols:
            protocol.transport.abort()


class Stalled:
    """A session's engine and playout at a speed of our own, on a clock that is only counted."""

    def __init__(self, step_s: float) -> None:
        self.playout = Playout(DelayLimits())
        self.stream = FakeStream(16, Behaviour(), Rhythm())
        self.runner = StreamRunner(self.stream, self._made, lambda failure: None)
        self.now = self._free = 0
        self.heard: list[np.ndarray] = []
        self.behind: list[int] = []
        self._cost = int(step_s * RATE)
        self._step: list[Any] = []

    def run(self, seconds: int) -> None:
        for _ in range(seconds * 50):
            self.now += BLOCK
            self._hear()
            while self.runner.due and self._free <= self.now:
                self._free = self.now + self._cost
                playing = self.playout.playing(self._free)
                if self.runner.take_in(playing):
                    self.runner.deliver(self.stream.step(), lambda post: post())
            self.playout.delay.reckon()
            grew = self.playout.delay.move(speaking=True)
            self.heard.append(self.playout.audio(self.now, grew))
            shot, _ = self.playout.frame(self.playout.index_at(self.now))
            if shot is not None:
                self.behind.append(self.playout.playing(self.now) - shot.made.media_time)

    def _hear(self) -> None:
        start = self.now - BLOCK
        at = np.arange(start * RATIO_48K_16K, self.now * RATIO_48K_16K) / 48_000
        wave = (8000 * np.sin(2 * np.pi * 200 * at)).astype(np.int16)
        self.playout.voice.write(start * RATIO_48K_16K, wave)
        self.runner.hear(np.zeros(BLOCK, np.float32))

    def _made(self, shot: Any) -> None:
        self.playout.add(shot)
        self.playout.delay.observe(self._free - shot.made.needs)


@pytest.mark.parametrize("step_s", [0.16, 0.5])
def test_a_model_at_half_its_speed_or_less_is_never_later_than_the_bound(step_s: float) -> None:
    slow = Stalled(step_s)
    slow.run(30)
    settled = slow.behind[100:]
    assert len(settled) > 1000
    assert max(settled) <= (step_s + 0.24) * RATE, "pictures keep up with the sound"
    assert slow.playout.delay.samples <= ms(450)
    assert slow.runner.skipped > 0 and len(slow.runner._inbox) <= step_s * 50 + 1
    steps = np.abs(np.diff(np.concatenate(slow.heard[100:]).astype(int)))
    assert steps.max() <= 8000 * 2 * np.pi * 200 / 48_000 * 1.05 + 5, "sound is unbroken"


async def test_half_a_character_neither_ends_the_channel_nor_the_call(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.channel.send(r'{"type": "ping", "id": "\ud800"}')
        caller.channel.send(r'{"type": "prompt", "text": "\ud800"}')
        await caller.until(
            lambda: len([e for e in caller.events if e.get("code") == "bad_message"]) == 2
        )
        caller.send(type="ping", id="still there")
        await caller.event("pong", id="still there")


async def test_half_a_character_is_no_prompt_over_http_either(served: Served) -> None:
    body = r'{"avatar": "mira", "prompt": "\ud800"}'
    made = await served.http.post(
        "/v1/sessions", data=body, headers={"Content-Type": "application/json"}
    )
    assert made.status == 400 and served.manager.slots.taken == 0
