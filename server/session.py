"""One performance: its stream, its peers, its timers.

    OPENING -> WAITING <-> LIVE -> ENDING -> ENDED

WAITING is a session without a connected peer; it ends when the grace period is over. Everything a
session starts, it owns: named tasks, cancelled and awaited in ``end``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from server import auth, events, marks
from server.beat import Beat
from server.clock import RATE, SessionClock
from server.encode import Bitrates
from server.engine import Engine
from server.intake import Heard, Intake
from server.lateness import Lateness
from server.lifecycle import ALLOWED, State
from server.member import Member
from server.metrics import Metrics
from server.offers import Role
from server.origins import Origin, Origins
from server.performer import Performer, Stream
from server.playout import WIDE, DelayLimits, Playout, Shot, ms
from server.quality import Quality
from server.speech import Edge
from server.stage import Stage

log = logging.getLogger(__name__)

PUMP_S = 0.02
SLACK = ms(4)  # a step is made up with silence this long before it would be too late
PATIENCE = ms(40)  # a late packet is worth a frame shown twice


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of a session."""

    avatar: str
    prompt: str = ""
    seed: int = 0
    measure: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the configuration grants a session."""

    grace_s: float
    backlog_s: float
    bitrates: Bitrates
    delay: DelayLimits
    video_codecs: tuple[str, ...]


class Session:
    """A stream, and whoever speaks to it and watches it."""

    def __init__(
        self, options: Options, limits: Limits, engine: Engine, media: Executor, metrics: Metrics
    ) -> None:
        self.id, self.token = auth.new_id(), auth.new_token()
        self.options, self.limits = options, limits
        self.state = State.OPENING
        self.clock = SessionClock()
        self.playout = Playout(limits.delay)
        self.members: dict[str, Member] = {}
        self.on_ended: Callable[[Session], None] = lambda session: None
        self.size = (0, 0)
        self.level = 0  # the governor's
        self._engine, self._metrics = engine, metrics
        self._performer: Performer | None = None
        self._origins = Origins()
        self._edges: deque[Edge] = deque()
        self._audible = False  # between speaking_started and speaking_finished, as sent
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: asyncio.Task[None] | None = None
        self._lonely_since = time.monotonic()
        self._played = 0
        self._skipped = 0  # frames, when ``missed`` was asked last
        self._lateness = Lateness()
        self.stage = Stage(self.clock, self.playout, media, limits.bitrates, self._playing)
        self.stage.on_encoded = lambda seconds: self._observe("encode", seconds)
        self.intake = Intake(
            media, lambda: self.clock.now() * WIDE, self._heard, self.notice, limits.backlog_s
        )
        self.intake.on_placed = lambda samples: self._observe("intake", samples / WIDE / RATE)
        self.stage.speaking = lambda: self._audible or self.intake.speaking
        self._quality = Quality(self.stage, self.intake, metrics)

    # -- life --------------------------------------------------------------------------------

    def start(self, stream: Stream) -> None:
        """Begins to perform; the first frames are made before anybody has connected."""
        mark = self._mark if self.options.measure else None
        self._performer = Performer(stream, self._shot, self._failed, mark)
        self._engine.add(self._performer, self._playing_in)
        loops: list[tuple[str, Coroutine[Any, Any, None]]] = [
            *self.stage.loops(),
            ("intake", self.intake.run()),
            ("pump", self._pump()),
            ("seconds", self._seconds()),
        ]
        for name, loop in loops:
            self._tasks[name] = self._own(name, loop)
        self._become(State.WAITING)

    def _own(self, name: str, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(loop, name=f"{self.id}/{name}")
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self.end_soon("an internal error ended the session", "generation_failed")

    def end_soon(self, why: str, code: str = "session_ended") -> None:
        """Ends the session in a task of its own; harmless when it is ending."""
        if self._ending is None:
            log.info("session ends: %s", why, extra={"session": self.id})
            self.tell(events.error(code, why))
            self._ending = asyncio.create_task(self._end(), name=f"{self.id}/end")

    async def end(self, why: str) -> None:
        """Ends the session and waits until nothing of it is left."""
        self.end_soon(why)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._become(State.ENDING)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(self._part(member) for member in list(self.members.values())))
        if self._performer is not None:
            await self._engine.remove(self._performer)
        self._become(State.ENDED)
        self.on_ended(self)

    def _become(self, state: State) -> None:
        if state not in ALLOWED[self.state]:
            raise ValueError(f"a session that is {self.state.value} cannot become {state.value}")
        self.state = state

    # -- peers -------------------------------------------------------------------------------

    @property
    def source(self) -> Member | None:
        """The peer whose speech drives the avatar."""
        return next((m for m in self.members.values() if m.role.speaks), None)

    def join(self, member: Member) -> None:
        """A peer has been answered; it counts as present once it is connected."""
        self.members[member.name] = member
        member.on_connected = self._presence
        member.on_gone = lambda: self._gone(member)
        member.on_command = lambda command: self.command(command, member)
        member.on_channel = lambda: member.send(self._ready())

    async def leave(self, member: Member) -> None:
        """A peer goes; the session waits for the grace period if it was the last."""
        await self._part(member)
        self._presence()

    async def _part(self, member: Member) -> None:
        if self.members.pop(member.name, None) is not None:
            for track in member.tracks:
                self.stage.leave(track)
            await member.close()

    def _gone(self, member: Member) -> None:
        if member.name in self.members and self._ending is None:
            log.info("peer %s is gone", member.name, extra={"session": self.id})
            name = f"part-{member.name}"
            self._tasks[name] = self._own(name, self.leave(member))
            self._tasks[name].add_done_callback(lambda task: self._tasks.pop(name, None))

    def _presence(self) -> None:
        present = any(member.connected for member in self.members.values())
        if present and self.state is State.WAITING:
            self._become(State.LIVE)
        elif not present and self.state is State.LIVE:
            self._lonely_since = time.monotonic()
            self._become(State.WAITING)

    def set_rtp_rate(self, clock_rate: int) -> None:
        """The source counts its RTP timestamps at this rate."""
        self._origins.per_sample = clock_rate / RATE

    # -- speech in ---------------------------------------------------------------------------

    def command(self, command: events.Command, member: Member) -> None:
        """Obeys a message of a peer."""
        if isinstance(command, events.Interrupt):
            self.interrupt()
        elif isinstance(command, events.Mute):
            self.intake.muted = command.muted
        elif isinstance(command, events.Prompt):
            text = command.text
            self._order(lambda stream: stream.set_prompt(text))
        else:
            member.send(events.build("pong", id=command.id, media_time=self._played))

    def interrupt(self) -> None:
        """Empties every stage; the avatar goes back to listening."""
        cut = self.playout.clear(self.clock.now())
        self.intake.interrupt(cut)
        self._order(lambda stream: stream.interrupt())
        self._edges.clear()
        if self._audible:
            self._finished(cut, interrupted=True)

    def _order(self, order: Callable[[Stream], None]) -> None:
        if self._performer is not None:
            self._performer.order(order)
            self._engine.wake()

    def _heard(self, heard: Heard) -> None:
        start = heard.position // WIDE
        self.playout.voice.write(heard.position, heard.wide)
        end = start + len(heard.narrow)
        self._origins.add(Origin(start, end, heard.rtp, self.intake.muted, self.intake.speaking))
        self._edges.extend(heard.edges)
        self._lateness.heard(end, self.clock.now())
        performer = self._performer
        if performer is not None:
            performer.hear(heard.narrow)
            if performer.due:
                self._engine.wake()

    async def _pump(self) -> None:
        """Lets speech out in time, and makes up what has not come when a step can't wait."""
        while True:
            deadline = self._deadline()
            await asyncio.sleep(min(max(self.clock.until(deadline), 0.001), PUMP_S))
            self.intake.release()
            late = self.clock.now() - deadline
            if late >= 0 and (late >= PATIENCE or not self.intake.awaited):
                self.intake.release_to(self._need() * WIDE)

    @property
    def beat(self) -> Beat:
        """The model's."""
        return self.playout.beat

    def _need(self) -> int:
        """Up to which media time the first step that lacks audio must hear."""
        needs = self._performer.needs if self._performer else self.beat.chunk
        return self.beat.next_need(needs, self.intake.head // WIDE)

    def _deadline(self) -> int:
        """The position at which the next step must have its audio."""
        cost = int(self._performer.pace.generate_s * RATE) if self._performer else 0
        leaves = max(0, self._need() - self.beat.chunk) + self.playout.delay.samples
        return leaves - min(cost, self.beat.step) - SLACK

    # -- frames out --------------------------------------------------------------------------

    def _playing_in(self, seconds: float) -> int:
        return self.playout.playing(self.clock.now()) + int(seconds * RATE)

    def _shot(self, shot: Shot) -> None:
        self.playout.add(shot)
        now, delay, made = self.clock.now(), self.playout.delay, shot.made
        observed = self._lateness.observe(made, now, delay.samples)
        if observed is None:
            return
        complete, took = observed
        delay.observe(took)
        for stage, samples in (
            ("wait", complete - made.media_time),
            ("generate", now - complete),
            ("playout", made.media_time + delay.samples - now),
        ):
            self._observe(stage, samples / RATE)

    def missed(self) -> int:
        """Frames that the model made too late, or never, since this was asked last."""
        skipped = self._performer.skipped if self._performer else 0
        never, self._skipped = skipped - self._skipped, skipped
        return self._lateness.take() + never

    def _observe(self, stage: str, seconds: float) -> None:
        self._metrics.stage.labels(stage).observe(max(0.0, seconds))

    def _mark(self, media_time: int) -> marks.Mark:
        rtp, origin = self._origins.at(media_time)
        flags = marks.SOURCE if rtp is not None else 0
        if origin is not None:
            flags |= (marks.SPEECH if origin.speaking else 0) | (marks.MUTED if origin.muted else 0)
        return marks.Mark(media_time, rtp or 0, flags)

    def _playing(self, media_time: int, new: bool) -> None:
        self._played = max(0, media_time)
        while self._edges and self._edges[0].media_time <= media_time:
            edge = self._edges.popleft()
            if edge.speaking and not self._audible:
                self._audible = True
                self.tell(events.build("speaking_started", media_time=edge.media_time))
            elif not edge.speaking and self._audible:
                self._finished(edge.media_time, interrupted=False)

    def _finished(self, media_time: int, interrupted: bool) -> None:
        self._audible = False
        self.tell(events.build("speaking_finished", media_time=media_time, interrupted=interrupted))
        self.tell(events.build("idle", media_time=media_time))

    def _failed(self, failure: Exception) -> None:
        revoked = str(getattr(failure, "code", "")).startswith(("consent", "grant"))
        code = "consent_revoked" if revoked else "generation_failed"
        self.end_soon(f"{type(failure).__name__}: {failure}", code)

    # -- what is told ------------------------------------------------------------------------

    def tell(self, message: str) -> None:
        """Sends an event to every peer."""
        for member in self.members.values():
            member.send(message)

    def notice(self, code: str, message: str) -> None:
        """Something a person may want to know."""
        self.tell(events.build("notice", code=code, message=message))

    def set_level(self, level: int, scale: float) -> None:
        """The governor has moved; pictures are encoded smaller by ``scale``."""
        self.level = level
        if self._performer is not None:
            self._performer.scale = scale

    async def _seconds(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._adapt()
            quality = self._quality.second(self._performer, self._played, self.level)
            self.tell(events.build("quality", **quality))
            await self._watch()

    def _adapt(self) -> None:
        self.playout.delay.jitter = self.intake.jitter // WIDE
        self.playout.delay.reckon()

    async def _watch(self) -> None:
        """Lets go of peers that never connected, and of a session that nobody comes back to."""
        now, grace = time.monotonic(), self.limits.grace_s
        for member in list(self.members.values()):
            if not member.connected and now - member.since > grace:
                await self.leave(member)
        if self.state is State.WAITING and now - self._lonely_since > grace:
            self.end_soon(f"nobody was connected for {grace:.0f} s")

    def peek(self) -> dict[str, object]:
        """The last second in numbers (docs/protocol.md, section 6)."""
        return self._quality.last

    def describe(self) -> dict[str, object]:
        """``GET /v1/sessions/{id}``."""
        return {
            "id": self.id,
            "avatar": self.options.avatar,
            "state": self.state.value,
            "media_time": self._played,
            "measure": self.options.measure,
            "peers": [
                {"id": m.name, "role": m.role.value, "connected": m.connected}
                for m in self.members.values()
            ],
            "intake": {
                "packets": self.intake.packets,
                "late_samples": self.intake.late,
                "dropped_samples": self.intake.dropped,
                "concealed_samples": self.intake.concealed,
                "backlog_s": self.intake.backlog / RATE / WIDE,
            },
            "delay_ms": round(self.playout.delay.samples / RATE * 1e3, 1),
        }

    def _ready(self) -> str:
        return events.build(
            "ready",
            session=self.id,
            avatar=self.options.avatar,
            width=self.size[0],
            height=self.size[1],
            fps=float(self.beat.fps),
            sample_rate=RATE,
            measure=self.options.measure,
            media_time=self._played,
        )


def has_source(session: Session, role: Role) -> bool:
    """Whether somebody connected speaks already, so that ``role`` finds its place taken."""
    source = session.source
    return role.speaks and source is not None and source.connected
