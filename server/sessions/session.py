"""One session: its stream, its peers, its timers.

    OPENING -> WAITING <-> LIVE -> ENDING -> ENDED

WAITING is a session without a connected peer. It ends after the grace period, counted from when the
last peer was seen. A session owns everything that it starts: named tasks, cancelled and awaited in
``end``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from pipeline.consent import ConsentGrant
from pipeline.interface import AvatarStream
from server.auth import session_tokens
from server.background.tasks import Tasks, Work
from server.media import frame_marker
from server.media.audio_receiver import AudioBlock, AudioReceiver
from server.media.clock import RATE, SessionClock
from server.media.playout import RATIO_48K_16K, FinishedFrame, Playout
from server.media.sender import MediaSender
from server.media.source_timestamps import SourceTimestamp, SourceTimestamps
from server.media.timing import StreamTiming
from server.observability.metrics import Metrics
from server.rtc import data_channel
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole
from server.sessions.commands import obey
from server.sessions.description import greetings
from server.sessions.engine import Engine
from server.sessions.lifetime import Lifetime
from server.sessions.options import Limits, Options
from server.sessions.participants import Participants
from server.sessions.performed_audio import PerformedAudio
from server.sessions.speech_pacer import SpeechPacer
from server.sessions.stage_times import StageTimes
from server.sessions.state import ALLOWED, State, ended_code
from server.sessions.stats import SessionStats
from server.sessions.stream_runner import StreamRunner
from server.sessions.utterances import Utterances
from server.speech.answers.conversation import Conversation
from server.speech.speech import Speech
from server.speech.utterance import Utterance
from server.speech.voice import NoVoices, Voices

log = logging.getLogger(__name__)

BROKEN = "an internal error ended the session"


class Session:
    """A stream with its source and its viewers."""

    def __init__(
        self,
        options: Options,
        limits: Limits,
        engine: Engine,
        media: Executor,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id, self.token = session_tokens.new_id(limits.worker), session_tokens.new_token()
        self.options, self.limits = options, limits
        self.state = State.OPENING
        self.monotonic = monotonic
        self.clock = SessionClock(monotonic)
        self.playout = Playout(limits.delay)
        self.participants = Participants(self)
        self.on_parked: Callable[[Session], None] = lambda session: None  # its slot may be taken
        self.on_joined: Callable[[], None] = lambda: None  # somebody is connected
        self.on_ended: Callable[[Session], None] = lambda session: None
        self.grant: ConsentGrant | None = None  # of consent; asked again while it runs
        self.ended_because = ("", "")  # code and reason
        self.size = (0, 0)
        self.recorded = False
        self.level = 0  # the governor's
        self._engine = engine
        self._runner: StreamRunner | None = None
        self._origins = SourceTimestamps()
        self._utterances = Utterances(self.tell)
        self.prompt = options.prompt
        self.voices: Voices = NoVoices()
        self.speech = Speech(self.announce, self.speak_as)
        self.conversation: Conversation | None = None  # in a session that answers
        self.listeners: set[Callable[[str], None]] = set()  # of events, beside the peers
        self._loops = Tasks(lambda name, why: self.end_soon(BROKEN, "generation_failed"))
        self._ending: asyncio.Task[None] | None = None
        self.lifetime = Lifetime(self, monotonic())
        self.over = asyncio.Event()
        self.played = 0  # media time that has left
        self._stages = StageTimes(metrics, self.playout.delay)
        self.media_sender = MediaSender(
            self.clock, self.playout, media, limits.bitrates, self._playing
        )
        self.media_sender.on_encoded = lambda seconds: self._stages.observe("encode", seconds)
        self.receiver = AudioReceiver(
            media,
            lambda: self.clock.now() * RATIO_48K_16K,
            self._heard,
            self.notice,
            limits.backlog_s,
        )
        self.receiver.on_placed = lambda samples: self._stages.observe(
            "intake", samples / RATIO_48K_16K / RATE
        )
        self._performed = PerformedAudio(self.speech, options.listen, self.media_sender)
        self.media_sender.speaking = lambda: self._utterances.audible or self._performed.speaking
        self._pacer = SpeechPacer(self.clock, self.playout, self.receiver)
        self._quality = SessionStats(self.media_sender, self.receiver, metrics)

    # -- life --------------------------------------------------------------------------------

    def start(self, stream: AvatarStream) -> None:
        """Begins to perform; the first frames are made before anybody has connected."""
        self.clock.begin()  # to make an avatar ready may have taken seconds
        mark = self._mark if self.options.measure else None
        self._runner = StreamRunner(stream, self._shot, self._failed, mark)
        self._pacer.runner = self._runner
        self._engine.add(self._runner, self._playing_in)
        loops: list[tuple[str, Work]] = [
            *self.media_sender.loops(),
            ("intake", self.receiver.run),
            ("pacer", self._pacer.run),
            ("seconds", self._seconds),
            ("watch", self.lifetime.run),
            ("reader", self.speech.reader.run),
        ]
        if self.conversation is not None:
            loops.append(("answers", self.conversation.run))
        for name, loop in loops:
            self._loops.start(f"{self.id}/{name}", loop)
        self._become(State.WAITING)

    def end_soon(self, why: str, code: str = "session_ended") -> None:
        """Ends the session in a task of its own; harmless when it is ending."""
        if self._ending is None:
            log.info("session ends: %s", why, extra={"session": self.id})
            self.ended_because = (code, why)
            self.tell(data_channel.error(code, why))
            self._ending = Tasks().start(f"{self.id}/end", self._end)

    async def end(self, why: str) -> None:
        """Ends the session and waits until nothing of it is left."""
        self.end_soon(why)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._become(State.ENDING)
        self.speech.close(self._cut())
        try:
            await self._loops.close()
            await self.participants.close()
            if self._runner is not None:
                await self._engine.remove(self._runner)
        finally:
            self._become(State.ENDED)
            self.over.set()
            self.on_ended(self)

    def _become(self, state: State) -> None:
        if state not in ALLOWED[self.state]:
            raise ValueError(f"a session that is {self.state.value} cannot become {state.value}")
        self.state = state

    @property
    def running(self) -> bool:
        """Whether it performs, and has not begun to end."""
        return self._ending is None and self.state in (State.WAITING, State.LIVE)

    @property
    def stream(self) -> AvatarStream | None:
        """What performs; None before it does."""
        return self._runner.stream if self._runner else None

    # -- peers -------------------------------------------------------------------------------

    def greet(self, participant: Participant) -> None:
        """The first messages: ``ready``, the AI notice, and whether the session is recorded."""
        for message in greetings(self):
            participant.send(message)

    def attended(self, present: bool, last_s: float, left: bool) -> None:
        """Whether a peer is present; if not, the last one was at ``last_s``, and has ``left`` or
        may return."""
        if present and self.state is State.WAITING:
            self._become(State.LIVE)
            self.on_joined()
        elif not present and self.state is State.LIVE:
            self.lifetime.lonely_s, self.lifetime.away = last_s, not left
            self._become(State.WAITING)

    def listen_to(self, participant: Participant) -> None:
        """Uses this peer's audio from now on, and no other."""
        self.receiver.new_source(participant.clock_rate, live=participant.role is PeerRole.CALLER)
        self._origins.per_sample = participant.clock_rate / RATE
        participant.on_packet = self.receiver.packet

    # -- speech in ---------------------------------------------------------------------------

    def command(self, command: data_channel.Command, participant: Participant) -> None:
        """Obeys a message of a peer."""
        obey(self, command, participant.send)

    def interrupt(self) -> None:
        """Empties every stage; the avatar goes back to listening."""
        self._hush(self.speech.clear, "cleared")

    def pause(self) -> None:
        """Silence until ``resume``; utterances are kept, and go on where they were heard last."""
        if not self.speech.paused:
            voice = self.playout.voice
            self._hush(lambda cut: self.speech.pause(cut, voice.read), "paused")

    def resume(self) -> None:
        """Goes on speaking."""
        if self.speech.paused:
            self.speech.resume()
            self.announce("resumed", media_time=self.played)

    def _hush(self, keep: Callable[[int], None], done: str) -> None:
        """Silence from the next sample on that has not left; ``keep`` sees to utterances."""
        cut = self._cut()
        keep(cut)
        media_time = cut // RATIO_48K_16K
        self.playout.clear(media_time)
        self._performed.interrupt(media_time)
        if not self.options.listen:
            self.receiver.interrupt(media_time)
        self.order(lambda runner: runner.interrupt())
        self._utterances.interrupt(media_time)
        self.announce(done, media_time=media_time)

    def _cut(self) -> int:
        """Up to which 48 kHz position sound has left, or leaves now."""
        playing = self.playout.playing(self.clock.now()) * RATIO_48K_16K
        return max(0, playing, -(-self.media_sender.sent // RATIO_48K_16K) * RATIO_48K_16K)

    def say(self, text: data_channel.Say) -> Utterance:
        """Accepts a text to be spoken. Raises what the voice and the queue refuse it with."""
        voice = self.voices.choose(text.voice, self.options.avatar)
        return self.speech.say(text.text, voice, text.id, text.style)

    def speak_as(self, style: str) -> None:
        """The style of an utterance, or the session's own."""
        self.order(lambda runner: runner.set_prompt(style or self.prompt))

    def order(self, order: Callable[[StreamRunner], None]) -> None:
        if self._runner is not None:
            order(self._runner)
            self._engine.wake()

    def _heard(self, heard: AudioBlock) -> None:
        """The peer's next audio has joined the timeline; that, or an utterance, is performed."""
        if self.conversation is not None:
            self.conversation.hear(heard.pcm_16k, heard.edges)
        block = self._performed(heard)
        start = block.position // RATIO_48K_16K
        self.playout.voice.write(block.position, block.pcm_48k)
        end = start + len(block.pcm_16k)
        muted, speaking = self.receiver.muted, self._performed.speaking
        self._origins.add(SourceTimestamp(start, end, block.rtp, muted, speaking))
        self._utterances.add(block.edges)
        self._stages.heard(end, self.clock.now())
        if (runner := self._runner) is not None:
            runner.hear(block.pcm_16k)
            if runner.due:
                self._engine.wake()

    @property
    def timing(self) -> StreamTiming:
        """The model's."""
        return self.playout.timing

    # -- frames out --------------------------------------------------------------------------

    def _playing_in(self, seconds: float) -> int:
        return self.playout.playing(self.clock.now()) + int(seconds * RATE)

    def _shot(self, shot: FinishedFrame) -> None:
        self.playout.add(shot)
        self._stages.finished(shot.made, self.clock.now())

    def missed(self) -> int:
        """Frames that the model made too late, or never, since this was asked last."""
        return self._stages.missed(self._runner.skipped if self._runner else 0)

    def _mark(self, media_time: int) -> frame_marker.FrameMarker:
        rtp, origin = self._origins.at(media_time)
        flags = frame_marker.SOURCE if rtp is not None else 0
        if origin is not None:
            flags |= (frame_marker.SPEECH if origin.speaking else 0) | (
                frame_marker.MUTED if origin.muted else 0
            )
        return frame_marker.FrameMarker(media_time, rtp or 0, flags)

    def _playing(self, media_time: int, new: bool) -> None:
        self.played = max(0, media_time)
        self._utterances.played(media_time)
        self.speech.played(media_time * RATIO_48K_16K)

    def _failed(self, failure: Exception) -> None:
        self.end_soon(f"{type(failure).__name__}: {failure}", ended_code(failure))

    # -- messages ---------------------------------------------------------------------------

    def tell(self, message: str) -> None:
        """Sends an event to every peer."""
        message = data_channel.shifted(message, self.options.since)
        for participant in self.participants:
            participant.send(message)
        for listen in list(self.listeners):
            listen(message)

    def announce(self, kind: str, **fields: object) -> None:
        """As ``tell``, from the fields of an event; ``sent_at`` says when its media time leaves."""
        if isinstance(media_time := fields.get("media_time"), int):
            fields["sent_at"] = self.clock.unix_s(media_time + self.playout.delay.samples)
        self.tell(data_channel.build(kind, **fields))

    def notice(self, code: str, message: str) -> None:
        """Something a person may want to know."""
        self.announce("notice", code=code, message=message)

    def set_level(self, level: int, scale: float) -> None:
        """The governor has moved; pictures are encoded smaller by ``scale``."""
        self.level = level
        if self._runner is not None:
            self._runner.scale = scale

    async def _seconds(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._adapt()
            quality = self._quality.second(self._runner, self.played, self.level)
            self.announce("quality", **quality)

    def _adapt(self) -> None:
        self.playout.delay.jitter = self.receiver.jitter // RATIO_48K_16K
        self.playout.delay.reckon()

    def peek(self) -> dict[str, object]:
        """The last second in numbers (docs/protocol.md, section 6)."""
        return self._quality.last
