"""Every door times every state of consent: no frame leaves without a grant that holds.

Python doors are opened on the real pipeline class with a small random model; the command and HTTP
doors on the real gate, registry and server, with frames that are cheap to make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from aiohttp.test_utils import TestClient, TestServer

from pipeline import AvatarPipeline
from pipeline.consent import ConsentGrant, Kind, Outcome, Registry, RegistryOverrides, Scope
from pipeline.consent.grant import ConsentGrant as Forgeable
from pipeline.consent.policy import Demand, Policy
from pipeline.consent.validator import RecordValidator
from pipeline.errors import ConsentError
from pipeline.media.image_file import Picture
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.config import load_config
from pipeline.models.mini.enrolment.identity_anchor import build_anchor
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import REF_DIM, Fit
from pipeline.models.mini.rig.state import state as body_state
from server.api.app import build
from server.avatars.catalog import Avatars
from server.consent.monitor import ConsentMonitor
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_server import FakePipeline
from tests.pipeline.consent.conftest import Clock, Office
from tests.server.api.test_consents import GatedSource

SIZE = 64
STRICT = Policy({scope: Demand(frozenset({"face"})) for scope in Scope})


@dataclass
class Case:
    """A registry, the grant that is tried at the doors, and what ends consent while it is held."""

    office: Office
    grant: ConsentGrant


def _good(office: Office) -> ConsentGrant:
    return office.ask(office.write())


def _revoked(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.revoke(grant.consent_id)
    return grant


def _expired(office: Office) -> ConsentGrant:
    grant = office.ask(office.write(expires_at=office.clock.now + 10))
    office.clock.now += 11
    return grant


def _old(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.clock.now += 25 * 3600
    return grant


def _failed(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.verify(grant.consent_id, {"face": Outcome.FAILED}, "by eye")
    return grant


def _protected(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.denials.add("Ada Example")
    return grant


def _stricter(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.policies.set(STRICT)
    return grant


def _policy_changed(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.policies.set(Policy())
    with office.registry.database.write() as connection:
        connection.exec_driver_sql("UPDATE orders SET document = '{}'")
        office.registry.database.bump(connection)
    return grant


def _revival(office: Office) -> ConsentGrant:
    grant = _revoked(office)
    with office.registry.database.write() as connection:
        connection.exec_driver_sql("UPDATE consent_records SET revoked_at = NULL")
        office.registry.database.bump(connection)
    return grant


def _closed(office: Office) -> ConsentGrant:
    grant = _good(office)
    office.registry.close()
    return grant


def _forged(office: Office) -> ConsentGrant:
    grant = _good(office)
    object.__setattr__(grant, "avatar", "eve")
    return grant


def _other_picture(office: Office) -> ConsentGrant:
    return office.ask(office.write(picture=b"another picture"))


def _hand_made(office: Office) -> ConsentGrant:
    record = office.write()
    made = object.__new__(Forgeable)
    far = office.clock.now + 1e9
    values = (record.id, "ada", record.image_sha256, Scope.LIVE, "s", far, far)
    names = ("consent_id", "avatar", "image_sha256", "scope", "session", "begin_by", "expires_at")
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    object.__setattr__(made, "judge", RecordValidator(office.registry))
    object.__setattr__(made, "seal", b"\0" * 32)
    return made


HELD: dict[str, Callable[[Office], ConsentGrant]] = {
    "revoked": _revoked,
    "expired": _expired,
    "grant too old": _old,
    "check failed": _failed,
    "protected": _protected,
    "policy became stricter": _stricter,
    "policy changed behind our back": _policy_changed,
    "revocation taken back": _revival,
    "registry closed": _closed,
    "grant changed": _forged,
    "grant made by hand": _hand_made,
    "other picture": _other_picture,
}
NEVER: dict[str, dict[str, object]] = {  # records from which no grant is ever minted
    "too young": {"birth_year": 2015},
    "age unknown": {"adult": False},
    "not this use": {"scopes": frozenset({Scope.PUBLICATION})},
    "without fingerprint": {"fingerprint": b""},
    "public figure": {"subject": "Taylor Swift"},
    "for another country": {"territory": "CH"},
    "synthetic public figure": {"subject": "Taylor Swift", "kind": Kind.SYNTHETIC},
}


# -- Python --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    torch.manual_seed(0)
    config = load_config("mini")
    return AvatarPipeline(config, Generator(config, REF_DIM).eval(), "cpu", "a test")


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    from pipeline.consent import sha256_of

    picture = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    fit = Fit(bundled_body().shape(), body_state(), Camera(), frozenset({"top_long"}))
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    alpha[8:, 16:48] = 255
    anchor = build_anchor(picture, fit, SIZE, SIZE, alpha=alpha)
    return Avatar("ada", sha256_of(b"a picture"), anchor)


def _enrol(pipeline: AvatarPipeline, avatar: Avatar, grant: ConsentGrant) -> object:
    picture = Picture(np.zeros((SIZE, SIZE, 3), np.uint8), avatar.image_sha256)
    return pipeline.enrol(picture, grant, landmarks={})


def _bundled(pipeline: AvatarPipeline, avatar: Avatar, grant: ConsentGrant) -> object:
    return pipeline.bundled("mira", grant)


def _open(pipeline: AvatarPipeline, avatar: Avatar, grant: ConsentGrant) -> object:
    return pipeline.open(avatar, grant)


def _render(pipeline: AvatarPipeline, avatar: Avatar, grant: ConsentGrant) -> object:
    return list(pipeline.render(avatar, grant, [np.zeros(3200, np.float32)]))


PYTHON = {"enrol": _enrol, "bundled": _bundled, "open": _open, "render": _render}


@pytest.mark.timeout(400)  # the first one may have to compile the drawing kernels
@pytest.mark.parametrize("door", PYTHON)
@pytest.mark.parametrize("held", HELD)
def test_python_opens_no_door_to_a_grant_that_does_not_hold(
    pipeline: AvatarPipeline, avatar: Avatar, office: Office, door: str, held: str
) -> None:
    grant = HELD[held](office)
    with pytest.raises(ConsentError):
        PYTHON[door](pipeline, avatar, grant)


RUNNING = [name for name in HELD if name not in ("other picture", "grant made by hand")]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("held", RUNNING)
def test_what_runs_already_stops_at_its_next_step(
    pipeline: AvatarPipeline, avatar: Avatar, office: Office, held: str
) -> None:
    made: list[ConsentGrant] = []

    def opening(grant: ConsentGrant) -> ConsentGrant:
        made.append(grant)
        return grant

    good = _good
    streams = []

    def run(office: Office) -> ConsentGrant:
        grant = opening(good(office))
        stream = pipeline.open(avatar, grant)
        stream.push(np.zeros(16_000, np.float32))
        assert list(stream.step())
        streams.append(stream)
        return grant

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HELD, "good", run)
        patch.setattr(f"{__name__}._good", run)
        if held == "expired":
            office.write = _short_lived(office)  # type: ignore[method-assign]
            run(office)
            office.clock.now += 11
        else:
            HELD[held](office)
    (stream,) = streams
    for step in (stream.step, lambda: chain(*pipeline.engine.step([stream]))):
        with pytest.raises(ConsentError):
            list(step())


def _short_lived(office: Office) -> Callable[..., Any]:
    write = office.write
    return lambda **changes: write(expires_at=office.clock.now + 10, **changes)


@pytest.mark.parametrize("never", NEVER)
@pytest.mark.parametrize("scope", [Scope.LIVE, Scope.RECORDING])
def test_the_gate_mints_nothing_from_such_a_record(
    office: Office, never: str, scope: Scope
) -> None:
    with pytest.raises(ConsentError):
        office.ask(office.write(**NEVER[never]), scope=scope)


def test_the_gate_mints_nothing_that_the_policy_does_not_allow(tmp_path: Path) -> None:
    clock = Clock()
    registry = Registry(tmp_path / "r.sqlite", clock, RegistryOverrides(policy=STRICT))
    strict = Office(registry, clock)
    for scope in (Scope.LIVE, Scope.RECORDING):
        with pytest.raises(ConsentError):
            strict.ask(strict.write(), scope=scope)
    registry.close()


# -- HTTP ----------------------------------------------------------------------------------------

STATES = (*NEVER, "revoked", "expired", "registry closed", "no record", "tampered", "policy")


@dataclass
class Served:
    http: TestClient[Any, Any]
    house: SessionManager
    source: GatedSource
    pipeline: FakePipeline
    clock: Clock

    def put(self, state: str) -> None:
        """Brings the record of avatar ``tomo`` into a state."""
        registry, source = self.source.registry, self.source
        held = registry.get(source.records["tomo"])
        changes = {"kind": Kind.SELF} | NEVER.get(state, {})
        fresh = replace(held, id="c-state", **changes)  # type: ignore[arg-type]
        if state == "expired":
            fresh = replace(fresh, expires_at=self.clock.now + 10)
        source.records["tomo"] = "c-none" if state == "no record" else registry.add(fresh).id
        if state == "revoked":
            registry.revoke("c-state")
        elif state == "expired":
            self.clock.now += 11
        elif state == "tampered":
            with registry.database.write() as connection:
                connection.exec_driver_sql("UPDATE consent_records SET statement = 'anything'")
                registry.database.bump(connection)
        elif state == "policy":
            registry.policies.set(STRICT)
        elif state == "registry closed":
            registry.close()


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    clock = Clock()
    registry = Registry(tmp_path / "consents.sqlite", clock)
    source, pipeline, houses = GatedSource(registry), FakePipeline(), []

    async def open_server(settings: Settings) -> SessionManager:
        houses.append(SessionManager(settings, pipeline, Avatars(source), ConsentMonitor(registry)))
        return houses[0]

    settings = Settings(slots=3, grace_s=30.0, drain_s=0.2, keys=str(tmp_path / "keys.sqlite"))
    client = TestClient(TestServer(build(settings, open_server)))
    await client.start_server()
    await asyncio.wait_for(houses[0].settled.wait(), 30)
    yield Served(client, houses[0], source, pipeline, clock)
    await client.close()


@pytest.mark.parametrize("state", STATES)
async def test_http_opens_no_door(served: Served, state: str) -> None:
    served.put(state)
    before, offer = len(served.pipeline.streams), "v=0\r\n"
    sdp = {"Content-Type": "application/sdp"}
    made = await served.http.post("/v1/sessions", json={"avatar": "tomo"})
    called = await served.http.post("/v1/calls?avatar=tomo", data=offer, headers=sdp)
    assert made.status in (403, 503), await made.text()
    assert called.status in (400, 403, 503)
    for role in ("call", "whip", "whep"):  # nobody joins a session that was never made
        url = f"/v1/sessions/s-none/{role}"
        assert (await served.http.post(url, data=offer, headers=sdp)).status in (401, 404)
    assert len(served.pipeline.streams) == before and not served.house.sessions


def test_how_many_combinations_there_are(record_property: Callable[[str, object], None]) -> None:
    doors = len(PYTHON) * len(HELD) + 2 * len(RUNNING) + 2 * len(NEVER) + 2 + 5 * len(STATES)
    record_property("combinations", doors)
    assert doors == 48 + 20 + 14 + 2 + 65
