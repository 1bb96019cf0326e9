"""What a stream costs on this machine, measured with the model that will run."""

from __future__ import annotations

import os
import time

import numpy as np

from pipeline.interface import AvatarStream
from server.media.encoders import Converter, VideoEncoder
from server.media.timing import StreamTiming
from server.sessions.admission import Cost

WARM_STEPS, WARM_S = 25, 6.0  # of warm-up: so many steps, or fewer that take so long
LEAST_STEPS = 4
PACKETS_S = 0.002  # per frame: packets, SRTP and the loop; measured with an idle model


def measure(stream: AvatarStream, available: int) -> Cost:
    """What a step of ``stream`` costs here, the first few not counted."""
    rng, timing = np.random.default_rng(0), StreamTiming.of(stream)
    encoder, convert = VideoEncoder("video/VP8", 1_500_000, timing.fps), Converter()
    generate, media, began = list[float](), list[float](), time.perf_counter()
    while len(generate) < WARM_STEPS and not _warm(len(generate), began):
        lacking = stream.needs - stream.samples_pushed
        stream.push((rng.standard_normal(lacking) * 0.1).astype(np.float32))
        started = time.perf_counter()
        frames = list(stream.step())
        made = time.perf_counter()
        for frame in frames:
            timestamp = frame.media_time * 90_000 // 16_000
            encoder.encode(convert(frame.image), timestamp, not generate)
        generate.append(made - started)
        media.append(time.perf_counter() - made + PACKETS_S * len(frames))
    settled = slice(len(generate) // 3, None)
    generate_s, media_s = (float(np.median(row[settled])) for row in (generate, media))
    return Cost(generate_s, media_s, available, timing.step_s)


def _warm(steps: int, began_s: float) -> bool:
    """Whether a slow model has been watched for long enough."""
    return steps >= LEAST_STEPS and time.perf_counter() - began_s > WARM_S


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
