"""One peer of a session: its connection, tracks and data channel, and whether it is alive."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from server.auth.rate_limit import MESSAGES_AT_ONCE, MESSAGES_PER_S, Bucket
from server.media.tracks import OutgoingTrack
from server.rtc import aiortc_adapter, data_channel
from server.rtc.sdp_offer import Offer, PeerRole

log = logging.getLogger(__name__)

CHANNEL_HIGH_WATER = 64 * 1024  # bytes a slow reader may leave unread before we drop messages
LOST_S = 5.0  # of silence; who says goodbye was heard until then
SILENT_S = 1.0  # without a packet; then whoever feeds may be replaced


class Participant:
    """A peer and what belongs to it. Made by signalling, owned by the session."""

    def __init__(
        self,
        name: str,
        role: PeerRole,
        peer: aiortc_adapter.Peer,
        ufrag: str,
        messages: tuple[float, float] = (MESSAGES_PER_S, MESSAGES_AT_ONCE),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.role, self.peer, self.ufrag = name, role, peer, ufrag
        self.offer: Offer | None = None  # what it was answered to
        self.tracks: list[OutgoingTrack] = []
        self.clock_rate = 0  # of the speech that it sends; 0 is none
        self._now = now
        self.since = self._heard_s = now()
        self.candidates = 0  # that followed the offer
        self.on_packet: aiortc_adapter.PacketSink = aiortc_adapter.drop
        self.on_connected: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        self.on_command: Callable[[data_channel.Command], None] = lambda command: None
        self.on_channel: Callable[[], None] = lambda: None
        self._channel: RTCDataChannel | None = None
        self._messages = messages  # a second, and at once
        self._allowance = Bucket(*messages, now())
        self._refused = 0
        self._limited_s = float("-inf")
        peer.on("connectionstatechange", self._connection_changed)
        peer.on("datachannel", self._channel_opened)

    @property
    def connected(self) -> bool:
        """Whether media flows."""
        return self.peer.connectionState == "connected"

    @property
    def talking(self) -> bool:
        """Whether it sends; one that was killed does not, long before its connection fails."""
        return self.connected and self._now() - self._heard_s < SILENT_S

    @property
    def lost(self) -> bool:
        """Whether it went without a word. Then aiortc calls its connection closed, too, so that a
        speaker's silence has to tell, and of who only watches that its feedback no longer comes."""
        if self.peer.connectionState == "failed":
            return True
        if self.clock_rate > 0:
            return self._now() - self._heard_s > LOST_S
        rooms = [track.room for track in self.tracks if track.room is not None]
        return bool(rooms) and all(room.dark for room in rooms)

    @property
    def last_s(self) -> float:
        """When it was there for the last time, as far as is known."""
        unheard = aiortc_adapter.UNHEARD_S if self.lost else 0.0
        return max(self._heard_s, self._now() - unheard)

    def packet(
        self, codec: RTCRtpCodecParameters, sequence: int, timestamp: int, payload: bytes
    ) -> None:
        """Speech as it comes."""
        self._heard_s = self._now()
        self.on_packet(codec, sequence, timestamp, payload)

    def send(self, message: str) -> None:
        """Sends one event; dropped when the peer does not read."""
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount < CHANNEL_HIGH_WATER:
            channel.send(message)

    def detach(self) -> None:
        """Ignores all further packets, messages and state changes."""
        self.on_packet = aiortc_adapter.drop
        self.on_connected = self.on_gone = self.on_channel = lambda: None
        self.on_command = lambda command: None

    async def close(self) -> None:
        """Ends the connection; harmless when it has ended."""
        self.detach()
        for track in self.tracks:
            track.stop()
        await aiortc_adapter.close(self.peer)

    def _connection_changed(self) -> None:
        state = self.peer.connectionState
        if state == "connected":
            self.on_connected()
        elif state in ("failed", "closed"):
            self.on_gone()

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if channel.label != "events" or self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.on("message", self._heard)
        asyncio.get_running_loop().call_soon(lambda: self.on_channel())

    def _heard(self, message: Any) -> None:
        now = self._now()
        if self._allowance.take(now) > 0:
            most = f"at most {self._messages[0]:g} messages a second; this one was dropped"
            self._refuse("rate_limited", most, now)
            return
        try:
            command = data_channel.parse(message)
            if self.role is PeerRole.VIEWER and not isinstance(command, data_channel.Ping):
                raise data_channel.Refused("not_allowed", "a viewer may only send ping")
        except data_channel.Refused as refusal:
            self._refuse(refusal.code, str(refusal), now)
            return
        self.on_command(command)

    def _refuse(self, code: str, message: str, now: float) -> None:
        self._refused += 1
        if code != "rate_limited" or now - self._limited_s >= 1.0:
            self._limited_s = now if code == "rate_limited" else self._limited_s
            self.send(data_channel.error(code, message))
        if self._refused == data_channel.MAX_REFUSED and self._channel is not None:
            log.warning("a data channel was closed after %d refused messages", self._refused)
            self._channel.close()
