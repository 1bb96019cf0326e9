"""What is asked of a session, and what the configuration grants it."""

from __future__ import annotations

from dataclasses import dataclass

from server.auth.rate_limit import MESSAGES_AT_ONCE, MESSAGES_PER_S
from server.media.encoders import Bitrates
from server.media.playout import DelayLimits
from server.rtc.udp import ANY, Network


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of a session."""

    avatar: str
    prompt: str = ""
    seed: int = 0
    measure: bool = False
    listen: bool = False  # the peer's speech is not performed: utterances alone are


@dataclass(frozen=True, slots=True)
class Limits:
    """What the configuration grants a session."""

    grace_s: float
    backlog_s: float
    bitrates: Bitrates
    delay: DelayLimits
    video_codecs: tuple[str, ...]
    longest_s: float = 0.0  # 0 is no limit
    idle_s: float = 0.0
    messages: tuple[float, float] = (MESSAGES_PER_S, MESSAGES_AT_ONCE)
    return_s: float = 0.0  # the grace of peers whose network is away; 0 is no other
    network: Network = ANY
