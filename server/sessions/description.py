"""A session in words for others: the first event of a peer, and ``GET /v1/sessions/{id}``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.media.clock import RATE
from server.media.playout import RATIO_48K_16K
from server.rtc import data_channel

if TYPE_CHECKING:
    from server.sessions.session import Session


def describe(session: Session) -> dict[str, object]:
    """``GET /v1/sessions/{id}``."""
    receiver = session.receiver
    return {
        "id": session.id,
        "avatar": session.options.avatar,
        "state": session.state.value,
        "media_time": session.played,
        "measure": session.options.measure,
        "peers": [
            {"id": peer.name, "role": peer.role.value, "connected": peer.connected}
            for peer in session.participants
        ],
        "intake": {
            "packets": receiver.packets,
            "late_samples": receiver.late,
            "dropped_samples": receiver.dropped,
            "concealed_samples": receiver.concealed,
            "backlog_s": receiver.backlog / RATE / RATIO_48K_16K,
        },
        "delay_ms": round(session.playout.delay.samples / RATE * 1e3, 1),
    }


def ready(session: Session) -> str:
    """The event ``ready``."""
    return data_channel.build(
        "ready",
        session=session.id,
        avatar=session.options.avatar,
        width=session.size[0],
        height=session.size[1],
        fps=float(session.timing.fps),
        sample_rate=RATE,
        measure=session.options.measure,
        media_time=session.played,
    )
