"""What Chromium offers when an application builds its call in another order: media has to flow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.test_browser_call import browser, chromium, opened, voice  # noqa: F401
from tests.e2e.test_foreign_clients import end, session

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CALL = """async ({ door, shape, token }) => {
  const pc = new RTCPeerConnection({ iceServers: [], ...shape.config });
  const add = {
    microphone: async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
    },
    sound: () => pc.addTransceiver("audio", { direction: "recvonly" }),
    video: () => pc.addTransceiver("video", { direction: "recvonly" }),
    av1: () => {
      const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
      const one = pc.addTransceiver("video", { direction: "recvonly" });
      one.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === "video/AV1"));
    },
    channel: () => pc.createDataChannel("events"),
  };
  for (const part of shape.parts) await add[part]();
  await pc.setLocalDescription();
  const headers = { "Content-Type": "application/sdp" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(door, { method: "POST", headers, body: pc.localDescription.sdp });
  const sdp = await answer.text();
  if (answer.status !== 201) return { status: answer.status, sdp };
  await pc.setRemoteDescription({ type: "answer", sdp });
  const seen = { status: 201, sdp, offer: pc.localDescription.sdp };
  const ends = performance.now() + 20000;
  while (performance.now() < ends) {
    const report = [...(await pc.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
    seen.frames = Math.max(0, ...report.map(({ framesDecoded }) => framesDecoded ?? 0));
    seen.packets = Math.max(0, ...report.map((r) => (r.kind === "audio" ? r.packetsReceived : 0)));
    if ((seen.frames > 10 || shape.silentPicture) && seen.packets > 20) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  pc.close();
  const location = new URL(answer.headers.get("Location"), answer.url);
  const key = token || answer.headers.get("Session-Token");
  await fetch(location, { method: "DELETE", headers: { Authorization: `Bearer ${key}` } });
  return seen;
}"""
CHANNEL_FIRST = {"alwaysNegotiateDataChannels": True}


def kinds(sdp: str) -> list[str]:
    return [line[2:].split()[0] for line in sdp.splitlines() if line.startswith("m=")]


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({}, ["video", "microphone", "channel"]),
        ({}, ["microphone", "video", "video", "channel"]),
        ({}, ["av1", "microphone", "video"]),
        ({"bundlePolicy": "max-bundle"}, ["microphone", "video", "channel"]),
        ({"bundlePolicy": "max-compat"}, ["video", "microphone", "channel"]),
        (CHANNEL_FIRST, ["channel", "microphone", "video"]),
        ({**CHANNEL_FIRST, "bundlePolicy": "max-bundle"}, ["channel", "video", "microphone"]),
    ],
)
def test_a_call_in_any_order_connects(
    browser: Any,  # noqa: F811
    fake_server: str,
    config: dict[str, Any],
    parts: list[str],
) -> None:
    with opened(browser, fake_server) as page:
        shape = {"config": config, "parts": parts}
        door = f"{fake_server}/v1/calls?avatar=mira"
        seen = page.evaluate(CALL, {"door": door, "shape": shape, "token": ""})
    assert seen["status"] == 201, seen["sdp"]
    assert kinds(seen["offer"]) == kinds(seen["sdp"])
    assert seen["frames"] > 10 and seen["packets"] > 20


def test_a_viewer_whose_video_cannot_be_sent_hears_the_avatar(
    browser: Any,  # noqa: F811
    fake_server: str,
) -> None:
    made = session(fake_server)
    try:
        with opened(browser, fake_server) as page:
            shape = {"config": {}, "parts": ["av1", "sound"], "silentPicture": True}
            door = f"{fake_server}{made['whep']}"
            seen = page.evaluate(CALL, {"door": door, "shape": shape, "token": made["token"]})
        assert seen["status"] == 201 and seen["packets"] > 20, seen["sdp"]
        assert "m=video 0 " in seen["sdp"]
    finally:
        end(fake_server, made)
