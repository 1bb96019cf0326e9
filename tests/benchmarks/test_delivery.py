"""Measures of delivery on motion and sound whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import delivery, delivery_measures as measures
from pipeline.models.mini.rig.state import SLICES, STATE_DIM
from training.voices.clips import Clip
from training.voices.unlabelled_clip import unlabelled_clip

RATE, FRAME = 25, 640
BEATS = np.array([40, 65, 92, 118, 141, 170, 195, 222, 246, 270])


def sound(loudness: NDArray[np.float64]) -> NDArray[np.float32]:
    """A vowel-like tone whose level follows (frames,) of amplitudes."""
    at = np.arange(len(loudness) * FRAME)
    tone = sum(np.sin(2 * np.pi * 140 * k * at / 16_000) / k for k in range(1, 6))
    shape = np.interp(at / FRAME, np.arange(len(loudness)) + 0.5, loudness)
    return (0.2 * shape * tone).astype(np.float32)


def moving(speed: NDArray[np.float64]) -> NDArray[np.float32]:
    """States whose arms move at (frames,) of speed."""
    states = np.zeros((len(speed), STATE_DIM), np.float32)
    turns = np.where((np.arange(len(speed)) // 9) % 2, 1.0, -1.0)
    states[:, SLICES["left_arm"].start] = np.cumsum(speed * turns) / RATE
    return states


def spoken() -> NDArray[np.float64]:
    """Amplitudes of twelve seconds with a peak at each of ``BEATS``."""
    frames = np.arange(300)
    hills = sum(np.exp(-np.square((frames - beat) / 4.0)) for beat in BEATS)
    return np.asarray(0.15 + hills)


def swelling(seed: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(0.05, 1.0, 20), RATE)


def test_speed_that_is_the_loudness_has_rank_one_and_the_reverse_has_minus_one() -> None:
    loud = swelling()
    heard = sound(loud)
    assert measures.loudness_rank(measures.arm_speed(moving(loud)), heard) > 0.95
    assert measures.loudness_rank(measures.arm_speed(moving(1.1 - loud)), heard) < -0.95


def test_speed_of_another_sound_has_no_rank() -> None:
    ranks = [
        measures.loudness_rank(
            measures.arm_speed(moving(swelling(seed))), sound(swelling(90 + seed))
        )
        for seed in range(12)
    ]
    assert abs(np.mean(ranks)) < 0.25


def test_too_short_or_still_motion_has_no_rank() -> None:
    loud = swelling()
    assert np.isnan(measures.loudness_rank(np.zeros(len(loud)), sound(loud)))
    assert np.isnan(measures.loudness_rank(np.ones(40), sound(loud[:40])))


def test_finds_the_peaks_of_the_voice() -> None:
    found = measures.prosodic_peaks(sound(spoken()), 300)
    assert len(found) == len(BEATS)
    assert np.abs(found - BEATS).max() <= 2


def test_strokes_before_peaks_are_told_from_strokes_at_any_time() -> None:
    heard, frames = sound(spoken()), np.arange(300)
    speaks = measures.level(heard, 300) > measures.SPEAKS_DB
    strokes = 0.2 + sum(np.exp(-np.square((frames - (beat - 3)) / 3.0)) for beat in BEATS)
    speed = measures.arm_speed(moving(np.asarray(strokes)))
    assert measures.before_peaks(speed, BEATS, speaks) > 1.8
    assert measures.before_peaks(np.roll(speed, 12), BEATS, speaks) < 0.8
    control = [
        measures.before_peaks(
            speed, measures.shuffled(speaks, 10, np.random.default_rng(i)), speaks
        )
        for i in range(40)
    ]
    assert np.mean(control) == pytest.approx(1.0, abs=0.1)
    assert np.isnan(measures.before_peaks(speed, BEATS[:0], speaks))


def test_beats_of_motion_on_beats_of_sound_are_consistent() -> None:
    frames = np.arange(300)
    on = 1.0 - sum(np.exp(-np.square((frames - beat) / 3.0)) for beat in BEATS)
    assert measures.beat_consistency(np.asarray(on), BEATS) > 0.95
    assert measures.beat_consistency(np.asarray(on), BEATS + 12) < 0.3


def test_energy_jerk_and_tremor_know_fast_from_slow() -> None:
    at = np.arange(500) / RATE
    slow, fast = (np.zeros((500, STATE_DIM), np.float32) for _ in range(2))
    slow[:, SLICES["right_arm"].start] = np.sin(2 * np.pi * 0.5 * at)
    fast[:, SLICES["right_arm"].start] = 0.1 * np.sin(2 * np.pi * 8 * at)
    assert measures.tremor(slow) < 0.01 and measures.tremor(fast) > 0.95
    assert measures.jerk(fast) > 20 * measures.jerk(slow)
    assert measures.energy(2 * slow) == pytest.approx(4 * measures.energy(slow))


def test_a_loop_repeats_and_a_wander_does_not() -> None:
    rng = np.random.default_rng(0)
    wander = np.zeros((600, STATE_DIM), np.float32)
    wander[:, SLICES["left_arm"].start :] = np.cumsum(rng.normal(0, 0.02, (600, 28)), axis=0)
    loop = np.tile(wander[:100], (6, 1))
    assert measures.repetition(loop) < 0.05 < 0.5 < measures.repetition(wander)
    assert measures.diversity(3 * wander) == pytest.approx(3 * measures.diversity(wander), rel=1e-5)


def test_frechet_distance_of_gaussians_is_as_written() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (4000, 3)), rng.normal(0, 1, (4000, 3))
    assert measures.frechet(a, b) < 0.02
    assert measures.frechet(a, 2 * b + np.array([3, 0, 0])) == pytest.approx(9 + 3, rel=0.05)


def test_a_recording_becomes_a_clip_whose_syllables_are_its_loud_places() -> None:
    heard = np.concatenate([np.zeros(16_000, np.float32), sound(spoken())])
    clip = unlabelled_clip(heard, "tone")
    vowels = [p for p in clip.phones if p.ipa == "a"]
    assert clip.phones[0].ipa == "" and clip.phones[0].end > 8_000
    assert len(vowels) == len(BEATS)
    for beat, vowel in zip(BEATS, vowels, strict=True):
        assert vowel.start <= 16_000 + beat * FRAME < vowel.end


def test_silence_becomes_a_clip_in_which_nobody_speaks() -> None:
    assert [p.ipa for p in unlabelled_clip(np.zeros(32_000, np.float32), "none").phones] == [""]


def test_a_row_of_many_is_the_mean_of_what_is_known() -> None:
    rows = [{"loudness_rank": 0.5, "jerk": 1.0}, {"loudness_rank": float("nan"), "jerk": 3.0}]
    assert delivery.mean_row(rows) == {"loudness_rank": 0.5, "jerk": 2.0}


def test_emphasis_compares_the_readings_of_each_pair() -> None:
    def perform(clip: Clip, seed: int) -> NDArray[np.float32]:
        loud = measures.level(clip.audio, 300)
        return moving(np.abs(clip.audio).max() * np.ones(len(loud)))

    flat, meant = (unlabelled_clip(size * sound(spoken()), "x") for size in (0.4, 0.8))
    assert delivery.emphasis(perform, [(flat, meant)], 2) == pytest.approx(4.0, rel=1e-3)


def test_a_missing_recording_is_named_before_the_model_is_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        delivery.main(["nowhere.wav", "--pair", "a.wav", "b.wav"])
    assert "no such file: nowhere.wav, a.wav, b.wav" in capsys.readouterr().err
