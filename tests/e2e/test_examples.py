"""What ``examples/`` shows does run: in a browser, on another site than the server's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, serving
from tests.e2e.test_browser_call import OTHER, browser, button, chromium, opened, until, voice

__all__ = ["browser", "chromium", "voice"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

EXAMPLES = ROOT / "examples"
PLAYED = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    flags = ("--slots", "3", "--drain-s", "1", "--origins", OTHER)
    with serving("-m", "tests.serve_fake", *flags, TICK_S="0.02") as url:
        yield url


def site(page: Any, server: str) -> None:
    """Serves the examples from ``OTHER``, with the server where this test has it."""

    def file(route: Any) -> None:
        name = route.request.url.removeprefix(f"{OTHER}/").split("?")[0].split("#")[0]
        if not (EXAMPLES / name).is_file():
            route.fulfill(status=204)
            return
        body = (EXAMPLES / name).read_text().replace("http://localhost:8080", server)
        route.fulfill(body=body, content_type="text/html")

    page.route(f"{OTHER}/**", file)


def test_a_shop_with_somebody_in_it(browser: Any, server: str) -> None:
    with opened(browser, "about:blank") as page:
        site(page, server)
        page.goto(f"{OTHER}/embed.html")
        button(page, "Call Mira").click()
        until(page, "document.querySelector('avatar-call').stats.frames > 5")
        assert page.get_by_text("AI-generated", exact=True).is_visible()
        button(page, "Hang up").click()
        until(page, "states.at(-1) === 'ended'")
        assert not page.errors


def test_what_a_program_speaks_is_watched_in_a_page(browser: Any, server: str, voice: Path) -> None:
    speaker = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "speak_file.py"), str(voice), "--url", server],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert speaker.stdout is not None
    with speaker.stdout, opened(browser, "about:blank") as page:
        site(page, server)
        page.goto(f"{OTHER}/{speaker.stdout.readline().strip()}")
        until(page, f"{PLAYED} > 20")
        assert page.get_by_text("AI-generated", exact=True).is_visible()
        assert page.get_by_role("status").text_content().startswith("Live")
        assert speaker.stdout.readline().startswith("spoken: 6")
        assert speaker.wait(30) == 0
        assert not page.errors


def test_a_viewer_with_the_wrong_token_is_told(browser: Any, server: str) -> None:
    with opened(browser, "about:blank") as page:
        site(page, server)
        page.goto(f"{OTHER}/watch.html?whep={server}/v1/sessions/s-0/whep#token=none")
        page.get_by_text("Nothing to watch: There is no such session").wait_for()
