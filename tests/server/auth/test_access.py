"""Who is let in: keys, tokens, roles, origins, rates; and a server without keys stays at home."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from server.api import app, key_watch
from server.api.middleware import ROUTES
from server.auth.access import May, check_local, is_loopback
from server.auth.keys import KeyRole, KeyStore
from server.errors import LocalOnly, OriginRefused
from server.observability.logs import Machines, People
from server.sessions.session import Session
from server.settings import Settings, SettingsError
from tests.server.caller import Caller
from tests.server.conftest import Served

SHOP = "https://shop.example"
JSON = {"Content-Type": "application/json"}
NEW = '{"avatar": "mira"}'


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[KeyRole, str]]:
    """A file with a key of every role; in place of a user's, another application's."""
    path = tmp_path_factory.mktemp("keys") / "keys.sqlite"
    store = KeyStore(path)
    made = {
        role: store.create(f"a {role}", role)[1] for role in KeyRole if role is not KeyRole.USER
    }
    made[KeyRole.USER] = store.create("another application", KeyRole.APPLICATION)[1]
    store.close()
    return path, made


@pytest.fixture
def keys(tmp_path: Path, cut: tuple[Path, dict[KeyRole, str]]) -> dict[KeyRole, str]:
    """Keys that the server finds when it starts."""
    shutil.copy(cut[0], tmp_path / "keys.sqlite")
    return cut[1]


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """With keys for the tests that ask for them; ``marker`` changes single settings."""
    if "keys" in request.fixturenames:
        request.getfixturevalue("keys")
    marker = request.node.get_closest_marker("parametrize")
    changes = request.node.callspec.params.get("changes", {}) if marker else {}
    base = Settings(
        slots=3,
        grace_s=2.0,
        drain_s=0.5,
        keys=str(tmp_path / "keys.sqlite"),
        origins=(SHOP,),
        failures_per_minute=100,
    )
    return dataclasses.replace(base, **changes)


def revoke(path: Path, key: str) -> None:
    """As somebody at a shell does."""
    store = KeyStore(path)
    store.revoke(key.split("_")[1])
    store.close()


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **more}


async def problem(response: ClientResponse) -> str:
    body = await response.json(content_type="application/problem+json")
    assert body["status"] == response.status and body["detail"]
    return str(body["type"]).rsplit("/", 1)[-1]


async def create(served: Served, key: str = "", **headers: str) -> ClientResponse:
    told = {**JSON, **(bearer(key) if key else {}), **headers}
    return await served.http.post("/v1/sessions", data=NEW, headers=told)


async def token(served: Served, key: str, **fields: object) -> ClientResponse:
    body = {"origin": SHOP, **fields}
    return await served.http.post("/v1/tokens", json=body, headers=bearer(key))


# -- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/avatars"),
        ("GET", "/v1/avatars/mira"),
        ("GET", "/v1/avatars/mira/picture"),
        ("DELETE", "/v1/avatars/mira"),
        ("POST", "/v1/calls?avatar=mira"),
        ("OPTIONS", "/v1/calls"),
        ("POST", "/v1/sessions"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/sessions/s-1"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
    ],
)
async def test_with_keys_nothing_but_the_page_is_open(
    served: Served, keys: dict[KeyRole, str], method: str, path: str
) -> None:
    for headers in ({}, bearer("ck_000000000000_" + "x" * 43), bearer("a.b.c"), bearer("c_x")):
        response = await served.http.request(method, path, headers=headers)
        own = path.endswith("s-1") and headers.get("Authorization", "").endswith("c_x")
        wanted = 404 if own else 401
        assert response.status == wanted, (headers, await response.text())
        if wanted == 401:
            assert await problem(response) == "unauthorized"
            assert response.headers["WWW-Authenticate"] == "Bearer"
    assert served.manager.slots.taken == 0


@pytest.mark.parametrize("path", ["/", "/call.js", "/readyz", "/openapi.json"])
async def test_page_and_readiness_need_no_key(
    served: Served, keys: dict[KeyRole, str], path: str
) -> None:
    assert (await served.http.get(path)).status == 200


async def test_each_role_opens_its_own_doors(served: Served, keys: dict[KeyRole, str]) -> None:
    may = {
        KeyRole.OPERATOR: {"/v1/avatars": 200, "/metrics": 200, "/healthz": 200},
        KeyRole.APPLICATION: {"/v1/avatars": 200, "/metrics": 403, "/healthz": 403},
        KeyRole.MONITOR: {"/v1/avatars": 403, "/metrics": 200, "/healthz": 200},
    }
    for role, doors in may.items():
        for path, status in doors.items():
            response = await served.http.get(path, headers=bearer(keys[role]))
            assert response.status == status, (role, path)
            if status == 403:
                assert await problem(response) == "forbidden"


async def test_a_route_that_nobody_listed_is_for_operators(served: Served) -> None:
    routes = served.http.app[ROUTES]
    assert routes.asked("GET", "/v1/consents") is May.ADMINISTER
    assert routes.asked("DELETE", "/v1/avatars/{avatar}") is May.ADMINISTER
    assert routes.asked("POST", "/v1/avatars") is May.ADMINISTER
    assert routes.asked("PUT", "/v1/avatars") is May.ADMINISTER
    assert routes.asked("GET", "/v1/brand-new") is May.ADMINISTER
    assert routes.asked("GET", None) is May.ANYBODY
    assert routes.asked("HEAD", "/readyz") is May.ANYBODY


async def test_a_session_is_open_to_its_token_its_key_and_operators(
    served: Served, keys: dict[KeyRole, str]
) -> None:
    made = await (await create(served, keys[KeyRole.APPLICATION])).json()
    path = f"/v1/sessions/{made['id']}"
    allowed = (made["token"], keys[KeyRole.APPLICATION], keys[KeyRole.OPERATOR])
    for text in allowed:
        assert (await served.http.get(path, headers=bearer(text))).status == 200
    for text in (keys[KeyRole.USER], keys[KeyRole.MONITOR], "c_wrong"):
        assert (await served.http.get(path, headers=bearer(text))).status in (401, 403)


async def test_a_revoked_key_opens_nothing_from_that_moment(
    served: Served, keys: dict[KeyRole, str], tmp_path: Path
) -> None:
    key = keys[KeyRole.APPLICATION]
    handed = await (await token(served, key)).json()
    assert (await served.http.get("/v1/avatars", headers=bearer(key))).status == 200
    revoke(tmp_path / "keys.sqlite", key)
    for text in (key, handed["token"]):
        response = await served.http.get("/v1/avatars", headers=bearer(text))
        assert response.status == 401 and await problem(response) == "unauthorized"


def told_when_ended(session: Session) -> asyncio.Event:
    event, before = asyncio.Event(), session.on_ended

    def over(session: Session) -> None:
        before(session)
        event.set()

    session.on_ended = over
    return event


async def test_a_revoked_key_takes_its_sessions_and_those_of_its_tokens_with_it(
    served: Served, keys: dict[KeyRole, str], tmp_path: Path
) -> None:
    key = keys[KeyRole.APPLICATION]
    handed = await (await token(served, key)).json()
    for text, more in ((key, {}), (handed["token"], {"Origin": SHOP}), (keys[KeyRole.USER], {})):
        assert (await create(served, text, **more)).status == 201
    *lost, kept = served.manager.sessions
    over = [told_when_ended(session) for session in lost]
    revoke(tmp_path / "keys.sqlite", key)
    async with asyncio.timeout(10):
        for event in over:
            await event.wait()
    assert {session.ended_because for session in lost} == {("session_ended", key_watch.WHY)}
    assert served.manager.sessions == [kept] and kept.running


@pytest.mark.parametrize("changes", [{"sessions_per_key": 1}])
async def test_a_key_has_so_many_sessions_and_no_more(
    served: Served, keys: dict[KeyRole, str], changes: dict[str, object]
) -> None:
    key = keys[KeyRole.APPLICATION]
    made = await (await create(served, key)).json()
    refused = await create(served, key)
    assert refused.status == 429 and await problem(refused) == "too-many-sessions"
    assert int(refused.headers["Retry-After"]) > 0
    assert (await create(served, keys[KeyRole.USER])).status == 201
    await served.http.delete(f"/v1/sessions/{made['id']}", headers=bearer(made["token"]))
    assert (await create(served, key)).status == 201


# -- tokens ----------------------------------------------------------------------------------


async def test_a_browser_calls_with_the_token_of_an_application(
    served: Served, keys: dict[KeyRole, str]
) -> None:
    handed = await token(served, keys[KeyRole.APPLICATION], avatar="mira", ttl_s=60)
    assert handed.status == 201 and handed.headers["Cache-Control"] == "no-store"
    text = (await handed.json())["token"]
    made = await create(served, text, Origin=SHOP)
    assert made.status == 201 and made.headers["Access-Control-Allow-Origin"] == SHOP
    second = await create(served, text, Origin=SHOP)
    assert second.status == 429, "one session of a token at a time"


async def test_a_token_is_for_one_origin_and_one_avatar(
    served: Served, keys: dict[KeyRole, str]
) -> None:
    text = (await (await token(served, keys[KeyRole.APPLICATION], avatar="tomo")).json())["token"]
    for headers in ({"Origin": "https://evil.example"}, {"Origin": SHOP + ".evil.example"}, {}):
        response = await create(served, text, **headers)
        assert response.status == 403 and await problem(response) == "origin-refused"
    response = await create(served, text, Origin=SHOP)
    assert response.status == 403 and await problem(response) == "forbidden"
    assert served.manager.slots.taken == 0


async def test_a_token_hands_out_no_tokens_and_administers_nothing(
    served: Served, keys: dict[KeyRole, str]
) -> None:
    text = (await (await token(served, keys[KeyRole.APPLICATION])).json())["token"]
    response = await served.http.post(
        "/v1/tokens", json={"origin": SHOP}, headers=bearer(text, Origin=SHOP)
    )
    assert response.status == 403
    assert (await served.http.get("/metrics", headers=bearer(text))).status == 403


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "shop.example"},
        {"origin": "https://shop.example/page"},
        {"origin": 5},
        {"origin": None},
        {"ttl_s": 5},
        {"ttl_s": 10**9},
        {"ttl_s": True},
        {"ttl_s": "60"},
        {"avatar": 3},
    ],
)
async def test_a_token_that_makes_no_sense_is_not_made(
    served: Served, keys: dict[KeyRole, str], fields: dict[str, object]
) -> None:
    response = await token(served, keys[KeyRole.APPLICATION], **fields)
    assert response.status == 400 and await problem(response) == "bad-request"


async def test_a_token_for_nobody_we_know_is_not_made(
    served: Served, keys: dict[KeyRole, str]
) -> None:
    response = await token(served, keys[KeyRole.APPLICATION], avatar="nobody")
    assert response.status == 404


# -- rates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"address_rate": 0.01, "address_burst": 3}])
async def test_an_address_that_asks_too_often_is_told_when_to_come_back(
    served: Served, keys: dict[KeyRole, str], changes: dict[str, object]
) -> None:
    seen = [(await served.http.get("/readyz")).status for _ in range(3)]
    refused = await served.http.get("/readyz")
    assert seen == [200] * 3 and refused.status == 429
    assert await problem(refused) == "rate-limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 100


@pytest.mark.parametrize("changes", [{"key_rate": 0.01, "key_burst": 2}])
async def test_a_key_that_asks_too_often_is_refused_and_no_other(
    served: Served, keys: dict[KeyRole, str], changes: dict[str, object]
) -> None:
    async def ask(role: KeyRole) -> int:
        return (await served.http.get("/v1/avatars", headers=bearer(keys[role]))).status

    assert [await ask(KeyRole.APPLICATION) for _ in range(3)] == [200, 200, 429]
    assert await ask(KeyRole.OPERATOR) == 200


@pytest.mark.parametrize("changes", [{"failures_per_minute": 2}])
async def test_whoever_guesses_keys_is_refused_before_anything_is_hashed(
    served: Served, keys: dict[KeyRole, str], changes: dict[str, object]
) -> None:
    guess = bearer("ck_000000000000_" + "x" * 43)
    seen = [(await served.http.get("/v1/avatars", headers=guess)).status for _ in range(4)]
    assert seen == [401, 401, 429, 429]
    right = await served.http.get("/v1/avatars", headers=bearer(keys[KeyRole.OPERATOR]))
    assert right.status == 429, "the address is under suspicion, whatever it sends next"


# -- without keys ----------------------------------------------------------------------------


async def test_without_keys_this_machine_may_do_everything(served: Served) -> None:
    for path in ("/", "/v1/avatars", "/healthz", "/metrics"):
        assert (await served.http.get(path)).status == 200
    assert (await create(served)).status == 201


async def test_without_keys_nobody_else_may(served: Served) -> None:
    for headers in (
        {"Host": "avatars.example"},
        {"Host": "localhost.evil.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
    ):
        response = await create(served, **headers)
        assert response.status == 403 and await problem(response) == "local-only"
    response = await create(served, Origin="https://evil.example")
    assert response.status == 403 and await problem(response) == "origin-refused"
    assert served.manager.slots.taken == 0


async def test_without_keys_there_are_no_tokens(served: Served) -> None:
    assert (await token(served, "ck_x")).status == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "avatars.example", ""])
def test_a_server_that_others_reach_does_not_start_without_keys(tmp_path: Path, host: str) -> None:
    settings = Settings(host=host, keys=str(tmp_path / "keys.sqlite"))
    with pytest.raises(SettingsError, match=r"holds no API key.*continuum key create"):
        app.access_of(settings)
    store = KeyStore(tmp_path / "keys.sqlite")
    key, _ = store.create("me", KeyRole.OPERATOR)
    access = app.access_of(settings)
    assert access.keyring is not None
    access.keyring.close()
    store.revoke(key.id)
    store.close()
    with pytest.raises(SettingsError):
        app.access_of(settings)


def test_only_loopback_is_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")))
    check_local({"Host": "[::1]:8080", "Origin": "http://[::1]:8080"}, ())
    check_local({"Host": "localhost:8080", "Origin": SHOP}, (SHOP,))
    with pytest.raises(LocalOnly):
        check_local({"Host": "[:::8080"}, ())
    with pytest.raises(OriginRefused):
        check_local({"Host": "localhost:8080", "Origin": "http://localhost:9090"}, ())


@pytest.mark.parametrize(
    ("peer", "chain", "who"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense, , 10.0.0.3", "nonsense"),
    ],
)
def test_an_address_is_believed_only_from_our_own_proxies(
    tmp_path: Path, peer: str, chain: str, who: str
) -> None:
    settings = Settings(keys=str(tmp_path / "keys.sqlite"), proxies=("10.0.0.0/8",))
    access = app.access_of(settings)
    assert access.address_of(peer, {"X-Forwarded-For": chain}) == who


# -- secrets ---------------------------------------------------------------------------------


async def test_no_secret_reaches_a_log(
    served: Served, keys: dict[KeyRole, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        key = keys[KeyRole.APPLICATION]
        text = (await (await token(served, key)).json())["token"]
        made = await (await create(served, text, Origin=SHOP)).json()
        caller = Caller()
        caller.speak()
        caller.watch()
        try:
            path = f"/v1/sessions/{made['id']}/call"
            response = await caller.post(served.http, path, made["token"])
            assert response.status == 201
        finally:
            await caller.close()
        await served.http.get("/v1/avatars", headers=bearer(key + "x"))
        await served.http.delete(f"/v1/sessions/{made['id']}", headers=bearer(made["token"]))
    logged = "\n".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records)
    for secret in (key.split("_", 2)[2], text, text.split(".")[2], made["token"]):
        assert secret not in logged


@pytest.mark.parametrize(
    "said",
    [
        "key ck_0123456789ab_" + "Q" * 43 + " was sent",
        "token c_" + "Q" * 32,
        "Authorization: Bearer eyJhbGciOiJI.eyJpc3MiOiJ.QQQQQQQQQQQQ",
    ],
)
def test_what_looks_like_a_secret_is_blotted_out_of_every_line(said: str) -> None:
    record = logging.LogRecord("server", logging.INFO, "", 0, "heard %s", (said,), None)
    for formatter in (People(), Machines()):
        line = formatter.format(record)
        assert "QQQ" not in line and "heard" in line
