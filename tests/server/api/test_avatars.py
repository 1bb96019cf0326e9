"""Pictures of one's own over HTTP: what is taken, what is refused, and that they can be called."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from aiohttp import FormData
from PIL import Image

from server.api import avatars
from server.settings import Settings
from tests.fakes_own import FACE
from tests.server.conftest import Served


def picture(width: int = 200, height: int = 300) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 80, 70)).save(file, "PNG")
    return file.getvalue()


def form(**fields: bytes) -> FormData:
    data = FormData()
    for name, value in fields.items():
        data.add_field(name, value, filename=name, content_type="application/octet-stream")
    return data


LANDMARKS = json.dumps({"points": {"chin": [1, 2]}}).encode()


async def test_a_picture_is_answered_with_its_landmarks(served: Served) -> None:
    response = await served.http.post(
        "/v1/enrolments", data=picture(), headers={"Content-Type": "image/png"}
    )
    body = await response.json()
    assert response.status == 200
    assert (body["width"], body["height"]) == (200, 300) and set(body["points"]) == set(FACE)
    assert body["notes"] == ["hands are cut off or hidden"]


async def test_a_picture_without_a_person_is_a_problem_that_says_so(served: Served) -> None:
    response = await served.http.post(
        "/v1/enrolments", data=picture(300, 200), headers={"Content-Type": "image/png"}
    )
    body = await response.json(content_type="application/problem+json")
    assert response.status == 422 and body["code"] == "person_not_found"
    assert body["type"] == "/problems/picture-refused" and not body["retryable"]


async def test_what_is_no_picture_is_refused_by_its_type(served: Served) -> None:
    response = await served.http.post("/v1/enrolments", data=b"{}")
    assert response.status == 415


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(slots=3, keys=str(tmp_path / "keys.sqlite"), picture_bytes=65_536)


async def test_pictures_and_fields_have_a_limit(served: Served) -> None:
    big = b"\x89PNG" + bytes(70_000)
    response = await served.http.post(
        "/v1/enrolments", data=big, headers={"Content-Type": "image/png"}
    )
    assert response.status == 413
    fields = form(picture=picture(), landmarks=b" " * (avatars.MAX_FIELD + 1))
    assert (await served.http.post("/v1/enrolments/preview", data=fields)).status == 413


async def test_a_preview_needs_picture_and_landmarks(served: Served) -> None:
    response = await served.http.post("/v1/enrolments/preview", data=form(picture=picture()))
    body = await response.json(content_type="application/problem+json")
    assert response.status == 400 and "landmarks" in body["detail"]
    response = await served.http.post("/v1/enrolments/preview", data=form(other=b"x"))
    assert response.status == 400


async def test_a_preview_with_a_record_that_is_not_there_is_refused(served: Served) -> None:
    fields = {"picture": picture(), "landmarks": LANDMARKS}
    response = await served.http.post("/v1/enrolments/preview", data=form(**fields))
    assert response.status == 200 and response.content_type == "image/png"
    response = await served.http.post("/v1/enrolments/preview", data=form(**fields, consent=b"x"))
    assert response.status == 403


async def test_without_consent_nobody_becomes_an_avatar(served: Served) -> None:
    fields = {"picture": picture(), "landmarks": LANDMARKS}
    assert (await served.http.post("/v1/avatars", data=form(**fields))).status == 403
    listed = await (await served.http.get("/v1/avatars")).json()
    assert [card["id"] for card in listed["avatars"]] == ["mira", "tomo"]


async def test_an_enrolled_picture_is_an_avatar_that_can_be_called(served: Served) -> None:
    fields = form(picture=picture(), landmarks=LANDMARKS, consent=b"c-1", name=b"Ada")
    response = await served.http.post("/v1/avatars", data=fields)
    assert response.status == 201 and response.headers["Location"] == "/v1/avatars/own-1"
    assert (await response.json())["name"] == "Ada"
    shown = await served.http.get("/v1/avatars/own-1/picture")
    assert await shown.read() == picture()
    made = await served.http.post("/v1/sessions", json={"avatar": "own-1"})
    assert made.status == 201
