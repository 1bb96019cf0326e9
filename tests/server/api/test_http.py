"""HTTP: statuses, problems, headers, tokens; nothing bad in costs a slot."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from server.api import middleware
from server.settings import Settings
from tests.server.caller import Caller, calling
from tests.server.conftest import Served

SDP = {"Content-Type": "application/sdp"}
JSON = {"Content-Type": "application/json"}


async def offer(audio: int = 1, video: int = 1) -> str:
    caller = Caller()
    try:
        for _ in range(audio):
            caller.peer.addTransceiver("audio", "sendrecv")
        for _ in range(video):
            caller.peer.addTransceiver("video", "recvonly")
        caller.open_channel()
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        return caller.peer.localDescription.sdp
    finally:
        await caller.close()


@pytest.mark.parametrize(("gone", "status", "level"), [(True, 400, "DEBUG"), (False, 500, "ERROR")])
async def test_a_client_that_hangs_up_in_the_middle_is_no_failure_of_the_server(
    gone: bool, status: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        raise ConnectionResetError("Connection lost")

    caplog.set_level(logging.DEBUG, "server.api.middleware")
    request = make_mocked_request("POST", "/v1/calls")
    if gone:
        request.protocol.transport = None
    response = await middleware.problems(request, breaks)
    assert (response.status, [r.levelname for r in caplog.records]) == (status, [level])


async def refused(served: Served, path: str, data: object, **headers: str) -> dict[str, object]:
    """Posts something bad; checks that it is a problem and that no slot is lost."""
    response = await served.http.post(path, data=data, headers={**SDP, **headers})
    body = await response.json(content_type="application/problem+json")
    assert response.status == body["status"] >= 400
    assert body["detail"] and body["title"] and str(body["type"]).startswith("/problems/")
    assert served.manager.slots.taken == 0 and not served.manager.sessions
    return body


@pytest.mark.parametrize(
    ("body", "type_", "status"),
    [
        ("", "/problems/bad-sdp", 400),
        ("hello", "/problems/bad-sdp", 400),
        ("v=0\r\n", "/problems/bad-sdp", 400),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", "/problems/bad-sdp", 400),
        ("v=0\r\nm=audio nine what\r\n", "/problems/bad-sdp", 400),
        ("v=0\r\n" + "a=x\r\n" * 20_000, "/problems/too-large", 413),
    ],
)
async def test_what_is_not_an_offer_is_refused(
    served: Served, body: str, type_: str, status: int
) -> None:
    problem = await refused(served, "/v1/calls?avatar=mira", body)
    assert (problem["type"], problem["status"]) == (type_, status)


async def test_bytes_that_are_no_text_are_refused(served: Served) -> None:
    assert (await refused(served, "/v1/calls?avatar=mira", b"\xff\xfe\x00"))["status"] == 400


async def test_a_call_needs_no_microphone_but_whoever_feeds_needs_one(served: Served) -> None:
    path = "/v1/calls?avatar=mira"
    answer = await served.http.post(path, data=await offer(audio=0), headers=SDP)
    assert answer.status == 201, await answer.text()
    own = {"Authorization": f"Bearer {answer.headers['Session-Token']}"}
    assert (await served.http.delete(answer.headers["Location"], headers=own)).status == 200
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    token = {"Authorization": f"Bearer {made['token']}"}
    fed = await served.http.post(made["whip"], data=await offer(audio=0), headers={**SDP, **token})
    problem = await fed.json(content_type="application/problem+json")
    assert fed.status == 422 and "microphone" in problem["detail"]


async def test_an_offer_without_video_is_unusable_for_a_call(served: Served) -> None:
    problem = await refused(served, "/v1/calls?avatar=mira", await offer(video=0))
    assert problem["type"] == "/problems/unusable-offer"


async def test_seventeen_tracks_are_too_many(served: Served) -> None:
    problem = await refused(served, "/v1/calls?avatar=mira", await offer(audio=9, video=8))
    assert problem["status"] == 422 and "18" in str(problem["detail"])


async def test_unknown_codecs_are_unusable(served: Served) -> None:
    sdp = (await offer()).replace("VP8", "VP7").replace("H264", "H199")
    assert (await refused(served, "/v1/calls?avatar=mira", sdp))["status"] == 422


async def test_an_offer_without_ice_credentials_is_bad(served: Served) -> None:
    sdp = "".join(line for line in (await offer()).splitlines(keepends=True) if "ice-" not in line)
    assert (await refused(served, "/v1/calls?avatar=mira", sdp))["type"] == "/problems/bad-sdp"


async def test_another_media_type_is_415_and_says_what_is_accepted(served: Served) -> None:
    response = await served.http.post("/v1/calls?avatar=mira", data="v=0", headers=JSON)
    assert response.status == 415 and response.headers["Accept-Post"] == "application/sdp"


async def test_an_unknown_avatar_is_404_and_lists_those_there_are(served: Served) -> None:
    problem = await refused(served, "/v1/calls?avatar=nobody", await offer())
    assert problem["status"] == 404 and problem["avatars"] == ["mira", "tomo"]


@pytest.mark.parametrize(
    "query", ["", "avatar=", "avatar=mira&seed=x", "avatar=mira&seed=-1", "avatar=mira&measure=2"]
)
async def test_a_query_that_makes_no_sense_is_400(served: Served, query: str) -> None:
    assert (await refused(served, f"/v1/calls?{query}", await offer()))["status"] == 400


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"avatar": 5}',
        '{"avatar": "mira", "seed": true}',
        '{"avatar": "mira", "seed": 99999999999}',
        '{"avatar": "mira", "measure": "yes"}',
        json.dumps({"avatar": "mira", "prompt": "x" * 501}),
        "[" * 10_000,
    ],
)
async def test_a_session_needs_sensible_json(served: Served, body: str) -> None:
    assert (await refused(served, "/v1/sessions", body, **JSON))["status"] == 400


async def test_a_huge_session_request_is_413(served: Served) -> None:
    assert (await refused(served, "/v1/sessions", "x" * 20_000, **JSON))["status"] == 413


@pytest.mark.parametrize(
    ("asked", "width", "height"),
    [
        ({}, 256, 256),
        ({"size": "576x1024", "background": "navy"}, 576, 1024),
        ({"size": "576x1024", "background": "transparent"}, 1152, 1024),
    ],
)
async def test_a_session_has_the_size_that_was_asked_for(
    served: Served, asked: dict[str, str], width: int, height: int
) -> None:
    assert (await served.http.post("/v1/sessions", json={"avatar": "mira", **asked})).status == 201
    (session,) = served.manager.sessions
    assert session.size == (width, height)


async def test_a_session_answers_with_its_doors_and_needs_its_token(served: Served) -> None:
    response = await served.http.post("/v1/sessions", json={"avatar": "mira"})
    made = await response.json()
    path = f"/v1/sessions/{made['id']}"
    assert response.status == 201 and response.headers["Location"] == path
    assert (made["whip"], made["whep"], made["call"]) == (
        f"{path}/whip",
        f"{path}/whep",
        f"{path}/call",
    )
    for authorization in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
        refusal = await served.http.get(path, headers=authorization)
        assert refusal.status == 401 and refusal.headers["WWW-Authenticate"] == "Bearer"
    auth = {"Authorization": f"Bearer {made['token']}"}
    described = await (await served.http.get(path, headers=auth)).json()
    assert described["state"] == "waiting" and described["avatar"] == "mira"
    assert (await served.http.delete(path, headers=auth)).status == 200
    assert (await served.http.delete(path, headers=auth)).status == 404


async def test_options_tells_what_a_door_takes(served: Served) -> None:
    response = await served.http.options("/v1/calls")
    assert response.status == 204 and response.headers["Accept-Post"] == "application/sdp"


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing.js", "/../run_server.py", "/%2e%2e/x"])
async def test_what_is_not_there_is_a_problem_too(served: Served, path: str) -> None:
    response = await served.http.get(path)
    assert response.status == 404 and response.content_type == "application/problem+json"


async def test_a_wrong_method_is_405_with_allow(served: Served) -> None:
    response = await served.http.put("/v1/sessions")
    assert response.status == 405 and "POST" in response.headers["Allow"]


async def test_avatars_are_listed_with_their_pictures(served: Served) -> None:
    listed = (await (await served.http.get("/v1/avatars")).json())["avatars"]
    assert [a["id"] for a in listed] == ["mira", "tomo"] and listed[0]["ai_generated"]
    picture = await served.http.get(listed[0]["picture"])
    assert picture.content_type == "image/png" and (await picture.read())[:4] == b"\x89PNG"
    assert (await served.http.get("/v1/avatars/nobody")).status == 404


async def test_health_says_what_runs_and_metrics_speak_prometheus(served: Served) -> None:
    health = await (await served.http.get("/healthz")).json()
    assert health["status"] == "ok" and health["slots"]["total"] == 3 and health["cost_ms"]
    assert (await served.http.get("/readyz")).status == 200
    text = await (await served.http.get("/metrics")).text()
    assert "continuum_slots 3.0" in text and "continuum_tick_seconds" in text


async def test_healthz_says_what_runs_the_networks(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"networks": [{"network": "decoder", "runtime": "torch", "reason": "no such kernel"}]}
    monkeypatch.setattr(type(served.pipeline), "describe_runtime", lambda _: told, raising=False)
    health = await (await served.http.get("/healthz")).json()
    assert health["model"]["runtime"] == told


async def test_the_document_holds_every_route_and_nothing_else(served: Served) -> None:
    document = await (await served.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    served_ = {
        (route.method.lower(), route.resource.canonical)
        for route in served.http.app.router.routes()
        if route.resource and route.method != "HEAD" and route.resource.canonical != "/{file}"
    }
    written = {(method, path) for path, each in document["paths"].items() for method in each}
    assert written == served_


async def test_every_body_query_and_problem_is_described(served: Served) -> None:
    document = await (await served.http.get("/openapi.json")).json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    call = {each["name"]: each for each in paths["/v1/calls"]["post"]["parameters"]}
    assert set(call) == {
        "avatar", "prompt", "seed", "measure", "listen", "answers", "size", "background",
        "resume", "gesture",
    }  # fmt: skip
    assert call["avatar"]["required"]
    assert schemas["NewSession"]["properties"]["seed"]["maximum"] == 2**31 - 1
    assert schemas["NewSession"]["required"] == ["avatar"]
    assert set(schemas["ConsentForm"]["required"]) == {"record", "picture"}
    assert "/problems/no-slot" in paths["/v1/sessions"]["post"]["responses"]["503"]["description"]
    assert paths["/readyz"]["get"]["security"] == []
    for operations in paths.values():
        for operation in operations.values():
            assert operation["summary"] and not operation["summary"].startswith("`")
            assert operation["responses"]["default"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"seed": 1}', "avatar is missing: it must be the id of an avatar"),
        ('{"avatar": 5}', "avatar must be the id of an avatar; GET /v1/avatars lists them, not 5."),
        ('{"avatar": "mira", "seed": -1}', "seed must be a whole number from 0 to 2147483647, not"),
        ('{"avatar": "mira", "measure": 1}', "measure must be true or false"),
        ('{"avatar": "mira", "size": "4096x4096"}', "size must be one of 512x512, 576x1024"),
        ('{"avatar": "mira", "background": "/etc/hostname"}', "background must be green, transpar"),
        ("[]", "Send one JSON object"),
    ],
)
async def test_a_refusal_names_the_field_what_was_sent_and_what_is_right(
    served: Served, body: str, said: str
) -> None:
    assert said in str((await refused(served, "/v1/sessions", body, **JSON))["detail"])


async def test_a_refused_consent_is_403_and_takes_no_slot(served: Served) -> None:
    from server.errors import ConsentRequired

    served.source.refusal = ConsentRequired("the record was revoked", code="consent_revoked")
    problem = await refused(served, "/v1/calls?avatar=tomo", await offer())
    assert problem["status"] == 403 and problem["code"] == "consent_revoked"


class TestFullHouse:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(slots=1, grace_s=2.0)

    async def test_one_session_too_many_is_503_until_one_ends(self, served: Served) -> None:
        async with calling(served.http) as caller:
            response = await served.http.post("/v1/sessions", json={"avatar": "mira"})
            assert response.status == 503 and int(response.headers["Retry-After"]) > 0
            assert (await response.json(content_type=None))["retryable"] is True
            assert (await served.http.delete(caller.session, headers=caller.auth)).status == 200
            again = await served.http.post("/v1/sessions", json={"avatar": "mira"})
            assert again.status == 201
        assert "continuum_admission_refusals_total 1.0" in served.manager.metrics.text().decode()


class TestOrigins:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(slots=1, origins=("https://shop.example",))

    async def test_only_configured_origins_may_call_from_a_page(self, served: Served) -> None:
        known = await served.http.get("/v1/avatars", headers={"Origin": "https://shop.example"})
        assert known.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Session-Token" in known.headers["Access-Control-Expose-Headers"]
        other = await served.http.get("/v1/avatars", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        asked = await served.http.options(
            "/v1/calls",
            headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"},
        )
        assert asked.status == 204 and "POST" in asked.headers["Access-Control-Allow-Methods"]


class TestIceServers:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(
            slots=1,
            ice_servers=("stun:stun.example.net:3478", "turn:turn.example.net?transport=udp"),
            turn_secret="not a secret",
        )

    async def test_ice_servers_are_offered_by_link_with_credentials(self, served: Served) -> None:
        links = (await served.http.options("/v1/calls")).headers.getall("Link")
        assert links[0] == '<stun:stun.example.net:3478>; rel="ice-server"'
        assert links[1].startswith('<turn:turn.example.net?transport=udp>; rel="ice-server"; user')
        assert 'credential-type="password"' in links[1] and "not a secret" not in links[1]


async def test_a_section_without_a_direction_sends_and_receives(served: Served) -> None:
    sdp = (await offer()).replace("a=sendrecv\r\n", "")
    response = await served.http.post("/v1/calls?avatar=mira", data=sdp, headers=SDP)
    assert response.status == 201 and "a=sendrecv" in await response.text()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_compressed_body_is_refused_before_it_is_read(served: Served, coding: str) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    for path in ("/v1/sessions", "/v1/calls", "/v1/enrolments", "/v1/avatars"):
        refused = await served.http.post(path, data=b"not even compressed", headers=headers)
        assert refused.status == 415 and refused.headers["Accept-Encoding"] == "identity"
        assert refused.content_type == "application/problem+json"


async def test_a_new_calls_grant_does_not_wait_behind_uploads(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(served.manager.avatars.enrolment, "find", lambda data: go.wait(20) and {})
    headers = {"Content-Type": "image/png"}
    uploads = [
        asyncio.create_task(served.http.post("/v1/enrolments", data=b"x", headers=headers))
        for _ in range(12)
    ]
    try:
        made = await asyncio.wait_for(served.http.post("/v1/sessions", json={"avatar": "mira"}), 10)
        assert made.status == 201
    finally:
        go.set()
    statuses = [answer.status for answer in await asyncio.gather(*uploads)]
    assert statuses.count(503) == 2 and statuses.count(200) == 10, "more than may wait are told"


async def test_health_names_a_task_that_has_died(served: Served) -> None:
    async def dies() -> None:
        raise ValueError("no bread")

    await served.manager.tasks.start("bakery", dies)
    health = await (await served.http.get("/healthz")).json()
    assert health["status"] == "failed" and "no bread" in health["tasks"]["dead"]["bakery"]
