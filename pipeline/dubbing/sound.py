"""The sound of a dubbed video: the new speech in its span, around it what the video had.

New speech that is longer than the span is cut at its end; after shorter speech it is silent.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.errors import AudioError
from pipeline.media.audio_file import AudioFile, Samples, blocks, open_audio
from pipeline.media.video_file import AUDIO_RATE

BLOCK: Final = AUDIO_RATE // 25
_FADE: Final = AUDIO_RATE // 100  # samples: ten milliseconds at the edges of the span


def original(video: AudioFile | None, layout: str) -> Generator[Samples, None, None]:
    """The video's own sound (channels, BLOCK), silence without end behind it."""
    channels = 2 if layout == "stereo" else 1
    if video is not None:
        with closing(blocks(video, AUDIO_RATE, layout, BLOCK)) as parts:
            for part in parts:
                yield np.pad(part, ((0, 0), (0, BLOCK - part.shape[1])))
    while True:
        yield np.zeros((channels, BLOCK), np.float32)


def sound_of(video: Path) -> AudioFile | None:
    """The sound of a video file, if it has one that can be read."""
    try:
        return open_audio(video)
    except AudioError:
        return None


def mixed(
    new: AudioFile, old: AudioFile | None, layout: str, start_s: float, end_s: float
) -> Generator[Samples, None, None]:
    """Blocks (channels, BLOCK) at 48 kHz without end: new from ``start_s`` to ``end_s``."""
    start, end = round(start_s * AUDIO_RATE), end_s * AUDIO_RATE
    whole = start == 0 and end == float("inf")
    speech = _placed(new, layout, start)
    kept = original(None if whole else old, layout)
    with closing(kept), closing(speech):
        at = 0
        for theirs in kept:
            time = at + np.arange(BLOCK)
            share = np.clip(np.minimum(time - start, end - time) / _FADE, 0, 1)
            share = np.ones(BLOCK) if whole else share
            yield (theirs + share * (next(speech) - theirs)).astype(np.float32)
            at += BLOCK


def _placed(new: AudioFile, layout: str, start: int) -> Generator[Samples, None, None]:
    """The new speech with silence before and, without end, behind it."""
    channels = 2 if layout == "stereo" else 1
    rest = np.zeros((channels, start), np.float32)
    with closing(blocks(new, AUDIO_RATE, layout, BLOCK)) as parts:
        for part in parts:
            rest = np.concatenate([rest, part], 1)
            while rest.shape[1] >= BLOCK:
                yield rest[:, :BLOCK]
                rest = rest[:, BLOCK:]
    yield np.pad(rest, ((0, 0), (0, BLOCK - rest.shape[1])))
    while True:
        yield np.zeros((channels, BLOCK), np.float32)
