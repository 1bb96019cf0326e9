"""Addresses in answers: right in whatever folder a proxy serves us, and methods that are none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web

from server.api.links import relative
from server.api.serve import _url
from server.settings import Settings, SettingsError
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.conftest import Served, serving
from tests.server.folder_proxy import folder
from tests.server.rtc.client_offers import CALLS, FEEDS

SDP = {"Content-Type": "application/sdp"}


@pytest.mark.parametrize(
    ("path", "seen_from", "reference"),
    [
        ("/v1/sessions/s", "/v1/calls", "sessions/s"),
        ("/v1/sessions/s", "/v1/sessions", "sessions/s"),
        ("/v1/sessions/s/whip", "/v1/sessions", "sessions/s/whip"),
        ("/v1/sessions/s/whip/p", "/v1/sessions/s/whip", "whip/p"),
        ("/v1/sessions/s", "/v1/sessions/s/call", "../s"),
    ],
)
def test_a_relative_reference_leads_where_the_path_does(
    path: str, seen_from: str, reference: str
) -> None:
    assert relative(path, seen_from) == reference
    assert urljoin(f"http://a.example{seen_from}", reference) == f"http://a.example{path}"
    assert urljoin(f"http://a.example/f{seen_from}", reference) == f"http://a.example/f{path}"


async def walk(url: str) -> list[str]:
    """A session is made, fed and deleted, each time where the answer says; what was visited."""
    visited = []
    async with aiohttp.ClientSession() as http:
        answer = await http.post(urljoin(url, "v1/sessions"), json={"avatar": "mira"})
        made = await answer.json()
        assert answer.status == 201, made
        auth = {"Authorization": f"Bearer {made['token']}"}
        visited.append(urljoin(str(answer.url), answer.headers["Location"]))
        assert (await http.get(visited[0], headers=auth)).status == 200
        door = urljoin(str(answer.url), made["whip"])
        offer = FEEDS["PyAV's muxer, sound alone"]()
        fed = await http.post(door, data=offer, headers={**SDP, **auth})
        assert fed.status == 201, await fed.text()
        visited.append(urljoin(str(fed.url), fed.headers["Location"]))
        for place in reversed(visited):
            assert (await http.delete(place, headers=auth)).status == 200
    return visited


async def test_what_a_proxy_serves_in_a_folder_stays_in_it(served: Served) -> None:
    upstream = str(served.http.make_url("/"))
    with folder(upstream, X_Forwarded_Prefix="/told/by/anybody") as url:
        visited = await walk(url)
    assert all(place.startswith(url) for place in visited)


async def test_a_public_url_is_what_clients_are_told(settings: Settings) -> None:
    public = replace(settings, public_url="https://example.net/avatar/")
    async with serving(public, FakePipeline(), FakeSource()) as served:
        answer = await served.http.post("/v1/sessions", json={"avatar": "mira"})
        made = await answer.json()
    place = f"https://example.net/avatar/v1/sessions/{made['id']}"
    assert (answer.headers["Location"], made["whep"]) == (place, f"{place}/whep")


async def test_without_a_proxy_paths_are_our_own(served: Served) -> None:
    answer = await served.http.post("/v1/calls?avatar=mira", data=CALLS["chrome"](), headers=SDP)
    assert answer.headers["Location"].startswith("/v1/sessions/")


@pytest.mark.parametrize("url", ["example.net", "ftp://x", "/avatar", "https://x/?a=1", "http://"])
def test_a_public_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        Settings(public_url=url)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("door", ["call", "whip", "whep"])
async def test_a_door_says_which_methods_it_takes(served: Served, door: str, method: str) -> None:
    answer = await served.http.request(method, f"/v1/sessions/s-0/{door}")
    assert answer.status == 405 and answer.headers["Allow"] == "OPTIONS,POST"
    if method != "HEAD":
        assert (await answer.json(content_type=None))["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
async def test_a_peers_own_url_says_so_too(served: Served, method: str) -> None:
    answer = await served.http.request(method, "/v1/sessions/s-0/whip/p-0")
    assert answer.status == 405 and answer.headers["Allow"] == "DELETE,OPTIONS,PATCH"


async def test_options_name_what_an_endpoint_and_a_peer_take(served: Served) -> None:
    door = await served.http.options("/v1/sessions/s-0/whip")
    assert (door.status, door.headers["Accept-Post"]) == (204, "application/sdp")
    peer = await served.http.options("/v1/sessions/s-0/whep/p-0")
    assert peer.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert peer.headers["Allow"] == "DELETE, OPTIONS, PATCH"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_url_that_is_printed_can_be_opened(host: str) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        async with aiohttp.ClientSession() as http, asyncio.timeout(10):
            answer = await http.get(_url(Settings(host=host), runner))
            assert await answer.text() == "hello"
    finally:
        await runner.cleanup()
