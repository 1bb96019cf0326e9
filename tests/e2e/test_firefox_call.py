"""The same page in a browser of another family."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.marionette import Firefox
from tests.e2e.test_browser_call import MIRROR

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
CALL = "document.querySelector('avatar-call')"
RECORD = """
    window.states = []; window.problems = [];
    addEventListener("statechange", ({ detail }) => states.push(detail.state));
    addEventListener("problem", ({ detail }) => problems.push(JSON.stringify(detail)));
"""


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    if FIREFOX is None:
        pytest.skip("no firefox here")
    with Firefox(FIREFOX, tmp_path_factory.mktemp("firefox")) as found:
        yield found


def click(firefox: Firefox, name: str) -> None:
    """Presses a button of the element by its words, once it is there."""
    button = (
        f"[...{CALL}.shadowRoot?.querySelectorAll('button') ?? []]"
        f".find(button => button.textContent.trim().startsWith({name!r}))"
    )
    firefox.until(f"{CALL} && {button}")
    firefox.run(f"{button}.click()")


def test_firefox_calls_sees_frames_and_hangs_up(firefox: Firefox, fake_server: str) -> None:
    firefox.open(fake_server + MIRROR)
    firefox.run(RECORD)
    click(firefox, "Call")
    firefox.until(f"{CALL}.stats?.frames > 50")
    firefox.until(f"{CALL}.stats.server?.latency_ms.total > 0")
    click(firefox, "Hang up")
    firefox.until("states.at(-1) === 'ended'")
    went = firefox.run("return states.filter((state) => state !== 'idle').slice(0, 3)")
    assert went == ["asking", "connecting", "listening"]  # the first idle may come before or after
    assert firefox.run("return problems") == []
