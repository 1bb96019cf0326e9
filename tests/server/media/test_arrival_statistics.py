"""Lateness and drift from packets on a counted clock."""

import pytest

from server.media.arrival_statistics import BLOCK, TOLERANCE, ArrivalStatistics


def packets(late: int, count: int = 150, every: int = BLOCK) -> ArrivalStatistics:
    found = ArrivalStatistics()
    for index in range(count):
        found.add(now=index * every + late, end=index * BLOCK)
    return found


@pytest.mark.parametrize(
    ("late", "drift"),
    [
        (0, 0),
        (BLOCK - 1, 0),
        (BLOCK, BLOCK),
        (2 * BLOCK + 5, 2 * BLOCK),
        (-TOLERANCE + 1, 0),
        (-TOLERANCE, -BLOCK),
    ],
)
def test_drift_is_whole_blocks_once_all_packets_have_moved(late: int, drift: int) -> None:
    found = packets(late)
    assert (found.drift(), found.lateness) == (drift, late)


def test_a_burst_does_not_drift_and_is_not_late() -> None:
    found = packets(late=0, every=BLOCK // 4)
    assert found.drift() == 0 and found.jitter == 0 and found.lateness < 0


def test_jitter_is_of_late_packets_and_gone_with_the_anchor() -> None:
    found = packets(late=3 * BLOCK)
    assert found.jitter == 3 * BLOCK
    found.clear()
    assert (found.jitter, found.drift(), found.lateness) == (0, 0, 0)
