"""Offers against offers and against ends: one source, and nothing left of any of them."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.stress import joins
from server.errors import UnusableOffer
from server.rtc import participant
from server.sessions import signaling
from tests.server.api.test_ice import feed, make, watch
from tests.server.caller import Caller, calling, tone
from tests.server.conftest import Served


async def test_joins_against_ends_leave_nothing() -> None:
    counts = await asyncio.to_thread(joins.run, 60, 1)
    assert counts["joined"] and counts["refused"] and counts["cut_off"]
    assert [counts[kind] for kind in ("peers", "tasks", "streams", "slots")] == [0, 0, 0, 0]


async def test_a_caller_is_heard_until_the_next_one_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> str:
        raise UnusableOffer("no codec in common")

    async with calling(served.http, tone) as caller:
        await caller.event("ready")
        session = served.manager.sessions[0]
        before, path = session.participants.source, f"{caller.session}/call"
        assert before is not None
        other = Caller()
        other.speak(tone)
        other.watch()
        with monkeypatch.context() as patch:
            patch.setattr(signaling, "_negotiate", refuse)
            assert (await other.post(served.http, path, caller.token)).status == 422
        assert session.participants.source is before and before.connected
        assert (await other.post(served.http, path, caller.token)).status == 201
        assert session.participants.source is not before
        await other.close()


async def test_a_feeder_that_says_nothing_is_replaced_and_one_that_talks_is_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(served)
    feeder, _ = await feed(served, made)
    viewer, _ = await watch(served, made)
    try:
        await viewer.until(lambda: len(viewer.sounds) > 30)
        headers = {**made.auth, "Content-Type": "application/sdp"}
        offer = feeder.peer.localDescription.sdp
        refused = await served.http.post(f"{made.path}/whip", data=offer, headers=headers)
        problem = await refused.json(content_type=None)
        assert refused.status == 409 and problem["retryable"]
        assert int(refused.headers["Retry-After"]) > 0
        source = served.manager.sessions[0].participants.source
        assert source is not None
        monkeypatch.setattr(participant, "SILENT_S", 0.0)  # as if it had been killed
        other, status = await feed(served, made)
        assert status == 201 and served.manager.sessions[0].participants.source is not source
        await other.close()
    finally:
        await feeder.close()
        await viewer.close()


async def test_sessions_that_nobody_joins_leave_a_slot_to_others(served: Served) -> None:
    made = [await served.http.post("/v1/sessions", json={"avatar": "mira"}) for _ in range(3)]
    assert [answer.status for answer in made] == [201, 201, 429]
    problem = await made[2].json(content_type=None)
    assert problem["type"] == "/problems/too-many-sessions" and made[2].headers["Retry-After"]
    assert served.manager.slots.taken == 2
    for session in served.manager.sessions:
        await session.end("make room")
    again = await served.http.post("/v1/sessions", json={"avatar": "mira"})
    assert again.status == 201


async def test_a_caller_that_vanished_counts_from_when_it_was_last_heard(served: Served) -> None:
    async with calling(served.http, tone) as caller:
        await caller.event("ready")
        session = served.manager.sessions[0]
        source = session.participants.source
        assert source is not None and not source.lost
        heard_s, source._now = source._heard_s, lambda: source._heard_s + 8.0
        source.detach()
        assert source.lost and heard_s <= source.last_s <= heard_s + 1.0
