"""From the first sound of a sentence to the first visible motion of the mouth. Pure.

Needs no strip: where the mouth is, is where pictures change with the loudness of speech. Lips may
open a little before the sound, as people's do; this figure contains that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.trace import Seen

RATE: Final = 48_000
HOP: Final = RATE // 100
PAUSE_HOPS: Final = 35
MOUTH_CELLS: Final = 12
BEFORE_S: Final = 0.5
BLIND_S: Final = 0.06  # no picture can show a sound that is this young
WITHIN_S: Final = 1.0

Series = NDArray[np.float64]


def starts(pcm: NDArray[np.int16]) -> list[int]:
    """Samples at which speech begins after a pause of a third of a second."""
    level = loudness(pcm)
    if not len(level):
        return []
    loud = level > 0.1 * np.percentile(level, 95)
    quiet_for, found = 0, []
    for hop, is_loud in enumerate(loud):
        if is_loud and quiet_for >= PAUSE_HOPS and loud[hop : hop + 8].mean() > 0.7:
            found.append(hop * HOP)
        quiet_for = 0 if is_loud else quiet_for + 1
    return found


def loudness(pcm: NDArray[np.int16]) -> Series:
    """RMS for every 10 ms."""
    whole = pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    level: Series = np.sqrt((whole**2).mean(axis=1))
    return level


def delays(
    seen: Sequence[Seen], pcm: NDArray[np.int16], began_s: float, latency_s: float
) -> list[float]:
    """Seconds from each onset to the first motion; an onset without one is left out.

    ``pcm`` was at the microphone from ``began_s`` on; ``latency_s`` is roughly how late it is seen.
    """
    if len(seen) < 50:
        return []
    times = np.array([one.decoded_s for one in seen[1:]])
    motion = mouth_motion(seen, _delayed(loudness(pcm), times - began_s - latency_s))
    typical = float(np.percentile(motion, 75))
    found = []
    for start in starts(pcm):
        onset = began_s + start / RATE
        before = motion[(times > onset - BEFORE_S) & (times < onset + BLIND_S)]
        after = (times >= onset + BLIND_S) & (times < onset + WITHIN_S)
        if len(before) < 5 or not after.any():
            continue
        calm = float(np.median(before))
        spread = 1.5 * float(np.median(np.abs(before - calm)))
        moving = after & (motion > max(calm + 4 * spread, calm + 0.25 * (typical - calm)))
        if moving.any():
            found.append(float(times[moving][0]) - onset)
    return found


def mouth_motion(seen: Sequence[Seen], level: Series) -> Series:
    """How much the mouth's part of the picture changes, for every picture but the first."""
    cells = np.stack([one.cells for one in seen]).reshape(len(seen), -1)
    change = np.abs(np.diff(cells, axis=0))
    centred = change - change.mean(axis=0)
    loud = level - level.mean()
    likeness = loud @ centred / (np.linalg.norm(centred, axis=0) * np.linalg.norm(loud) + 1e-9)
    mouth = np.argsort(likeness)[-MOUTH_CELLS:]
    motion: Series = change[:, mouth].mean(axis=1).astype(np.float64)
    return motion


def _delayed(level: Series, at_s: Series) -> Series:
    hops = np.clip((at_s * RATE / HOP).astype(int), 0, len(level) - 1)
    delayed: Series = level[hops]
    return delayed
