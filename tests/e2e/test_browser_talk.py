"""A person asks the avatar, watches a session of somebody else's, and sends a program's sound."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.conftest import serving
from tests.e2e.test_browser_call import (  # noqa: F401
    WATCHED,
    button,
    chromium,
    mute_browser,
    opened,
    until,
)
from tests.fakes_services import delta

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
VIEW = "document.querySelector('avatar-view')"
DEFINED = "customElements.get('avatar-call')"
LOG = "document.querySelector('#talk').innerText"


class Chat(BaseHTTPRequestHandler):
    """Answers each question in two sentences."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = asked["messages"][-1]["content"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(delta(f"You said {words}. ") + delta("Yes.") + b"data: [DONE]\n\n")

    def log_message(self, *args: Any) -> None:
        """Not on the console."""


@contextlib.contextmanager
def chat() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_a_question_is_answered_and_both_can_be_read(mute_browser: Any) -> None:  # noqa: F811
    with (
        chat() as service,
        serving(
            "-m", "tests.serve_fake", "--drain-s", "1", "--chat-url", service, VOICE="hum"
        ) as url,
        opened(mute_browser, url) as page,
    ):
        page.get_by_role("tab", name="Talk to it").click()
        page.get_by_text("set transcribe_url").wait_for()
        page.get_by_role("textbox", name="What you ask").fill("hello")
        page.keyboard.press("Enter")
        until(page, f"{LOG}.includes('Avatar: You said hello. Yes.')")
        assert "You: hello" in page.evaluate(LOG)
        page.get_by_role("button", name="End", exact=True).click()
        assert not page.errors and not page.evaluate("problems.length")


def test_without_a_language_model_the_tab_says_what_to_set(
    mute_browser: Any,  # noqa: F811
    fake_server: str,
) -> None:
    with opened(mute_browser, f"{fake_server}/?mode=answers") as page:
        page.get_by_text("--chat-url").wait_for()
        assert not page.get_by_role("textbox", name="What you ask").is_visible()
        assert button(page, "Call Mira").count() == 0


def test_a_session_is_watched_with_captions_and_its_end_is_seen(
    mute_browser: Any,  # noqa: F811
    fake_server: str,
) -> None:
    def post(path: str, body: dict[str, str], token: str = "") -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        asked = urllib.request.Request(fake_server + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=10) as response:
            return dict(json.load(response))

    with opened(mute_browser, f"{fake_server}/embed.html") as page:
        made = post("/v1/sessions", {"avatar": "mira"})
        page.evaluate(
            """async ([session, token]) => {
                await import("./avatar-view.js");
                const view = document.createElement("avatar-view");
                Object.assign(view, { muted: true, token });
                view.setAttribute("session", session);
                view.setAttribute("captions", "");
                document.body.append(view);
            }""",
            [made["id"], made["token"]],
        )
        until(page, f"{VIEW}.state === 'listening'")
        post(made["speech"], {"text": "one two three four five six"}, made["token"])
        until(page, f"{VIEW}.shadowRoot.querySelector('.captions').textContent.includes('six')")
        until(page, f"{VIEW}.shadowRoot.querySelector('video').currentTime > 1")
        assert page.evaluate(f"{VIEW}.shadowRoot.querySelector('video').muted")
        ended = urllib.request.Request(
            f"{fake_server}/v1/sessions/{made['id']}",
            headers={"Authorization": f"Bearer {made['token']}"},
            method="DELETE",
        )
        urllib.request.urlopen(ended, timeout=10).close()
        until(page, f"['ended', 'failed'].includes({VIEW}.state)")
        assert not [said for said in page.errors if "404" not in said]


def test_a_program_sends_its_own_sound_instead_of_a_microphone(
    mute_browser: Any,  # noqa: F811
    fake_server: str,
) -> None:
    with opened(mute_browser, fake_server) as page:
        until(page, DEFINED)
        page.evaluate(
            """async () => {
                const context = new AudioContext();
                const sound = () => {
                    const hum = context.createOscillator();
                    const out = context.createMediaStreamDestination();
                    hum.connect(out);
                    hum.start();
                    return out.stream;
                };
                const call = document.querySelector("avatar-call");
                call.source = sound();
                await call.start();
                window.other = sound();
            }"""
        )
        until(page, f"{WATCHED} > 5")
        until(page, "document.querySelector('avatar-call').peer.microphone.active")
        page.evaluate("document.querySelector('avatar-call').source = window.other")
        until(page, "document.querySelector('avatar-call').peer.microphone === window.other")
        level = page.get_by_role("meter")
        until(page, "document.querySelector('avatar-call').state !== 'failed'")
        assert float(level.get_attribute("aria-valuenow")) > 0
        assert not page.errors and not page.evaluate("problems.length")


def test_a_matte_beside_the_person_becomes_transparency(
    mute_browser: Any,  # noqa: F811
    fake_server: str,
) -> None:
    with opened(mute_browser, fake_server) as page:
        seen = page.evaluate(
            """async () => {
                const { background, Matte } = await import("./matte.js");
                const source = document.createElement("canvas");
                Object.assign(source, { width: 128, height: 64 });
                const brush = source.getContext("2d");
                const paint = () => {
                    brush.fillStyle = "red";
                    brush.fillRect(0, 0, 64, 64); // the person
                    brush.fillStyle = "black";
                    brush.fillRect(64, 0, 64, 64);
                    brush.fillStyle = "white";
                    brush.fillRect(64, 0, 32, 64); // the left half of them is seen
                };
                const video = Object.assign(document.createElement("video"), { muted: true });
                const shown = document.createElement("canvas");
                new Matte(video, shown).start();
                video.srcObject = source.captureStream();
                const painting = setInterval(paint, 40);
                await video.play();
                const at = (x) => [...shown.getContext("2d").getImageData(x, 32, 1, 1).data];
                const next = () => new Promise(requestAnimationFrame);
                while (shown.width !== 64 || at(8)[3] < 200) await next();
                clearInterval(painting);
                const wanted = ["", "green", "transparent", "office.jpg"];
                const asked = wanted.map((each) => background(each).server);
                return [at(8), at(56)[3], asked];
            }"""
        )
        (red, green, _, _), hidden, asked = seen
        assert red > 180 and green < 60 and hidden < 40
        assert asked == [None, "green", "transparent", "transparent"]
        assert not page.errors
