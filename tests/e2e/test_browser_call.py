"""A person's way: a real Chromium opens the page, calls, and is told what stands in the way."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.auth.keys import KeyRole, KeyStore
from tests.e2e.conftest import serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OTHER = "http://localhost:8099"  # a page of somebody else's; nothing listens there
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-features=LocalNetworkAccessChecks",  # a page that is not on this machine, for one
)
MIRROR = "/?mode=mirror"
RECORD = """
    window.states = []; window.problems = [];
    addEventListener("statechange", ({ detail }) => states.push(detail.state));
    addEventListener("problem", ({ detail }) => problems.push(detail));
"""
STATUS = (
    "document.querySelector('avatar-call').shadowRoot.querySelector('[role=status]').textContent"
)
INTERRUPTED = "said.some((s) => s.type === 'speaking_finished' && s.interrupted)"
CAPTIONS = "document.querySelector('avatar-call').shadowRoot.querySelector('.captions').textContent"
WATCHED = "document.querySelector('avatar-call').stats.frames"


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something like a voice: a buzz in syllables, with pauses."""
    at = np.arange(48_000 * 6) / 48_000
    buzz = sum(np.sin(2 * np.pi * 120 * n * at) / n for n in range(1, 25))
    wave_ = buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)) * (at % 3 >= 0.7) * 6000
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(wave_.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Launches browsers: one driver for all, because it allows no second."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with api.sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *flags]
        )


@pytest.fixture(scope="module")
def browser(chromium: Any, voice: Path) -> Iterator[Any]:
    """A browser whose person allows the microphone and speaks."""
    flags = ("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={voice}")
    with contextlib.closing(chromium(*flags)) as found:
        yield found


@pytest.fixture(scope="module")
def mute_browser(chromium: Any) -> Iterator[Any]:
    """A browser whose person allows no microphone."""
    with contextlib.closing(chromium("--deny-permission-prompts")) as found:
        yield found


@contextlib.contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page; what it writes on the console as an error fails the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.errors = []
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.add_init_script(RECORD)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()


def until(page: Any, condition: str) -> None:
    """Asks again and again: what Playwright would install to wait, the page's policy forbids."""
    ends = time.monotonic() + 60
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < ends, f"never: {condition}"
        page.wait_for_timeout(50)


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name)


def test_one_click_calls_and_the_avatar_is_seen(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server + MIRROR) as page:
        button(page, "Call Mira").click()
        assert page.get_by_role("radio").count() == 2
        assert "This person does not exist" in page.locator("footer").inner_text()
        until(page, f"{WATCHED} > 20")
        until(page, "states.includes('speaking')")
        assert page.get_by_text("AI-generated", exact=True).is_visible()
        # a notice of load may stand there for some seconds
        until(page, f"['Listening', 'Speaking'].includes({STATUS})")
        assert float(page.get_by_role("meter").get_attribute("aria-valuenow")) >= 0
        until(page, "document.querySelector('avatar-call').stats.server?.latency_ms.total > 0")
        page.get_by_text("Delay on the server").click()  # opens the details
        assert page.get_by_text("Frame rate").is_visible()
        until(page, "document.querySelector('avatar-call').stats.bitrate > 1000")
        button(page, "Hang up").click()
        until(page, "states.at(-1) === 'ended'")
        assert button(page, "Call Mira").is_visible()
        begun = page.evaluate("states")
        assert begun[:4] == ["idle", "asking", "connecting", "listening"]
        assert not page.errors


def test_a_typed_sentence_is_said_without_a_microphone(mute_browser: Any, fake_server: str) -> None:
    with opened(mute_browser, fake_server) as page:
        page.get_by_role("radio").first.wait_for(state="attached")
        page.get_by_role("textbox", name="What the avatar says").fill("one two three four")
        page.keyboard.press("Enter")
        until(page, "states.includes('speaking')")
        until(page, f"{CAPTIONS} === 'one two three four'")
        until(page, f"{WATCHED} > 5")
        assert button(page, "Mute the microphone").count() == 0
        assert not page.evaluate("problems.length") and not page.errors


