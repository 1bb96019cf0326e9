"""Finished recordings in every state of consent: fetched while it holds, deleted whatever it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline.consent import Scope
from pipeline.media.provenance import read_manifest
from server.api.app import STORE
from server.api.middleware import RECORDINGS, SETTINGS
from server.errors import ConsentRequired, RegistryDown
from server.recordings.provenance import RecordingProvenance
from server.recordings.recorder import PARTIAL, Recorder, finish
from server.recordings.store import Card
from tests.pipeline.consent.test_live_entry_points import LOST, RECORD, Live, live
from tests.server.recordings.test_recorder import feed

__all__ = ["live"]  # a fixture
CONTENT = b"as if it were a film" * 100
OF_SESSIONS = ("grant too old", "grant changed")  # a finished recording has no grant any more
ENDS = {name: how for name, how in LOST.items() if name not in OF_SESSIONS}


def marking_of(live: Live) -> RecordingProvenance:
    app: Any = live.http.app
    return RecordingProvenance(app[SETTINGS], live.manager._model, live.registry)


async def taped(live: Live) -> Card:
    """A finished recording of Ada, admitted by the real gate."""
    app: Any = live.http.app
    app[RECORDINGS].provenance = marking = marking_of(live)
    session = await live.session()
    card = Card.new(session.id, "", marking.admit(session.stream, session.id))
    await session.end("the test has what it needs")
    write(live, card)
    return card


def write(live: Live, card: Card) -> None:
    app: Any = live.http.app
    app[STORE].put(card)
    app[STORE].final(card.id).write_bytes(CONTENT)


@pytest_asyncio.fixture
async def card(live: Live) -> Card:
    return await taped(live)


def told(live: Live, action: str) -> list[dict[str, Any]]:
    found = [entry for entry in live.registry.log.entries() if entry.action == action]
    return [entry.describe() for entry in found]


REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "fetch": ("GET", "/file", {}),
    "fetch a part": ("GET", "/file", {"Range": "bytes=0-9"}),
    "ask for its size": ("HEAD", "/file", {}),
}


async def test_with_consent_it_is_fetched_and_the_audit_log_says_by_whom(
    live: Live, card: Card
) -> None:
    for request, (method, path, headers) in REQUESTS.items():
        url = f"/v1/recordings/{card.id}{path}"
        answer = await live.http.request(method, url, headers=headers)
        assert answer.status in (200, 206), request
        assert (await answer.read()) in (CONTENT, CONTENT[:10], b"")
    entries = told(live, "recording.fetched")
    assert len(entries) == len(REQUESTS)
    for entry in entries:
        assert (entry["actor"], entry["avatar"], entry["consent_id"]) == ("local", "tomo", RECORD)
        assert entry["detail"] == {"recording": card.id}


@pytest.mark.parametrize("lost", ENDS)
@pytest.mark.parametrize("request_", REQUESTS)
async def test_without_it_nothing_is_fetched(
    live: Live, card: Card, lost: str, request_: str
) -> None:
    ENDS[lost](live)
    method, path, headers = REQUESTS[request_]
    answer = await live.http.request(method, f"/v1/recordings/{card.id}{path}", headers=headers)
    assert answer.status == (503 if lost == "registry closed" else 403)
    assert CONTENT[:10] not in await answer.read()
    if lost != "registry closed":
        assert told(live, "recording.fetched") == []
        refused = told(live, "grant.refused")[-1]
        assert (refused["actor"], refused["session"]) == ("local", card.id)


@pytest.mark.parametrize("lost", ENDS)
async def test_it_is_deleted_whatever_became_of_consent(live: Live, card: Card, lost: str) -> None:
    ENDS[lost](live)
    answer = await live.http.delete(f"/v1/recordings/{card.id}")
    app: Any = live.http.app
    if lost == "registry closed":  # nobody could say afterwards that it was there
        assert answer.status == 503 and app[STORE].final(card.id).exists()
        return
    assert answer.status == 204 and not app[STORE].final(card.id).exists()
    (entry,) = told(live, "recording.deleted")
    assert entry["detail"] == {"recording": card.id} and entry["consent_id"] == RECORD


FORGED: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "no record": lambda origin: origin | {"consent_id": "c-none"},
    "no record named": lambda origin: origin | {"consent_id": ""},
    "other picture": lambda origin: origin | {"image_sha256": "ab" * 32},
    "nothing known": lambda origin: {},
}


@pytest.mark.parametrize("forged", FORGED)
async def test_a_card_that_is_not_true_opens_nothing(live: Live, card: Card, forged: str) -> None:
    write(live, replace(card, origin=FORGED[forged](card.origin)))
    answer = await live.http.get(f"/v1/recordings/{card.id}/file")
    assert answer.status == 403, json.dumps(await answer.json())


async def test_a_record_for_live_use_alone_lends_no_recording(live: Live, card: Card) -> None:
    held = live.registry.get(RECORD)
    only = replace(held, id="c-live", scopes=frozenset({Scope.LIVE}))
    live.registry.add(only)
    write(live, replace(card, origin=card.origin | {"consent_id": "c-live"}))
    answer = await live.http.get(f"/v1/recordings/{card.id}/file")
    assert answer.status == 403 and (await answer.json())["code"] == "consent_scope"


@pytest.mark.parametrize("lost", ENDS)
async def test_no_recording_begins_without_consent_to_it(live: Live, lost: str) -> None:
    marking, session = marking_of(live), await live.session()
    ENDS[lost](live)
    with pytest.raises((ConsentRequired, RegistryDown)):
        await asyncio.to_thread(marking.admit, session.stream, session.id)


async def test_each_recording_that_begins_has_a_grant_of_its_own(live: Live, card: Card) -> None:
    (granted,) = [e for e in told(live, "grant.issued") if e["actor"] == "recording"]
    assert granted["detail"]["scope"] == "recording" and granted["session"] == card.session


async def test_a_finished_recording_is_signed_and_says_how_it_came_to_be(
    live: Live, tmp_path: Path
) -> None:
    marking, session = marking_of(live), await live.session()
    origin = marking.admit(session.stream, session.id)
    recorder = Recorder(tmp_path / f"a{PARTIAL}", origin)
    feed(recorder, 0.5)
    await asyncio.to_thread(recorder.close)
    film = await asyncio.to_thread(finish, recorder.path, marking.seal)
    assert film == tmp_path / "a.mp4"
    manifest = read_manifest(film)
    assert manifest is not None and origin["consent_sha256"] in json.dumps(manifest)


def test_how_many_combinations_of_recordings_there_are(
    record_property: Callable[[str, object], None],
) -> None:
    combinations = (len(REQUESTS) + 1) * len(ENDS) + len(FORGED) + 1
    record_property("combinations", combinations)
    assert combinations == 33
