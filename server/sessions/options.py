"""What is asked of a session, and what the configuration grants it."""

from __future__ import annotations

from dataclasses import dataclass

from server.auth.rate_limit import MESSAGES_AT_ONCE, MESSAGES_PER_S
from server.media.encoders import Bitrates
from server.media.playout import DelayLimits, ms
from server.media.timing import StreamTiming
from server.rtc.udp import ANY, Network
from server.sessions.admission import Cost
from server.settings import Settings

ROOM = ms(120)  # above a step and its making, for packets that come late


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of a session."""

    avatar: str
    prompt: str = ""
    seed: int = 0
    measure: bool = False
    answers: bool = False  # what the peer says and asks is answered
    listen: bool = False  # the peer's speech is not performed: utterances alone are
    size: str = ""  # of pictures, as ``framing.size_of`` reads it
    background: str = ""  # behind the person, as ``framing.background_of`` reads it
    since: int = 0  # media time at which it goes on, having moved
    before: str = ""  # the id that it had before it moved
    gesture: float = 1.0  # how much the body moves


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
    worker: str = ""  # that its id names

    @classmethod
    def of(
        cls, settings: Settings, delay: DelayLimits, network: Network, worker: str = ""
    ) -> Limits:
        """What ``settings`` grant."""
        return cls(
            settings.grace_s,
            settings.backlog_s,
            Bitrates(settings.bitrate_start, settings.bitrate_min, settings.bitrate_max),
            delay,
            settings.video_codecs,
            longest_s=settings.session_max_s,
            idle_s=settings.session_idle_s,
            messages=(settings.message_rate, settings.message_burst),
            return_s=max(settings.grace_s, settings.return_s),
            network=network,
            worker=worker,
        )


def delay_limits(settings: Settings, timing: StreamTiming, cost: Cost | None) -> DelayLimits:
    """As configured; a model of long steps cannot be sooner than a step and its making."""
    most = max(ms(settings.delay_max_ms), timing.chunk + timing.step + ROOM)
    least = ms(settings.delay_min_ms)
    generate_s = cost.generate_s if cost else 0.05
    first = timing.chunk + ms(1300 * generate_s) + ms(25)
    return DelayLimits(min(max(least, first), most), least, most, timing=timing)
