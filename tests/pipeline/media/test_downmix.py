"""Channels to one: what is in any of them stays, nothing clicks, nothing cancels."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.media.downmix import Downmix

RATE = 48_000


def voice(seconds: float = 1.0, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    waves = [rng.random() * np.sin(2 * np.pi * pitch * k * at + rng.random()) for k in range(1, 20)]
    return (0.1 * np.sum(waves, axis=0) * (0.6 + 0.4 * np.sin(8 * np.pi * at))).astype(np.float32)


def mix(channels: list[np.ndarray], piece: int = 960, rate: int = RATE) -> np.ndarray:
    together, downmix = np.stack(channels, axis=1).astype(np.float32), Downmix(rate)
    pieces = [together[at : at + piece] for at in range(0, len(together), piece)]
    return np.concatenate([downmix(part) for part in pieces])


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=float))))


def test_one_channel_is_left_as_it_is() -> None:
    assert np.array_equal(mix([voice()]), voice())


@pytest.mark.parametrize("channels", [2, 3, 6, 9, 16])
def test_equal_channels_mix_to_each_of_them(channels: int) -> None:
    np.testing.assert_allclose(mix([voice()] * channels), voice(), atol=1e-6)


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (1, -1, 1, -1), (1, -1, -1, -1, 1)])
@pytest.mark.parametrize("piece", [120, 960, 4800, RATE])
def test_opposite_channels_do_not_cancel_from_the_first_sample_on(
    signs: tuple[int, ...], piece: int
) -> None:
    mixed = mix([sign * voice() for sign in signs], piece)
    np.testing.assert_allclose(np.abs(mixed), np.abs(voice()), atol=1e-5)


@pytest.mark.parametrize(("channels", "at"), [(2, 0), (2, 1), (6, 2), (11, 10)])
def test_a_voice_in_one_channel_of_many_keeps_its_loudness(channels: int, at: int) -> None:
    heard = [voice() if c == at else np.zeros(RATE) for c in range(channels)]
    np.testing.assert_allclose(mix(heard), voice(), atol=1e-5)


def test_a_voice_off_centre_and_opposite_is_at_least_as_loud_as_its_loudest_channel() -> None:
    assert rms(mix([voice(), -0.4 * voice()])) > 0.9 * rms(voice())


def test_both_of_two_people_on_a_channel_each_are_heard() -> None:
    left, right = voice(seed=1), voice(pitch=190.0, seed=2)
    mixed = mix([left, right])
    for person in (left, right):
        share = float(mixed @ person) / float(person @ person)
        assert 0.5 < share <= 1.01


@pytest.mark.parametrize("piece", [480, 960, RATE])
def test_a_balance_that_changes_makes_no_click(piece: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(3 * RATE) / RATE)
    right = np.concatenate([tone[:RATE], -tone[RATE : 2 * RATE], 0 * tone[2 * RATE :]])
    step = np.abs(np.diff(right)).max()  # the source's own jump, where it becomes silent
    jumps = np.abs(np.diff(mix([tone, right], piece)))
    assert jumps.max() < max(step, 1.5 * np.abs(np.diff(tone)).max())


def test_a_voice_that_turns_opposite_is_back_within_two_measurements() -> None:
    turned = np.concatenate([voice(), -voice()])
    mixed = mix([np.concatenate([voice(), voice()]), turned])
    after = slice(RATE + 2 * 960, None)
    assert rms(mixed[after]) > 0.95 * rms(turned[after])


def test_a_voice_that_turns_opposite_when_it_becomes_quiet_is_back_within_half_a_second() -> None:
    quiet = 0.03 * voice()
    mixed = mix([np.concatenate([voice(), quiet]), np.concatenate([voice(), -quiet])])
    assert rms(mixed[RATE + RATE // 2 :]) > 0.9 * rms(quiet[RATE // 2 :])


def test_silence_is_silence_and_changes_nothing() -> None:
    still = np.zeros(RATE, np.float32)
    mixed = mix([np.concatenate([v, still, v]) for v in (voice(), -voice())])
    assert not mixed[RATE : 2 * RATE].any()
    np.testing.assert_allclose(np.abs(mixed[2 * RATE :]), np.abs(voice()), atol=1e-5)


def test_full_scale_never_clips_over() -> None:
    rng = np.random.default_rng(3)
    assert np.abs(mix(list(rng.uniform(-1, 1, (5, RATE))))).max() <= 1.0


def test_what_is_not_finite_is_passed_on_and_forgotten() -> None:
    spoilt = voice().copy()
    spoilt[100] = np.nan
    mixed = mix([spoilt, -voice()])
    assert np.isnan(mixed[100]) and rms(mixed[2 * 960 :]) > 0.9 * rms(voice()[2 * 960 :])


def test_a_source_whose_channels_change_in_number_begins_anew() -> None:
    downmix, wave = Downmix(RATE), voice()[:960]
    downmix(np.stack([wave, -wave], axis=1))
    six = np.stack([wave] * 6, axis=1)
    np.testing.assert_allclose(downmix(six), wave, atol=1e-6)
    assert len(downmix(six[:0])) == 0


def test_a_sample_rate_must_be_one() -> None:
    with pytest.raises(ValueError, match="0"):
        Downmix(0)
