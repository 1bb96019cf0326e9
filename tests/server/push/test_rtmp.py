"""Pushes by RTMP, to FFmpeg that listens on loopback."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace

from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.conftest import serving
from tests.server.push.test_whip_client import begun, until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# An RTMP server for one stream, in a process of its own: reads half a second and hangs up.
LISTENS = """
import sys
import av
pictures = samples = 0
codecs = set()
with av.open(sys.argv[1], options={"listen": "1", "timeout": "20"}) as stream:
    for packet in stream.demux():
        codecs.add(packet.stream.codec_context.name)
        for frame in packet.decode():
            picture = isinstance(frame, av.VideoFrame)
            pictures, samples = pictures + picture, samples + (0 if picture else frame.samples)
        if pictures > 12 and samples > 24_000:
            break
print(*sorted(codecs))
"""


async def test_a_media_server_gets_h264_and_aac_and_a_lost_one_is_tried_again(
    settings: Settings,
) -> None:
    port = free_port()
    allowed = replace(settings, push_hosts=(f"127.0.0.1:{port}",))
    async with serving(allowed, FakePipeline(), FakeSource()) as pushing:
        _, push = await begun(pushing, f"rtmp://127.0.0.1:{port}/live", "key")
        assert (await until(pushing, push, "retrying"))["problem"], "nobody listens yet"
        listener = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LISTENS, f"rtmp://127.0.0.1:{port}/live/key", stdout=PIPE
        )
        await until(pushing, push, "live")
        told, _ = await asyncio.wait_for(listener.communicate(), 30)
        assert told.split() == [b"aac", b"h264"]
        await until(pushing, push, "retrying")
        assert (await pushing.http.delete(push)).status == 204


async def test_what_ffmpeg_cannot_reach_is_told(settings: Settings) -> None:
    allowed = replace(settings, push_hosts=("127.0.0.1",))
    async with serving(allowed, FakePipeline(), FakeSource()) as pushing:
        _, push = await begun(pushing, "rtmp://127.0.0.1:1/live", "key")
        told = await until(pushing, push, "retrying")
        assert "refused" in told["problem"] and "key" not in told["problem"]
        assert (await pushing.http.delete(push)).status == 204
