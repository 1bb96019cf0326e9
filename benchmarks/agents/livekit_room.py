"""An agent in a LiveKit room with an avatar; the double of the server is the peer that listens."""

from __future__ import annotations

from contextlib import AsyncExitStack

import numpy as np
from aiohttp.test_utils import TestClient, TestServer
from livekit import api, rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import PlaybackFinishedEvent
from numpy.typing import NDArray

from benchmarks.agents.livekit_server import LiveKitServer
from benchmarks.agents.peer import Peer
from client.avatar import Heard
from integrations.livekit.worker import Worker, WorkerOptions

KEY, SECRET = "devkey", "a secret for measurements alone, 32 bytes"
AVATAR, AGENT = "continuum-avatar", "agent"
RATE, PIECE = 24_000, 1200


class LiveKitRoom:
    """``say`` and ``interrupt`` are what an agent's session does with its sound output; ``told``
    is what the avatar says it was heard of."""

    def __init__(self, url: str, avatar: str) -> None:
        self.worker = Worker(WorkerOptions(url, avatar=avatar))
        self.told: dict[str, Heard] = {}
        self.started: list[str] = []
        self._saying: list[str] = []

    async def __aenter__(self) -> LiveKitRoom:
        async with AsyncExitStack() as stack:
            self.server = await stack.enter_async_context(LiveKitServer())
            self.http = TestClient(TestServer(self.worker.app()))
            await self.http.start_server()
            stack.push_async_callback(self.http.close)
            self.room = rtc.Room()
            await self.room.connect(self.server.url, self.token(AGENT))
            stack.push_async_callback(self.room.disconnect)
            self._stack = stack.pop_all()
        return self

    async def launch(self) -> None:
        """The avatar joins, and the agent speaks through it."""
        token = self.token(AVATAR, {"lk.publish_on_behalf": AGENT})
        asked = {"url": self.server.url, "token": token}
        async with self.http.post("/launch", json=asked) as answer:
            assert answer.status == 201, await answer.text()
        self.use(
            DataStreamAudioOutput(
                self.room,
                destination_identity=AVATAR,
                sample_rate=RATE,
                wait_remote_track=rtc.TrackKind.KIND_VIDEO,
                wait_playback_start=True,
            )
        )
        await self.peer.meets()

    def use(self, output: DataStreamAudioOutput) -> None:
        """The agent's sound goes there."""
        self.output = output
        output.on("playback_finished", self._finished)
        output.on("playback_started", lambda event: self.started.append(self._saying[0]))

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    @property
    def peer(self) -> Peer:
        """What the server gets of the avatar."""
        return self.server.members[AVATAR].peer

    def token(self, identity: str, attributes: dict[str, str] | None = None) -> str:
        """Lets a participant in."""
        grants = api.VideoGrants(room_join=True, room="a room")
        made = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind("agent")
        return made.with_grants(grants).with_attributes(attributes or {}).to_jwt()

    def _finished(self, event: PlaybackFinishedEvent) -> None:
        position_ms = round(1000 * event.playback_position)
        self.told[self._saying.pop(0)] = Heard(position_ms, event.interrupted, 0)

    async def say(self, pcm: NDArray[np.int16], name: str, whole: bool = True) -> None:
        """24 kHz, as fast as the output takes it."""
        self._saying.append(name)
        for start in range(0, len(pcm), PIECE):
            part = pcm[start : start + PIECE]
            frame = rtc.AudioFrame(part.tobytes(), RATE, 1, len(part))
            await self.output.capture_frame(frame)
        if whole:
            self.output.flush()

    async def interrupt(self) -> None:
        """The user speaks."""
        self.output.flush()
        self.output.clear_buffer()

    async def played(self) -> None:
        """All that was said has been heard."""
        await self.output.wait_for_playout()
