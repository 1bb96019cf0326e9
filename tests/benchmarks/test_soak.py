"""A soak's rows: what belongs to a minute, and what has grown since the run became steady."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.process import Footprint
from benchmarks.soak import Heard, Sample, growth, minutes, table


def sample(at_s: float, memory_mb: float, threads: int = 9) -> Sample:
    return Sample(at_s, Footprint(memory_mb, threads, 30), 1.0)


def test_a_minute_has_its_own_samples_and_what_was_shown_in_it() -> None:
    call = Heard(
        at_s=np.array([50.0, 59.0, 61.0]),
        delay_ms=np.array([300.0, 300.0, 500.0]),
        offset_at_s=np.array([59.0]),
        offset_ms=np.array([-20.0]),
    )
    first, second = minutes([sample(10, 800), sample(50, 900, 12), sample(70, 950)], [call])
    assert (first.calls, first.memory_mb, first.threads) == (0, 850.0, 12)
    assert (first.delay_p50_ms, first.offset_p95_ms) == (300.0, 20.0)
    assert (second.calls, second.delay_p50_ms, second.offset_p50_ms) == (1, 500.0, None)
    assert table([first, second]).splitlines()[2].split()[-1] == "-"


@pytest.mark.parametrize(("count", "grown"), [(2, None), (6, 0.0099), (30, 0.0165)])
def test_memory_has_grown_since_the_run_was_steady(count: int, grown: float | None) -> None:
    rows = minutes([sample(60 * minute, 1000 + 10 * minute / 10) for minute in range(count)], [])
    expected = None if grown is None else rows[-2].memory_mb / rows[min(10, count // 2)].memory_mb
    assert growth(rows) == (None if expected is None else round(expected - 1, 4))
