"""Feeds a WAV to an avatar through WHIP, and waits until it has been spoken.

    python examples/speak_file.py speech.wav --url http://localhost:8080 --avatar mira

A voice agent does the same with what its text-to-speech returns: speech may be sent faster than
real time; the server speaks it in order. Viewers join with the session's ``whep`` URL and token.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

RATE, BLOCK = 48_000, 960
PACE = 2.0  # times real time; a TTS is rarely slower


class Speech(MediaStreamTrack):
    """A file as a track, in 20 ms blocks, faster than real time; silence after its end."""

    kind = "audio"

    def __init__(self, samples: NDArray[np.int16]) -> None:
        super().__init__()
        self._samples = samples
        self._sent = 0
        self._started: float | None = None
        self.seconds = len(samples) / RATE

    async def recv(self) -> av.AudioFrame:
        """The next block."""
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._started = loop.time() if self._started is None else self._started
        await asyncio.sleep(self._started + self._due_s() - loop.time())
        block = self._samples[self._sent : self._sent + BLOCK]
        frame = av.AudioFrame.from_ndarray(
            np.pad(block, (0, BLOCK - len(block)))[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, Fraction(1, RATE)
        self._sent += BLOCK
        return frame

    def _due_s(self) -> float:
        sent = self._sent / RATE
        return sent / PACE if sent < self.seconds else sent - self.seconds * (1 - 1 / PACE)


def read(path: Path) -> NDArray[np.int16]:
    """Any audio file as 48 kHz mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as file:
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


async def speak(url: str, avatar: str, samples: NDArray[np.int16]) -> AsyncIterator[str]:
    """Makes a session, feeds it, and yields what happens."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    track = Speech(samples)
    peer.addTrack(track)
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with http.post(f"{url}/v1/sessions", json={"avatar": avatar}) as response:
            made = await response.json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        yield f"watch.html?whep={url}{made['whep']}#token={made['token']}"
        await peer.setLocalDescription(await peer.createOffer())
        async with http.post(
            f"{url}{made['whip']}",
            data=peer.localDescription.sdp,
            headers={**headers, "Content-Type": "application/sdp"},
        ) as response:
            answer = RTCSessionDescription(await response.text(), "answer")
        await peer.setRemoteDescription(answer)
        await asyncio.sleep(track.seconds + 1.0)
        yield f"spoken: {track.seconds:.1f} s"
        await peer.close()
        async with http.delete(f"{url}/v1/sessions/{made['id']}", headers=headers):
            pass


async def main() -> None:
    """Reads the arguments and speaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--avatar", default="mira")
    arguments = parser.parse_args()
    async for line in speak(arguments.url, arguments.avatar, read(arguments.audio)):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
