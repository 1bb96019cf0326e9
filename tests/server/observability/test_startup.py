"""What is said while a server starts."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from server.observability import startup
from server.observability.startup import Start
from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.conftest import serving


def starting() -> Any:
    """What ``Start`` sees of a session manager."""
    return SimpleNamespace(settled=asyncio.Event(), problem=None, stage="preparing avatars")


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_url_is_announced_when_calls_are_admitted_and_not_before() -> None:
    said: list[str] = []
    manager = starting()
    async with Start(said.append) as start:
        start.listens(manager, "http://localhost:1/")
        await turns()
        assert said == []
        manager.settled.set()
        await turns()
    assert said == ["http://localhost:1/"]


async def test_where_warm_up_failed_the_log_says_so_and_no_url_is_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []
    manager = starting()
    manager.problem = "RuntimeError: no memory"
    async with Start(said.append) as start:
        manager.settled.set()
        start.listens(manager, "http://localhost:1/")
        await turns()
    assert said == [] and "no calls are admitted: RuntimeError: no memory" in caplog.text


async def test_a_start_that_takes_long_says_what_it_is_at(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "EVERY_S", 0)
    with caplog.at_level(logging.INFO):
        async with Start(lambda url: None) as start:
            await turns()
            assert "starting, 0 s: loading the model" in caplog.text
            start.listens(starting(), "http://localhost:1/")
            await turns()
            assert "starting, 0 s: preparing avatars" in caplog.text


class Counting(FakeSource):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def enrol(self, avatar: str, grant: object, size: tuple[int, int] | None = None) -> Any:
        self.made.append(avatar)
        return super().enrol(avatar, grant, size)


@pytest.mark.parametrize(
    ("warm", "expected"), [("default", ["mira"]), ("bundled", ["mira", "tomo"])]
)
async def test_avatars_are_prepared_before_the_server_is_ready(
    settings: Settings, warm: str, expected: list[str]
) -> None:
    source = Counting()
    async with serving(replace(settings, avatars_warm=warm), FakePipeline(), source):
        assert source.made == expected
