"""Consent over HTTP, and what a running server makes of its end."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipeline.consent import ConsentGate, Kind, Registry, RegistryOverrides, Scope
from pipeline.consent.chain import first_break
from pipeline.consent.image_fingerprint import PLAIN, fingerprint, same_picture
from pipeline.consent.records import new_record, sha256_of
from pipeline.consent.signed_challenge import words
from pipeline.errors import RegistryUnavailable
from pipeline.media import image_sandbox
from server.api.app import build
from server.api.requests import MAX_PAGE
from server.avatars.catalog import Avatars, Card
from server.avatars.pipeline_errors import translated
from server.consent.monitor import ConsentMonitor
from server.sessions.options import Options
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource
from tests.pipeline.consent.conftest import photo, png

PICTURE = png(photo(1, 200))
JSON = {"Content-Type": "application/json"}
ONE = {"subject": "Ada Example", "kind": "self", "statement": "I agree.", "adult": True}


class GatedSource(FakeSource):
    """Fake avatars behind the real gate."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry, self.gate = registry, ConsentGate(registry)
        self.records = {card.id: self._record(card) for card in self.cards()}

    def _record(self, card: Card) -> str:
        record = new_record(
            subject=f"p-{card.id}",
            kind=Kind.SYNTHETIC,
            statement="does not exist",
            image_sha256=sha256_of(card.picture),
            adult=True,
            fingerprint=PLAIN,
        )
        return self.registry.add(record).id

    def grant(self, avatar: str, session: str = "") -> object:
        (card,) = (card for card in self.cards() if card.id == avatar)
        with translated():
            return self.gate.grant(
                avatar=avatar,
                image_sha256=sha256_of(card.picture),
                scope=Scope.LIVE,
                consent_id=self.records[avatar],
                session=session,
            )


@dataclass
class Office:
    http: TestClient[Any, Any]
    manager: SessionManager
    registry: Registry
    source: GatedSource
    pipeline: FakePipeline

    async def post(self, record: dict[str, object], **files: bytes) -> tuple[int, Any]:
        form = aiohttp.FormData({"record": json.dumps(record)})
        for name, content in ({"picture": PICTURE} | files).items():
            form.add_field(name, content, filename=name)
        response = await self.http.post("/v1/consents", data=form)
        return response.status, await response.json()

    async def session(self) -> Any:
        return await self.manager.create(Options("mira"))

    def actions(self) -> list[str]:
        return [entry.action for entry in self.registry.log.entries()]


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    registry = Registry(tmp_path / "consents.sqlite", setup=RegistryOverrides(grace_s=30.0))
    source, pipeline, managers = GatedSource(registry), FakePipeline(), []

    async def open_server(settings: Settings) -> SessionManager:
        managers.append(
            SessionManager(settings, pipeline, Avatars(source), ConsentMonitor(registry))
        )
        return managers[0]

    settings = Settings(slots=3, grace_s=30.0, drain_s=0.5, keys=str(tmp_path / "keys.sqlite"))
    client = TestClient(TestServer(build(settings, open_server)))
    await client.start_server()
    await asyncio.wait_for(managers[0].settled.wait(), 30)
    yield Office(client, managers[0], registry, source, pipeline)
    await client.close()


