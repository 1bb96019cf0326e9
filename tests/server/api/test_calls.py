"""Calls over loopback with real peers: what a caller sees, hears and may do."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from pipeline.interface import Cue
from server.media import frame_marker
from server.media.playout import RATIO_48K_16K
from server.sessions.state import State
from server.settings import Settings
from tests.server.caller import BLOCK, Caller, calling, silence, tone, voice
from tests.server.conftest import Served


def read(picture: object) -> frame_marker.FrameMarker | None:
    luma = picture.to_ndarray()[: picture.height]  # type: ignore[attr-defined]
    return frame_marker.read(luma)


async def test_the_avatar_is_alive_before_anybody_speaks(served: Served) -> None:
    async with calling(served.http, silence) as caller:
        await caller.until(lambda: len(caller.pictures) >= 30)
        first, last = (caller.pictures[i][1].to_ndarray() for i in (2, 28))
        assert not np.array_equal(first, last)
        gaps = np.diff([frame.pts for _, frame in caller.pictures[5:]])
        assert (gaps == 3600).mean() > 0.9


async def test_a_caller_who_sends_nothing_sees_the_avatar_all_the_same(served: Served) -> None:
    caller = Caller()
    caller.peer.addTransceiver("audio", "sendrecv")
    caller.watch()
    try:
        assert (await caller.post(served.http, "/v1/calls", avatar="mira")).status == 201
        await caller.until(lambda: len(caller.pictures) >= 25)
    finally:
        await caller.close()


async def test_time_begins_with_the_performance_however_long_it_took_to_make_ready(
    served: Served,
) -> None:
    ready = served.source.enrol

    def slowly(avatar: str, grant: object) -> object:
        time.sleep(1.0)
        return ready(avatar, grant)

    served.source.enrol = slowly  # type: ignore[method-assign,assignment]
    made = await served.http.post("/v1/sessions", json={"avatar": "tomo"})
    assert made.status == 201
    session = served.manager.sessions[0]
    assert session.clock.now() < 16_000 * 0.9 and session.missed() == 0


async def test_the_callers_own_voice_comes_back(served: Served) -> None:
    async with calling(served.http, tone) as caller:
        await caller.until(lambda: len(caller.sounds) >= 100)
        heard = np.concatenate([f.to_ndarray().reshape(-1, 2)[:, 0] for _, f in caller.sounds])
        spectrum = np.abs(np.fft.rfft(heard[-48_000:].astype(float)))
        assert abs(int(spectrum.argmax()) - 300) <= 2, "a tone of 300 Hz went in"


async def test_every_measured_frame_names_the_source_sample_behind_it(served: Served) -> None:
    async with calling(served.http, tone, measure="1") as caller:
        await caller.until(lambda: len(caller.pictures) >= 60)
        seen = [read(f) for _, f in caller.pictures]
        assert sum(m is None for m in seen) == 0
        sourced = [m for m in seen if m and m.flags & frame_marker.SOURCE]
        assert len(sourced) > 20
        steps = np.diff([m.rtp_timestamp for m in sourced[5:]])
        media = np.diff([m.media_time for m in sourced[5:]])
        assert np.array_equal(steps % (1 << 32), media * 3) and not (media % 640).any()


async def test_both_sender_reports_name_the_same_moment_for_the_same_media(served: Served) -> None:
    async with calling(served.http, tone, measure="1") as caller:
        await caller.until(lambda: len(caller.pictures) >= 10)
        participant = served.manager.sessions[0].participants.source
        assert participant is not None
        clocks = {}
        for sender in participant.peer.getSenders():
            rate = 48_000 if sender.kind == "audio" else 90_000
            sent = sender._last_s
            clocks[sender.kind] = (sender._RTCRtpSender__ntp_timestamp / (1 << 32), sent, rate)
        origin = [ntp - sent for ntp, sent, _ in clocks.values()]
        assert abs(origin[0] - origin[1]) < 1e-4


async def test_ready_comes_first_and_quality_every_second(served: Served) -> None:
    async with calling(served.http) as caller:
        ready = await caller.event("ready")
        assert caller.events[0] is ready
        assert (ready["avatar"], ready["width"], ready["fps"]) == ("mira", 256, 25)
        quality = await caller.event("quality")
        assert set(quality["latency_ms"]) == {"intake", "wait", "generate", "playout", "total"}


async def test_speech_is_announced_where_it_starts_and_ends(served: Served) -> None:
    def utterance(block: int) -> np.ndarray:
        return voice(block) if 40 <= block < 80 else silence(block)

    async with calling(served.http, utterance) as caller:
        started = await caller.event("speaking_started")
        finished = await caller.event("speaking_finished")
        idle = await caller.event("idle")
        assert finished["interrupted"] is False
        spoken = (finished["media_time"] - started["media_time"]) / 16_000
        assert 0.3 < spoken < 1.1
        assert idle["media_time"] == finished["media_time"]


async def test_an_interrupt_is_silent_within_a_moment_and_says_where_it_cut(
    served: Served,
) -> None:
    async with calling(served.http, voice) as caller:
        started = await caller.event("speaking_started")
        caller.send(type="mute", muted=True)
        caller.send(type="interrupt")
        finished = await caller.event("speaking_finished")
        assert finished["interrupted"] is True
        assert finished["media_time"] >= started["media_time"]
        count = len(caller.sounds)
        await caller.until(lambda: len(caller.sounds) >= count + 20)
        late = [f.to_ndarray() for _, f in caller.sounds[count + 10 :]]
        assert max(int(np.abs(block).max()) for block in late) < 200
        assert served.pipeline.streams[-1].interrupts == 1


async def test_an_interrupt_drops_what_waits_to_be_played(served: Served) -> None:
    response = await served.http.post("/v1/sessions", json={"avatar": "mira"})
    assert response.status == 201
    (session,) = served.manager.sessions
    soon = (session.clock.now() + 1_600) * RATIO_48K_16K
    session.playout.voice.write(soon, np.full(960, 9_000, np.int16))
    assert session.playout.voice.read(soon, 960).any()
    session.interrupt()
    assert not session.playout.voice.read(soon, 960).any()


async def test_mute_is_heard_as_silence(served: Served) -> None:
    async with calling(served.http, tone) as caller:
        await caller.event("ready")
        caller.send(type="mute", muted=True)
        caller.send(type="ping", id="after mute")
        await caller.event("pong", id="after mute")
        count = len(caller.sounds)
        await caller.until(lambda: len(caller.sounds) >= count + 40)
        assert max(int(np.abs(f.to_ndarray()).max()) for _, f in caller.sounds[-10:]) < 200


async def test_a_gesture_scale_and_cues_reach_the_stream(served: Served) -> None:
    async with calling(served.http, gesture="0.5") as caller:
        stream = served.pipeline.streams[-1]
        assert stream.gestures == [0.5]
        await caller.event("ready")
        caller.send(type="gesture", scale=1.25)
        caller.send(type="cue", gesture="nod", emotion="warm", at=96_000)
        await caller.until(lambda: stream.cues)
        assert stream.gestures == [0.5, 1.25]
        assert stream.cues == [Cue("nod", "warm", 96_000)]


async def test_a_prompt_reaches_the_stream(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.send(type="prompt", text="warm, lively")
        caller.send(type="ping", id=1)
        await caller.event("pong", id=1)
        await caller.until(lambda: len(caller.pictures) > 8)
        assert served.pipeline.streams[-1].prompts == ["warm, lively"]


async def test_bad_messages_are_answered_and_the_call_goes_on(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.channel.send("{")
        await caller.event("error", code="bad_json")
        caller.channel.send('{"type": "prompt", "text": "' + "x" * 60_000 + '"}')
        await caller.event("error", code="too_large")
        count = len(caller.pictures)
        await caller.until(lambda: len(caller.pictures) > count + 10)


async def test_a_flood_of_messages_is_limited_and_costs_nobody_anything(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        for index in range(150):
            caller.send(type="ping", id=index)
        await caller.event("error", code="rate_limited")
        await caller.event("pong", id=0)
        count = len(caller.pictures)
        await caller.until(lambda: len(caller.pictures) > count + 10)
        assert sum(e["type"] == "pong" for e in caller.events) < 60


async def test_hanging_up_frees_the_slot_and_closes_the_stream(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.until(lambda: caller.pictures)
        assert served.manager.slots.taken == 1
        assert (await served.http.delete(caller.session, headers=caller.auth)).status == 200
        assert served.manager.slots.taken == 0
        assert served.pipeline.streams[-1].closed
        assert (await served.http.delete(caller.session, headers=caller.auth)).status == 404


async def test_nothing_is_left_after_a_call(served: Served) -> None:
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with calling(served.http) as caller:
        await caller.until(lambda: caller.pictures)
        await served.http.delete(caller.session, headers=caller.auth)
    left = {t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("s-")} - before
    assert not left


class TestComingAndGoing:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(slots=2, grace_s=1.0)

    async def test_a_caller_comes_back_within_the_grace_period(self, served: Served) -> None:
        async with calling(served.http) as caller:
            await caller.until(lambda: caller.pictures)
            session = served.manager.sessions[0]
            await caller.peer.close()
            again = Caller()
            again.speak(tone)
            again.watch()
            response = await again.post(served.http, f"{caller.session}/call", caller.token)
            try:
                assert response.status == 201 and again.location == caller.session
                await again.until(lambda: again.pictures)
                assert served.manager.sessions == [session] and session.state is State.LIVE
            finally:
                await again.close()

    async def test_a_session_that_everybody_left_ends_after_the_grace_period(
        self, served: Served
    ) -> None:
        ended = asyncio.Event()
        async with calling(served.http) as caller:
            await caller.until(lambda: caller.pictures)
            session = served.manager.sessions[0]
            inner = session.on_ended
            session.on_ended = lambda s: (inner(s), ended.set())  # type: ignore[func-returns-value]
        await asyncio.wait_for(ended.wait(), 6)
        assert served.manager.slots.taken == 0

    async def test_a_session_that_nobody_joins_ends_after_the_grace_period(
        self, served: Served
    ) -> None:
        ended = asyncio.Event()
        await served.http.post("/v1/sessions", json={"avatar": "mira"})
        session = served.manager.sessions[0]
        inner = session.on_ended
        session.on_ended = lambda s: (inner(s), ended.set())  # type: ignore[func-returns-value]
        await asyncio.wait_for(ended.wait(), 6)
        assert served.manager.slots.taken == 0

    async def test_an_offer_whose_peer_never_connects_is_given_up(self, served: Served) -> None:
        ended = asyncio.Event()
        caller = Caller()
        caller.speak(tone)
        caller.watch()
        try:
            await caller.peer.setLocalDescription(await caller.peer.createOffer())
            offer = caller.peer.localDescription.sdp
            response = await served.http.post(
                "/v1/calls?avatar=mira", data=offer, headers={"Content-Type": "application/sdp"}
            )
            assert response.status == 201
            session = served.manager.sessions[0]
            inner = session.on_ended
            session.on_ended = lambda s: (inner(s), ended.set())  # type: ignore[func-returns-value]
            await asyncio.wait_for(ended.wait(), 8)
            assert served.manager.slots.taken == 0
        finally:
            await caller.close()


class TestOverload:
    async def test_a_model_at_half_speed_keeps_delay_bounded_and_audio_unbroken(
        self, served: Served
    ) -> None:
        async with calling(served.http, tone, measure="1") as caller:
            await caller.until(lambda: caller.pictures)
            served.pipeline.behaviour.tick_s = 0.16
            count = len(caller.sounds)
            await caller.until(lambda: len(caller.sounds) >= count + 150)
            session = served.manager.sessions[0]
            seen = (read(picture) for _, picture in reversed(caller.pictures))
            mark = next(filter(None, seen))  # the newest that can be read: some are coarse
            behind = session.playout.playing(session.clock.now()) - mark.media_time
            assert behind < 16_000 * 0.5, "pictures must keep up with the sound"
            assert session.playout.delay.samples <= 16_000 * 0.45
            stamps = np.diff([f.pts for _, f in caller.sounds[count:]])
            assert (stamps == BLOCK).mean() > 0.8, "a loaded machine may lose packets"

    async def test_a_stream_that_fails_ends_its_own_session_and_no_other(
        self, served: Served
    ) -> None:
        async with calling(served.http) as one, calling(served.http) as other:
            await one.event("ready")
            await other.event("ready")
            streams = served.pipeline.streams[-2:]
            streams[0]._behaviour = type(streams[0]._behaviour)(failure=RuntimeError("broken"))
            error = await one.event("error", code="generation_failed")
            assert "broken" in error["message"]
            count = len(other.pictures)
            await other.until(lambda: len(other.pictures) > count + 25)
            assert served.manager.slots.taken == 1


async def test_two_calls_are_stepped_and_both_get_their_frames(served: Served) -> None:
    async with calling(served.http, tone) as one, calling(served.http, tone) as other:
        await one.until(lambda: len(one.pictures) > 40)
        await other.until(lambda: len(other.pictures) > 40)
