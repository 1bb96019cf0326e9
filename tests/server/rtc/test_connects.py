"""Odd offers of a real peer: it is not enough to be answered, media has to flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame

from tests.server.caller import Caller, tone
from tests.server.conftest import Served

SDP = {"Content-Type": "application/sdp"}


def unbundled(sdp: str) -> str:
    return "".join(s for s in sdp.splitlines(keepends=True) if not s.startswith("a=group:"))


def line_feeds(sdp: str) -> str:
    return sdp.replace("\r\n", "\n")


def said_once(sdp: str) -> str:
    """ICE and DTLS for the session, as libdatachannel writes them."""
    lines = sdp.splitlines()
    moved = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:")
    said = list(dict.fromkeys(line for line in lines if line.startswith(moved)))
    first = next(i for i, line in enumerate(lines) if line.startswith("m="))
    rest = [line for line in lines[first:] if not line.startswith(moved)]
    return "\r\n".join([*lines[:first], *said, *rest]) + "\r\n"


def as_it_is(sdp: str) -> str:
    return sdp


def loud(sound: AudioFrame) -> bool:
    """Whether the tone is in it, which goes in at the server and comes back."""
    return bool(abs(sound.to_ndarray()).max() > 1000)


def peer(policy: RTCBundlePolicy = RTCBundlePolicy.MAX_BUNDLE, first: bool = False) -> Caller:
    caller = Caller()
    caller.peer = RTCPeerConnection(
        RTCConfiguration(iceServers=[], bundlePolicy=policy, alwaysNegotiateDataChannels=first)
    )
    caller.peer.on("track", caller._track)
    return caller


@pytest.mark.parametrize(
    ("policy", "channel_first", "order", "edit"),
    [
        (RTCBundlePolicy.BALANCED, True, "av", as_it_is),
        (RTCBundlePolicy.BALANCED, True, "va", as_it_is),
        (RTCBundlePolicy.MAX_BUNDLE, False, "va", as_it_is),
        (RTCBundlePolicy.MAX_BUNDLE, False, "avv", as_it_is),
        (RTCBundlePolicy.MAX_BUNDLE, False, "vav", as_it_is),
        (RTCBundlePolicy.BALANCED, False, "av", as_it_is),
        (RTCBundlePolicy.MAX_COMPAT, False, "av", as_it_is),
        (RTCBundlePolicy.MAX_COMPAT, False, "av", unbundled),
        (RTCBundlePolicy.MAX_COMPAT, False, "va", unbundled),
        (RTCBundlePolicy.MAX_BUNDLE, False, "av", line_feeds),
        (RTCBundlePolicy.MAX_BUNDLE, False, "av", said_once),
    ],
)
async def test_a_call_connects_however_it_is_offered(
    served: Served,
    policy: RTCBundlePolicy,
    channel_first: bool,
    order: str,
    edit: Callable[[str], str],
) -> None:
    caller = peer(policy, channel_first)
    try:
        for kind in order:
            caller.speak(tone) if kind == "a" else caller.watch()
        if not channel_first:
            caller.open_channel()
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        text = edit(caller.peer.localDescription.sdp)
        if channel_first:  # it has its section already, and aiortc puts it first only then
            assert text.index("m=application") < text.index("m=audio")
            caller.open_channel()
        response = await served.http.post("/v1/calls?avatar=mira", data=text, headers=SDP)
        body = await response.text()
        assert response.status == 201, body
        await caller.peer.setRemoteDescription(RTCSessionDescription(body, "answer"))
        await caller.event("ready")
        await caller.until(lambda: len(caller.pictures) > 5 and len(caller.sounds) > 5)
        await caller.until(lambda: any(loud(sound) for _, sound in caller.sounds[-10:]))
    finally:
        await caller.close()
