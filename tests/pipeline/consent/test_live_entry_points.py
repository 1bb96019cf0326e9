"""Doors of sessions that run: consent is lost, and nobody joins, nothing obeys, no frame is made.

The desk's own look at every session is put off, so that each door is seen to ask by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from pipeline.consent import Kind, Outcome, Registry
from server.api.app import build
from server.api.middleware import RECORDINGS
from server.avatars.catalog import Avatars
from server.consent.monitor import ConsentMonitor
from server.sessions.options import Options
from server.sessions.session import Session
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_server import FakeFrame, FakePipeline, FakeStream
from tests.pipeline.consent.conftest import Clock
from tests.server.api.test_consents import GatedSource
from tests.server.caller import Caller
from tests.server.recordings.test_recorder import FakeProvenance

RECORD = "c-state"
DAY_S = 86_400


class AskingStream(FakeStream):
    """Asks its grant before each step, as the real one does; counts what it made."""

    grant: Any = None
    asks = True
    made = 0

    def _tick(self) -> Iterator[FakeFrame]:
        if self.asks:
            self.grant.check()
        for frame in super()._tick():
            self.made += 1
            yield frame


class AskingPipeline(FakePipeline):
    def open(self, avatar: object, grant: Any, prompt: str = "", seed: int = 0) -> FakeStream:
        stream = AskingStream(self.size, self.behaviour, self.rhythm)
        stream.grant = grant
        self.streams.append(stream)
        return stream


@dataclass
class Live:
    """A server whose avatar ``tomo`` is Ada, who agreed until tomorrow and a day."""

    http: TestClient[Any, Any]
    manager: SessionManager
    registry: Registry
    clock: Clock

    async def session(self) -> Session:
        return await self.manager.create(Options("tomo"))

    async def post(self, session: Session, door: str) -> ClientResponse:
        """Offers at a door, as a real peer would; the answer is not taken."""
        caller = Caller()
        if door != "whep":
            caller.speak()
        if door != "whip":
            caller.watch()
        try:
            await caller.peer.setLocalDescription(await caller.peer.createOffer())
            headers = bearer(session) | {"Content-Type": "application/sdp"}
            sdp = caller.peer.localDescription.sdp
            return await self.http.post(path(session, door), data=sdp, headers=headers)
        finally:
            await caller.close()

    async def patch(self, session: Session, where: str) -> ClientResponse:
        headers = bearer(session) | {"Content-Type": "application/trickle-ice-sdpfrag"}
        return await self.http.patch(where, data="a=end-of-candidates\r\n", headers=headers)


def path(session: Session, door: str = "") -> str:
    return f"/v1/sessions/{session.id}/{door}".rstrip("/")


def bearer(session: Session) -> dict[str, str]:
    return {"Authorization": f"Bearer {session.token}"}


# -- how consent is lost -------------------------------------------------------------------------


def _elsewhere(live: Live) -> None:
    other = Registry(live.registry.path)
    other.revoke(RECORD)
    other.close()


def _later(seconds: float) -> Callable[[Live], None]:
    def wait(live: Live) -> None:
        live.clock.now += seconds

    return wait


def _tampered(live: Live) -> None:
    with live.registry.database.write() as connection:
        connection.exec_driver_sql("UPDATE consent_records SET statement = 'anything'")
        live.registry.database.bump(connection)


def _changed(live: Live) -> None:
    for session in live.manager.sessions:
        object.__setattr__(session.grant, "avatar", "eve")


LOST: dict[str, Callable[[Live], object]] = {
    "revoked": lambda live: live.registry.revoke(RECORD),
    "revoked elsewhere": _elsewhere,
    "expired": _later(2 * DAY_S),
    "grant too old": _later(DAY_S + 1),
    "check failed": lambda live: live.registry.verify(RECORD, {"face": Outcome.FAILED}, "by eye"),
    "protected": lambda live: live.registry.denials.add("Ada Example"),
    "tampered": _tampered,
    "registry closed": lambda live: live.registry.close(),
    "grant changed": _changed,
}


@pytest_asyncio.fixture
async def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setattr("server.consent.monitor.LOOK_S", 3600.0)
    clock = Clock()
    registry = Registry(tmp_path / "consents.sqlite", clock)
    source, managers = GatedSource(registry), list[SessionManager]()
    ada = {"id": RECORD, "subject": "Ada Example", "kind": Kind.SELF}
    ends = {"expires_at": clock.now + 2 * DAY_S}
    source.records["tomo"] = registry.add(
        replace(registry.get(source.records["tomo"]), **(ada | ends))  # type: ignore[arg-type]
    ).id

    async def open_server(settings: Settings) -> SessionManager:
        managers.append(
            SessionManager(settings, AskingPipeline(), Avatars(source), ConsentMonitor(registry))
        )
        return managers[0]

    folder, keys = str(tmp_path / "recordings"), str(tmp_path / "keys.sqlite")
    settings = Settings(slots=12, grace_s=30.0, drain_s=0.2, keys=keys, recordings=folder)
    client = TestClient(TestServer(build(settings, open_server)))
    await client.start_server()
    await asyncio.wait_for(managers[0].settled.wait(), 30)
    assert client.app is not None
    client.app[RECORDINGS].provenance = FakeProvenance()
    yield Live(client, managers[0], registry, clock)
    await client.close()


# -- HTTP ----------------------------------------------------------------------------------------

Knock = Callable[[], Any]  # one request at a door


async def doors(live: Live) -> dict[str, tuple[Session, Knock]]:
    """A session for each door, with the peers in it that the door needs."""
    found: dict[str, tuple[Session, Knock]] = {}
    for role in ("whip", "whep", "call"):
        first, back, trickling = [await live.session() for _ in range(3)]
        joined = await live.post(back, role), await live.post(trickling, role)
        assert [answer.status for answer in joined] == [201, 201]
        where = joined[1].headers["Location"]
        found[f"{role} joins"] = first, lambda s=first, r=role: live.post(s, r)
        if role != "whip":  # a second feeder is refused in any case
            found[f"{role} comes back"] = back, lambda s=back, r=role: live.post(s, r)
        found[f"{role} trickles"] = trickling, lambda s=trickling, w=where: live.patch(s, w)
    taped = await live.session()
    tape = path(taped, "recording")
    found["recording"] = taped, lambda: live.http.post(tape, headers=bearer(taped))
    return found


DOORS = 9


async def test_with_consent_every_door_of_a_running_session_opens(live: Live) -> None:
    opened = await doors(live)
    assert len(opened) == DOORS
    for name, (_, knock) in opened.items():
        answer = await knock()
        assert answer.status in (201, 204), (name, await answer.text())


ENDS = {"registry closed": (503, "registry_unavailable")}


@pytest.mark.parametrize("lost", LOST)
async def test_without_it_no_door_opens_and_the_session_ends(
    live: Live, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AskingStream, "asks", False)  # only the door itself is left to ask
    opened = await doors(live)
    participants = {name: list(session.participants) for name, (session, _) in opened.items()}
    LOST[lost](live)
    for name, (session, knock) in opened.items():
        answer = await knock()
        status, code = ENDS.get(lost, (403, "consent_revoked"))
        assert answer.status == status, (name, await answer.text())
        await session.end("the test waits for its end")
        assert session.ended_because[0] == code, name
        assert set(session.participants) <= set(participants[name])
    assert not any(session in live.manager.sessions for session, _ in opened.values())


# -- data channel --------------------------------------------------------------------------------

ORDERS: dict[str, dict[str, object]] = {
    "prompt": {"type": "prompt", "text": "wave"},
    "interrupt": {"type": "interrupt"},
    "mute": {"type": "mute", "muted": False},
}


async def _connected(live: Live) -> tuple[Caller, Session]:
    session, caller = await live.session(), Caller()
    caller.speak()
    caller.watch()
    caller.open_channel()
    answer = await caller.post(live.http, path(session, "call"), session.token)
    assert answer.status == 201
    return caller, session


@pytest.mark.parametrize("lost", LOST)
async def test_an_order_on_the_data_channel_makes_no_frame(live: Live, lost: str) -> None:
    calls = {order: await _connected(live) for order in ORDERS}
    for caller, _ in calls.values():
        await caller.event("ready")
    LOST[lost](live)
    streams = {order: session.stream for order, (_, session) in calls.items()}
    _, code = ENDS.get(lost, (403, "consent_revoked"))
    before = {order: stream.made for order, stream in streams.items()}
    for order, (caller, session) in calls.items():
        if caller.channel.readyState == "open":
            caller.send(**ORDERS[order])
        await caller.event("error", code=code)
        await session.end("the test waits for its end")
        assert streams[order].made - before[order] <= 2, "no more than the step that was under way"
        await caller.close()
    assert not live.manager.sessions


def test_how_many_combinations_of_live_doors_there_are(
    record_property: Callable[[str, object], None],
) -> None:
    combinations = (DOORS + len(ORDERS)) * len(LOST)
    record_property("combinations", combinations)
    assert combinations == 108
