"""A person drops a picture, drags its points by mouse, finger and keyboard, and looks at it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.test_browser_call import CHROMIUM, FLAGS, button, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
AT = "document.querySelector('point-editor').points"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, "--use-fake-ui-for-media-stream"]
        )
        with contextlib.closing(found):
            yield found


@contextlib.contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(**options)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    try:
        page.goto(f"{url}/enrol.html")
        yield page
        assert page.errors == []
    finally:
        context.close()


def picture(width: int = 400, height: int = 500) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (150, 130, 120)).save(file, "PNG")
    return {"name": "me.png", "mimeType": "image/png", "buffer": file.getvalue()}


def dropped(page: Any, **size: int) -> None:
    page.locator("#file").set_input_files(picture(**size))
    until(page, "document.querySelectorAll('point-editor circle').length >= 10")


def centre(page: Any, name: str) -> tuple[float, float]:
    box = page.locator(f"point-editor circle[data-name={name}]").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_points_follow_mouse_and_keyboard_and_come_out_as_a_sidecar(
    browser: Any, fake_server: str, tmp_path: Path
) -> None:
    with opened(browser, fake_server) as page:
        dropped(page)
        assert "12 points found" in page.get_by_role("status").text_content()
        before = page.evaluate(AT)
        x, y = centre(page, "nose_tip")
        page.mouse.move(x + 3, y)
        page.mouse.down()
        page.mouse.move(x + 33, y + 20, steps=4)
        page.mouse.up()
        after = page.evaluate(AT)
        assert after["nose_tip"][0] > before["nose_tip"][0] + 2
        assert after["nose_tip"][1] > before["nose_tip"][1] + 1
        assert {n: at for n, at in after.items() if n != "nose_tip"} == {
            n: at for n, at in before.items() if n != "nose_tip"
        }
        page.keyboard.press("Shift+ArrowLeft")
        assert page.evaluate(AT)["nose_tip"][0] < after["nose_tip"][0]
        page.keyboard.press("PageDown")
        assert page.locator("#chosen").input_value() != "nose_tip"
        with page.expect_download() as download:
            page.get_by_role("button", name="Download landmarks").click()
        assert download.value.suggested_filename == "me.landmarks.json"
        download.value.save_as(tmp_path / "me.landmarks.json")
        saved = json.loads((tmp_path / "me.landmarks.json").read_text())
        assert (saved["width"], saved["height"]) == (400, 500)
        assert saved["points"] == page.evaluate(AT)


def test_only_points_that_are_not_required_can_be_removed(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server) as page:
        dropped(page)
        page.locator("#chosen").select_option("lip_upper_outer")
        page.keyboard.press("Delete")
        assert "lip_upper_outer" not in page.evaluate(AT)
        page.locator("#chosen").select_option("chin")
        page.keyboard.press("Delete")
        assert "chin" in page.evaluate(AT) and page.locator("#remove").is_disabled()


def test_a_finger_moves_a_point(browser: Any, fake_server: str) -> None:
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
    with opened(browser, fake_server, **phone) as page:
        dropped(page)
        x, y = centre(page, "chin")
        before = page.evaluate(AT)["chin"]
        touch = page.context.new_cdp_session(page)
        for kind, points in (
            ("touchStart", [{"x": x, "y": y}]),
            ("touchMove", [{"x": x + 20, "y": y + 12}]),
            ("touchEnd", []),
        ):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        until(page, f"{AT}.chin[0] > {before[0] + 2}")


def test_a_picture_without_a_person_can_be_marked_by_hand(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server) as page:
        dropped(page, width=500, height=400)
        said = page.get_by_role("status").text_content()
        assert "No person was found" in said and "by hand" in said
        assert len(page.evaluate(AT)) >= 10


def test_looking_and_calling_send_the_corrected_points(browser: Any, fake_server: str) -> None:
    with opened(browser, fake_server) as page:
        dropped(page)
        page.get_by_role("button", name="Preview").click()
        until(page, "document.querySelector('#preview').naturalHeight === 200")
        page.get_by_text("I have a consent record").click()
        page.locator("#consent").fill("c-2")
        page.get_by_role("button", name="Preview").click()
        until(page, "document.querySelector('#status').className === 'bad'")
        assert "no consent record" in page.get_by_role("status").text_content()
        page.locator("#consent").fill("c-1")
        page.get_by_role("button", name="Preview").click()
        until(page, "document.querySelector('#preview').naturalHeight === 400")
        page.locator("#name").fill("Ada")
        page.get_by_role("button", name="Add to the avatars").click()
        until(page, "document.querySelector('#status a')")
        page.get_by_role("link", name="call now").click()
        until(page, "document.querySelector('input[value=own-1]')?.checked")
        assert "does not exist" not in page.locator("footer").inner_text()
        assert "used with recorded consent" in page.locator("footer").inner_text()


def registry(page: Any, posted: list[str]) -> None:
    """Stands in for the consent registry, which the fake server lacks."""

    def answer(route: Any) -> None:
        asked = route.request
        if asked.method == "GET":
            route.fulfill(json={"consents": []})
        elif asked.url.endswith("/v1/challenges"):
            subject = asked.post_data_json["subject"]
            route.fulfill(status=201, json={"code": "nutmeg-garden-5100", "subject": subject})
        else:
            posted.append(asked.post_data_buffer.decode("latin-1"))
            route.fulfill(status=201, json={"id": "c-1"})

    page.route("**/v1/challenges", answer)
    page.route("**/v1/consents*", answer)


def test_from_the_camera_to_the_first_call_without_leaving_the_page(
    browser: Any, fake_server: str
) -> None:
    posted: list[str] = []
    with opened(browser, fake_server) as page:
        registry(page, posted)
        button(page, "Use the camera").click()
        until(page, "document.querySelector('#booth video').videoWidth > 0")
        button(page, "Take the photo").click()
        until(page, "document.querySelectorAll('point-editor circle').length >= 10")
        button(page, "Start the camera").click()
        page.get_by_text("Enter the name of the person first").wait_for()
        page.get_by_label("Name of the person").fill("Ada Example")
        button(page, "Start the camera").click()
        page.get_by_text("nutmeg garden 5100").wait_for()
        button(page, "Stop: I have read it").click()
        button(page, "Record again").wait_for()
        button(page, "Save the consent").click()
        page.get_by_text("Only adults").wait_for()
        page.get_by_label("18 or older").check()
        button(page, "Save the consent").click()
        page.get_by_text("recorded as c-1").wait_for()
        assert page.locator("#name").input_value() == "Ada Example"
        button(page, "Add to the avatars").click()
        page.get_by_role("link", name="call now").click()
        until(page, "document.querySelector('input[value=own-1]')?.checked")
    (sent,) = posted
    assert '"challenge":"nutmeg-garden-5100"' in sent and '"kind":"self"' in sent
    assert 'name="evidence"' in sent and "Content-Type: video/" in sent
    assert 'filename="photo.jpg"' in sent


def test_a_signature_takes_the_place_of_a_recording(browser: Any, fake_server: str) -> None:
    posted: list[str] = []
    with opened(browser, fake_server) as page:
        registry(page, posted)
        dropped(page)
        page.get_by_label("Name of the person").fill("Ada Example")
        page.get_by_label("18 or older").check()
        page.get_by_label("Proof").select_option("signed")
        until(page, "document.querySelector('#lines').textContent.split('\\n').length === 3")
        lines = page.locator("#lines").text_content().split("\n")
        assert lines[0] == "nutmeg-garden-5100" and len(lines[1]) == 64
        button(page, "Save the consent").click()
        page.get_by_text("Enter the signature").wait_for()
        page.get_by_label("Signature, in hex").fill("ab" * 64)
        pem = {"name": "ada.pem", "mimeType": "text/plain", "buffer": b"PEM"}
        page.get_by_label("Public key (PEM)").set_input_files(pem)
        button(page, "Save the consent").click()
        page.get_by_text("recorded as c-1").wait_for()
    assert 'name="signature"' in posted[0] and 'name="subject_key"' in posted[0]
