"""Microphone to media timeline: packets in, an unbroken stretch of audio out.

Packets are decoded on the media executor as they arrive, placed by ``RtpTimestamps``, and released
at once when they follow the last released sample. Early audio waits here, bounded. Missing audio is
concealed only when a chunk can no longer wait (``release_to``). Each batch keeps its first decoder:
an interrupt or a new source creates a new one, and results of the old one are dropped. A packet
that fails to decode is dropped alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from server.media.arrival_statistics import BLOCK
from server.media.audio_decoder import Packet, SpeechDecoder
from server.media.interrupt_boundary import InterruptBoundary
from server.media.jitter_buffer import GRAIN, JitterBuffer
from server.media.resampler import Decimator
from server.media.rtp_timestamps import RtpTimestamps
from server.media.vad import SpeechBoundary, VoiceActivityDetector

Pcm = NDArray[np.int16]

INBOX = 512  # packets that may wait to be decoded; more are dropped, oldest first
FLOWING = 5 * BLOCK  # a source that was heard this recently is expected to go on
CORRECT_EVERY = 5 * BLOCK
LEAD = 2 * BLOCK  # how far ahead of real time a burst is released
READ_UP = 25 * BLOCK  # so long it takes to read what has come while nobody looked
TRIM_IN_SPEECH = 10 * BLOCK  # further behind than this, speech is cut to catch up


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """Audio that has just joined the timeline."""

    position: int  # 48 kHz samples
    pcm_48k: Pcm  # 48 kHz
    pcm_16k: NDArray[np.float32]  # 16 kHz
    edges: list[SpeechBoundary]
    rtp: int | None  # the source's timestamp of the first sample; None for filled-in silence


class AudioReceiver:
    """One session's incoming audio. Runs in the loop, except for decoding."""

    def __init__(
        self,
        executor: Executor,
        now: Callable[[], int],
        emit: Callable[[AudioBlock], None],
        notice: Callable[[str, str], None],
        backlog_s: float = 30.0,
    ) -> None:
        self._executor = executor
        self._now = now  # position in 48 kHz samples
        self._emit = emit
        self._notice = notice
        self._timeline = JitterBuffer(int(backlog_s * 50) * BLOCK)
        self._arrivals = RtpTimestamps(ahead=self._timeline.capacity)
        self._decoder = SpeechDecoder()
        self._decimate = Decimator()
        self._speech = VoiceActivityDetector()
        self._inbox: deque[Packet] = deque(maxlen=INBOX)
        self._arrived = asyncio.Event()
        self._full = self._live = False
        self.on_placed: Callable[[int], None] = lambda samples: None  # since arrival, 48 kHz
        self._last_arrival = -FLOWING
        self._boundary = InterruptBoundary()
        self._anchored = True  # False until the first packet after an interrupt has its place
        self._corrected = -CORRECT_EVERY
        self.muted = False
        self.late = self.dropped = self.concealed = self.packets = 0

    @property
    def speaking(self) -> bool:
        """Whether the newest audio on the timeline is speech."""
        return self._speech.speaking

    @property
    def head(self) -> int:
        """Where the timeline ends, in 48 kHz samples."""
        return self._timeline.head

    @property
    def backlog(self) -> int:
        """Speech held back because it came faster than real time, in 48 kHz samples."""
        return self._timeline.end - self._timeline.head

    @property
    def awaited(self) -> bool:
        """Whether what follows may still come: the source flows."""
        return self._now() - self._last_arrival < FLOWING

    @property
    def jitter(self) -> int:
        """How late packets come, in 48 kHz samples."""
        return self._arrivals.jitter

    def rtp(self, position: int) -> int | None:
        """The source's RTP timestamp at a 48 kHz position; None while muted or unknown."""
        return None if self.muted else self._arrivals.rtp(position)

    def packet(
        self, codec: RTCRtpCodecParameters, sequence: int, timestamp: int, payload: bytes
    ) -> None:
        """Takes a packet as it arrives."""
        now = self._last_arrival = self._now()
        if self._boundary.overtaken(sequence, now):
            return
        self._inbox.append(Packet(codec, sequence, timestamp, payload, now))
        self._arrived.set()

    async def run(self) -> None:
        """Decodes and places packets until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, decoder = list(self._inbox), self._decoder
            self._inbox.clear()
            pieces = await loop.run_in_executor(self._executor, decoder.batch, batch)
            if decoder is not self._decoder:
                continue
            for packet, pcm in zip(batch, pieces, strict=True):
                if pcm is not None:
                    self._place(packet, pcm)
            self.release()
            self.on_placed(self._now() - batch[-1].arrived if batch else 0)

    def new_source(self, clock_rate: int, live: bool) -> None:
        """Another peer sends from now on; a ``live`` source is a microphone."""
        self._live = live
        self._inbox.clear()
        self._timeline.clear()
        self._arrivals = RtpTimestamps(clock_rate, self._timeline.capacity)
        self._decoder = SpeechDecoder()
        self._boundary = InterruptBoundary()

    def release(self) -> None:
        """Lets out what has come and is not ahead of its time."""
        self._correct()
        start, limit = self._timeline.head, (self._now() + LEAD) // BLOCK * BLOCK
        self._out(start, self._timeline.take(limit), self.rtp(start))

    def release_to(self, position: int, overtaken: bool = False) -> None:
        """Makes the timeline reach the 48 kHz ``position``, concealing what has not come;
        of what was ``overtaken``, no further than to the newest audio that is here."""
        if overtaken:
            position = min(position, self._timeline.end)
            position -= (position - self._timeline.head) % GRAIN
        while (start := self._timeline.head) < position:
            hole = self._timeline.hole(position)
            hole += -hole % GRAIN
            self.concealed += hole
            rtp = None if hole else self.rtp(start)
            self._out(start, self._timeline.fill(start + hole if hole else position), rtp)

    def stood_still(self) -> None:
        """The process was stopped, or its loop held up: the time of what waits is over."""
        self._arrivals.stood_still(self._now() + READ_UP)

    def interrupt(self, media_time: int) -> SpeechBoundary | None:
        """Drops all received audio; ends an utterance at ``media_time``."""
        self._boundary.interrupt(self._now())
        self._inbox.clear()
        self._timeline.clear()
        self._arrivals.reset()
        self._decoder, self._decimate = SpeechDecoder(), Decimator()
        self._full = self._anchored = False
        return self._speech.interrupt(media_time)

    def _place(self, packet: Packet, pcm: Pcm) -> None:
        self.packets += 1
        stamped = self._arrivals.place(packet.timestamp, len(pcm), packet.arrived)
        if not self._anchored:  # nothing of what follows an interrupt lies before the head
            self._anchored = True
            behind = -(min(0, stamped - self._timeline.head) // BLOCK) * BLOCK
            self._arrivals.shift(behind)
            stamped += behind
        full = stamped + len(pcm) > self._timeline.head + self._timeline.capacity
        lost = self._timeline.put(stamped, pcm)
        if full:
            self.dropped += lost
            self._say_full()
        else:
            self._full = False
            self.late += lost

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            seconds = self._timeline.capacity / BLOCK / 50
            self._notice(
                "backlog_full",
                f"{seconds:.0f} s of speech wait, and what is newer is dropped until some of it is"
                " spoken; the door /speech says how much it takes",
            )

    def _correct(self) -> None:
        if self._now() - self._corrected < CORRECT_EVERY:
            return
        self._corrected = self._now()
        shift = self._arrivals.correction(self._live)
        if shift > 0 and not self._speech.speaking:
            self._arrivals.shift(shift)
        elif shift < 0 and (not self._speech.speaking or -shift > TRIM_IN_SPEECH):
            self._timeline.drop(-shift)
            self._arrivals.shift(shift)

    def _out(self, start: int, pcm_48k: Pcm, rtp: int | None) -> None:
        if not len(pcm_48k):
            return
        if self.muted:
            pcm_48k = np.zeros_like(pcm_48k)
        pcm_16k = self._decimate(pcm_48k)
        self._emit(AudioBlock(start, pcm_48k, pcm_16k, self._speech.push(pcm_16k), rtp))
