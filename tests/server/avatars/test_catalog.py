"""Avatars made ready: those called last are kept, and no more than may be."""

from __future__ import annotations

import logging

import pytest

from server.avatars.catalog import Avatars, Card
from server.errors import ConsentRequired
from tests.fakes_server import FakeAvatar, FakeGrant, FakeSource


class Crowd(FakeSource):
    """Four people; counts how often each is made ready."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def cards(self) -> list[Card]:
        return [Card(name, name, "", b"", "image/png") for name in "abcd"]

    def enrol(self, avatar: str, grant: object, size: tuple[int, int] | None = None) -> FakeAvatar:
        self.made.append(avatar)
        return super().enrol(avatar, grant, size)


async def test_those_called_last_stay_ready_and_no_more_than_may_be() -> None:
    crowd = Crowd()
    avatars = Avatars(crowd, ready=2)
    await avatars.load()
    for name in ("a", "b", "a", "c", "a", "b"):
        ready, grant = await avatars.open(name)
        assert ready == FakeAvatar(name) and grant == FakeGrant(name)
    assert crowd.made == ["a", "b", "c", "b"], "b was called before a when c came"


async def test_who_is_prepared_is_not_made_ready_again_by_the_first_call() -> None:
    crowd = Crowd()
    avatars = Avatars(crowd, ready=3)
    await avatars.load()
    await avatars.prepare("abcd")
    assert sorted(crowd.made) == ["a", "b", "c"], "as many as are kept"
    await avatars.open("b")
    assert len(crowd.made) == 3


async def test_who_may_not_be_prepared_is_logged_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crowd = Crowd()
    crowd.refusal = ConsentRequired("Consent was revoked.")
    avatars = Avatars(crowd)
    await avatars.load()
    with caplog.at_level(logging.WARNING):
        await avatars.prepare(["a"])
    assert "avatar a is not ready: Consent was revoked." in caplog.text and not crowd.made


async def test_each_size_is_made_ready_once_and_all_go_when_an_avatar_changes() -> None:
    crowd = Crowd()
    avatars = Avatars(crowd)
    await avatars.load()
    for size in (None, (576, 1024), None, (576, 1024)):
        ready, _ = await avatars.open("a", size=size)
        assert ready.size == (size or (256, 256))
    assert crowd.made == ["a", "a"]
    crowd.cards = lambda: [Card("a", "another", "", b"", "image/png")]
    await avatars.load()
    for size in (None, (576, 1024)):
        await avatars.open("a", size=size)
    assert crowd.made == ["a"] * 4
