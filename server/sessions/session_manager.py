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
from pipeline.interface import AvatarModel, AvatarStream, DirectedStream
from server.avatars.catalog import Avatars
from server.avatars.pipeline_errors import translated
from server.background.tasks import Tasks
from server.consent.monitor import ConsentMonitor
from server.errors import CannotMeasure, Draining, NotDirected, Unavailable, UnknownSession
from server.media import frame_marker
from server.media.encoders import h264_encoder
from server.media.timing import StreamTiming
from server.observability.metrics import Metrics
from server.rtc import aiortc_adapter, udp
from server.sessions.admission import Cost, Slots
from server.sessions.capacity import cores, measure
from server.sessions.engine import Engine
from server.sessions.framing import background_of, size_of
from server.sessions.load_monitor import LoadMonitor
from server.sessions.options import Limits, Options, delay_limits
from server.sessions.session import Session
from server.settings import Settings
from server.speech.answers.conversation import Answers
from server.speech.voice import NoVoices, Voices

if TYPE_CHECKING:
    from server.recordings.recordings import Provenance

log = logging.getLogger(__name__)

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
        self.load = LoadMonitor(self.metrics, lambda: self.sessions, monotonic)
        self.cost: Cost | None = None
        self.timing = StreamTiming()  # the model's, once a stream has said so
        self.provenance: Provenance | None = None  # who may be recorded, how files are signed
        self.problem: str | None = None  # why warm-up failed
        self.stage = "reading avatars"  # of warm-up
        self.h264 = ("", "not looked for yet")  # its encoder, and why that one
        self.voices: Voices = NoVoices()  # that read text; the bootstrap's, as are answers
        self.tasks, self.answers = Tasks(), Answers()
        self._model = model
        self.monitor = monitor
        self.worker = ""  # its name in a cluster
        self._monotonic = monotonic
        self._collecting: asyncio.TimerHandle | None = None
        self._engine = Engine(model.engine, self.load.stepped)
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
        self.stage = "measuring what a call costs"
        self.cost = await self._measure()
        self.stage = "preparing avatars"
        await self.avatars.prepare(self._first_called())
        self.stage = "opening voices"
        total = self.settings.slots or self.cost.slots()
        self.h264 = await asyncio.to_thread(h264_encoder)
        await self.voices.open()
        gc.collect()
        gc.freeze()  # what warm-up made stays; from here on, garbage is what sessions leave
        self.slots.open(total)
        self.metrics.slots.set(total)
        watch_load = lambda: self.load.watch(float(self.timing.fps))  # noqa: E731
        self.tasks.start("load", watch_load, restart=True)
        if (monitor := self.monitor) is not None:
            watch = lambda: monitor.watch(lambda: self.sessions, self.renew)  # noqa: E731
            self.tasks.start("consent", watch, restart=True)
        log.info(
            "ready: %d slots; %g fps; a step of %.0f ms takes %.0f ms to generate, %.0f of media",
            total, self.timing.fps, self.timing.step_s * 1e3, self.cost.generate_s * 1e3,
            self.cost.media_s * 1e3,
        )  # fmt: skip

    def _first_called(self) -> list[str]:
        """Whose first call shall be as quick as any; measuring has prepared the default one."""
        wanted, cards = self.settings.avatars_warm, self.avatars.cards()
        return [c.id for c in cards if wanted == "all" or (wanted == "bundled" and c.synthetic)]

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
        name = self.avatars.card(options.avatar).name
        own = (self._engine, self._media, self.metrics, self._monotonic)
        session = Session(options, self._limits(), *own)
        if options.answers:
            session.conversation = self.answers.conversation(session, name, options.prompt)
        try:
            self.check()
            self._make_room(self.slots.take(session.id))
        except Unavailable:
            self.metrics.refused.inc()
            raise
        session.voices = self.voices
        session.on_ended, session.on_parked = self._ended, self._parked
        session.on_joined = lambda: self._joined(session)
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
            self.load.rest()
        stream, session.size, session.grant = await self._stream(options, session.id)
        if options.measure and not frame_marker.can_mark(*session.size):
            self._engine.drop(stream)
            raise CannotMeasure(f"Frames are {session.size[0]} pixels wide; the strip needs 256.")
        session.start(stream)
        session.set_level(self.load.governor.level, self.load.governor.scale)

    async def _stream(
        self, options: Options, session: str
    ) -> tuple[AvatarStream, tuple[int, int], ConsentGrant]:
        size, background = size_of(options.size), background_of(options.background)
        avatar, grant = await self.avatars.open(options.avatar, session, size)
        if background is not None:
            with translated():
                avatar = avatar.before(background)

        def opened() -> AvatarStream:
            with translated():
                stream = self._model.open(avatar, grant, prompt=options.prompt, seed=options.seed)
            if options.gesture != 1.0:
                if not isinstance(stream, DirectedStream):
                    raise NotDirected("'gesture' is for mini: this model makes whole pictures.")
                stream.set_gesture(options.gesture)
            return stream

        width, height = avatar.size
        shown = (2 * width, height) if background and background.transparent else avatar.size
        return await self._engine.open(opened), shown, grant

    def _limits(self) -> Limits:
        delay = delay_limits(self.settings, self.timing, self.cost)
        return Limits.of(self.settings, delay, self._network, self.worker)

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

    async def _measure(self) -> Cost:
        """Runs one stream flat out for some steps of speech-like noise."""
        default = self.avatars.cards()[0].id
        stream, *_ = await self._stream(Options(default), "warm-up")
        self.timing = StreamTiming.of(stream)
        try:
            return await self._engine.call(lambda: measure(stream, self.settings.cores or cores()))
        finally:
            await self._engine.call(stream.close)
