"""``client.call`` and ``client.latency`` against a server with a fake pipeline."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp import web

from client import call, latency
from client.caller import Caller
from client.errors import Refused, Unreachable
from client.ice import ice_servers
from client.microphone import Microphone
from client.receive import Picture
from client.trace import Observer, Seen
from tests.client.conftest import babble
from tests.server.conftest import Served


def url(served: Served) -> str:
    return str(served.http.make_url("")).rstrip("/")


async def test_a_call_comes_back_as_a_recording(
    served: Served, speech: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    result = await call.call(url(served), "mira", speech, out, "calm", None)
    assert result.pictures > 10 and result.sound_s > 0.5 and result.record == str(out)
    assert result.events["ready"] == 1 and (result.width, result.height) == (256, 256)
    assert served.pipeline.streams[-1].closed and not served.manager.sessions
    with av.open(str(out)) as file:
        kinds = {stream.type: float(stream.duration * stream.time_base) for stream in file.streams}
    assert kinds.keys() == {"video", "audio"} and kinds["video"] > 1


async def test_every_mark_leads_to_the_sample_that_the_microphone_sent(served: Served) -> None:
    pcm = babble(3)
    async with Caller(url(served), Microphone(pcm, repeat=True)) as caller:
        observer, enough = Observer(caller), asyncio.Event()
        observe = caller.on_picture
        known: list[Seen] = []

        def watch(picture: Picture) -> None:
            observe(picture)
            known[:] = [one for one in observer.trace.seen if one.sample is not None]
            if len(known) >= 20:
                enough.set()

        caller.on_picture = watch
        await caller.start("mira", measure="1")
        await asyncio.wait_for(enough.wait(), 20)
        assert all(0 <= one.sample <= caller.microphone.position for one in known)
        began = caller.microphone.captured_s(0)
        assert all(one.decoded_s > began + one.sample / 48_000 + 0.1 for one in known)
        steps = {
            int(b.sample - a.sample) - 3 * (b.mark.media_time - a.mark.media_time)
            for a, b in zip(known, known[1:], strict=False)
        }
        assert 0 in steps


async def test_an_unknown_avatar_is_refused_with_those_there_are(
    served: Served, speech: Path
) -> None:
    with pytest.raises(Refused, match=r"404 unknown-avatar: .*myra.*mira, tomo"):
        await call.call(url(served), "myra", speech, None, "", None)


async def test_a_full_house_says_when_to_come_again(served: Served, speech: Path) -> None:
    served.manager.slots.drain()
    with pytest.raises(Refused, match=r"503 draining: .* Try again in \d+ s"):
        await call.call(url(served), "mira", speech, None, "", None)


async def test_nobody_there_is_one_line(speech: Path) -> None:
    with pytest.raises(Unreachable, match="nobody answers at http://127.0.0.1:9"):
        await call.call("http://127.0.0.1:9", "mira", speech, None, "", None)


def test_the_commands_end_with_two_and_one_line(
    speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--url", "http://127.0.0.1:9", "--avatar", "mira", "--audio", str(speech)]
    for command in (call.main, latency.main):
        assert command(arguments) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1 and not said.out


async def test_an_answer_that_is_no_problem_is_told_by_its_status(
    aiohttp_page: str, speech: Path
) -> None:
    with pytest.raises(Refused, match="502"):
        await call.call(aiohttp_page, "mira", speech, None, "", None)


@pytest.fixture
async def aiohttp_page() -> object:
    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad gateway</h1>")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", broken)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def test_ice_servers_come_from_links() -> None:
    links = [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:t.example.net?transport=udp>; rel="ice-server"; username="1:u"; credential="p/="; '
        'credential-type="password", </next>; rel="next"',
    ]
    assert ice_servers(links) == [
        {"urls": "stun:stun.example.net"},
        {"urls": "turn:t.example.net?transport=udp", "username": "1:u", "credential": "p/="},
    ]


async def test_a_latency_run_reports_every_figure(served: Served, speech: Path) -> None:
    done = await latency.run(url(served), "mira", babble(3), 4.0, measure=True)
    figures, (at_s, late), _ = latency.measured(done)
    assert len(at_s) == len(late) > 3
    assert figures["latency_ms"]["p50"] > 100
    assert figures["smoothness"]["frames"] > 10
    assert figures["interrupt"]["silence_ms"] < 2100
    assert figures["stages_ms"].keys() >= {"intake", "wait", "generate", "playout"}
    json.dumps(figures)
    assert np.isfinite(late).all()
