"""The catalogue of avatars: cards, pictures, and each avatar prepared once.

A session needs an avatar and a fresh consent grant for it. Preparing an avatar takes seconds, so
the result is cached; the grant is requested anew for every session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from pipeline.consent import ConsentGrant
from pipeline.interface import Avatar
from server.errors import NotFound, UnknownAvatar

log = logging.getLogger(__name__)

READY: Final = 32  # avatars kept ready; one of ``mini`` takes 25 MB
MAKERS: Final = 2  # that are made ready at once, on threads that nobody else waits for


_Key = tuple[str, tuple[int, int] | None]  # an avatar and the size of its frames


@dataclass(frozen=True, slots=True)
class Card:
    """What a person sees before the call. ``picture`` is a file, or what reads it; blocking."""

    id: str
    name: str
    description: str
    picture: bytes | Callable[[], bytes]
    picture_type: str
    edition: str = ""  # another one with every enrolment
    synthetic: bool = False  # the person does not exist

    def describe(self) -> dict[str, object]:
        """As JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "picture": f"/v1/avatars/{self.id}/picture",
            "ai_generated": True,
            "synthetic": self.synthetic,
        }


class Source(Protocol):
    """Where avatars come from. Blocking calls; made on a thread."""

    def cards(self) -> list[Card]:
        """Every avatar on offer, the default first."""

    def grant(self, avatar: str, session: str = "") -> ConsentGrant:
        """A fresh consent grant for a session. Raises the pipeline's ``ConsentError``."""

    def enrol(
        self, avatar: str, grant: ConsentGrant, size: tuple[int, int] | None = None
    ) -> Avatar:
        """The avatar at a size or the model's default, ready to be opened."""


class Enrolment(Protocol):
    """Makes avatars of the operator's own pictures. Blocking calls that raise a ``ServerError``."""

    def find(self, data: bytes) -> dict[str, object]:
        """The landmarks of a picture file, as JSON."""

    def preview(self, data: bytes, landmarks: bytes, consent: str) -> bytes:
        """A PNG of points and fit; with the id of a consent record also of test frames."""

    def add(
        self, avatar: str, title: str, data: bytes, landmarks: bytes, consent: str, actor: str
    ) -> str:
        """Adds an avatar and returns its id: ``avatar``, or one made from the picture's hash."""

    def remove(self, avatar: str, actor: str) -> None:
        """Removes an enrolled avatar and erases its files."""


class Avatars:
    """Cards by id, and avatars prepared on first use.

    The ``ready`` avatars that were called last stay in memory; others are prepared again.
    """

    def __init__(
        self, source: Source, enrolment: Enrolment | None = None, ready: int = READY
    ) -> None:
        self._source = source
        self._enrolment = enrolment
        self._most = ready
        self._cards: dict[str, Card] = {}
        self._ready: OrderedDict[_Key, Avatar] = OrderedDict()
        self._locks: dict[_Key, asyncio.Lock] = {}
        self._loading = asyncio.Lock()  # what was read first must not come last
        self._makers = ThreadPoolExecutor(MAKERS, thread_name_prefix="avatars")

    async def load(self) -> None:
        """Reads the cards; avatars that were removed or enrolled again leave the cache."""
        async with self._loading:
            cards = await asyncio.to_thread(self._source.cards)
            before, self._cards = self._cards, {card.id: card for card in cards}
        for name, card in before.items():
            if self._cards.get(name) != card:
                for key in [key for key in self._ready if key[0] == name]:
                    del self._ready[key]

    @property
    def enrolment(self) -> Enrolment:
        """Raises ``NotFound`` where there is none."""
        if self._enrolment is None:
            raise NotFound("This server enrols no pictures.")
        return self._enrolment

    def close(self) -> None:
        """Makes nobody ready any more; waits for whoever is being made. Blocking."""
        self._makers.shutdown()

    def cards(self) -> list[Card]:
        """Every card, the default first."""
        return list(self._cards.values())

    @property
    def ready(self) -> tuple[str, ...]:
        """Ids of the avatars in memory."""
        return tuple(dict.fromkeys(name for name, _ in self._ready))

    def __contains__(self, avatar: str) -> bool:
        return avatar in self._cards

    def card(self, avatar: str) -> Card:
        """Raises ``UnknownAvatar``, which lists those there are."""
        if avatar not in self._cards:
            known = list(self._cards)
            raise UnknownAvatar(
                f"There is no avatar {avatar[:60]!r}. Available: {', '.join(known)}.",
                avatars=known,
            )
        return self._cards[avatar]

    async def picture(self, avatar: str) -> bytes:
        """The reference picture's file. Raises ``UnknownAvatar``, ``AvatarUnusable``."""
        held = self.card(avatar).picture
        return held if isinstance(held, bytes) else await asyncio.to_thread(held)

    async def open(
        self, avatar: str, session: str = "", size: tuple[int, int] | None = None
    ) -> tuple[Avatar, ConsentGrant]:
        """The avatar at a size, the model's by default, and a fresh grant for it, which is bound to
        the session."""
        card = self.card(avatar)
        grant = await asyncio.to_thread(self._source.grant, avatar, session)
        key = avatar, size
        async with self._locks.setdefault(key, asyncio.Lock()):
            ready = self._ready.get(key)
            if ready is None:
                loop = asyncio.get_running_loop()
                enrol = partial(self._source.enrol, avatar, grant, size)
                ready = await loop.run_in_executor(self._makers, enrol)
                if self._cards.get(avatar) == card:  # neither removed nor enrolled anew meanwhile
                    self._keep(key, ready)
            elif key in self._ready:
                self._ready.move_to_end(key)
        return ready, grant

    async def prepare(self, names: Iterable[str]) -> None:
        """Makes these ready before anybody calls, as many as are kept; who cannot be is logged."""
        chosen = list(names)[: self._most]
        made = await asyncio.gather(*map(self._prepared, chosen), return_exceptions=True)
        for name, failure in zip(chosen, made, strict=True):
            if isinstance(failure, Exception):
                log.warning("avatar %s is not ready: %s", name, failure)

    async def _prepared(self, avatar: str) -> None:
        await self.open(avatar, "warm-up")

    def _keep(self, key: _Key, ready: Avatar) -> None:
        self._ready[key] = ready
        while len(self._ready) > self._most:
            self._ready.popitem(last=False)