def test_controls_reach_the_server(browser: Any, fake_server: str) -> None:
    with opened(browser, f"{fake_server}{MIRROR}&prompt=serious") as page:
        page.evaluate(
            "window.said = []; document.querySelector('avatar-call')"
            ".addEventListener('message', ({ detail }) => said.push(detail))"
        )
        button(page, "Call Mira").click()
        # between two looks of a slow browser an utterance may begin and end: again at the next one
        for _ in range(20):
            until(page, "states.at(-1) === 'speaking'")
            button(page, "Interrupt the avatar").click()
            until(page, "said.at(-1).type === 'idle' || states.at(-1) !== 'speaking'")
            if page.evaluate(INTERRUPTED):
                break
        assert page.evaluate(INTERRUPTED)
        button(page, "Mute the microphone").click()
        # what was said before is still spoken, up to the playout delay later
        until(page, f"{STATUS} === 'You are muted'")
        page.get_by_role("textbox", name="Style of speaking").fill("warm, slow")
        page.keyboard.press("Enter")
        assert not page.evaluate("said.some(({ type }) => type === 'error')")
        button(page, "Hang up").click()
        assert not page.errors


def test_choosing_another_person_during_a_call_calls_them(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server + MIRROR) as page:
        button(page, "Call Mira").click()
        until(page, f"{WATCHED} > 5")
        page.get_by_role("radio", name="Tomo").check(force=True)
        until(page, "states.join().includes('ended,asking,connecting,listening')")
        assert (
            page.evaluate("document.querySelector('avatar-call').getAttribute('avatar')") == "tomo"
        )
        assert not page.errors


@pytest.mark.parametrize("query", ["", "&avatar=tomo"])
def test_a_call_before_the_list_has_come_goes_on_when_it_comes(
    browser: Any, fake_server: str, query: str
) -> None:
    with opened(browser, "about:blank") as page:
        lists: list[Any] = []

        def held_back(route: Any) -> None:
            lists.append(route)
            if len(lists) == 1:  # the element's own, which names its button
                route.continue_()

        page.route("**/v1/avatars", held_back)
        page.goto(f"{fake_server}{MIRROR}{query}")
        button(page, "Call Tomo" if query else "Call Mira").click()
        until(page, f"{WATCHED} > 5")
        lists[1].continue_()
        until(page, "document.querySelector('#people [type=radio]:checked')")
        chosen = page.evaluate("document.querySelector('#people [type=radio]:checked').value")
        assert chosen == page.evaluate(
            "document.querySelector('avatar-call').getAttribute('avatar')"
        )
        watched = page.evaluate(WATCHED)
        until(page, f"{WATCHED} > {watched + 5}")
        states = page.evaluate("states")
        assert "ended" not in states and states.count("connecting") == 1
        assert not page.errors


def test_a_lost_connection_comes_back_to_the_same_session(browser: Any, fake_server: str) -> None:
    with opened(browser, "about:blank") as page:
        page.add_init_script(
            "window.peers = []; const Peer = RTCPeerConnection;"
            "window.RTCPeerConnection = class extends Peer {"
            "constructor(options) { super(options); peers.push(this); } };"
        )
        page.goto(fake_server + MIRROR)
        button(page, "Call Mira").click()
        until(page, f"{WATCHED} > 5")
        posted: list[str] = []
        page.on("request", lambda asked: asked.method == "POST" and posted.append(asked.url))
        page.evaluate(
            "Object.defineProperty(peers[0], 'connectionState', { value: 'failed' });"
            "peers[0].onconnectionstatechange()"
        )
        until(page, "states.join().includes('reconnecting,listening')")
        assert len(posted) == 1 and "/v1/sessions/" in posted[0] and posted[0].endswith("/call")
        assert not page.errors


def test_a_refused_microphone_is_explained_and_can_be_tried_again(
    mute_browser: Any, fake_server: str
) -> None:
    with opened(mute_browser, fake_server + MIRROR) as page:
        button(page, "Call Mira").click()
        until(page, "states.at(-1) === 'failed'")
        assert "microphone is blocked" in page.get_by_role("alert").inner_text()
        assert page.evaluate("problems[0].code") == "NotAllowedError"
        assert button(page, "Call Mira").is_enabled()


def test_a_full_house_says_so(browser: Any) -> None:
    with (
        serving("-m", "tests.serve_fake", "--slots", "1", "--drain-s", "1") as url,
        opened(browser, url + MIRROR) as first,
        opened(browser, url + MIRROR) as second,
    ):
        button(first, "Call Mira").click()
        until(first, f"{WATCHED} > 2")
        button(second, "Call Mira").click()
        until(second, "states.at(-1) === 'failed'")
        assert second.evaluate("problems[0].code") == "no-slot"
        assert second.get_by_role("alert").inner_text().strip()


