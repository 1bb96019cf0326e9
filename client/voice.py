"""Where in the returned sound each moment of the sent one is. Pure.

Returned sound is the sent one, delayed and coded twice, so windows of it are found again by
correlation, to a tenth of a millisecond. Positions count 48 kHz samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.receive import Sound

RATE: Final = 48_000
STEP: Final = 4  # correlated at 12 kHz
WINDOW: Final = RATE // STEP
REACH: Final = RATE // STEP  # how late the returned sound may be
PART: Final = WINDOW // 4  # the delay may move within a second: each quarter has its own place
NEAR: Final = WINDOW // 5  # which is not further than this from the whole second's
LIKENESS: Final = 0.6  # two passes of Opus leave more than this
CODEC: Final = 312  # samples by which one pass of Opus delays what it carries

Wave = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Echo:
    """The sent sound at ``sample`` was heard at timestamp ``rtp``."""

    sample: int
    rtp: int


def echoes(
    heard: Sequence[Sound], sent: NDArray[np.int16], sample_at: Callable[[float], int]
) -> list[Echo]:
    """One echo for each quarter of a second in which something was said.

    ``sample_at`` says which sample of ``sent`` was at the microphone at a moment.
    """
    if not heard:
        return []
    wave, first, thinned = joined(heard), heard[0].rtp, thin(sent)
    stamps = np.array([sound.rtp for sound in heard])
    found = []
    for start in range(0, len(wave) - WINDOW, WINDOW // 2):
        rtp = first + start * STEP
        packet = int(np.searchsorted(stamps, rtp, side="right")) - 1
        arrived = heard[packet].arrived_s
        begin = sample_at(arrived) // STEP - REACH
        late = match(wave[start : start + WINDOW], thinned, begin)
        if late is not None:
            for part in range(0, WINDOW // 2, PART):
                piece = wave[start + part : start + part + PART]
                about = begin + late + part - NEAR
                exact = match(piece, thinned, about, 2 * NEAR)
                if exact is not None:
                    found.append(Echo((about + exact) * STEP, rtp + part * STEP))
    return found


def match(window: Wave, sent: Wave, begin: int, reach: int = REACH) -> int | None:
    """How far behind ``begin`` the window lies in ``sent``; None when it is nowhere or silent."""
    begin_in = max(0, begin)
    piece = sent[begin_in : begin + reach + len(window)]
    if len(piece) < len(window) or np.sqrt(np.mean(window**2)) < 100:
        return None
    size = 1 << int(np.ceil(np.log2(len(piece) + len(window))))
    spectrum = np.fft.rfft(piece, size) * np.conj(np.fft.rfft(window, size))
    product = np.fft.irfft(spectrum, size)[: len(piece) - len(window) + 1]
    power = np.concatenate([[0.0], np.cumsum(piece**2)])
    norm = np.sqrt(np.maximum(power[len(window) :] - power[: -len(window)], 1.0))
    likeness = product / norm / np.linalg.norm(window)
    best = int(np.argmax(likeness))
    return best + begin_in - begin if likeness[best] >= LIKENESS else None


def joined(heard: Sequence[Sound]) -> Wave:
    """Packets of sound on their own timeline, thinned; what is missing is silence."""
    first = heard[0].rtp
    end = max(sound.rtp + len(sound.pcm) for sound in heard)
    whole = np.zeros(end - first)
    for sound in heard:
        at = sound.rtp - first
        if at >= 0:
            whole[at : at + len(sound.pcm)] = sound.pcm
    return thin(whole)


def thin(wave: Wave | NDArray[np.int16]) -> Wave:
    """Every STEP samples as their mean."""
    whole = len(wave) // STEP * STEP
    mean: Wave = wave[:whole].reshape(-1, STEP).mean(axis=1, dtype=np.float64)
    return mean
