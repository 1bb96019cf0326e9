"""Numbers out of a trace: latency, offset between sound and picture, smoothness, bitrate. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.receive import SenderClock
from client.trace import Seen, Trace
from client.voice import CODEC, Echo

USUAL_FPS: Final = 25.0
BITRATE_AT_S: Final = (1, 5, 20)
Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A picture that is no repeat, and the microphone's sample behind its first moment."""

    rtp: int
    arrived_s: float
    decoded_s: float
    sample: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """How much later a picture plays than the sound it was made from, ms, and at which second."""

    at_s: Series
    by_clock: Series  # as a player aligns them: by sender reports
    by_arrival: Series


def spread(values: Sequence[float] | Series, digits: int = 1) -> dict[str, float] | None:
    """Percentiles of milliseconds; None when there is nothing."""
    if not len(values):
        return None
    points = np.percentile(np.asarray(values), (50, 95, 99))
    named = dict(zip(("p50", "p95", "p99"), (round(float(p), digits) for p in points), strict=True))
    return {**named, "max": round(float(np.max(values)), digits), "count": len(values)}


def latencies(seen: Sequence[Seen], began_s: float) -> tuple[Series, Series]:
    """Seconds and ms: when each new picture was decoded, and how long after its first sample.

    ``began_s`` is when the microphone's first sample was captured. A repeated picture is not new.
    """
    rows = [
        (one.decoded_s - began_s, (one.decoded_s - began_s - one.sample / 48_000) * 1000)
        for one in fresh(seen)
    ]
    table = np.array(rows).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def fresh(seen: Sequence[Seen]) -> Iterator[Fresh]:
    """Pictures that show something new, and know which sample of the microphone they show."""
    last = -1
    for one in seen:
        if one.mark is not None and one.sample is not None and one.mark.media_time > last:
            last = one.mark.media_time
            yield Fresh(one.rtp, one.arrived_s, one.decoded_s, one.sample)


def offsets(
    trace: Trace, heard: Sequence[Echo], video: SenderClock, audio: SenderClock, began_s: float
) -> Offsets:
    """Pictures against the returned voice. Repeats are counted elsewhere, not as offsets."""
    rows = []
    if heard:
        samples = np.array([echo.sample for echo in heard])
        lags = np.array([echo.rtp - echo.sample for echo in heard])
        arrivals = {sound.rtp // 960: sound.arrived_s for sound in trace.heard}
        for one in fresh(trace.seen):
            nearest = int(np.argmin(np.abs(samples - one.sample)))
            if abs(int(samples[nearest]) - one.sample) > 48_000:
                continue
            rtp = int(one.sample + lags[nearest] - CODEC)
            shown, spoken = video.at(one.rtp), audio.at(rtp)
            came = arrivals.get(rtp // 960)
            if shown is not None and spoken is not None and came is not None:
                at = one.decoded_s - began_s
                rows.append((at, (shown - spoken) * 1000, (one.arrived_s - came) * 1000))
    table = np.array(rows).reshape(-1, 3)
    return Offsets(table[:, 0], table[:, 1], table[:, 2])


def drift_per_hour(at_s: Series, values: Series) -> float | None:
    """Slope of a least-squares line, in units of ``values`` an hour; None under ten seconds."""
    if len(at_s) < 50 or at_s[-1] - at_s[0] < 10:
        return None
    return round(float(np.polyfit(at_s, values, 1)[0]) * 3600, 2)


def frame_rate(events: Sequence[tuple[float, dict[str, Any]]]) -> float:
    """Frames a second of the model, as ``ready`` said."""
    told = [event["fps"] for _, event in events if event["type"] == "ready"]
    return float(told[0]) if told else USUAL_FPS


def smoothness(seen: Sequence[Seen], rate: float = USUAL_FPS) -> dict[str, Any]:
    """Frame rate, freezes as browsers count them, and the strip's account of repeats and skips.

    ``rate`` is the model's frame rate.
    """
    if len(seen) < 2:
        return {"frames": len(seen), "fps": 0.0}
    frame = round(16_000 / rate)
    gaps = np.diff([one.arrived_s for one in seen])
    usual = float(gaps.mean())
    frozen = gaps[gaps > max(3 * usual, usual + 0.15)]
    times = [one.mark.media_time for one in seen if one.mark is not None]
    steps = np.diff(times)
    return {
        "frames": len(seen),
        "fps": round(float((len(seen) - 1) / (seen[-1].arrived_s - seen[0].arrived_s)), 2),
        "gap_ms": spread(gaps * 1000),
        "freezes": len(frozen),
        "frozen_s": round(float(frozen.sum()), 2),
        "repeats": int((steps == 0).sum()),
        "skips": int((np.maximum(steps, frame) // frame - 1).sum()),
        "unread_strips": sum(one.mark is None for one in seen),
    }


def bitrates(seen: Sequence[Seen]) -> dict[str, float | None]:
    """Video kbit/s over the second that ends 1, 5 and 20 s after the first picture."""
    found: dict[str, float | None] = {}
    for end in BITRATE_AT_S:
        begin_s = seen[0].arrived_s + end - 1 if seen else 0.0
        sizes = [one.size for one in seen if begin_s <= one.arrived_s < begin_s + 1]
        found[f"{end}_s"] = round(sum(sizes) * 8 / 1000, 1) if sizes else None
    return found


def stages(events: Sequence[tuple[float, dict[str, Any]]]) -> dict[str, float]:
    """The server's own account of where time goes: medians of its means of each second, ms."""
    told = [event["latency_ms"] for _, event in events if event["type"] == "quality"]
    names = {name for row in told for name in row}
    return {
        name: round(float(np.median([r[name] for r in told if name in r])), 1) for name in names
    }