async def test_consent_is_recorded_read_verified_and_revoked(office: Office) -> None:
    asked = await office.http.post("/v1/challenges", json={"subject": "Ada Example"})
    code = (await asked.json())["code"]
    status, made = await office.post(ONE | {"challenge": code}, evidence=b"a recording")
    assert status == 201 and made["standing"] == "live" and "fingerprint" not in made
    assert made["evidence_sha256"] == sha256_of(b"a recording")
    url = f"/v1/consents/{made['id']}"
    checked = await office.http.post(f"{url}/checks", json={"face": "passed", "by": "G. H."})
    assert (await checked.json())["checks"]["face"] == "passed"
    listed = await (await office.http.get("/v1/consents?subject=Ada Example")).json()
    assert [record["id"] for record in listed["consents"]] == [made["id"]]
    gone = await (await office.http.delete(f"{url}?reason=she asked")).json()
    assert gone["standing"] == "revoked" and gone["erased_at"]
    audit = await (await office.http.get(f"/v1/audit?consent_id={made['id']}")).json()
    actions = [entry["action"] for entry in audit["entries"]]
    wanted = ["recorded", "verified", "revoked", "erased"]
    assert actions == [f"consent.{action}" for action in wanted]
    assert {entry["actor"] for entry in audit["entries"][:3]} == {"local"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"subject": ""}, 422),
        ({"kind": "friend"}, 400),
        ({"scopes": ["live", "parody"]}, 400),
        ({"scopes": []}, 422),
        ({"birth_year": 1066}, 422),
        ({"birth_year": "1980"}, 400),
        ({"adult": "yes"}, 400),
        ({"challenge": "made-up"}, 422),
        ({"subject": "\ud800"}, 422),
        ({"nickname": "A"}, 400),
        ({"expires_at": 1.0}, 422),
        ({"expires_at": float("nan")}, 422),
        ({"expires_at": float("inf")}, 422),
        ({"captured_at": float("-inf")}, 422),
        ({"captured_at": 1e300}, 422),
        ({"birth_year": 10**400}, 422),
        ({"birth_year": True}, 400),
        ({"expires_at": True}, 400),
    ],
)
async def test_an_impossible_record_is_refused_and_not_written(
    office: Office, change: dict[str, object], status: int
) -> None:
    before = len(office.registry.all())
    got, problem = await office.post(ONE | change)
    assert got == status and problem["type"].startswith("/problems/")
    assert len(office.registry.all()) == before


async def test_what_is_no_picture_or_no_form_is_refused(office: Office) -> None:
    status, problem = await office.post(ONE, picture=b"no picture")
    assert status == 422 and problem["code"] == "picture_unreadable"
    for name in ("BMP", "GIF", "TIFF"):  # of Pillow's many decoders, three are enough
        file = io.BytesIO()
        photo(1, 200).save(file, name)
        status, problem = await office.post(ONE, picture=file.getvalue())
        assert status == 422 and problem["type"] == "/problems/picture-refused", name
    assert office.registry.all() == [r for r in office.registry.all() if r.kind != "self"]
    assert (await office.http.post("/v1/consents", json=ONE)).status == 415
    assert (await office.http.get("/v1/consents/c-none")).status == 404
    assert (await office.http.delete("/v1/consents/c-none")).status == 404
    for seconds in (0, -1, float("nan"), float("inf"), 1e300):
        asked = {"subject": "Ada", "lifetime_s": seconds}
        response = await office.http.post("/v1/challenges", data=json.dumps(asked), headers=JSON)
        assert response.status == 422, seconds
    for query in ("limit=0", "limit=x", "since=-1", "since=nan"):
        assert (await office.http.get(f"/v1/audit?{query}")).status == 400


async def test_a_consents_picture_is_decoded_apart_and_fingerprinted_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[str] = []
    real = image_sandbox.decode_apart

    def noticed(file: Any, bounds: Any) -> Any:
        apart.append(file.sha256)
        return real(file, bounds)

    monkeypatch.setattr(image_sandbox, "decode_apart", noticed)
    status, made = await office.post(ONE)
    assert status == 201 and apart == [sha256_of(PICTURE)]
    assert same_picture(office.registry.get(made["id"]).fingerprint, fingerprint(PICTURE))


async def test_the_whole_log_is_exported_and_can_be_proved(office: Office) -> None:
    with office.registry.database.write() as connection:
        for _ in range(2 * MAX_PAGE):  # so that it takes several pages
            office.registry.log.append(connection, "test.entry", actor="a test")
    for _ in range(3):
        await office.session()
    text = await (await office.http.get("/v1/audit?format=jsonl")).text()
    lines = text.splitlines()
    assert first_break(lines) is None
    assert len(lines) >= 2 * MAX_PAGE + 6
    asked = await (await office.http.get("/v1/audit?format=jsonl&action=test")).text()
    assert len(asked.splitlines()) == 2 * MAX_PAGE


