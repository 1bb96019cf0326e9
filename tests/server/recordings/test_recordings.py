"""Recordings after their session: one server a folder, and a door for those whose they are."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestServer

from server.api.app import STORE, build
from server.auth.keys import KeyRole, KeyStore
from server.errors import ConsentRequired, RegistryDown, UnknownRecording
from server.recordings.recorder import Recorder
from server.recordings.recordings import Recordings
from server.recordings.store import LOCK, Card, RecordingStore, StoreTaken
from server.sessions.session_manager import SessionManager
from server.settings import Settings, SettingsError
from tests.server.caller import calling, voice
from tests.server.conftest import Served
from tests.server.recordings.test_recorder import (
    ORIGIN,
    ROOT,
    FakeProvenance,
    feed,
    played,
    provenance,
    recording,
    settings,
)

__all__ = ["provenance", "recording", "settings"]  # fixtures
CONTENT = bytes(range(256)) * 40
HELD = """
import sys, time
from server.recordings.store import RecordingStore
RecordingStore(sys.argv[1]).claim()
print("held", flush=True)
time.sleep(600)
"""


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **more}


async def kind(response: ClientResponse) -> str:
    body = await response.json(content_type="application/problem+json")
    assert body["status"] == response.status and body["detail"]
    return str(body["type"]).rsplit("/", 1)[-1]


def shelf_of(served: Served) -> RecordingStore:
    assert served.http.app is not None
    store = served.http.app[STORE]
    assert store is not None
    return store


def finished(served: Served, owner: str = "", session: str = "s-1") -> Card:
    """A recording as a session leaves it."""
    card = Card.new(session, owner, ORIGIN)
    shelf_of(served).put(card)
    shelf_of(served).final(card.id).write_bytes(CONTENT)
    return card


# -- one server a folder -----------------------------------------------------------------------


def test_a_folder_is_held_by_one_server_and_the_other_is_told_what_to_do(tmp_path: Path) -> None:
    one, other = RecordingStore(tmp_path / "tapes"), RecordingStore(tmp_path / "tapes")
    one.claim()
    with pytest.raises(StoreTaken) as refusal:
        other.claim()
    for words in (str(tmp_path / "tapes"), f"process {os.getpid()} on", "folder of its own"):
        assert words in str(refusal.value)
    one.release()
    other.claim()
    other.release()


def test_who_is_killed_lets_go_of_the_folder(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    store = RecordingStore(tmp_path)
    with pytest.raises(StoreTaken, match=f"process {process.pid}"):
        store.claim()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store.claim()
    store.release()


async def test_a_second_server_does_not_start_and_what_is_recorded_stays(
    recording: Served, settings: Settings
) -> None:
    opened: list[Settings] = []

    async def open_server(settings: Settings) -> SessionManager:
        opened.append(settings)
        raise AssertionError("no model is loaded for a server that cannot start")

    recorder = Recorder(shelf_of(recording).partial("x"), ORIGIN)
    feed(recorder, 1.0)
    keys = str(Path(settings.keys).with_name("others.sqlite"))
    second = TestServer(build(dataclasses.replace(settings, keys=keys), open_server))
    with pytest.raises(SettingsError, match=r"recordings: .*recordings is in use"):
        await second.start_server()
    await second.close()
    assert opened == []
    await asyncio.to_thread(recorder.close)
    assert played(recorder.path)[0] == 25


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path / "tapes")
    store.claim()
    flags = {"port": 0, "keys": tmp_path / "k", "registry": tmp_path / "c.sqlite"}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "run_server.py", *argv, "--recordings", str(store.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    store.release()
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"run_server: recordings: {store.folder} is in use")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.sqlite").exists()


@pytest.mark.parametrize("blocked", ["a file", "a folder in a file"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, blocked: str) -> None:
    (tmp_path / "tapes").write_text("no folder")
    folder = tmp_path / "tapes" / ("below" if "in" in blocked else "")
    with pytest.raises(StoreTaken, match=r"tapes.* cannot be used"):
        RecordingStore(folder).claim()


async def test_what_a_crash_left_is_finished_and_stays_its_owners(tmp_path: Path) -> None:
    store, card = RecordingStore(tmp_path), Card.new("s-1", "k1", ORIGIN)
    store.claim()
    recorder = Recorder(store.put(card), ORIGIN)
    feed(recorder, 1.0)
    await asyncio.to_thread(recorder.close)
    store.put(Card.new("s-2", "k1", ORIGIN))  # killed before its first picture
    (tmp_path / ".x.json.tmp").write_text("half a card")
    store.release()

    later = RecordingStore(tmp_path)
    later.claim()
    recordings = Recordings(later, FakeProvenance())
    assert recordings.about(card)["state"] == "finishing"
    await recordings.recover()
    assert recordings.cards() == [card] and recordings.about(card)["state"] == "finished"
    assert set(os.listdir(tmp_path)) == {LOCK, f"{card.id}.json", f"{card.id}.mp4"}
    later.release()


# -- who may have them -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Ring:
    """Keys that the server finds when it starts: their ids and texts."""

    ids: dict[str, str]
    texts: dict[str, str]


@pytest.fixture
def ring(settings: Settings) -> Ring:
    store = KeyStore(Path(settings.keys))
    roles = {"shop": KeyRole.APPLICATION, "rival": KeyRole.APPLICATION}
    roles |= {"ops": KeyRole.OPERATOR, "watch": KeyRole.MONITOR}
    made = {name: store.create(name, role) for name, role in roles.items()}
    store.close()
    return Ring({n: key.id for n, (key, _) in made.items()}, {n: t for n, (_, t) in made.items()})


@pytest.fixture
def locked(ring: Ring, recording: Served) -> Served:
    """A server with keys; ``ring`` comes first, or it would start without."""
    return recording


async def test_the_key_of_the_session_and_operators_have_it_and_nobody_else(
    locked: Served, ring: Ring, provenance: FakeProvenance
) -> None:
    card = finished(locked, ring.ids["shop"])
    finished(locked, "", "s-2")  # of nobody's key
    for name, listed in {"shop": 1, "rival": 0, "ops": 2}.items():
        answer = await locked.http.get("/v1/recordings", headers=bearer(ring.texts[name]))
        assert len((await answer.json())["recordings"]) == listed, name
    url, statuses = f"/v1/recordings/{card.id}", {"shop": 200, "rival": 404, "ops": 200}
    for name, status in (statuses | {"watch": 403}).items():
        for path in (url, f"{url}/file"):
            answer = await locked.http.get(path, headers=bearer(ring.texts[name]))
            assert answer.status == status, (name, path)
    for name, status in {"watch": 403, "rival": 404}.items():
        gone = await locked.http.delete(url, headers=bearer(ring.texts[name]))
        assert gone.status == status
    assert [actor for _, _, actor in provenance.told] == [
        f"key {ring.ids['shop']}",
        f"key {ring.ids['ops']}",
    ]
    assert (await locked.http.delete(url, headers=bearer(ring.texts["shop"]))).status == 204
    assert provenance.told[-1] == ("deleted", card.id, f"key {ring.ids['shop']}")


async def test_neither_end_users_nor_strangers_have_it(locked: Served, ring: Ring) -> None:
    card = finished(locked, ring.ids["shop"])
    shop, origin = bearer(ring.texts["shop"]), "https://shop.example"
    made = await locked.http.post("/v1/tokens", json={"origin": origin}, headers=shop)
    user = bearer((await made.json())["token"], Origin=origin)
    session = await (
        await locked.http.post("/v1/sessions", json={"avatar": "mira"}, headers=shop)
    ).json()
    for headers, status in ((user, 403), (bearer(session["token"]), 401), ({}, 401)):
        for path in ("", f"/{card.id}", f"/{card.id}/file"):
            answer = await locked.http.get(f"/v1/recordings{path}", headers=headers)
            assert answer.status == status, (path, headers)
        gone = await locked.http.delete(f"/v1/recordings/{card.id}", headers=headers)
        assert gone.status == status
    assert shelf_of(locked).final(card.id).exists()


async def test_a_recording_is_of_the_key_whose_session_it_is(locked: Served, ring: Ring) -> None:
    shop = bearer(ring.texts["shop"])
    made = await (
        await locked.http.post("/v1/sessions", json={"avatar": "mira"}, headers=shop)
    ).json()
    path = f"/v1/sessions/{made['id']}/recording"
    begun = await (await locked.http.post(path, headers=bearer(made["token"]))).json()
    (listed,) = (await (await locked.http.get("/v1/recordings", headers=shop)).json())["recordings"]
    assert (listed["id"], listed["session"]) == (begun["id"], made["id"])
    assert (listed["state"], listed["avatar"]) == ("recording", "mira")
    other = await locked.http.get("/v1/recordings", headers=bearer(ring.texts["rival"]))
    assert (await other.json())["recordings"] == []


# -- the door ----------------------------------------------------------------------------------


async def test_what_was_recorded_is_fetched_played_and_deleted(
    recording: Served, provenance: FakeProvenance, tmp_path: Path
) -> None:
    async with calling(recording.http, speak=voice) as caller:
        path = f"{caller.session}/recording"
        begun = await (await recording.http.post(path, headers=caller.auth)).json()
        url = f"/v1/recordings/{begun['id']}"
        early = await recording.http.get(f"{url}/file")
        assert early.status == 409 and await kind(early) == "recording-state"
        assert (await recording.http.delete(url)).status == 409
        await caller.until(lambda: len(caller.pictures) > 30)
        ended = await (await recording.http.delete(path, headers=caller.auth)).json()
    about = await (await recording.http.get(url)).json()
    assert about["state"] == "finished" and about["bytes"] == ended["bytes"]
    file = await recording.http.get(about["file"])
    assert file.status == 200 and file.content_type == "video/mp4"
    assert file.headers["Content-Disposition"] == f'attachment; filename="{about["id"]}.mp4"'
    (tmp_path / "fetched.mp4").write_bytes(await file.read())
    assert played(tmp_path / "fetched.mp4")[0] == ended["pictures"]
    assert provenance.told == [("fetched", about["id"], "local")]
    assert (await recording.http.delete(url)).status == 204
    for again in (recording.http.get(url), recording.http.get(f"{url}/file")):
        assert await kind(await again) == "unknown-recording"
    assert {path.name for path in shelf_of(recording).folder.iterdir()} == {LOCK}


async def test_a_part_of_a_file_can_be_asked_for(
    recording: Served, provenance: FakeProvenance
) -> None:
    url = f"/v1/recordings/{finished(recording).id}/file"
    part = await recording.http.get(url, headers={"Range": "bytes=100-299"})
    assert part.status == 206 and await part.read() == CONTENT[100:300]
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(CONTENT)}"
    beyond = await recording.http.get(url, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert beyond.status == 416
    head = await recording.http.head(url)
    assert head.status == 200 and int(head.headers["Content-Length"]) == len(CONTENT)
    assert len(provenance.told) == 3, "whoever asks for a part is in the audit log, too"


async def test_a_browser_keeps_no_copy_and_takes_it_for_no_page(recording: Served) -> None:
    file = await recording.http.get(f"/v1/recordings/{finished(recording).id}/file")
    assert file.headers["Cache-Control"] == "private, no-store"
    assert "script-src" not in file.headers["Content-Security-Policy"]
    assert file.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_without_its_signature_is_not_handed_out(
    recording: Served, provenance: FakeProvenance
) -> None:
    card = finished(recording)
    store = shelf_of(recording)
    store.final(card.id).rename(store.partial(card.id))
    refused = await recording.http.get(f"/v1/recordings/{card.id}/file")
    body = await refused.json(content_type="application/problem+json")
    assert (refused.status, body["state"]) == (409, "unsigned") and provenance.told == []
    assert (await recording.http.delete(f"/v1/recordings/{card.id}")).status == 204


async def test_without_consent_it_is_not_fetched_but_deleted(
    recording: Served, provenance: FakeProvenance
) -> None:
    url = f"/v1/recordings/{finished(recording).id}"
    provenance.refusal = ConsentRequired("revoked", code="consent_revoked")
    refused = await recording.http.get(f"{url}/file")
    assert refused.status == 403 and await kind(refused) == "consent-required"
    assert (await recording.http.delete(url)).status == 204


async def test_what_cannot_be_audited_is_not_deleted(
    recording: Served, provenance: FakeProvenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RegistryDown("the audit log cannot be written")

    monkeypatch.setattr(FakeProvenance, "deleted", refuse)
    card = finished(recording)
    assert (await recording.http.delete(f"/v1/recordings/{card.id}")).status == 503
    assert shelf_of(recording).final(card.id).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "name", ["x", "..", "%2e%2e", "..%2f..%2fkeys", "20261122T000000Z-0123456789ab", ".lock"]
)
async def test_a_name_that_is_none_is_no_way_into_the_folder(recording: Served, name: str) -> None:
    (shelf_of(recording).folder.parent / "keys.json").write_text("{}")
    for path in (f"/v1/recordings/{name}", f"/v1/recordings/{name}/file"):
        assert (await recording.http.get(path)).status == 404
    assert (await recording.http.delete(f"/v1/recordings/{name}")).status in (404, 405)


async def test_a_list_is_as_long_as_asked_newest_first(recording: Served) -> None:
    cards = [finished(recording, session=f"s-{n}") for n in range(5)]
    (shelf_of(recording).folder / f"{cards[0].id}.json").write_text("no card")

    async def listed(query: str) -> list[str]:
        answer = await recording.http.get(f"/v1/recordings?{query}")
        assert answer.status == 200
        return [found["session"] for found in (await answer.json())["recordings"]]

    names = sorted((card.id for card in cards[1:]), reverse=True)
    sessions = {card.id: card.session for card in cards}
    assert await listed("") == [sessions[name] for name in names]
    assert await listed("limit=2") == [sessions[name] for name in names[:2]]
    assert await listed("session=s-3") == ["s-3"]
    for limit in ("0", "-1", "x", "1001", "9" * 5000, "²"):
        assert (await recording.http.get(f"/v1/recordings?limit={limit}")).status == 400


async def test_a_disk_that_takes_no_card_is_told_and_nothing_is_recorded(
    recording: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RecordingStore, card: Card) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordingStore, "put", full)
    made = await (await recording.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    path, auth = f"/v1/sessions/{made['id']}/recording", bearer(made["token"])
    for _ in range(2):
        refused = await recording.http.post(path, headers=auth)
        assert refused.status == 503 and await kind(refused) == "unavailable"
    assert recording.manager.sessions[0].media_sender.taps == set()


def test_a_server_without_a_folder_has_none() -> None:
    recordings = Recordings(None, None)
    assert recordings.cards() == []
    with pytest.raises(UnknownRecording, match="no recordings"):
        recordings.card("20261122T000000Z-0123456789ab")


async def test_a_session_that_showed_nothing_leaves_nothing(
    recording: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "picture", lambda *_: None)
    made = await (await recording.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    path, auth = f"/v1/sessions/{made['id']}/recording", bearer(made["token"])
    begun = await (await recording.http.post(path, headers=auth)).json()
    ended = await (await recording.http.delete(path, headers=auth)).json()
    assert (ended["state"], ended["file"], ended["bytes"]) == ("empty", None, 0)
    assert (await recording.http.get(f"/v1/recordings/{begun['id']}")).status == 404
    assert [path.name for path in shelf_of(recording).folder.iterdir()] == [LOCK]
