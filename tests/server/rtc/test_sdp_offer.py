"""Offers of known clients at the three doors: each section is answered by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.errors import BadSdp, UnusableOffer
from server.rtc import sdp_offer as offers
from server.rtc.sdp_offer import PeerRole
from server.rtc.sdp_transport import MAX_CANDIDATES
from tests.server.conftest import Served
from tests.server.rtc import client_offers as client
from tests.server.rtc.client_offers import CAMERA, CHANNEL, FEED, LISTEN, MIC, SCREEN, offer
from tests.server.rtc.sdp_checker import Sdp, check

SDP = {"Content-Type": "application/sdp"}
AV1 = client.Part("video", "recvonly", client.AV1)
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


async def answered(served: Served, door: str, text: str) -> tuple[Sdp, str, dict[str, str]]:
    """The answer, checked; where the peer is, and what opens it."""
    if door == "call":
        response = await served.http.post("/v1/calls?avatar=mira", data=text, headers=SDP)
        token = response.headers.get("Session-Token", "")
    else:
        made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
        token = made["token"]
        headers = {**SDP, "Authorization": f"Bearer {token}"}
        response = await served.http.post(made[door], data=text, headers=headers)
    body = await response.text()
    assert response.status == 201, body
    auth = {"Authorization": f"Bearer {token}"}
    return check(text, body), response.headers["Location"], auth


def directions(answer: Sdp) -> list[str]:
    return [section.direction if section.port else "rejected" for section in answer.media]


def test_there_are_offers_of_enough_clients() -> None:
    texts = {make() for _, make in client.OFFERS.values()}
    assert len(client.OFFERS) == len(texts) >= 60, "and no two are the same"


@pytest.mark.parametrize("name", client.OFFERS)
async def test_a_clients_offer_is_answered_by_the_standards(served: Served, name: str) -> None:
    door, make = client.OFFERS[name]
    answer, _, _ = await answered(served, door, make())
    sound = [section.direction for section in answer.media if section.port]
    expected = {"call": "send", "whip": "recv", "whep": "send"}[door]
    assert any(direction.startswith(expected) for direction in sound), "the door does its work"
    if door == "call":
        assert any("recv" in direction for direction in sound), "the caller is heard"


@pytest.mark.parametrize(
    ("door", "text", "expected"),
    [
        ("call", client.CALLS["pipecat"](), ["sendrecv", "sendonly", "inactive", ""]),
        ("call", offer(MIC, MIC, SCREEN), ["sendrecv", "inactive", "sendonly"]),
        (
            "call",
            client.CALLS["safari, microphone and voice apart"](),
            ["recvonly", "sendonly", "sendonly", ""],
        ),
        (
            "call",
            client.CALLS["chrome, a stopped camera"](),
            ["sendrecv", "rejected", "sendonly", ""],
        ),
        ("whip", client.FEEDS["obs, H.264 high"](), ["recvonly", "rejected"]),
        ("whip", client.FEEDS["obs, H.264 baseline"](), ["recvonly", "inactive"]),
        ("whip", client.FEEDS["a stopped microphone, then a live one"](), ["inactive", "recvonly"]),
        ("whip", offer(client.FEED_VIDEO, FEED, bundle=None), ["rejected", "recvonly"]),
        ("whep", client.VIEWS["AV1 and sound"](), ["sendonly", "rejected"]),
        ("whep", client.VIEWS["sound in codecs of nobody"](), ["rejected", "sendonly"]),
        ("whep", client.VIEWS["two screens"](), ["sendonly", "sendonly", "inactive"]),
    ],
)
async def test_each_section_gets_the_direction_that_the_door_needs(
    served: Served, door: str, text: str, expected: list[str]
) -> None:
    answer, _, _ = await answered(served, door, text)
    assert directions(answer) == expected


async def test_a_rejected_section_leaves_the_bundle_and_keeps_its_place(served: Served) -> None:
    answer, _, _ = await answered(served, "whep", client.VIEWS["AV1 first, sound behind it"]())
    assert [section.port > 0 for section in answer.media] == [False, True]
    assert answer.bundle == ["1"] and answer.media[0].formats == ("45",)


async def test_payload_types_of_the_low_range_are_answered_as_offered(served: Served) -> None:
    answer, _, _ = await answered(served, "call", client.CALLS["chrome, codecs of the low range"]())
    assert answer.media[1].formats == ("35", "36")


async def test_a_transport_of_its_own_is_taken_from_its_section_and_a_shared_one_from_the_first(
    served: Served,
) -> None:
    for text, used in (
        (client.CALLS["chrome, each its own ufrag"](), {"bT2u"}),
        (client.CALLS["chrome, max-compat"](), {"bT2u", "bT2v", "bT2w"}),
        (client.CALLS["chrome, group in another order"](), {"bT2u"}),
    ):
        _, location, auth = await answered(served, "call", text)
        source = served.manager.session(location.rsplit("/", 1)[-1]).participants.source
        assert source is not None
        transports = {t.receiver.transport.transport for t in source.peer.getTransceivers()}
        transports.add(source.peer.sctp.transport.transport)
        assert len(transports) == len(used)
        parsed = offers.parse(text, PeerRole.CALLER)
        assert {section.ufrag for section in parsed.served} >= used
        await served.http.delete(location, headers=auth)


@pytest.mark.parametrize(
    ("role", "text", "why"),
    [
        (PeerRole.FEEDER, offer(SCREEN, CHANNEL), "microphone"),
        (PeerRole.CALLER, offer(MIC, AV1), "AV1"),
        (
            PeerRole.FEEDER,
            client.obs(*client.VP8).replace("sendonly", "recvonly"),
            "must send audio",
        ),
        (PeerRole.FEEDER, offer(replace(FEED, port=0)), "stopped"),
        (PeerRole.VIEWER, offer(AV1), "AV1"),
        (PeerRole.VIEWER, offer(CHANNEL), "neither"),
        (PeerRole.VIEWER, offer(replace(LISTEN, mux=False)), "rtcp-mux"),
        (PeerRole.VIEWER, offer(*[SCREEN] * 17), "17"),
    ],
)
def test_an_offer_is_refused_only_when_nothing_usable_is_left(
    role: PeerRole, text: str, why: str
) -> None:
    with pytest.raises(UnusableOffer, match=why):
        offers.parse(text, role)


@pytest.mark.parametrize(
    "text",
    [
        offer(replace(MIC, ufrag=""), replace(SCREEN, ufrag="")),
        offer(replace(MIC, prints=()), replace(SCREEN, prints=(client.SHA1,))),
        offer(replace(MIC, setup="holdconn"), replace(SCREEN, setup="holdconn")),
        offer(MIC).replace("m=audio 9", "m=audio nine"),
    ],
)
def test_what_no_peer_could_connect_by_is_no_offer(text: str) -> None:
    with pytest.raises(BadSdp):
        offers.parse(text, PeerRole.CALLER)


def test_a_malformed_section_costs_itself_alone() -> None:
    broken = replace(CAMERA, transport=False, mid="1")
    twice = replace(CAMERA, mid="0")
    parsed = offers.parse(offer(MIC, broken, twice, SCREEN, bundle="0 3"), PeerRole.CALLER)
    assert [section.rejected is None for section in parsed.sections] == [True, False, False, True]


def test_candidates_of_an_offer_are_bounded_and_names_are_left_out() -> None:
    many = tuple(f"candidate:{n} 1 udp 1 192.0.2.1 {n} typ host" for n in range(1, 300))
    fed = replace(FEED, more=(client.MDNS, client.TCP, client.RTCP, *many))
    for bundle in ("all", None):
        inner = offers.parse(offer(fed, bundle=bundle), PeerRole.FEEDER).sdp
        assert inner.count("a=candidate:") == MAX_CANDIDATES
        assert ".local" not in inner and " tcp " not in inner and "1 2 udp" not in inner
    half = len(many) // 2
    both = offer(replace(LISTEN, more=many[:half]), replace(SCREEN, more=many[half:]))
    audio, video = offers.parse(both, PeerRole.VIEWER).sdp.split("m=video")
    assert audio.count("a=candidate:") == video.count("a=candidate:") == MAX_CANDIDATES


async def test_candidates_of_a_second_transport_may_follow(served: Served) -> None:
    """``unbundled.sdpfrag``: mid 1 has a ufrag of its own."""
    text = offer(client.FEED_VIDEO, replace(FEED, ufrag="aUd1"), bundle=None)
    _, location, auth = await answered(served, "whip", text)
    fragment = (
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=ice-ufrag:aUd1\r\n"
        f"a=ice-pwd:bT2passwordbT2passwordbT2\r\na={client.HOST}\r\na=end-of-candidates\r\n"
    )
    for body, status in (
        (fragment, 204),
        (fragment.replace("aUd1", "bT2u").replace("mid:1", "mid:0"), 204),  # of what is rejected
        (fragment.replace("aUd1", "nEw1"), 422),
    ):
        patched = await served.http.patch(location, data=body, headers={**auth, **FRAGMENT})
        assert patched.status == status


@pytest.mark.parametrize("how", ["a=mid:2", "a=mid:1", ""])
async def test_a_candidate_finds_its_transport_by_mid_or_by_place(served: Served, how: str) -> None:
    """Whichever bundled section names it, and behind a rejected one."""
    text = offer(replace(CAMERA, port=0), MIC, SCREEN, bundle="1 2")
    _, location, auth = await answered(served, "call", text)
    sections = f"m=video 9 X 0\r\n{how}" if how else "m=video 0 X 0\r\nm=audio 9 X 0"
    body = f"a=ice-ufrag:bT2u\r\n{sections}\r\na={client.HOST}\r\n"
    patched = await served.http.patch(location, data=body, headers={**auth, **FRAGMENT})
    assert patched.status == 204
    source = served.manager.session(location.rsplit("/", 1)[-1]).participants.source
    assert source is not None
    transport = source.peer.getTransceivers()[0].receiver.transport.transport
    assert [found.port for found in transport.getRemoteCandidates()] == [50999]
