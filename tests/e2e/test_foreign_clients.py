"""Clients that share no code with aiortc: Chrome's engine, and FFmpeg's WHIP muxer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest

from server.media import frame_marker

RATE = 48_000


def tone(block: int, size: int) -> np.ndarray:
    at = np.arange(block * size, (block + 1) * size) / RATE
    return (8000 * np.sin(2 * np.pi * 300 * at)).astype(np.int16)


@functools.cache
def engine() -> Any:
    """libwebrtc, told once that peers on this machine count."""
    webrtc = pytest.importorskip("webrtc", reason="pip install wrtc")
    webrtc.allow_loopback()
    return webrtc


class Chrome:
    """A peer of libwebrtc (the ``wrtc`` package) that speaks and watches."""

    def __init__(self) -> None:
        self.webrtc = engine()
        self.peer = self.webrtc.RTCPeerConnection()
        self.frames: list[frame_marker.FrameMarker | None] = []
        self.events: list[dict[str, Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._gathered, self._seen = asyncio.Event(), asyncio.Event()
        self.peer.on("track", self._track)
        self.peer.on("icegatheringstatechange", self._gathering)

    def speak(self) -> None:
        self._microphone = self.webrtc.MediaStreamTrackGenerator("audio")
        self.peer.add_track(self._microphone)
        self._tasks.append(asyncio.create_task(self._talk()))

    def receive(self, *kinds: str) -> None:
        for kind in kinds:
            init = self.webrtc.RTCRtpTransceiverInit(direction="recvonly")
            self.peer.add_transceiver(kind, init)

    def open_channel(self) -> None:
        channel = self.peer.create_data_channel("events")
        channel.on("message", lambda event: self.events.append(json.loads(event.data)))

    async def post(self, url: str, token: str = "") -> tuple[str, str]:
        """Offers, takes the answer; returns the location and the token."""
        await self.peer.set_local_description(await self.peer.create_offer())
        await asyncio.wait_for(self._gathered.wait(), 15)
        headers = {"Content-Type": "application/sdp"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=self.peer.local_description.sdp, headers=headers) as response,
        ):
            answer = await response.text()
            assert response.status == 201, answer
            init = self.webrtc.RTCSessionDescriptionInit(type="answer", sdp=answer)
            await self.peer.set_remote_description(self.webrtc.RTCSessionDescription(init))
            return response.headers["Location"], response.headers.get("Session-Token", token)

    async def until(self, frames: int, timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while len(self.frames) < frames:
                self._seen.clear()
                await self._seen.wait()

    async def stats(self, kind: str) -> Any:
        report = await self.peer.get_stats()
        return next(s for s in report.values() if s.type == "inbound-rtp" and s.kind == kind)

    async def until_together(self, most_ms: float, timeout_s: float = 30) -> None:
        """Until sound and picture are played for moments so near to each other."""
        async with asyncio.timeout(timeout_s):
            while True:
                video, audio = await self.stats("video"), await self.stats("audio")
                apart = video.estimated_playout_timestamp - audio.estimated_playout_timestamp
                if abs(apart) < most_ms:
                    return
                await self.until(len(self.frames) + 10)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.peer.close()

    def _gathering(self, event: Any) -> None:
        if self.peer.ice_gathering_state == "complete":
            self._gathered.set()

    def _track(self, event: Any) -> None:
        self._tasks.append(asyncio.create_task(self._drain(event.track)))

    async def _drain(self, track: Any) -> None:
        init = self.webrtc.MediaStreamTrackProcessorInit(track=track)
        reader = self.webrtc.MediaStreamTrackProcessor(init).readable.get_reader()
        while not (result := await reader.read()).done:
            if track.kind == "video":
                self.frames.append(await self._read(result.value))
                self._seen.set()
            result.value.close()

    async def _read(self, frame: Any) -> frame_marker.FrameMarker | None:
        data = bytearray(frame.allocation_size())
        await frame.copy_to(data)
        size = frame.coded_width * frame.coded_height
        luma = np.frombuffer(data, np.uint8)[:size]
        return frame_marker.read(luma.reshape(frame.coded_height, frame.coded_width))

    async def _talk(self) -> None:
        writer, started, block = self._microphone.writable.get_writer(), time.monotonic(), 0
        while True:
            init = self.webrtc.AudioDataInit(
                format="s16",
                sample_rate=RATE,
                number_of_frames=480,
                number_of_channels=1,
                timestamp=block * 10_000,
                data=tone(block, 480).tobytes(),
            )
            await writer.write(self.webrtc.AudioData(init))
            block += 1
            await asyncio.sleep(max(0.0, started + block * 0.01 - time.monotonic()))


@contextlib.asynccontextmanager
async def chrome() -> AsyncIterator[Chrome]:
    peer = Chrome()
    try:
        yield peer
    finally:
        await peer.close()


async def test_chromes_engine_calls_and_sees_every_frame_in_order(fake_server: str) -> None:
    async with chrome() as caller:
        caller.speak()
        caller.receive("video")
        caller.open_channel()
        location, token = await caller.post(f"{fake_server}/v1/calls?avatar=mira&measure=1")
        await caller.until(frames=100)
        times = [mark.media_time for mark in caller.frames if mark]
        assert len(times) >= 99 and times == sorted(times)
        assert np.median(np.diff(times)) == 640, "25 frames a second of media"
        assert any(mark.flags & frame_marker.SOURCE for mark in caller.frames if mark)
        video = await caller.stats("video")
        assert video.frames_decoded >= 100 and video.packets_lost <= 0.01 * video.packets_received
        await caller.until_together(100)  # both media are played for the same moment
        assert caller.events[0]["type"] == "ready"
        async with aiohttp.ClientSession() as http:
            auth = {"Authorization": f"Bearer {token}"}
            assert (await http.delete(fake_server + location, headers=auth)).status == 200


async def test_chromes_engine_watches_what_ffmpeg_feeds(fake_server: str, tmp_path: Path) -> None:
    if "whip" not in av.formats_available:
        pytest.skip("this PyAV has no WHIP muxer")
    made = await asyncio.to_thread(session, fake_server)
    feeding = asyncio.create_task(asyncio.to_thread(feed, fake_server, made, tmp_path))
    async with chrome() as viewer:
        viewer.receive("audio", "video")
        await viewer.post(f"{fake_server}{made['whep']}", made["token"])
        await viewer.until(frames=75)
        heard = await viewer.stats("audio")
        assert heard.total_audio_energy > 0.01, "what FFmpeg feeds is heard"
        await feeding
    await asyncio.to_thread(end, fake_server, made)


def session(url: str) -> dict[str, str]:
    body = json.dumps({"avatar": "mira"}).encode()
    request = urllib.request.Request(
        f"{url}/v1/sessions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        made: dict[str, str] = json.load(response)
    return made


def end(url: str, made: dict[str, str]) -> None:
    request = urllib.request.Request(
        f"{url}/v1/sessions/{made['id']}",
        method="DELETE",
        headers={"Authorization": f"Bearer {made['token']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def feed(url: str, made: dict[str, str], folder: Path, seconds: float = 5.0) -> None:
    """FFmpeg's own WHIP client speaks for some seconds."""
    options = {"authorization": made["token"], **certificate(folder)}
    with av.open(f"{url}{made['whip']}", "w", format="whip", options=options) as out:
        stream = out.add_stream("libopus", rate=RATE, layout="stereo")
        started = time.monotonic()
        for block in range(int(seconds * 50)):
            pcm = np.repeat(tone(block, 960), 2)[None]
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, block * 960, Fraction(1, RATE)
            out.mux(stream.encode(frame))
            time.sleep(max(0.0, started + block * 0.02 - time.monotonic()))


def certificate(folder: Path) -> dict[str, str]:
    """A P-256 certificate: the muxer's own is refused by some peers."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "feeder")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    made = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
