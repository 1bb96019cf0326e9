"""A latency run as one picture, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from client.report import Offsets, Series
from client.trace import Seen

INK, TEAL, RED = "#1d2926", "#0f766e", "#c2413a"


def save(
    path: Path,
    latency: tuple[Series, Series],
    offsets: Offsets,
    seen: list[Seen],
    title: str,
) -> None:
    """Latency over time and its distribution, offset, bitrate. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    figure.suptitle(title, color=INK)
    (over_time, spread), (offset, bitrate) = axes
    over_time.plot(*latency, ".", ms=2, color=TEAL)
    _name(over_time, "microphone to frame", "s", "ms")
    if len(latency[1]):
        spread.hist(latency[1], bins=60, color=TEAL)
        for share in (50, 95):
            at = float(np.percentile(latency[1], share))
            spread.axvline(at, color=RED, lw=1)
            spread.text(at, 0.97, f" p{share} {at:.0f}", transform=spread.get_xaxis_transform())
    _name(spread, "microphone to frame", "ms", "frames")
    offset.plot(offsets.at_s, offsets.by_clock, ".", ms=2, color=TEAL, label="by clock")
    offset.plot(offsets.at_s, offsets.by_arrival, ".", ms=1, color=RED, label="by arrival")
    offset.legend(loc="best")
    _name(offset, "picture later than sound", "s", "ms")
    bitrate.step(*_bitrate(seen), color=TEAL)
    _name(bitrate, "video", "s", "kbit/s")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bitrate(seen: list[Seen]) -> tuple[Series, Series]:
    if not seen:
        return np.zeros(0), np.zeros(0)
    at_s = np.array([one.arrived_s - seen[0].arrived_s for one in seen])
    edges = np.arange(0, max(2.0, np.floor(at_s[-1])))
    kbits, _ = np.histogram(at_s, edges, weights=[one.size * 8 / 1000 for one in seen])
    return edges[:-1] + 1, kbits


def _name(axis: Any, title: str, x: str, y: str) -> None:
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
