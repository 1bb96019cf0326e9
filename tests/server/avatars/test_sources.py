"""Enrolled avatars in a running server: from HTTP and from the shell, to their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry, RegistryOverrides
from pipeline.errors import RegistryUnavailable
from pipeline.media.image_file import Bounds
from server.api.app import build
from server.avatars.catalog import Avatars
from server.avatars.enrolment import OwnPictures
from server.avatars.sources import AvatarSources
from server.cli.command import main
from server.consent.monitor import ConsentMonitor
from server.sessions.options import Options
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes import FACE
from tests.fakes_server import FakeAvatar, FakePipeline, FakeSource
from tests.pipeline.consent.conftest import photo, png
from tests.server.caller import calling, tone

PICTURE, OTHER = png(photo(1, 200)), png(photo(2, 200))
LANDMARKS = json.dumps({"width": 200, "height": 200, "points": FACE}).encode()
ONE = {"subject": "Ada Example", "kind": "self", "statement": "I agree.", "adult": True}


class Enroller(FakePipeline):
    """Enrols what the grant allows; remembers with which points."""

    def enrol(self, picture: Any, grant: Any, *, landmarks: Any, size: object = None) -> FakeAvatar:
        grant.check(image_sha256=picture.sha256)
        self.points = landmarks
        return FakeAvatar(grant.avatar)


@dataclass
class Office:
    http: TestClient[Any, Any]
    manager: SessionManager
    registry: Registry
    pipeline: Enroller

    async def consent(self, picture: bytes = PICTURE, **changes: object) -> str:
        form = aiohttp.FormData({"record": json.dumps(ONE | changes)})
        form.add_field("picture", picture, filename="picture")
        made = await self.http.post("/v1/consents", data=form)
        assert made.status == 201
        return str((await made.json())["id"])

    async def enrol(self, consent: str, **fields: str | bytes) -> tuple[int, Any]:
        form = aiohttp.FormData({"consent": consent})
        for name, value in ({"picture": PICTURE, "landmarks": LANDMARKS} | fields).items():
            named = {} if isinstance(value, str) else {"filename": name}
            form.add_field(name, value, **named)
        response = await self.http.post("/v1/avatars", data=form)
        return response.status, await response.json(content_type=None)

    async def listed(self) -> list[str]:
        cards = (await (await self.http.get("/v1/avatars")).json())["avatars"]
        return [card["id"] for card in cards]

    def entries(self, action: str) -> list[tuple[str, str]]:
        return [(e.actor, e.avatar) for e in self.registry.log.entries() if e.action == action]


Serve = Callable[..., AbstractAsyncContextManager[Office]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def serve(folder: Path) -> Serve:
    """A server of the folder's registry; a second one is a restart, or another machine."""

    @asynccontextmanager
    async def running(retention_s: float = 0.0, most: int | None = None) -> AsyncIterator[Office]:
        registry = Registry(folder / "r.sqlite", setup=RegistryOverrides(retention_s=retention_s))
        pipeline, managers = Enroller(), list[SessionManager]()

        async def open_server(settings: Settings) -> SessionManager:
            catalog = AvatarCatalog(ConsentGate(registry), Bounds())
            sources = AvatarSources(FakeSource(), pipeline, catalog)
            avatars = Avatars(sources, OwnPictures(catalog, Bounds(), most))
            managers.append(SessionManager(settings, pipeline, avatars, ConsentMonitor(registry)))
            return managers[0]

        keys = str(folder / "keys.sqlite")
        settings = Settings(slots=3, grace_s=30.0, drain_s=0.5, keys=keys)
        client = TestClient(TestServer(build(settings, open_server)))
        await client.start_server()
        await asyncio.wait_for(managers[0].settled.wait(), 30)
        try:
            yield Office(client, managers[0], registry, pipeline)
        finally:
            await client.close()

    return running


