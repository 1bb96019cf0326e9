"""Speech over a WebSocket and over HTTP: what is accepted, refused, spoken and reported."""

from __future__ import annotations

import asyncio
import contextlib
import json
import wave
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType

from server.settings import Settings
from server.speech.speech import CAPACITY_S
from tests.fakes_voice import FakeVoices
from tests.server.conftest import Served

RATE = 16_000


def hum(seconds: float, rate: int = RATE) -> bytes:
    at = np.arange(round(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * 220 * at)).astype("<i2").tobytes()


def wav(pcm: bytes, rate: int = RATE, channels: int = 1) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


def flac(pcm: bytes, rate: int = RATE) -> bytes:
    file = BytesIO()
    with av.open(file, "w", "flac") as out:
        stream = out.add_stream("flac", rate)
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:  # type: ignore[attr-defined]
            out.mux(packet)
    return file.getvalue()


class Socket:
    """An agent's end of the WebSocket; keeps every event."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: object) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def event(self, kind: str, **fields: object) -> dict[str, Any]:
        """The first event of a kind, of those so far or to come."""
        async with asyncio.timeout(20):
            while True:
                for event in self.events:
                    if event["type"] == kind and fields.items() <= event.items():
                        return event
                await self.read()

    async def read(self) -> None:
        message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, (message, self.events[-3:])
        self.events.append(json.loads(message.data))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


@pytest.fixture
def settings() -> Settings:
    return Settings(slots=3, grace_s=2.0, drain_s=0.5)


@contextlib.asynccontextmanager
async def session(served: Served) -> AsyncIterator[tuple[str, dict[str, str]]]:
    served.manager.voices = FakeVoices()
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    auth = {"Authorization": f"Bearer {made['token']}"}
    yield made["speech"], auth
    await served.http.delete(f"/v1/sessions/{made['id']}", headers=auth)


@contextlib.asynccontextmanager
async def connected(served: Served) -> AsyncIterator[Socket]:
    async with (
        session(served) as (path, auth),
        served.http.ws_connect(path, headers=auth) as socket,
    ):
        found = Socket(socket)
        await found.event("ready")
        yield found


async def test_sound_and_text_are_spoken_in_order_and_reported(served: Served) -> None:
    async with connected(served) as agent:
        await agent.send("begin", id="a", sample_rate=RATE)
        await agent.socket.send_bytes(hum(0.3))
        await agent.socket.send_bytes(hum(0.2))
        await agent.send("end")
        await agent.send("say", id="b", text="one two")
        await agent.event("utterance_finished", id="b")
        finished = agent.of("utterance_finished")
        assert [(e["id"], e["position_ms"], e["interrupted"]) for e in finished] == [
            ("a", 500, False), ("b", 500, False),
        ]  # fmt: skip
        assert [e["id"] for e in agent.of("utterance_accepted")] == ["a", "b"]
        started = agent.of("utterance_started")
        assert finished[0]["media_time"] - started[0]["media_time"] >= 8000
        assert [e["text"] for e in agent.of("word")] == ["one", "two"]


async def test_a_clear_says_how_far_each_utterance_got(served: Served) -> None:
    async with connected(served) as agent:
        await agent.send("begin", id="a", sample_rate=RATE, cues=[{"at_ms": 400, "name": "here"}])
        await agent.socket.send_bytes(hum(5.0))
        await agent.send("say", id="b", text="never heard")
        cue = await agent.event("cue", name="here")
        await agent.send("clear")
        cleared = await agent.event("cleared")
        first, second = agent.of("utterance_finished")
        assert (first["id"], second["id"]) == ("a", "b")
        heard_ms = (cleared["media_time"] - cue["media_time"]) / 16 + 400
        assert first["interrupted"] and 400 <= first["position_ms"] <= heard_ms + 1
        assert second["interrupted"] and second["position_ms"] == 0


async def test_credit_grows_as_speech_is_spoken_and_a_burst_beyond_it_loses_nothing(
    served: Served,
) -> None:
    async with connected(served) as agent:
        first = await agent.event("credit")
        assert first["until_ms"] == CAPACITY_S * 1000 and first["utterances"] == 256
        await agent.send("begin", id="a", sample_rate=RATE)
        burst = asyncio.create_task(_burst(agent, seconds=CAPACITY_S + 9))
        await agent.event("utterance_started", id="a")
        (speech,) = (s.speech for s in served.manager.sessions)
        (utterance,) = speech.unfinished
        while len(agent.of("credit")) < 3:
            await agent.read()
            assert utterance.waiting <= (CAPACITY_S + 4) * 48_000, "what is beyond waits outside"
        assert agent.of("credit")[-1]["until_ms"] > first["until_ms"]
        skip = asyncio.create_task(_hurry(utterance))
        await burst
        async with asyncio.timeout(20):
            while utterance.received < (CAPACITY_S + 9) * 48_000 - 48:
                await agent.read()
        skip.cancel()


async def _burst(agent: Socket, seconds: int) -> None:
    for _ in range(seconds // 3):
        await agent.socket.send_bytes(hum(3.0))


async def _hurry(utterance: Any) -> None:
    """Time passes faster than it does."""
    while True:
        utterance.take(48_000)
        await asyncio.sleep(0.02)


async def test_a_hundred_utterances_between_clears_end_once_each(served: Served) -> None:
    async with connected(served) as agent:
        for index in range(100):
            await agent.send("begin", id=f"u{index}", sample_rate=RATE)
            await agent.socket.send_bytes(hum(0.04 * (index % 5)))
            if index % 3:
                await agent.send("end")
            if index % 7 == 0:
                await agent.send("clear")
        await agent.send("clear")
        await agent.send("ping", id="last")
        await agent.event("pong", id="last")
        ended = [e["id"] for e in agent.of("utterance_finished")]
        assert sorted(ended) == sorted(f"u{index}" for index in range(100))


async def test_what_cannot_be_read_is_answered_and_the_socket_stays_open(served: Served) -> None:
    async with connected(served) as agent:
        await agent.socket.send_bytes(hum(0.1))
        await agent.event("error", code="no_utterance")
        await agent.socket.send_str("{")
        await agent.event("error", code="bad_json")
        await agent.send("dance")
        assert "begin" in (await agent.event("error", code="unknown_type"))["message"]
        await agent.send("begin", sample_rate=12)
        assert "8000 to 192000" in (await agent.event("error", code="bad_request"))["message"]
        await agent.send("begin", cues=[{"at_ms": 5}])
        await agent.send("begin", id="a")
        await agent.socket.send_bytes(b"\0\0\0")
        await agent.event("error", code="bad_message")
        await agent.send("begin", id="a")
        await agent.event("error", code="bad_request", id="a")
        await agent.send("say", text="x" * 5000, id="long")
        await agent.event("error", id="long")
        await agent.send("say", text="...", id="b")
        assert (await agent.event("error", code="text_refused"))["id"] == "b"
        await agent.send("ping", id=1)
        await agent.event("pong", id=1)


async def test_an_open_socket_keeps_the_session_and_its_end_closes_it(served: Served) -> None:
    async with connected(served) as agent:
        (running,) = served.manager.sessions
        assert running.state.value == "live"
        await agent.send("begin", id="a", sample_rate=RATE)
        await agent.socket.send_bytes(hum(4.0))
        await agent.event("utterance_started")
        await running.end("the test ends it")
        await agent.event("utterance_finished", id="a", interrupted=True)
        while (message := await agent.socket.receive()).type is WSMsgType.TEXT:
            agent.events.append(json.loads(message.data))
        assert message.type is WSMsgType.CLOSE and agent.of("error")[-1]["code"] == "session_ended"


async def test_a_socket_that_closes_leaves_its_speech_to_be_spoken(served: Served) -> None:
    async with (
        session(served) as (path, auth),
        served.http.ws_connect(path, headers=auth) as first,
        served.http.ws_connect(path, headers=auth) as second,
    ):
        await first.send_str(json.dumps({"type": "begin", "id": "a", "sample_rate": RATE}))
        await first.send_bytes(hum(0.5))
        await first.close()
        other = Socket(second)
        finished = await other.event("utterance_finished", id="a")
        assert finished["position_ms"] == 500 and not finished["interrupted"]


async def test_a_page_gives_its_token_as_a_subprotocol(served: Served) -> None:
    async with session(served) as (path, auth):
        token = auth["Authorization"].split()[1]
        offered = ("continuum.speech", f"bearer.{token}")
        async with served.http.ws_connect(path, protocols=offered) as socket:
            assert socket.protocol == "continuum.speech"
            await Socket(socket).event("ready")
        for refused in ({}, {"Authorization": "Bearer c_wrong"}):
            answer = await served.http.get(path, headers=refused)
            assert answer.status == 401
        assert (await served.http.get(path, headers=auth)).status == 400


BODIES = {
    "wav": ("audio/wav", wav(hum(0.5))),
    "stereo": ("audio/x-wav", wav(np.repeat(np.frombuffer(hum(0.5), "<i2"), 2).tobytes(), RATE, 2)),
    "endless wav": ("audio/wav", wav(hum(0.5)).replace(b"data" + (16_000).to_bytes(4, "little"),
                                                       b"data\xff\xff\xff\xff")),
    "pcm": ("audio/pcm; rate=24000", hum(0.5, 24_000)),
    "flac": ("audio/flac", flac(hum(0.5))),
    "text": ("application/json", b'{"text": "one two", "id": "u"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
async def test_a_posted_body_is_spoken_whole(served: Served, name: str) -> None:
    kind, body = BODIES[name]
    async with session(served) as (path, auth):
        headers = {**auth, "Content-Type": kind}
        answer = await served.http.post(f"{path}?wait=1&id=u", data=body, headers=headers)
        said = await answer.json()
        assert answer.status == 202, said
        assert said["id"] == "u" and said["received_ms"] == pytest.approx(500, abs=1)
        assert said["finished"]["position_ms"] == pytest.approx(500, abs=1)
        assert said["finished"]["interrupted"] is False and said["finished"]["error"] is None


async def test_a_body_is_spoken_while_it_comes(served: Served) -> None:
    async with session(served) as (path, auth):
        begun = asyncio.Event()
        (running,) = served.manager.sessions
        running.listeners.add(lambda text: begun.set() if "utterance_started" in text else None)

        async def body() -> AsyncIterator[bytes]:
            yield wav(b"").replace(b"data" + bytes(4), b"data\xff\xff\xff\xff") + hum(0.3)
            await begun.wait()
            yield hum(0.2)

        headers = {**auth, "Content-Type": "audio/wav"}
        answer = await served.http.post(path, data=body(), headers=headers)
        assert (await answer.json())["received_ms"] == 500


async def test_sound_of_a_refused_utterance_does_not_use_up_the_credit(served: Served) -> None:
    async with connected(served) as agent:
        begun = (await agent.event("credit"))["until_ms"]
        for _ in range(20):  # of a second each
            await agent.socket.send_bytes(hum(1.0, 48_000))
        await agent.event("error", code="no_utterance")
        await agent.send("begin", id="a", sample_rate=48_000)
        for _ in range(6):
            await agent.socket.send_bytes(hum(0.1, 48_000))
        await agent.send("end")
        await agent.event("utterance_finished", id="a")
        assert max(event["until_ms"] for event in agent.of("credit")) >= begun + 20_000


async def test_an_upload_that_is_cleared_is_read_no_further(served: Served) -> None:
    async with session(served) as (path, auth):
        (running,) = served.manager.sessions
        begun = asyncio.Event()
        running.listeners.add(lambda text: begun.set() if "utterance_started" in text else None)

        async def endless() -> AsyncIterator[bytes]:
            yield hum(0.3)
            await begun.wait()
            running.interrupt()
            while True:
                yield hum(0.3)
                await asyncio.sleep(0.01)

        headers = {**auth, "Content-Type": f"audio/pcm;rate={RATE}"}
        async with asyncio.timeout(20):
            with contextlib.suppress(ClientError):  # the answer comes before all is sent
                await served.http.post(path, data=endless(), headers=headers)
        assert not running.speech.unfinished


@pytest.mark.parametrize(
    ("kind", "body", "status", "problem"),
    [
        ("audio/wav", b"", 422, "sound-refused"),
        ("audio/mpeg", b"no sound at all " * 100, 422, "sound-refused"),
        ("audio/wav", wav(b""), 422, "sound-refused"),
        ("audio/pcm", hum(0.1), 400, "bad-request"),
        ("audio/pcm;rate=5", hum(0.1), 422, "sound-refused"),
        ("text/plain", b"Hello", 415, "unsupported-media-type"),
        ("application/json", b'{"text": "..."}', 422, "text-refused"),
        ("application/json", b'{"text": "Hi", "voice": "nobody"}', 422, "unknown-voice"),
        ("application/json", b'{"text": ""}', 400, "bad-request"),
    ],
)
async def test_what_cannot_be_spoken_is_refused_and_no_utterance(
    served: Served, kind: str, body: bytes, status: int, problem: str
) -> None:
    async with session(served) as (path, auth):
        answer = await served.http.post(path, data=body, headers={**auth, "Content-Type": kind})
        said = await answer.json()
        assert (answer.status, said["type"]) == (status, f"/problems/{problem}")
        (running,) = served.manager.sessions
        assert not running.speech.busy


async def test_a_server_without_a_voice_says_so(served: Served) -> None:
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    auth = {"Authorization": f"Bearer {made['token']}"}
    answer = await served.http.post(made["speech"], json={"text": "Hi"}, headers=auth)
    assert answer.status == 422 and (await answer.json())["type"] == "/problems/no-voice"
