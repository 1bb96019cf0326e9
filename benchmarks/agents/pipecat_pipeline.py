"""A Pipecat pipeline with an avatar and SmallWebRTC's transport, and a peer on loopback."""

from __future__ import annotations

import asyncio
from types import TracebackType

import numpy as np
from aiortc import RTCSessionDescription
from numpy.typing import NDArray
from pipecat.frames.frames import InterruptionFrame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

from benchmarks.agents.peer import Peer
from client.avatar import Heard

PIECE = 2400  # samples of one frame of the TTS service
RATE = 24_000


class PipecatPipeline:
    """``say`` and ``interrupt`` are what a TTS service and a user do; ``told`` is what the avatar
    says it was heard of."""

    def __init__(self, avatar: FrameProcessor, size: int = 512) -> None:
        self.peer = Peer()
        self.told: dict[str | None, Heard] = {}
        self._size = size
        self._avatar = avatar
        avatar.add_event_handler("on_speech_finished", self._finished)

    async def __aenter__(self) -> PipecatPipeline:
        offering = self.peer.connection
        for kind in ("audio", "video"):
            offering.addTransceiver(kind, "sendrecv")
        offering.createDataChannel("chat")
        await offering.setLocalDescription(await offering.createOffer())
        answer = await self.run(offering.localDescription.sdp)
        await offering.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self.peer.meets()
        return self

    async def run(self, offer: str) -> str:
        """Starts for whoever has made that offer; the answer."""
        self._connection = SmallWebRTCConnection()
        await self._connection.initialize(sdp=offer, type="offer")
        output = SmallWebRTCTransport(self._connection, self._params()).output()
        self._worker = PipelineWorker(
            Pipeline([self._avatar, output]),
            params=PipelineParams(enable_metrics=True),
            cancel_on_idle_timeout=False,
        )
        started = asyncio.Event()
        self._worker.add_event_handler("on_pipeline_started", _setter(started))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        self._running = asyncio.create_task(runner.run())
        await started.wait()
        return str(self._connection.get_answer()["sdp"])

    def _params(self) -> TransportParams:
        return TransportParams(
            audio_out_enabled=True,
            video_out_enabled=True,
            video_out_width=self._size,
            video_out_height=self._size,
            video_out_framerate=25,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._worker.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._connection.disconnect()
        await self.peer.close()

    async def _finished(self, service: object, context_id: str | None, heard: Heard) -> None:
        self.told[context_id] = heard

    async def say(self, pcm: NDArray[np.int16], context_id: str, whole: bool = True) -> None:
        """What a TTS service makes, 24 kHz, as fast as it can."""
        for start in range(0, len(pcm), PIECE):
            piece = pcm[start : start + PIECE].tobytes()
            await self._worker.queue_frame(TTSAudioRawFrame(piece, RATE, 1, context_id=context_id))
        if whole:
            await self._worker.queue_frame(TTSStoppedFrame(context_id=context_id))

    async def interrupt(self) -> None:
        """The user speaks."""
        await self._worker.queue_frame(InterruptionFrame())


def _setter(event: asyncio.Event):  # type: ignore[no-untyped-def]
    async def set_it(worker: object, frame: object) -> None:
        event.set()

    return set_it
