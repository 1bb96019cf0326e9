"""A Pipecat pipeline with an avatar, and Chromium as its peer: what a person sees and hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")
pytest.importorskip("playwright", reason="pip install playwright")

from playwright.async_api import Page, async_playwright

from benchmarks.agents.pipecat_pipeline import PipecatPipeline
from integrations.pipecat import ContinuumRemoteVideoService
from tests.client.test_avatar import hum
from tests.e2e.conftest import fake_server

__all__ = ["fake_server"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

FLAGS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
OFFER = """async () => {
  const pc = (window.pc = new RTCPeerConnection({ iceServers: [] }));
  window.stream = new MediaStream();
  pc.ontrack = ({ track }) => window.stream.addTrack(track);
  pc.addTransceiver("audio", { direction: "sendrecv" });
  pc.addTransceiver("video", { direction: "sendrecv" });
  pc.createDataChannel("chat");
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
WATCH = """async (sdp) => {
  await window.pc.setRemoteDescription({ type: "answer", sdp });
  const video = document.createElement("video");
  Object.assign(video, { srcObject: window.stream, autoplay: true });
  document.body.append(video);
  const sound = new AudioContext();
  const analyser = sound.createAnalyser();
  analyser.fftSize = 512;
  sound.createMediaStreamSource(window.stream).connect(analyser);
  const canvas = new OffscreenCanvas(8, 8);
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  const wave = new Float32Array(512);
  window.seen = [];
  setInterval(() => {
    analyser.getFloatTimeDomainData(wave);
    drawing.drawImage(video, 180, 180, 60, 60, 0, 0, 8, 8);
    window.seen.push({
      at: (performance.timeOrigin + performance.now()) / 1000,
      loud: Math.max(...wave) > 0.05,
      open: drawing.getImageData(4, 4, 1, 1).data[0] > 150,
      width: video.videoWidth,
    });
  }, 10);
}"""


async def until(page: Page, condition: str) -> None:
    await page.wait_for_function(f"() => {condition}", timeout=20_000)


async def test_chromium_shows_the_face_with_its_sound_and_is_silent_after_an_interrupt(
    fake_server: str, record_property: Callable[[str, object], None]
) -> None:
    avatar = ContinuumRemoteVideoService(url=fake_server, avatar="mira")
    agent = PipecatPipeline(avatar)
    async with async_playwright() as api:
        browser = await api.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page()
        answer = await agent.run(await page.evaluate(OFFER))
        await page.evaluate(WATCH, answer)
        await until(page, "window.seen.some(({ width }) => width === 512)")
        await agent.say(hum(3.0), "a", whole=False)
        await until(page, "window.seen.filter(({ loud }) => loud).length > 40")
        asked = time.time()
        await agent.interrupt()
        await asyncio.sleep(1.0)
        seen = await page.evaluate("window.seen")
        await browser.close()
        await agent.__aexit__(None, None, None)
    loud = [each["at"] for each in seen if each["loud"]]
    opened = [each["at"] for each in seen if each["open"]]
    record_property("face_behind_sound_s", opened[0] - loud[0])
    record_property("silent_after_s", loud[-1] - asked)
    assert abs(opened[0] - loud[0]) < 0.5
    assert loud[-1] < asked + 0.8 and opened[-1] < asked + 1.0
    assert agent.told["a"].interrupted and agent.told["a"].position_ms > 300
