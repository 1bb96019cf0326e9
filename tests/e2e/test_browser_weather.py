"""A call in a real Chromium whose network goes away and comes back, by way of a relay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from benchmarks.relay import Sky, Weather
from tests.e2e.test_browser_call import (
    MIRROR,
    WATCHED,
    browser,
    button,
    chromium,
    opened,
    until,
    voice,
)

__all__ = ["browser", "chromium", "voice"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


VIDEO = "document.querySelector('avatar-call').shadowRoot.querySelector('video')"
STATES = ("listening", "speaking")


class Relay:
    """A relay in a thread of its own, beside Playwright's."""

    def __init__(self) -> None:
        self.weather = Weather()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def answer(self, route: Any) -> None:
        """Stands between page and server: neither learns a way around the relay."""
        if route.request.method == "PATCH":
            route.fulfill(status=204)
        elif route.request.method != "POST":
            route.continue_()
        else:
            got = route.fetch(post_data=Weather.hide(route.request.post_data))
            body = got.text()
            if got.status == 201:
                body = self.run(self.weather.route(body))
            route.fulfill(response=got, body=body)

    def close(self) -> None:
        self.run(self.weather.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.mark.parametrize(("seconds", "reconnects"), [(3, False), (15, True)])
def test_a_call_survives_a_black_out(
    browser: Any, fake_server: str, relay: Relay, seconds: int, reconnects: bool
) -> None:
    with opened(browser, "about:blank") as page:
        page.route("**/v1/calls*", relay.answer)
        page.route("**/v1/sessions/**", relay.answer)
        page.goto(fake_server + MIRROR)
        button(page, "Call Mira").click()
        until(page, f"{WATCHED} > 20")
        relay.weather.sky = Sky(dark=True)
        page.wait_for_timeout(seconds * 1000)
        assert page.evaluate("states.includes('reconnecting')") == reconnects
        relay.weather.sky = Sky()
        if reconnects:
            until(page, "states.lastIndexOf('reconnecting') < states.length - 1")
        seen = page.evaluate(f"{VIDEO}.currentTime")
        until(page, f"{VIDEO}.currentTime > {seen} + 1")
        assert page.evaluate("problems.length") == 0
        assert page.evaluate("document.querySelector('avatar-call').state") in STATES
