"""WHIP in, WHEP out, trickled candidates: three kinds of peers on one session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from server.errors import BadRequest
from server.rtc import ice
from tests.server.caller import Caller, calling, tone
from tests.server.conftest import Served

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


@dataclass(slots=True)
class Made:
    """A session made over HTTP."""

    path: str
    token: str

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


async def make(served: Served) -> Made:
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    return Made(f"/v1/sessions/{made['id']}", made["token"])


async def feed(served: Served, made: Made) -> tuple[Caller, int]:
    feeder = Caller()
    feeder.speak(tone)
    response = await feeder.post(served.http, f"{made.path}/whip", made.token)
    return feeder, response.status


async def watch(served: Served, made: Made) -> tuple[Caller, int]:
    viewer = Caller()
    viewer.peer.addTransceiver("audio", "recvonly")
    viewer.watch()
    viewer.open_channel()
    response = await viewer.post(served.http, f"{made.path}/whep", made.token)
    return viewer, response.status


async def test_what_is_fed_by_whip_is_seen_and_heard_by_every_whep_viewer(served: Served) -> None:
    made = await make(served)
    feeder, fed = await feed(served, made)
    one, first = await watch(served, made)
    two, second = await watch(served, made)
    try:
        assert (fed, first, second) == (201, 201, 201)
        assert feeder.location.startswith(f"{made.path}/whip/")
        assert one.location.startswith(f"{made.path}/whep/") and one.location != two.location
        for viewer in (one, two):
            await viewer.until(lambda v=viewer: len(v.pictures) > 25 and len(v.sounds) > 100)
            heard = np.concatenate([f.to_ndarray().ravel() for _, f in viewer.sounds[-20:]])
            assert np.abs(heard).max() > 4000
        casts = served.manager.sessions[0].media_sender._casts
        assert [len(c.tracks) for c in casts.values()] == [2], "one encode serves both"
    finally:
        for peer in (feeder, one, two):
            await peer.close()


async def test_a_second_feeder_is_409(served: Served) -> None:
    made = await make(served)
    feeder, _ = await feed(served, made)
    viewer, _ = await watch(served, made)
    try:
        await viewer.until(lambda: len(viewer.sounds) > 30)
        other, status = await feed(served, made)
        await other.close()
        assert status == 409
    finally:
        await feeder.close()
        await viewer.close()


async def test_a_viewer_may_ping_but_not_command(served: Served) -> None:
    made = await make(served)
    viewer, _ = await watch(served, made)
    try:
        await viewer.event("ready")
        viewer.send(type="ping", id=3)
        await viewer.event("pong", id=3)
        viewer.send(type="interrupt")
        await viewer.event("error", code="not_allowed")
    finally:
        await viewer.close()


async def test_a_viewer_leaves_and_the_session_goes_on(served: Served) -> None:
    made = await make(served)
    one, _ = await watch(served, made)
    two, _ = await watch(served, made)
    try:
        await two.until(lambda: two.pictures)
        assert (await served.http.delete(one.location, headers=made.auth)).status == 200
        assert (await served.http.delete(one.location, headers=made.auth)).status == 404
        count = len(two.pictures)
        await two.until(lambda: len(two.pictures) > count + 10)
    finally:
        await one.close()
        await two.close()


@pytest.mark.parametrize("door", ["call", "whip", "whep"])
async def test_every_door_asks_for_the_token(served: Served, door: str) -> None:
    made = await make(served)
    caller = Caller()
    caller.speak(tone)
    caller.watch()
    try:
        assert (await caller.post(served.http, f"{made.path}/{door}", "wrong")).status == 401
    finally:
        await caller.close()


async def test_candidates_may_follow_the_offer(served: Served) -> None:
    caller = Caller()
    caller.speak(tone)
    caller.watch()
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        full = caller.peer.localDescription.sdp
        lines = full.splitlines(keepends=True)
        bare = "".join(line for line in lines if "candidate" not in line)
        response = await served.http.post(
            "/v1/calls?avatar=mira", data=bare, headers={"Content-Type": "application/sdp"}
        )
        assert response.status == 201
        path, token = response.headers["Location"], response.headers["Session-Token"]
        auth = {"Authorization": f"Bearer {token}"}
        kept = ("a=ice-ufrag", "a=ice-pwd", "m=", "a=mid", "a=candidate", "a=end-of")
        fragment = "".join(line for line in lines if line.startswith(kept))
        patched = await served.http.patch(path, data=fragment, headers={**auth, **FRAGMENT})
        assert patched.status == 204
        await caller.peer.setRemoteDescription(
            type(caller.peer.localDescription)(await response.text(), "answer")
        )
        await caller.until(lambda: caller.pictures)
    finally:
        await caller.close()


async def test_an_ice_restart_is_422_and_other_bodies_what_they_deserve(served: Served) -> None:
    async with calling(served.http) as caller:
        headers = {**caller.auth, **FRAGMENT}
        restart = "a=ice-ufrag:other\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\n"
        for body, status in ((restart, 422), ("nonsense", 400), ("", 400), ("x" * 70_000, 413)):
            response = await served.http.patch(caller.session, data=body, headers=headers)
            assert response.status == status, body[:20]
        wrong = await served.http.patch(caller.session, data=restart, headers=caller.auth)
        assert wrong.status == 415 and "sdpfrag" in wrong.headers["Accept-Patch"]
        await caller.until(lambda: caller.pictures)


def test_a_fragment_names_the_section_of_each_candidate() -> None:
    fragment = ice.parse_fragment(
        "a=ice-ufrag:EsAw\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:a1\r\n"
        "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n"
    )
    assert fragment.ufrag == "EsAw" and fragment.complete
    assert (fragment.candidates[0].ip, fragment.candidates[0].sdpMid) == ("192.0.2.1", "a1")


@pytest.mark.parametrize(
    "line", ["a=candidate:1", "a=candidate:x y z", "a=candidate:1 1 udp many 1.2.3.4 x typ host"]
)
def test_a_candidate_that_cannot_be_read_is_refused(line: str) -> None:
    with pytest.raises(BadRequest):
        ice.parse_fragment(f"m=audio 9 X 0\r\n{line}\r\n")


async def test_a_peer_names_so_many_candidates_and_the_call_goes_on(served: Served) -> None:
    async with calling(served.http) as caller:
        headers = {**caller.auth, **FRAGMENT}
        for start, status in ((1, 204), (61, 400), (61, 400)):
            lines = [
                f"a=candidate:{n} 1 udp 2122260223 192.0.2.{n} 9 typ host\r\n"
                for n in range(start, start + 60)
            ]
            body = "m=audio 9 X 0\r\na=mid:0\r\n" + "".join(lines)
            answer = await served.http.patch(caller.session, data=body, headers=headers)
            assert answer.status == status, start
        await caller.until(lambda: len(caller.pictures) > 5)


def test_too_many_candidates_are_refused() -> None:
    line = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
    with pytest.raises(BadRequest, match="100"):
        ice.parse_fragment(line * 101)
