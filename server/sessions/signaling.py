"""SDP in, SDP out: makes a peer for an offer and wires it to its session."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import cast

from aiortc import RTCIceServer, RTCRtpTransceiver, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidStateError, OperationError

from server.errors import BadRequest, BadSdp, IceRestart, UnusableOffer
from server.media.tracks import OutgoingTrack
from server.rtc import aiortc_adapter, sdp_answer
from server.rtc.ice import Fragment
from server.rtc.paced_sender import PacedSender
from server.rtc.participant import Participant
from server.rtc.sdp_offer import Offer
from server.rtc.sdp_transport import MAX_CANDIDATES, reachable
from server.rtc.send_path import SendPath
from server.sessions.session import Session

AUDIO_CODECS = ("audio/opus", "audio/G722", "audio/PCMU", "audio/PCMA")


async def answer(
    session: Session, offer: Offer, ice_servers: Sequence[RTCIceServer]
) -> tuple[str, Participant]:
    """The SDP answer, and the member that has joined; a predecessor is hung up only then.

    Peers join one at a time. Raises ``BadSdp``, ``UnusableOffer``, ``SourceTaken`` or
    ``UnknownSession``; then nothing is left of the peer, and nothing has changed for others.
    """
    async with session.participants.joining:
        session.participants.admit(offer.role)
        peer = aiortc_adapter.Peer(ice_servers, offer.bundled)
        name, messages = secrets.token_hex(6), session.limits.messages
        participant = Participant(name, offer.role, peer, offer.ufrag, messages, session.monotonic)
        participant.offer = offer
        try:
            sdp = await _negotiate(session, participant, offer)
            session.participants.join(participant)
        except BaseException:
            for track in participant.tracks:
                session.media_sender.leave(track)
            await participant.close()
            raise
    return sdp, participant


async def trickle(participant: Participant, fragment: Fragment) -> None:
    """Adds candidates. Raises ``IceRestart`` when the fragment is of another ICE session, and
    ``BadRequest`` when the peer has named too many: each is kept, and a place that we knock at."""
    offer = participant.offer
    if offer is None or not offer.ufrags.issuperset(fragment.ufrags):
        raise IceRestart("ICE restarts are not supported. Post a new offer to come back.")
    if participant.candidates + len(fragment.candidates) > MAX_CANDIDATES:
        raise BadRequest(f"a peer may name {MAX_CANDIDATES} candidates, and this one did so")
    participant.candidates += len(fragment.candidates)
    for candidate in fragment.candidates:
        mid = offer.place(candidate.sdpMid, candidate.sdpMLineIndex or 0)
        if mid is not None and reachable(candidate):
            await aiortc_adapter.add_candidate(participant.peer, mid, candidate)
    for ended, index in fragment.ended:
        everywhere = ended is None and index < 0
        mids = [s.mid for s in offer.served] if everywhere else [offer.place(ended, index)]
        for mid in mids:
            await aiortc_adapter.end_candidates(participant.peer, mid)


async def _negotiate(session: Session, participant: Participant, offer: Offer) -> str:
    peer = participant.peer
    transceivers = []
    for section in offer.media:
        transceiver = peer.addTransceiver(section.kind, section.direction)
        codecs = AUDIO_CODECS if section.kind == "audio" else session.limits.video_codecs
        aiortc_adapter.prefer(transceiver, codecs)
        transceivers.append(transceiver)
    try:
        await peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
    except (OperationError, InternalError, InvalidStateError) as failure:
        raise UnusableOffer(f"The offer has no codec in common with us: {failure}") from failure
    except (ValueError, KeyError, IndexError, AssertionError, AttributeError) as failure:
        raise BadSdp(f"The offer cannot be used: {failure}") from failure
    for transceiver in transceivers:
        _wire(session, participant, transceiver)
    peer.use(session.limits.network)
    await peer.setLocalDescription(await peer.createAnswer())
    return sdp_answer.answer(offer, peer.localDescription.sdp)


def _wire(session: Session, participant: Participant, transceiver: RTCRtpTransceiver) -> None:
    codec = aiortc_adapter.negotiated(transceiver)
    if transceiver.direction in ("sendrecv", "sendonly"):
        wire_sender(session, participant, transceiver, codec.mimeType)
    if transceiver.kind == "audio" and transceiver.direction in ("sendrecv", "recvonly"):
        participant.clock_rate = codec.clockRate
        aiortc_adapter.listen(transceiver.receiver, participant.packet)
    else:
        aiortc_adapter.ignore(transceiver.receiver)


def wire_sender(
    session: Session, participant: Participant, transceiver: RTCRtpTransceiver, mime: str
) -> None:
    sender = cast(PacedSender, transceiver.sender)
    sender.clock = session.clock
    if transceiver.kind == "audio":
        track = session.media_sender.audio_track()
        track.mime = mime
    else:
        track = session.media_sender.video_track(mime)
        feed = session.media_sender.cast_of(mime)
        sender.on_key_request = feed.request_key
    sender.on_path = lambda path: _take_room(track, path, session.limits.bitrates.most)
    participant.tracks.append(track)
    sender.replaceTrack(track)


def _take_room(track: OutgoingTrack, path: SendPath, most: int) -> None:
    path.wanted = most
    track.room = path
