"""Limits: token buckets, quotas, how long a session may last, and what a browser is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from server.api.security_headers import headers, policy
from server.auth.access import Caller
from server.auth.keys import Key, KeyRole, KeyStore, KeyStoreError, parse, verify
from server.auth.quota import Quota
from server.auth.rate_limit import MAX_NAMES, Bucket, Buckets
from server.errors import RateLimited, TooManySessions
from server.settings import Settings, SettingsError, load
from tests.server.caller import calling
from tests.server.conftest import Served


@given(
    st.floats(0.1, 100),
    st.integers(1, 50),
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_a_bucket_never_gives_more_than_its_rate_and_burst(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, now, given_ = Bucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        given_ += bucket.take(now) == 0.0
    assert given_ <= burst + rate * now + 1e-6


def test_a_burst_is_allowed_and_then_only_the_rate() -> None:
    bucket = Bucket(rate=20, burst=40, now=0.0)
    assert sum(bucket.take(0.0) == 0 for _ in range(100)) == 40
    assert sum(bucket.take(1.0) == 0 for _ in range(100)) == 20
    assert sum(bucket.take(10.0) == 0 for _ in range(100)) == 40


def test_whoever_waits_as_long_as_told_is_served() -> None:
    bucket = Bucket(0.5, 1, 0.0)
    assert bucket.take(0.0) == 0.0
    wait = bucket.take(0.0)
    assert wait == pytest.approx(2.0) and bucket.take(wait) == 0.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(1.0, 1, 100.0)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(0.0) > 0 and bucket.take(100.5) > 0


def test_names_are_forgotten_before_memory_is_full() -> None:
    buckets = Buckets(0.001, 1, "requests")
    for name in range(MAX_NAMES + 10):
        buckets.take(str(name), 0.0)
    with pytest.raises(RateLimited):
        buckets.take(str(MAX_NAMES), 0.0)
    buckets.take("0", 0.0)
    assert len(buckets._known) == MAX_NAMES


def test_a_rate_of_zero_limits_nobody() -> None:
    buckets = Buckets(0, 1, "requests")
    for _ in range(100):
        buckets.take("x", 0.0)


def test_a_quota_is_given_back_once_and_counts_keys_and_tokens_apart() -> None:
    quota = Quota(per_key=2)
    app = Caller(KeyRole.APPLICATION, "k1")
    user = Caller(KeyRole.USER, "k1", token="t1")
    claim = quota.take(user)
    with pytest.raises(TooManySessions, match="token"):
        quota.take(user)
    quota.take(app)
    with pytest.raises(TooManySessions, match="key has 2 of 2"):
        quota.take(app)
    quota.take(Caller(KeyRole.APPLICATION, "k2"))
    claim.give_back()
    claim.give_back()  # the same one once more is no second place
    quota.take(app)
    with pytest.raises(TooManySessions, match="key has 2 of 2"):
        quota.take(app)
    local = Caller(KeyRole.OPERATOR)
    for _ in range(100):
        quota.take(local)


def test_sessions_that_nobody_has_joined_are_counted_for_each_client() -> None:
    quota, local = Quota(per_key=0), Caller(KeyRole.OPERATOR)
    first = quota.take(local, "10.0.0.1", waiting=2)
    quota.take(local, "10.0.0.1", waiting=2)
    with pytest.raises(TooManySessions, match="wait to be joined"):
        quota.take(local, "10.0.0.1", waiting=2)
    quota.take(local, "10.0.0.2", waiting=2)
    first.joined()
    first.joined()
    quota.take(local, "10.0.0.1", waiting=2)
    first.give_back()  # it had been counted out
    with pytest.raises(TooManySessions):
        quota.take(local, "10.0.0.1", waiting=2)


# -- keys on file ------------------------------------------------------------------------------


def test_the_file_never_holds_a_secret_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "folder" / "keys.sqlite")
    assert not store.any_live() and not store.path.exists(), "asking makes no file"
    key, text = store.create("shop", KeyRole.APPLICATION)
    store.close()
    secret = text.rsplit("_", 1)[1]
    for file in store.path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()
    assert store.path.stat().st_mode & 0o077 == 0
    found = store.get(key.id)
    assert found is not None and found.hash.startswith("$argon2id$")
    parts = parse(text)
    assert parts is not None and verify(found, parts[1]) and not verify(found, parts[1] + "x")
    assert not verify(None, parts[1])
    store.close()


def test_a_key_lives_from_its_making_to_its_end(tmp_path: Path) -> None:
    now = [1000.0]
    store = KeyStore(tmp_path / "keys.sqlite", lambda: now[0])
    key, _ = store.create("trial", KeyRole.APPLICATION, days=1)
    assert store.any_live()
    now[0] += 86_401
    assert not store.any_live() and not key.live(now[0])
    other, _ = store.create("ops", KeyRole.OPERATOR)
    first = store.revoke(other.id)
    now[0] += 100
    assert store.revoke(other.id) == first and not store.any_live()
    assert [each.name for each in store.all()] == ["trial", "ops"]
    with pytest.raises(KeyStoreError, match="no key"):
        store.revoke("nothing")
    store.close()


@pytest.mark.parametrize(
    ("name", "role", "sessions", "days"),
    [
        ("", KeyRole.OPERATOR, 0, None),
        ("x" * 101, KeyRole.OPERATOR, 0, None),
        ("x", KeyRole.USER, 0, None),
        ("x", KeyRole.OPERATOR, -1, None),
        ("x", KeyRole.OPERATOR, 0, 0.0),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    tmp_path: Path, name: str, role: KeyRole, sessions: int, days: float | None
) -> None:
    store = KeyStore(tmp_path / "keys.sqlite")
    with pytest.raises(KeyStoreError):
        store.create(name, role, sessions, days)
    assert store.all() == []
    store.close()


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    path.write_bytes(b"this is not a database, and long enough to show it" * 50)
    with pytest.raises(KeyStoreError, match=r"keys\.sqlite"):
        KeyStore(path).any_live()


def test_a_key_is_described_without_its_hash() -> None:
    key = Key("ab", "x", KeyRole.OPERATOR, 0, "$argon2id$secret", 1.0)
    assert "secret" not in str(key.describe())


# -- settings ----------------------------------------------------------------------------------


def test_secrets_come_from_files_and_the_environment_and_never_from_flags(tmp_path: Path) -> None:
    secret = "s" * 40
    (tmp_path / "token").write_text(secret + "\n")
    assert load(["--token-secret", f"@{tmp_path}/token"], {})[0].token_secret == secret
    assert load([], {"CONTINUUM_TOKEN_SECRET": secret})[0].token_secret == secret
    assert secret not in Settings(token_secret=secret).toml()
    with pytest.raises(SettingsError, match="command line") as refusal:
        load(["--token-secret", secret], {})
    assert secret not in str(refusal.value)
    with pytest.raises(SettingsError, match="cannot read"):
        load(["--token-secret", "@/nowhere"], {})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tls-cert", "x.pem"], "tls_key is missing"),
        (["--c2pa-key", "x.pem"], "c2pa_cert is missing"),
        (["--proxies", "10.0.0.0/99"], "networks"),
        (["--label-place", "middle"], "label_place"),
        (["--message-rate", "0"], "message_rate"),
        (["--session-idle-s", "-1"], "session_idle_s"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(flags: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(flags, {})
    with pytest.raises(SettingsError, match="32 characters"):
        Settings(token_secret="short")


# -- what a browser is told --------------------------------------------------------------------


async def test_every_answer_tells_browsers_how_little_to_trust_it(served: Served) -> None:
    for path in ("/", "/call.js", "/v1/avatars", "/nothing", "/v1/avatars/mira/picture"):
        headers = (await served.http.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        rules = headers["Content-Security-Policy"]
        assert "'unsafe" not in rules and "*" not in rules and "default-src 'none'" in rules
        assert "Strict-Transport-Security" not in headers, "there is no TLS here"


def test_only_listed_origins_may_frame_the_call_and_nobody_the_page() -> None:
    origins = ("https://shop.example",)
    assert "frame-ancestors 'self' https://shop.example" in policy("/embed.html", origins)
    assert "frame-ancestors 'none'" in policy("/", origins)


def test_a_camera_may_be_used_on_the_page_that_enrols_and_nowhere_else() -> None:
    allowed = {
        path: "camera=(self)" in headers(path, True, (), False)["Permissions-Policy"]
        for path in ("/", "/enrol.html", "/embed.html")
    }
    assert allowed == {"/": False, "/enrol.html": True, "/embed.html": False}


# -- sessions ----------------------------------------------------------------------------------


async def test_a_session_ends_when_it_has_lasted_as_long_as_it_may(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        (session,) = served.manager.sessions
        session.limits = dataclasses.replace(session.limits, longest_s=0.001)
        told = await caller.event("error", code="session_ended")
        assert "may last" in told["message"]
        await session.end("it is waited for")
    assert served.manager.slots.taken == 0


async def test_a_session_in_which_nobody_speaks_ends(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        (session,) = served.manager.sessions
        session.limits = dataclasses.replace(session.limits, idle_s=0.001)
        assert "there was no speech" in (await caller.event("error"))["message"]


async def test_everybody_is_told_first_that_nobody_was_filmed(served: Served) -> None:
    async with calling(served.http) as caller:
        notice = await caller.event("notice", code="ai_generated")
        assert "AI" in notice["message"]
        assert [event["type"] for event in caller.events[:2]] == ["ready", "notice"]
