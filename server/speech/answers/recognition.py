"""Speech recognition behind a URL: any OpenAI-compatible ``/v1/audio/transcriptions``."""

from __future__ import annotations

import io
import json
import wave
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiohttp import FormData
from numpy.typing import NDArray

from server.errors import RecognitionFailed
from server.media.clock import RATE
from server.speech.endpoint import Endpoint, whole

MOST: Final = 64 * 1024  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One model of one service."""

    endpoint: Endpoint

    async def text(self, pcm: NDArray[np.float32]) -> str:
        """What is said in float32 16 kHz sound; empty where nothing is. Raises
        ``RecognitionFailed``."""
        form = FormData({"model": self.endpoint.model, "response_format": "json"})
        form.add_field("file", _wav(pcm), filename="speech.wav", content_type="audio/wav")
        async with self.endpoint.post("audio/transcriptions", form) as response:
            body = await whole(response, MOST)
            try:
                return str(json.loads(body)["text"]).strip()
            except (ValueError, LookupError, TypeError) as failure:
                raise RecognitionFailed(
                    f'{response.url} sent {body[:60]!r}, where {{"text": ...}} was expected.'
                ) from failure


def _wav(pcm: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes())
    return file.getvalue()
