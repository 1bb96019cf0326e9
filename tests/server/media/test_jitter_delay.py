"""A caller's packets through the path's jitter to the playout delay, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from server.media.playout import BLOCK, RATIO_48K_16K, Playout, ms
from server.media.rtp_timestamps import RtpTimestamps
from tests.server.caller import voice

SECOND = 50  # blocks
BEGINS, ENDS, UNTIL = 6 * SECOND, 16 * SECOND, 24 * SECOND
MADE = ms(60)  # a frame takes so long


def arrivals(spread_s: float, overtaken: float) -> list[tuple[int, int]]:
    """When each packet comes, in media samples, and which it is; in the order of coming."""
    rng = np.random.default_rng(5)
    rows = []
    for packet in range(UNTIL):
        bad = BEGINS <= packet < ENDS
        late_s = bad * (abs(rng.normal(0, spread_s)) + 0.06 * (rng.random() < overtaken))
        rows.append((round(packet * BLOCK + late_s * 16_000), packet))
    return sorted(rows)


def delays_ms(spread_s: float, overtaken: float) -> list[float]:
    """The delay at each block while somebody speaks without a pause."""
    playout, stamps, coming = Playout(), RtpTimestamps(), arrivals(spread_s, overtaken)
    found = []
    for block in range(UNTIL):
        now = block * BLOCK
        while coming and coming[0][0] <= now:
            at, packet = coming.pop(0)
            size = BLOCK * RATIO_48K_16K
            stamps.place(packet * size, size, at * RATIO_48K_16K)
        playout.voice.write(now * RATIO_48K_16K, voice(block).astype(np.int16))
        playout.delay.observe(MADE)
        if block % SECOND == 0:
            playout.delay.jitter = stamps.jitter // RATIO_48K_16K
            playout.delay.reckon()
        playout.move(now, speaking=True)
        found.append(playout.delay.samples / ms(1))
    return found


@pytest.mark.parametrize(("spread_s", "overtaken"), [(0.03, 0.0), (0.08, 0.0), (0.0, 0.1)])
def test_jitter_costs_what_packets_are_late_and_is_given_back_in_three_seconds(
    spread_s: float, overtaken: float
) -> None:
    found = delays_ms(spread_s, overtaken)
    before, worst = found[BEGINS - 1], max(found)
    late_ms = 2.2 * spread_s * 1000 + 70 * (overtaken > 0)
    assert before + 20 < worst < before + late_ms
    assert max(found[ENDS + 3 * SECOND :]) <= before + 40
