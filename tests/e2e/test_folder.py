"""The page behind a folder of a reverse proxy, in a real Chromium."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.test_browser_call import (  # noqa: F401
    MIRROR,
    WATCHED,
    browser,
    button,
    chromium,
    opened,
    until,
    voice,
)
from tests.server.folder_proxy import folder

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
PEOPLE = "[...document.querySelectorAll('#people img')]"


def test_a_person_calls_from_the_folder_of_a_proxy(browser: Any, fake_server: str) -> None:  # noqa: F811
    asked: list[str] = []
    with folder(fake_server) as url, opened(browser, "about:blank") as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url + MIRROR[1:])
        until(page, f"{PEOPLE}.length >= 2 && {PEOPLE}.every((img) => img.naturalWidth > 0)")
        button(page, "Call Mira").click()
        until(page, f"{WATCHED} > 20")
        button(page, "Hang up").click()
        until(page, "states.at(-1) === 'ended'")
        assert not page.errors
    assert any("/v1/sessions/" in address for address in asked), "its session was asked for"
    assert all(address.startswith((url, "blob:", "data:")) for address in asked)
