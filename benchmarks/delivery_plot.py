"""The arms' speed over the sound's loudness and pitch, as one picture. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from benchmarks import delivery_measures as measures
from benchmarks.motion import States
from client.plots import INK, RED, TEAL
from pipeline.models.mini.config import FRAME_RATE


def save(path: Path, sound: measures.Sound, performed: Mapping[str, States]) -> None:
    """One row for the sound, with its peaks, and one for each who performs it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    frames = min(len(states) for states in performed.values())
    at = np.arange(frames) / FRAME_RATE
    size = (10, 1.7 * (len(performed) + 1))
    figure, axes = plt.subplots(len(performed) + 1, 1, figsize=size, sharex=True,
                                layout="constrained")  # fmt: skip
    axes[0].fill_between(at, -45, np.maximum(measures.level(sound, frames), -45), color="#c9d6d2")
    axes[0].set_ylabel("loudness, dB")
    high = axes[0].twinx()
    tone = measures.pitch(sound, frames)
    high.plot(at, np.where(tone == 0, np.nan, tone), color=INK, lw=1)
    high.set_ylabel("pitch, semitones")
    peaks = measures.prosodic_peaks(sound, frames)
    for axis, (who, states) in zip(axes[1:], performed.items(), strict=True):
        speed = gaussian_filter1d(measures.arm_speed(states)[:frames], 1.0)
        axis.plot(at, speed, color=TEAL, lw=1.2)
        rank = measures.loudness_rank(measures.arm_speed(states)[:frames], sound)
        axis.set_ylabel(f"{who}, rad/s")
        axis.set_title(f"{who}: arms' speed, rank with loudness {rank:.2f}", fontsize=9)
    for axis in axes:
        for peak in peaks:
            axis.axvline(peak / FRAME_RATE, color=RED, lw=0.7, alpha=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("s")
    figure.savefig(path, dpi=90)
    plt.close(figure)
