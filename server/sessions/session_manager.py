"""The session manager: one model, its engine, its slots, and every session."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pipeline.consent import ConsentGrant
from pipeline.interface import AvatarModel, AvatarStream
from server.avatars.catalog import Avatars
from server.avatars.pipeline_errors import translated
from server.background.tasks import Tasks
from server.consent.monitor import ConsentMonitor
from server.errors import CannotMeasure, Draining, Unavailable, UnknownSession
from server.media import frame_marker
from server.media.encoders import Bitrates, h264_encoder
from server.media.playout import DelayLimits, ms
from server.media.timing import StreamTiming
from server.observability.metrics import Metrics
from server.rtc import aiortc_adapter, udp
from server.sessions.admission import Cost, Slots
from server.sessions.capacity import cores, measure
from server.sessions.engine import Engine
from server.sessions.governor import Governor, ladder
from server.sessions.options import Limits, Options
from server.sessions.session import Session
from server.settings import Settings
from server.speech.voice import NoVoices, Voices

if TYPE_CHECKING:
    from server.recordings.recordings import Provenance

log = logging.getLogger(__name__)

ROOM = ms(120)  # above a step and its making, for packets that come late
COLLECT_S = 2.0  # connections are full of cycles, and their codecs hold threads and megabytes
REMOVED, STOPS = "the avatar was removed", "the server stops"


class SessionManager:
    """Made in the running loop; ``close`` ends everything."""

    def __init__(
        self,
        settings: Settings,
        model: AvatarModel,
        avatars: Avatars,
        monitor: ConsentMonitor | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.avatars = settings, avatars
        self._network = udp.of(settings)
        self.metrics = Metrics()
        self.slots = Slots()
        self.governor = Governor(ladder(model.efforts))
        self.cost: Cost | None = None
        self.timing = StreamTiming()  # the model's, once a stream has said so
        self.provenance: Provenance | None = None  # who may be recorded, how files are signed
        self.problem: str | None = None  # why warm-up failed
        self.h264 = ("", "not looked for yet")  # its encoder, and why that one
        self.voices: Voices = NoVoices()  # that read text; the bootstrap's
        self.tasks = Tasks()
        self._model = model
        self.monitor = monitor
        self._monotonic = monotonic
        self._busy_s = 0.0
        self._collecting: asyncio.TimerHandle | None = None
        self._engine = Engine(model.engine, self._ticked)
        self._media = ThreadPoolExecutor(settings.threads, thread_name_prefix="media")
        self._sessions: dict[str, Session] = {}
        self._empty = asyncio.Event()
        self._opening: set[asyncio.Future[None]] = set()
        self._closing = False
        self.settled = asyncio.Event()  # warm-up has ended, well or not

    # -- life --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Warms the model up, measures the cost of a stream, and admits sessions."""
        aiortc_adapter.own_orphans(asyncio.get_running_loop())
        self.tasks.start("engine", self._engine.run, restart=True)
        await self.avatars.load()
        self.cost = await self._measure()
        total = self.settings.slots or self.cost.slots()
        self.h264 = await asyncio.to_thread(h264_encoder)
        await self.voices.open()
        gc.collect()
        gc.freeze()  # what warm-up made stays; from here on, garbage is what sessions leave
        self.slots.open(total)
        self.metrics.slots.set(total)
        self.tasks.start("load", self._watch, restart=True)
        if (monitor := self.monitor) is not None:
            watch = lambda: monitor.watch(lambda: self.sessions, self.renew)  # noqa: E731
            self.tasks.start("consent", watch, restart=True)
        log.info(
            "ready: %d slots; %g fps; a step of %.0f ms takes %.0f ms to generate, %.0f of media",
            total, self.timing.fps, self.timing.step_s * 1e3, self.cost.generate_s * 1e3,
            self.cost.media_s * 1e3,
        )  # fmt: skip

    async def drain(self) -> None:
        """Admits no further sessions, notifies running ones, waits up to ``drain_s``."""
        self.slots.drain()
        if not self._sessions:
            return
        seconds, running = self.settings.drain_s, len(self._sessions)
        log.info("draining: %d sessions have %.0f s to end", running, seconds)
        for session in self.sessions:
            session.notice("session_ending", f"the server stops within {seconds:.0f} s")
        self._empty.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    async def close(self) -> None:
        """Ends every session, also those that are being opened, then the engine."""
        self.slots.drain()
        self._closing = True
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(s.end(STOPS) for s in self.sessions), return_exceptions=True)
        await self.tasks.close()
        if self._collecting is not None:
            self._collecting.cancel()
        await self._engine.stop()
        await asyncio.to_thread(self._media.shutdown)
        await asyncio.to_thread(self.avatars.close)
        await self.voices.close()
        if self.monitor is not None:
            await asyncio.to_thread(self.monitor.close)

    # -- sessions ----------------------------------------------------------------------------

    @property
    def sessions(self) -> list[Session]:
        """All running sessions."""
        return list(self._sessions.values())

    def session(self, name: str) -> Session:
        """Raises ``UnknownSession``."""
        if name not in self._sessions:
            raise UnknownSession("There is no such session, or it has ended.")
        return self._sessions[name]

    async def stands(self, session: Session) -> None:
        """Whether a running session may still be joined; ends it and raises when it may not."""
        if self.monitor is not None:
            await self.monitor.stands(session)

    async def renew(self) -> None:
        """Reads the avatars again; sessions of removed ones end."""
        await self.avatars.load()
        for session in (s for s in self.sessions if s.options.avatar not in self.avatars):
            session.end_soon(REMOVED)

    @property
    def most_waiting(self) -> int:
        """How many sessions of one client may wait to be joined; one slot is left for others.

        0 is no limit. It applies when all slots are taken, so that the client gets that error.
        """
        if self.slots.taken >= self.slots.total:
            return 0
        return self.settings.waiting_per_client or max(1, self.slots.total - 1)

    async def create(self, options: Options) -> Session:
        """A session that performs; raises what stands in the way, and then leaves nothing."""
        self.avatars.card(options.avatar)
        own = (self._engine, self._media, self.metrics, self._monotonic)
        session = Session(options, self._limits(), *own)
        try:
            self.check()
            self._make_room(self.slots.take(session.id))
        except Unavailable:
            self.metrics.refused.inc()
            raise
        session.voices = self.voices
        session.on_ended = self._ended
        session.on_parked, session.on_joined = self._parked, lambda: self._joined(session)
        opening = asyncio.ensure_future(self._start(session))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            await opening
        except BaseException:
            self.slots.give_back(session.id)
            raise
        self._sessions[session.id] = session
        if self._closing:
            await session.end(STOPS)
            raise Draining("The server is about to stop.")
        if options.avatar not in self.avatars:
            session.end_soon(REMOVED)
        if self.monitor is not None:
            self.monitor.began(session, options.avatar)
        self.metrics.sessions.set(self.slots.taken)
        log.info("session opens: avatar %s", options.avatar, extra={"session": session.id})
        return session

    def _make_room(self, parked: str | None) -> None:
        if parked is not None and parked in self._sessions:
            self._sessions[parked].end_soon("its peers were away, and a new session took the slot")

    def _parked(self, session: Session) -> None:
        self.slots.park(session.id)
        self.metrics.sessions.set(self.slots.taken)

    def _joined(self, session: Session) -> None:
        self.slots.resume(session.id)
        self.metrics.sessions.set(self.slots.taken)

    def check(self) -> None:
        """Raises ``NotReady``, ``Draining`` or ``RegistryDown`` unless sessions are admitted."""
        self.slots.check()
        if self.monitor is not None:
            self.monitor.check()

    async def _start(self, session: Session) -> None:
        options = session.options
        if self.slots.taken == 1:  # what was shed for those who have gone
            await self._apply(self.governor.rest())
        stream, session.size, session.grant = await self._stream(options, session.id)
        if options.measure and not frame_marker.can_mark(*session.size):
            self._engine.drop(stream)
            raise CannotMeasure(f"Frames are {session.size[0]} pixels wide; the strip needs 256.")
        session.start(stream)
        session.set_level(self.governor.level, self.governor.now.scale)

    async def _stream(
        self, options: Options, session: str
    ) -> tuple[AvatarStream, tuple[int, int], ConsentGrant]:
        avatar, grant = await self.avatars.open(options.avatar, session)

        def opened() -> AvatarStream:
            with translated():
                return self._model.open(avatar, grant, prompt=options.prompt, seed=options.seed)

        return await self._engine.open(opened), avatar.size, grant

    def _limits(self) -> Limits:
        s = self.settings
        bitrates = Bitrates(s.bitrate_start, s.bitrate_min, s.bitrate_max)
        return Limits(
            s.grace_s, s.backlog_s, bitrates, self._delays(), s.video_codecs,
            longest_s=s.session_max_s, idle_s=s.session_idle_s,
            messages=(s.message_rate, s.message_burst), return_s=max(s.grace_s, s.return_s),
            network=self._network,
        )  # fmt: skip

    def _delays(self) -> DelayLimits:
        """As configured; a model of long steps cannot be sooner than a step and its making."""
        s, timing = self.settings, self.timing
        most = max(ms(s.delay_max_ms), timing.chunk + timing.step + ROOM)
        least = ms(s.delay_min_ms)
        generate_s = self.cost.generate_s if self.cost else 0.05
        first = timing.chunk + ms(1300 * generate_s) + ms(25)
        return DelayLimits(min(max(least, first), most), least, most, timing=timing)

    def _ended(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self.slots.give_back(session.id)
        self.metrics.ended.inc()
        if self.monitor is not None:
            self.monitor.ended(session, session.options.avatar, *session.ended_because)
        if self._collecting is None:  # once for all that end together
            self._collecting = asyncio.get_running_loop().call_later(COLLECT_S, self._collect)
        if not self._sessions:
            self._empty.set()
        self.metrics.sessions.set(self.slots.taken)

    def _collect(self) -> None:
        """Frees what sessions left: 2 ms of the loop for each that is here or was."""
        self._collecting = None
        gc.collect()

    def describe_health(self) -> dict[str, object]:
        """For ``/healthz``: failed where no call can be served, degraded where not all can."""
        tasks, registry = self.tasks.describe(), self.monitor.problem if self.monitor else ""
        status = "degraded" if registry else "ok"
        if self.problem is not None or self.tasks.dead:
            status = "failed"
        return {"status": status, "problem": self.problem, "tasks": tasks, "registry": registry}

    def describe_model(self) -> dict[str, object]:
        """For ``/healthz``."""
        return {
            "name": self.settings.model,
            "device": self._model.device,
            "reason": self._model.reason,
            "license": self._model.license,
            "notices": list(self._model.notices),
            "runtime": dict(self._model.describe_runtime()),
            "fps": float(self.timing.fps),
            "step_ms": round(self.timing.step_s * 1e3, 1),
        }

    # -- load --------------------------------------------------------------------------------

    def _ticked(self, streams: int, seconds: float) -> None:
        self._busy_s += seconds
        self.metrics.tick.labels(str(streams)).observe(seconds)

    async def _watch(self) -> None:
        """Once a second: load, lateness, and what the governor makes of it."""
        last = self._monotonic()
        while True:
            await asyncio.sleep(1.0)
            now = self._monotonic()
            elapsed, last = now - last, now
            load, self._busy_s = self._busy_s / elapsed, 0.0
            self.metrics.load.set(load)
            await self._govern(self._late(elapsed))
            delays = (s.playout.delay.samples / 16_000 for s in self.sessions)
            backlogs = (s.receiver.backlog / 48_000 for s in self.sessions)
            self.metrics.delay.set(max(delays, default=0.0))
            self.metrics.backlog.set(max(backlogs, default=0.0))

    def _late(self, elapsed_s: float) -> float:
        """Share of the frames due that came too late, of the session that has it worst."""
        missed = max((session.missed() for session in self.sessions), default=0)
        return min(1.0, missed / (float(self.timing.fps) * elapsed_s))

    async def _govern(self, late: float) -> None:
        change = self.governor.second(late)
        if not change:
            return
        code, now = "quality_reduced" if change > 0 else "quality_restored", self.governor.now
        log.warning("%.0f %% of frames late: %s to %s", late * 100, code, now)
        await self._apply(True)
        for session in self.sessions:
            session.set_level(self.governor.level, now.scale)
            session.notice(code, "pictures came late" if change > 0 else "pictures are in time")

    async def _apply(self, moved: bool) -> None:
        if moved:
            effort = self.governor.now.effort
            self.metrics.level.set(self.governor.level)
            await self._engine.call(lambda: self._model.set_effort(effort))

    async def _measure(self) -> Cost:
        """Runs one stream flat out for some steps of speech-like noise."""
        default = self.avatars.cards()[0].id
        stream, *_ = await self._stream(Options(default), "warm-up")
        self.timing = StreamTiming.of(stream)
        try:
            return await self._engine.call(lambda: measure(stream, cores()))
        finally:
            await self._engine.call(stream.close)
