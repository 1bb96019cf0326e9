"""A voice behind a URL: any OpenAI-compatible ``/v1/audio/speech``, read as it streams.

Raw PCM is asked for, which is 24 kHz by that interface; a service that sends WAV instead says its
rate in the header.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiohttp import ClientResponse
from numpy.typing import NDArray

from server.errors import SoundRefused, VoiceFailed
from server.speech.endpoint import Endpoint
from server.speech.resampling import To48k
from server.speech.sound_file import HEADER, PcmStream, wav
from server.speech.utterance import RATE
from server.speech.voice import SpeechChunk
from server.speech.voices import reading
from server.speech.voices.sentences import sentences

PCM_RATE: Final = 24_000
PIECE: Final = PCM_RATE // 5 * 2  # bytes: a fifth of a second
BYTES: Final = ("application/octet-stream", "binary/octet-stream")
PACKED: Final = ("audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/aac", "audio/flac")
_WAV: Final = b"RIFF"
TOGETHER: Final = 300  # characters that are asked for at once, after the first sentence


@dataclass(frozen=True, slots=True)
class RemoteVoice:
    """One voice of a service; the service knows which languages it reads."""

    name: str
    endpoint: Endpoint
    language: str = "mul"
    sample_rate: int = RATE
    natural: bool = True

    def check(self, text: str) -> None:
        """Raises ``TextRefused``."""
        reading.check(text)

    async def speak(self, text: str, *, style: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """As it streams; the first sentence is asked for alone. Raises ``VoiceFailed``."""
        for part in _parts(reading.plain(text)):
            asked = {"model": self.endpoint.model, "voice": self.name, "input": part}
            asked |= {"response_format": "pcm"} | ({"instructions": style} if style else {})
            async with self.endpoint.post("audio/speech", asked) as response:
                async for pcm in _samples(response):
                    yield SpeechChunk(pcm)


def _parts(text: str) -> list[str]:
    """The first sentence, then as many together as make ``TOGETHER`` characters."""
    first, *rest = sentences(text)
    parts = [first]
    for sentence in rest:
        if len(parts) > 1 and len(parts[-1]) + len(sentence) < TOGETHER:
            parts[-1] += " " + sentence
        else:
            parts.append(sentence)
    return parts


async def _samples(response: ClientResponse) -> AsyncIterator[NDArray[np.int16]]:
    """int16 at 48 kHz, as it comes."""
    kind = response.content_type
    if not (kind.startswith("audio/") or kind in BYTES) or kind in PACKED:
        raise VoiceFailed(_unreadable(response, kind))
    head, stream, convert = b"", None, To48k(RATE)
    async for piece in response.content.iter_chunked(PIECE):
        if stream is None:
            head += piece
            if (found := _begun(response, head)) is None:
                continue
            stream, piece = found
            convert = To48k(stream.rate)
        yield convert(stream(piece))
    if stream is None:
        raise VoiceFailed(_unreadable(response, "no sound"))
    yield convert.flush()


def _begun(response: ClientResponse, head: bytes) -> tuple[PcmStream, bytes] | None:
    """Where the samples of an answer begin; None until they are here. Raises ``VoiceFailed``."""
    if len(head) < len(_WAV):
        return None
    if not head.startswith(_WAV):
        return PcmStream(PCM_RATE), head
    try:
        found = wav(head)
    except SoundRefused as refusal:
        raise VoiceFailed(_unreadable(response, f"this: {refusal.detail}")) from refusal
    if found is None and len(head) > HEADER:
        raise VoiceFailed(_unreadable(response, "a WAV that is not 16-bit PCM"))
    return found


def _unreadable(response: ClientResponse, what: str) -> str:
    return (
        f"{response.url} sent {what}, where pcm was asked for: a service must stream pcm of"
        f" {PCM_RATE} Hz, or wav."
    )
