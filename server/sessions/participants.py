"""The peers of a session: they join one at a time, and leave.

A peer takes its place once its offer has been answered; the previous source goes on until then.
Knows nothing of SDP; of media, only that peers have tracks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol

from server.background.tasks import Tasks
from server.errors import SourceTaken, UnknownSession
from server.media.tracks import OutgoingTrack
from server.rtc import data_channel
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole

log = logging.getLogger(__name__)


class TrackOwner(Protocol):
    """``server.media.sender.MediaSender``, as far as participants know it."""

    def leave(self, track: OutgoingTrack) -> None: ...


class Host(Protocol):
    """``server.sessions.session.Session``, as far as its participants know it."""

    id: str

    @property
    def running(self) -> bool: ...
    @property
    def media_sender(self) -> TrackOwner: ...
    def greet(self, participant: Participant) -> None: ...
    def command(self, command: data_channel.Command, participant: Participant) -> None: ...
    def listen_to(self, participant: Participant) -> None: ...
    def attended(self, present: bool, last_s: float, left: bool) -> None: ...


class Participants:
    """The peers of one session, by name. One that is connected counts as present."""

    def __init__(self, host: Host) -> None:
        self.joining = asyncio.Lock()  # held from before an offer is answered until it has joined
        self._host = host
        self._members: dict[str, Participant] = {}
        self._agents = 0  # who speak without being a peer
        self._partings = Tasks()

    def __iter__(self) -> Iterator[Participant]:
        return iter(list(self._members.values()))

    def get(self, name: str) -> Participant | None:
        """The peer of this name."""
        return self._members.get(name)

    @property
    def source(self) -> Participant | None:
        """The peer whose speech drives the avatar."""
        return next((participant for participant in self if participant.role.speaks), None)

    def admit(self, role: PeerRole) -> None:
        """Raises ``UnknownSession`` after its end, ``SourceTaken`` while another peer feeds it."""
        if not self._host.running:
            raise UnknownSession("There is no such session, or it has ended.")
        if role is PeerRole.FEEDER and self.source is not None and self.source.talking:
            raise SourceTaken("Somebody feeds this session already. Delete that peer first.")

    def join(self, participant: Participant) -> None:
        """A peer has been answered and takes its place, a source's from the one before it.

        Raises what ``admit`` does; then nothing has changed.
        """
        self.admit(participant.role)
        if participant.role.speaks and self.source is not None:
            self.part(self.source)
        self._members[participant.name] = participant
        participant.on_connected = self._changed
        participant.on_gone = lambda: self._gone(participant)
        participant.on_command = lambda command: self._host.command(command, participant)
        participant.on_channel = lambda: self._host.greet(participant)
        if participant.clock_rate:
            self._host.listen_to(participant)

    async def leave(self, participant: Participant) -> None:
        """A peer goes, and is gone; harmless when it went before."""
        if participant.name in self._members:
            await asyncio.shield(self.part(participant, left=True))

    def part(self, participant: Participant, left: bool = False) -> asyncio.Task[None]:
        """Parts from a peer at once; its connection closes in a task of its own."""
        last_s = participant.last_s
        del self._members[participant.name]
        participant.detach()
        for track in participant.tracks:
            self._host.media_sender.leave(track)
        self._changed(last_s, left)
        return self._partings.start(f"{self._host.id}/part-{participant.name}", participant.close)

    def part_from_strangers(self, since_s: float) -> None:
        """Closes peers that joined before ``since_s`` and are not connected."""
        for participant in self:
            if not participant.connected and participant.since < since_s:
                self.part(participant)

    async def close(self) -> None:
        """Closes all peers, and waits until every connection is closed."""
        for participant in self:
            self.part(participant)
        await self._partings.finish()

    def agent_came(self) -> None:
        """Somebody speaks over another door; the session lasts as long as with a peer."""
        self._agents += 1
        self._changed()

    def agent_went(self, now_s: float) -> None:
        """They have gone."""
        self._agents -= 1
        self._changed(now_s, left=True)

    def _gone(self, participant: Participant) -> None:
        log.info("peer %s is gone", participant.name, extra={"session": self._host.id})
        self.part(participant, left=not participant.lost)

    def _changed(self, last_s: float = 0.0, left: bool = False) -> None:
        present = self._agents > 0 or any(participant.connected for participant in self)
        self._host.attended(present, last_s, left)
