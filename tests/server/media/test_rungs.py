"""Bitrate, size and frame rate, and what several viewers share."""

from __future__ import annotations

from fractions import Fraction

import pytest

from server.media.encoders import AUDIO_BITRATE, AUDIO_TIGHT, Bitrates
from server.media.rungs import PATIENCE_S, STEP, BitratePolicy, ladder, shape, shared, voice

FPS = Fraction(25)
LIMITS = Bitrates(start=1_000_000, least=40_000, most=3_000_000)


def test_the_ladder_goes_from_the_least_to_the_most() -> None:
    rungs = ladder(LIMITS)
    assert rungs[0] == 40_000 and rungs[-1] == 3_000_000
    assert all(a < b <= a * STEP * 1.01 for a, b in zip(rungs, rungs[1:], strict=False))


def test_less_room_lowers_it_at_once_and_never_above_what_there_is() -> None:
    policy = BitratePolicy(LIMITS)
    for available in (900_000, 500_000, 220_000, 90_000):
        assert available / STEP <= policy.follow(available, 0.0) <= available


def test_more_room_raises_it_when_it_has_lasted() -> None:
    policy = BitratePolicy(LIMITS)
    low = policy.follow(100_000, 0.0)
    assert policy.follow(2_000_000, 1.0) == low
    assert policy.follow(2_000_000, 1.0 + PATIENCE_S / 2) == low
    assert policy.follow(2_000_000, 1.0 + PATIENCE_S) > 1_000_000


def test_small_changes_never_rebuild_the_encoder() -> None:
    policy = BitratePolicy(LIMITS)
    target = policy.follow(400_000, 0.0)
    found = {policy.follow(target * w, i) for i, w in enumerate((1.0, 1.2, 1.05, 1.35, 1.01) * 5)}
    assert found == {target}


def test_nothing_is_below_the_floor() -> None:
    assert BitratePolicy(LIMITS).follow(0.0, 0.0) == 40_000


@pytest.mark.parametrize(
    ("bitrate", "side", "frames"),
    [(1_000_000, 512, 25), (300_000, 512, 25), (220_000, 384, 25), (90_000, 256, 25),
     (40_000, 256, 15)],
)  # fmt: skip
def test_size_and_frame_rate_go_with_the_bitrate(bitrate: int, side: int, frames: int) -> None:
    found = shape(bitrate, 512, 512, FPS)
    assert round(512 * found.scale) == side
    assert sum(found.shows(i) for i in range(25)) == frames


def test_a_small_picture_stays_as_it_is() -> None:
    assert shape(40_000, 256, 256, FPS).scale == 1.0


def test_one_encode_goes_by_the_slowest_viewer_who_is_not_far_behind() -> None:
    assert shared([2_000_000]) == 2_000_000
    assert shared([2_000_000, 900_000]) == 900_000
    assert shared([2_100_000, 60_000]) == 700_000


def test_the_voice_takes_less_on_a_narrow_path_and_does_not_swing() -> None:
    rates, rate = [], AUDIO_BITRATE
    for available in (900_000, 180_000, 60_000, 180_000, 240_000, 180_000, 300_000, 180_000):
        rate = voice(available, rate)
        rates.append(rate)
    assert rates == [AUDIO_BITRATE] * 2 + [AUDIO_TIGHT] * 4 + [AUDIO_BITRATE] * 2