async def until(holds: Callable[[], bool]) -> None:
    """Waits up to 10 s for what another task or thread is about to do."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to pass")


async def test_an_enrolled_picture_outlives_the_server(serve: Serve) -> None:
    async with serve() as office:
        consent = await office.consent()
        status, card = await office.enrol(consent, name="Ada", id="ada")
        assert status == 201 and (card["id"], card["name"]) == ("ada", "Ada")
        assert office.entries("avatar.enrolled") == [("local", "ada")]
    async with serve() as office:
        assert await office.listed() == ["mira", "tomo", "ada"]
        shown = await office.http.get("/v1/avatars/ada/picture")
        assert (await shown.read(), shown.content_type) == (PICTURE, "image/png")
        session = await office.manager.create(Options("ada"))
        assert session.grant.consent_id == consent and office.pipeline.points["chin"]


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_the_picture_lies_encrypted(serve: Serve, folder: Path) -> None:
    async with serve() as office:
        await office.enrol(await office.consent())
        assert len(office.registry.vault.names()) == 2
        assert not any(PICTURE[50:100] in content for content in contents(folder))


async def test_the_same_picture_is_the_same_avatar_with_its_new_points(serve: Serve) -> None:
    async with serve() as office:
        consent = await office.consent()
        _, first = await office.enrol(consent)
        await office.manager.create(Options(first["id"]))
        points = FACE | {"chin": [100.0, 170.0]}
        corrected = json.dumps({"width": 200, "height": 200, "points": points}).encode()
        status, second = await office.enrol(consent, landmarks=corrected, name="Ada")
        assert status == 201 and second["id"] == first["id"] and second["name"] == "Ada"
        assert await office.listed() == ["mira", "tomo", first["id"]]
        assert len(office.registry.vault.names()) == 2
        await office.manager.create(Options(first["id"]))
        assert office.pipeline.points["chin"] == (100.0, 170.0)


@pytest.mark.parametrize("name", ["mira", "Ada!", "../x", "a" * 41, "taken"])
async def test_a_name_that_is_taken_or_none_is_refused(serve: Serve, name: str) -> None:
    async with serve() as office:
        await office.enrol(await office.consent(), id="taken")
        consent = await office.consent(OTHER, subject="Bo Example")
        status, problem = await office.enrol(consent, picture=OTHER, id=name)
        assert status == 422 and problem["type"] == "/problems/avatar-refused"
        assert problem["code"] == "avatar_name_invalid"
        assert await office.listed() == ["mira", "tomo", "taken"]


async def test_nothing_is_kept_of_a_picture_without_consent_or_points(serve: Serve) -> None:
    async with serve() as office:
        consent = await office.consent()
        recording = await office.consent(scopes=["recording"], statement="For a film.")
        for given in ("", "c-none", recording):
            status, problem = await office.enrol(given)
            assert (status, problem["type"]) == (403, "/problems/consent-required")
        assert (await office.enrol(consent, picture=OTHER))[0] == 403
        status, problem = await office.enrol(consent, landmarks=b"{}")
        assert (status, problem["code"]) == (422, "landmarks_invalid")
        assert await office.listed() == ["mira", "tomo"]
        assert office.registry.vault.names() == set()


async def test_removing_an_avatar_ends_its_sessions_and_erases_its_picture(serve: Serve) -> None:
    async with serve() as office:
        await office.enrol(await office.consent(), id="ada")
        hers, other = [await office.manager.create(Options(name)) for name in ("ada", "mira")]
        told: list[str] = []
        hers.tell = told.append
        gone = await office.http.delete("/v1/avatars/ada")
        assert gone.status == 204 and await gone.read() == b""
        assert await office.listed() == ["mira", "tomo"]
        assert office.registry.vault.names() == set()
        assert office.entries("avatar.removed") == [("local", "ada")]
        await until(lambda: office.manager.sessions == [other])
        error = next(m for m in map(json.loads, told) if m["type"] == "error")
        assert error["code"] == "session_ended" and "removed" in error["message"]
        for response in (
            await office.http.delete("/v1/avatars/ada"),
            await office.http.get("/v1/avatars/ada/picture"),
            await office.http.post("/v1/sessions", json={"avatar": "ada"}),
        ):
            assert response.status == 404
            assert (await response.json())["type"] == "/problems/unknown-avatar"


async def test_a_bundled_avatar_cannot_be_removed(serve: Serve) -> None:
    async with serve() as office:
        response = await office.http.delete("/v1/avatars/mira")
        problem = await response.json()
        assert response.status == 409 and problem["type"] == "/problems/avatar-bundled"
        assert "revoke" in problem["detail"] and "mira" in await office.listed()
        assert office.entries("avatar.removed") == []


async def test_what_retention_keeps_of_a_revoked_avatar_is_not_shown(serve: Serve) -> None:
    async with serve(retention_s=1000.0) as office:
        consent = await office.consent()
        await office.enrol(consent, id="ada")
        session = await office.manager.create(Options("ada"))
        assert (await office.http.delete(f"/v1/consents/{consent}")).status == 200
        await until(lambda: "ada" not in office.manager.avatars)
        await until(lambda: not office.manager.sessions)
        assert session.ended_because[0] == "consent_revoked"
        assert (await office.http.get("/v1/avatars/ada/picture")).status == 404
        assert len(office.registry.vault.names()) == 2


async def test_an_avatar_that_was_enrolled_while_the_server_started_is_listed(
    serve: Serve,
) -> None:
    async with serve() as office:  # the first look at the registry is still to come
        office.registry.enrolments.add(
            "ada", picture=PICTURE, landmarks=LANDMARKS, consent_id="c-1"
        )
        await until(lambda: "ada" in office.manager.avatars)


@pytest.mark.parametrize("damage", ["missing", "altered", "unreadable"])
async def test_an_avatar_whose_picture_cannot_be_read_is_left_out(
    serve: Serve, damage: str
) -> None:
    async with serve() as office:
        add = office.registry.enrolments.add
        ada = add("ada", picture=PICTURE, landmarks=LANDMARKS, consent_id="c-1")
        blob = office.registry.vault.blobs / ada.picture_blob
        content = blob.read_bytes()
        blob.unlink()
        if damage == "altered":
            blob.write_bytes(content[:-1])
        if damage == "unreadable":
            blob.mkdir()
        add("bo", picture=OTHER, landmarks=LANDMARKS, consent_id="c-2")
        await until(lambda: "bo" in office.manager.avatars)
        assert await office.listed() == ["mira", "tomo", "bo"]
        assert (await office.enrol(await office.consent(), id="cy"))[0] == 201


async def test_an_avatar_of_the_shell_is_listed_called_and_removed(
    serve: Serve, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shell(*arguments: object) -> str:
        assert main([*map(str, arguments), "--registry", str(folder / "r.sqlite")]) == 0
        return capsys.readouterr().out.strip()

    (folder / "me.png").write_bytes(PICTURE)
    (folder / "me.landmarks.json").write_bytes(LANDMARKS)
    image = ("--image", folder / "me.png")
    who = ("--subject", "Ada Example", "--kind", "self", "--statement", "yes", "--adult")
    async with serve() as office:
        consent = await asyncio.to_thread(shell, "consent", "add", *image, *who)
        enrol = ("avatar", "add", "ada", *image, "--consent", consent, "--title", "Ada")
        await asyncio.to_thread(shell, *enrol)
        await until(lambda: "ada" in office.manager.avatars)
        assert await office.listed() == ["mira", "tomo", "ada"]
        async with calling(office.http, tone, avatar="ada") as caller:
            await caller.until(lambda: caller.pictures and caller.sounds)
            await asyncio.to_thread(shell, "avatar", "remove", "ada")
            await caller.event("error", code="session_ended")
        await until(lambda: not office.manager.sessions)
        assert await office.listed() == ["mira", "tomo"]


def goes_down(office: Office, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """From the moment at which ``act`` is committed, the registry cannot be read."""
    enrolments, database = office.registry.enrolments, office.registry.database
    real = getattr(enrolments, act)

    @contextmanager
    def down() -> Iterator[None]:
        raise RegistryUnavailable("the disk is gone")
        yield

    def acting(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        monkeypatch.setattr(database, "read", down)
        return done

    monkeypatch.setattr(enrolments, act, acting)


async def test_a_registry_that_fails_after_an_enrolment_is_a_problem_and_not_a_wreck(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as office:
        consent = await office.consent()
        goes_down(office, monkeypatch, "add")
        status, problem = await office.enrol(consent, id="ada")
        assert (status, problem["type"]) == (503, "/problems/registry-down")
        assert problem["retryable"] and problem["code"] == "registry_unavailable"
        assert await office.listed() == ["mira", "tomo"], "who was on offer still is"
        monkeypatch.undo()
        await until(lambda: "ada" in office.manager.avatars)  # the desk looks again by itself
        assert (await office.enrol(consent, id="ada"))[0] == 201, "to ask again does no harm"
        assert len(office.registry.vault.names()) == 2
        assert office.registry.log.verify() > 0


async def test_a_registry_that_fails_after_a_removal_still_ends_the_sessions(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as office:
        await office.enrol(await office.consent(), id="ada")
        await office.manager.create(Options("ada"))
        goes_down(office, monkeypatch, "remove")
        gone = await office.http.delete("/v1/avatars/ada")
        assert gone.status == 503
        assert (await gone.json())["type"] == "/problems/registry-down"
        monkeypatch.undo()
        await until(lambda: not office.manager.sessions and "ada" not in office.manager.avatars)
        assert office.registry.vault.names() == set()
        assert (await office.http.delete("/v1/avatars/ada")).status == 404


async def test_an_export_of_a_registry_that_is_down_is_a_problem(serve: Serve) -> None:
    async with serve() as office:
        office.registry.close()
        for query in ("format=jsonl", "limit=3"):
            response = await office.http.get(f"/v1/audit?{query}")
            assert response.status == 503
            assert (await response.json())["type"] == "/problems/registry-down"


async def test_no_more_are_enrolled_than_may_be(
    serve: Serve, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(most=1) as office:
        consent = await office.consent()
        assert (await office.enrol(consent, id="ada"))[0] == 201
        status, problem = await office.enrol(consent, id="bo")
        assert (status, problem["type"]) == (409, "/problems/avatars-taken")
        assert problem["code"] == "avatars_full" and "1 may be" in problem["detail"]
        assert (await office.enrol(consent, id="ada"))[0] == 201, "anew takes no more room"
        assert len(office.registry.vault.names()) == 2 and office.registry.log.verify() > 0
        (folder / "c.toml").write_text("avatars_max = 1\n")
        (folder / "me.png").write_bytes(PICTURE)
        (folder / "me.landmarks.json").write_bytes(LANDMARKS)
        image = ("--image", str(folder / "me.png"), "--consent", consent)
        manager = ("--config", str(folder / "c.toml"), "--registry", str(folder / "r.sqlite"))
        assert await asyncio.to_thread(main, ["avatar", "add", "cy", *image, *manager]) == 2
        assert "remove one" in capsys.readouterr().err


async def test_pictures_are_read_when_they_are_asked_for(serve: Serve) -> None:
    async with serve() as office:
        await office.enrol(await office.consent(), id="ada")
        held = office.manager.avatars.card("ada").picture
        assert not isinstance(held, bytes) and held() == PICTURE
        (blob,) = (a.picture_blob for a in office.registry.enrolments.all())
        (office.registry.vault.blobs / blob).write_bytes(b"altered")
        shown = await office.http.get("/v1/avatars/ada/picture")
        assert shown.status == 503
        assert (await shown.json())["type"] == "/problems/avatar-unusable"
