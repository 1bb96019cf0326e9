"""A call in a real Chromium: frames decoded, freezes, and how far apart its media are."""

from __future__ import annotations

import shutil
import tempfile
import wave
from pathlib import Path
from typing import Any, Final

from client.microphone import RATE, read

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
)
SCRIPT: Final = """
    window.rows = [];
    addEventListener("stats", ({ detail }) => rows.push(detail));
"""


def decoded(url: str, avatar: str, audio: Path, seconds: float) -> dict[str, Any]:
    """Calls for ``seconds`` with ``audio`` as the microphone; a screenshot in speech beside it."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        microphone = _wav(audio, Path(folder) / "microphone.wav")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(SCRIPT)
        page.goto(f"{url}/?avatar={avatar}")
        page.get_by_role("button", name="Call").click()
        while page.evaluate("rows.length") < 2:  # waiting inside the page is against its policy
            page.wait_for_timeout(100)
        page.wait_for_timeout(seconds * 1000)
        rows: list[dict[str, Any]] = page.evaluate("rows")
        browser.close()
    frames = rows[-1]["frames"] - rows[0]["frames"]
    offsets = sorted(abs(row["offsetMs"]) for row in rows if row.get("offsetMs") is not None)
    return {
        "part": "browser",
        "seconds": len(rows) - 1,
        "frames": frames,
        "fps": round(sum(row["fps"] for row in rows[1:]) / (len(rows) - 1), 2),
        "freezes": rows[-1]["freezes"] - rows[0]["freezes"],
        "buffer_ms": round(rows[-1]["bufferMs"] or 0.0, 1),
        "offset_p50_ms": round(offsets[len(offsets) // 2], 1) if offsets else None,
    }


def _wav(audio: Path, path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(read(audio).astype("<i2").tobytes())
    return path
