"""The other way round: we offer a session's picture and sound, and a media server answers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from aiortc import RTCIceServer, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidStateError, OperationError

from server.errors import BadSdp, UnknownSession
from server.rtc import aiortc_adapter
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole
from server.sessions.session import Session
from server.sessions.signaling import wire_sender

OPUS = ("audio/opus",)


async def offer(session: Session, ice_servers: Sequence[RTCIceServer]) -> tuple[Participant, str]:
    """A peer that sends and takes nothing, and its SDP offer with all candidates."""
    peer = aiortc_adapter.Peer(ice_servers, bundled=True)
    name = secrets.token_hex(6)
    participant = Participant(name, PeerRole.VIEWER, peer, "", now=session.monotonic)
    for kind, codecs in (("audio", OPUS), ("video", session.limits.video_codecs)):
        aiortc_adapter.prefer(peer.addTransceiver(kind, "sendonly"), codecs)
    peer.use(session.limits.network)
    await peer.setLocalDescription(await peer.createOffer())
    return participant, peer.localDescription.sdp


async def accept(session: Session, participant: Participant, answer: str) -> None:
    """The peer joins the session and begins to send. Raises ``BadSdp`` or ``UnknownSession``."""
    peer = participant.peer
    try:
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        for transceiver in peer.getTransceivers():
            if transceiver.currentDirection == "sendonly":
                codec = aiortc_adapter.negotiated(transceiver)
                wire_sender(session, participant, transceiver, codec.mimeType)
    except (OperationError, InternalError, InvalidStateError) as failure:
        raise BadSdp(f"The answer has no codec in common with us: {failure}") from failure
    except (ValueError, KeyError, IndexError, AssertionError, AttributeError) as failure:
        raise BadSdp(f"The answer cannot be used: {failure}") from failure
    if not participant.tracks:
        raise BadSdp("The answer takes neither picture nor sound.")
    if not session.running:
        raise UnknownSession("There is no such session, or it has ended.")
    session.participants.join(participant)


async def withdraw(session: Session, participant: Participant) -> None:
    """The peer goes, whether it has joined or not."""
    for track in participant.tracks:
        session.media_sender.leave(track)
    await session.participants.leave(participant)
    await participant.close()
