"""Peers that join while sessions end, and while others join.

A round makes a session, lets several offers at once be answered for it, cuts some of them off and
ends the session at a moment that the seed chooses. Nothing may be left of any of it: no peer, no
task, no stream, no slot. Most rounds negotiate with a stand-in that takes some turns of the loop;
the others with real aiortc peers.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from unittest import mock

from aiortc import RTCConfiguration, RTCPeerConnection

from server.avatars.catalog import Avatars
from server.errors import ServerError, UnusableOffer
from server.rtc import aiortc_adapter, sdp_offer
from server.rtc.sdp_offer import Offer, PeerRole
from server.sessions import signaling
from server.sessions.options import Options
from server.sessions.session import Session
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource

REAL: Final = 50  # of so many rounds one is of real peers
SLOTS: Final = 4
_MOST_OFFERS: Final = 4
_MOST_TURNS: Final = 40


class StandIn:
    """A peer connection that carries nothing and knows whether it is closed."""

    def __init__(self, *_: object) -> None:
        self.connectionState = "connecting"

    def on(self, event: str, heard: Callable[..., None]) -> None:
        """Nothing is ever heard of it."""

    async def close(self) -> None:
        """Takes a turn, as the real one does."""
        await asyncio.sleep(0)
        self.connectionState = "closed"


def run(rounds: int, seed: int) -> dict[str, int]:
    """Counts of joins, refusals and what was left. Raises ``AssertionError`` where it is not 0."""
    return asyncio.run(_run(rounds, random.Random(seed)))


async def _run(rounds: int, rng: random.Random) -> dict[str, int]:
    counts = Counter(rounds=rounds, joined=0, refused=0, cut_off=0)
    async with _manager() as (manager, pipeline):
        offers = [await _offer(role) for role in PeerRole]
        for number in range(rounds):
            with _peers(rng, real=number % REAL == 0) as peers:
                await _round(manager, offers, rng, counts)
                left = _left(manager, pipeline, peers)
            assert not any(left.values()), f"round {number} left {left}"
    return dict(counts) | left


async def _round(
    manager: SessionManager, offers: list[Offer], rng: random.Random, counts: Counter[str]
) -> None:
    session = await manager.create(Options("mira"))
    chosen = [rng.choice(offers) for _ in range(rng.randint(1, _MOST_OFFERS))]
    joins = [asyncio.create_task(_join(session, offer, rng, counts)) for offer in chosen]
    cut, after = rng.choice([*joins, None]), rng.randrange(_MOST_TURNS)
    await _turns(rng.randrange(_MOST_TURNS))
    if cut is not None:
        cut.cancel()
    await _turns(after)
    assert sum(participant.role.speaks for participant in session.participants) <= 1, "two sources"
    await session.end("the round is over")
    await asyncio.gather(*joins, return_exceptions=True)
    counts["cut_off"] += sum(join.cancelled() for join in joins)
    await _turns(10)


async def _join(session: Session, offer: Offer, rng: random.Random, counts: Counter[str]) -> None:
    await _turns(rng.randrange(_MOST_TURNS))
    try:
        await signaling.answer(session, offer, [])
        counts["joined"] += 1
    except ServerError:
        counts["refused"] += 1


def _left(manager: SessionManager, pipeline: FakePipeline, peers: list[Any]) -> dict[str, int]:
    own = [task for task in asyncio.all_tasks() if task.get_name().startswith("s-")]
    left = {
        "peers": sum(peer.connectionState != "closed" for peer in peers),
        "tasks": len(own),
        "streams": sum(not stream.closed for stream in pipeline.streams),
        "slots": manager.slots.taken,
    }
    pipeline.streams.clear()
    return left


@contextmanager
def _peers(rng: random.Random, real: bool) -> Iterator[list[Any]]:
    """Every peer that is made meanwhile."""
    kind, made = aiortc_adapter.Peer if real else StandIn, list[Any]()

    def make(*arguments: Any) -> Any:
        made.append(kind(*arguments))
        return made[-1]

    async def negotiate(session: Session, participant: Any, offer: Offer) -> str:
        participant.tracks.append(session.media_sender.audio_track())
        participant.clock_rate = 48_000 * offer.role.speaks
        await _turns(rng.randrange(_MOST_TURNS))
        if rng.random() < 0.1:
            raise UnusableOffer("nothing in common")
        return "v=0"

    with mock.patch.object(aiortc_adapter, "Peer", make):
        if real:
            yield made
        else:
            with mock.patch.object(signaling, "_negotiate", negotiate):
                yield made


@asynccontextmanager
async def _manager() -> AsyncIterator[tuple[SessionManager, FakePipeline]]:
    pipeline = FakePipeline()
    manager = SessionManager(Settings(slots=SLOTS), pipeline, Avatars(FakeSource()))
    await manager.open()
    pipeline.streams.clear()
    try:
        yield manager, pipeline
    finally:
        await manager.close()


async def _offer(role: PeerRole) -> Offer:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio", "recvonly" if role is PeerRole.VIEWER else "sendrecv")
    if role is not PeerRole.FEEDER:
        peer.addTransceiver("video", "recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    offer = sdp_offer.parse(peer.localDescription.sdp, role)
    await peer.close()
    return offer


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