async def test_revoking_elsewhere_ends_a_running_session_within_a_second(office: Office) -> None:
    session = await office.session()
    told: list[str] = []
    session.tell = told.append
    elsewhere = Registry(office.registry.path)
    await asyncio.to_thread(elsewhere.revoke, session.grant.consent_id)
    began = time.monotonic()
    while office.manager.sessions:
        assert time.monotonic() - began < 5.0
        await asyncio.sleep(0.01)  # a session ends in a task of its own
    assert time.monotonic() - began < 1.0
    elsewhere.close()
    messages = [json.loads(message) for message in told]
    notice, error = [m for m in messages if m["type"] in ("notice", "error")][:2]
    assert notice["code"] == error["code"] == "consent_revoked"
    with pytest.raises(Exception, match="revoked"):
        await office.session()


async def test_a_session_is_audited_from_its_grant_to_its_end(office: Office) -> None:
    session = await office.session()
    await session.end("the test is over")
    for _ in range(200):
        if "session.ended" in office.actions():
            break
        await asyncio.sleep(0.01)  # the desk writes in a thread of its own
    own = [e for e in office.registry.log.entries() if e.session == session.id]
    assert [e.action for e in own] == ["grant.issued", "session.started", "session.ended"]
    assert "the test is over" in own[-1].detail
    assert office.registry.log.verify() > 0


async def test_a_grant_of_one_session_is_no_good_for_another(office: Office) -> None:
    one, other = await office.session(), await office.session()
    assert one.grant.session == one.id != other.grant.session
    other.grant = one.grant
    for _ in range(200):
        if other not in office.manager.sessions:
            break
        await asyncio.sleep(0.01)
    assert office.manager.sessions == [one]


async def test_a_challenge_can_be_signed_over_http(office: Office) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    asked = await office.http.post("/v1/challenges", json={"subject": "Ada Example"})
    code = (await asked.json())["code"]
    draft, said = ONE | {"challenge": code}, words(code, sha256_of(PICTURE), "I agree.")
    proof = {"signature": key.sign(said).hex().encode(), "subject_key": pem}
    for change, wanted in (
        ({"signature": b"00" * 64}, 422),
        ({"signature": b"zz"}, 400),
        ({"subject_key": b"no key"}, 422),
        ({"evidence": b"a recording"}, 400),
    ):
        status, problem = await office.post(draft, **(proof | change))
        assert status == wanted and problem["type"].startswith("/problems/"), change
    status, made = await office.post(draft, **proof)
    assert status == 201 and made["checks"]["transcript"] == "passed" and made["evidence_sha256"]


async def test_while_the_registry_is_away_new_sessions_are_503_and_running_ones_go_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await office.session()

    def away() -> int:
        raise RegistryUnavailable("no route to the database")

    async def told(path: str, status: int) -> dict[str, Any]:
        answer = await office.http.get(path)
        assert answer.status == status
        return dict(await answer.json(content_type=None))

    with monkeypatch.context() as patch:
        patch.setattr(office.registry.database, "revision", away)
        async with asyncio.timeout(5):
            while not office.manager.monitor.away:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        refused = await office.http.post("/v1/sessions", json={"avatar": "mira"})
        problem = await refused.json(content_type=None)
        assert (refused.status, problem["code"]) == (503, "registry_unavailable")
        assert problem["retryable"] and int(refused.headers["Retry-After"]) > 0
        assert (await told("/readyz", 503))["code"] == "registry_unavailable"
        health = await told("/healthz", 200)
        assert health["status"] == "degraded" and "no route" in health["registry"]
    async with asyncio.timeout(5):
        while office.manager.monitor.away:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await told("/healthz", 200))["status"] == "ok"
    assert (await office.http.post("/v1/sessions", json={"avatar": "mira"})).status == 201
    assert session in office.manager.sessions
