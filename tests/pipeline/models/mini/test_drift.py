"""The drift monitor tells change from none."""

import numpy as np

from pipeline.models.mini.drift import DriftMonitor


def frame(seed: int, tint: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(60, 160, (64, 64, 3))
    return np.clip(noise + np.array([tint, 0, 0]), 0, 255).astype(np.uint8)


def test_frames_of_the_same_colours_show_no_drift():
    monitor = DriftMonitor(frame(0))
    for seed in range(50):
        monitor.see(frame(seed))
    assert max(monitor.metrics().values()) < 0.02


def test_a_tint_that_stays_shows_as_its_share_of_the_range():
    monitor = DriftMonitor(frame(0))
    for seed in range(80):
        monitor.see(frame(seed, tint=51))
    assert abs(monitor.metrics()["colour_drift"] - 0.2) < 0.02


def test_one_odd_frame_does_not_raise_an_alarm():
    monitor = DriftMonitor(frame(0))
    monitor.see(frame(1, tint=51))
    assert monitor.metrics()["colour_drift"] < 0.03