@pytest.mark.parametrize("size", [(360, 740), (390, 844), (1280, 800)])
def test_the_page_fits_and_works_without_a_mouse(
    browser: Any, fake_server: str, size: tuple[int, int]
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    with opened(browser, fake_server, viewport=viewport) as page:
        page.get_by_role("radio").first.wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        box = button(page, "Say it").bounding_box()
        assert box["y"] + box["height"] <= size[1], "what is typed is above the fold"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "text"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("End")  # of the tabs
        assert button(page, "Call Mira").is_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        until(page, "document.querySelector('avatar-call').getAttribute('avatar') === 'tomo'")
        assert button(page, "Call Tomo").is_visible()
        assert not page.errors


def test_another_site_embeds_the_element_and_the_frame(browser: Any) -> None:
    flags = ("--slots", "2", "--drain-s", "1", "--origins", OTHER)
    with serving("-m", "tests.serve_fake", *flags) as url, opened(browser, "about:blank") as page:
        body = f"""<!doctype html><title>shop</title>
            <script type="module" src="{url}/avatar-call.js"></script>
            <avatar-call avatar="tomo"></avatar-call>
            <iframe src="{url}/embed.html?avatar=mira" allow="microphone; autoplay"></iframe>
            <script>window.framed = []; onmessage = ({{ data }}) =>
                data?.avatarCall === "statechange" && framed.push(data.detail.state)</script>"""
        page.route(f"{OTHER}/", lambda route: route.fulfill(body=body, content_type="text/html"))
        page.route(f"{OTHER}/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"{OTHER}/")
        until(page, "Boolean(customElements.get('avatar-call'))")
        page.evaluate("document.querySelector('avatar-call').start()")
        until(page, f"{WATCHED} > 2")
        until(page, "framed.length > 0")
        page.evaluate("frames[0].postMessage({ avatarCall: 'start' }, '*')")
        until(page, "framed.includes('listening')")
        page.evaluate("document.querySelector('avatar-call').remove()")
        assert not page.errors


def test_a_server_with_keys_is_called_with_a_token(browser: Any, tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.sqlite")
    _, key = store.create("shop", KeyRole.APPLICATION)
    store.close()
    with serving("-m", "tests.serve_fake", "--drain-s", "1", CONTINUUM_KEYS=str(store.path)) as url:
        with opened(browser, url) as page:
            page.get_by_role("textbox", name="Key or token").fill("ck_wrong")
            button(page, "Sign in").click()
            page.get_by_text("not valid here").wait_for()
            page.get_by_role("textbox", name="Key or token").fill(key)
            button(page, "Sign in").click()
            page.get_by_role("radio").first.wait_for(state="attached")
            assert not page.get_by_text("Key or token").is_visible()
        asked = urllib.request.Request(
            f"{url}/v1/tokens",
            json.dumps({"origin": url}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=10) as response:
            token = json.load(response)["token"]
        with opened(browser, f"{url}{MIRROR}#token={token}") as page:
            button(page, "Call Mira").click()
            until(page, f"{WATCHED} > 5")
            assert page.locator("#people img").first.evaluate("image => image.naturalWidth") > 0
            button(page, "Hang up").click()
            until(page, "states.at(-1) === 'ended'")
            assert not page.errors


def test_the_page_forbids_what_it_does_not_need(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server) as page:
        page.evaluate(
            """() => { const script = document.createElement("script");
            script.textContent = "window.injected = true"; document.body.append(script); }"""
        )
        assert page.evaluate("window.injected") is None
        assert any("Content Security Policy" in said for said in page.errors)


@pytest.mark.slow
def test_the_bundled_model_performs_in_a_browser(browser: Any, real_server: str) -> None:
    with opened(browser, real_server + MIRROR) as page:
        page.get_by_role("button", name="Call").click()
        until(page, f"{WATCHED} > 50")
        until(page, "states.includes('speaking')")
        assert not page.errors
    with urllib.request.urlopen(f"{real_server}/healthz", timeout=10) as response:
        assert response.status == 200
