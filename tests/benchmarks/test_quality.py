"""The figures of ``benchmarks.quality`` tell good from bad before anybody believes them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.behaviour import _recognised, contact, drive, manner
from benchmarks.endurance import CROP, appearance, long_speech
from benchmarks.heldout import Spoken
from benchmarks.lips import closures
from benchmarks.motion import lip_sync, seam_ratio
from pipeline.models.mini.rig.state import INDEX, neutral
from training.director.performer import Performer
from training.voices.clips import Clip, Phone


def frames(count: int) -> np.ndarray:
    return np.repeat(neutral()[None], count, axis=0)


def spoken(ipa: str, frames_each: int = 5) -> Spoken:
    size = frames_each * 640
    phones = tuple(
        Phone(i * size, (i + 1) * size, symbol, 0, 0, False) for i, symbol in enumerate(ipa)
    )
    audio = np.zeros(size * len(ipa), np.float32)
    clip = Clip(audio, phones, "test", "en", "plain", ipa)
    return Spoken(clip, Performer(), "", frames(frames_each * len(ipa)))


def test_lag_is_positive_when_the_mouth_comes_late() -> None:
    rng = np.random.default_rng(1)
    truth = np.convolve(rng.normal(size=300), np.ones(4) / 4, "same")
    assert lip_sync(truth, np.roll(truth, 2)).lag_ms == pytest.approx(80, abs=8)
    assert lip_sync(truth, truth).r == pytest.approx(1.0)


def test_a_mouth_that_never_shuts_is_seen_on_its_bilabials() -> None:
    held = spoken("apamab")
    shuts = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 5 + [0.0] * 5 + [1.0] * 5 + [0.0] * 5)
    found = closures([held], [shuts], [np.ones(30)])
    assert found == {"bilabials_shut_truth": 1.0, "bilabials_shut": 0.0}


def test_arms_that_land_on_the_beat_drive_more_than_arms_that_ignore_it() -> None:
    states, beats = frames(200), np.array([2.0, 4.0, 6.0])
    for beat in beats:
        k = round(beat * 25)
        states[k - 5 : k, INDEX["right_elbow"]] = np.linspace(0.2, 1.0, 5)
        states[k:, INDEX["right_elbow"]] = 1.0
        states[k + 12 :, INDEX["right_elbow"]] = 0.0
    assert drive(states, beats) > 3 * drive(states, beats + 1.0)


def test_a_head_that_turns_under_a_steady_gaze_keeps_contact() -> None:
    states = frames(50)
    states[:, INDEX["head_yaw"]] = np.linspace(-0.2, 0.2, 50)
    assert contact(states) < 0.5
    states[:, INDEX["gaze_yaw"]] = -states[:, INDEX["head_yaw"]]
    assert contact(states) == 1.0


def test_styles_are_recognised_only_when_motion_differs() -> None:
    rng = np.random.default_rng(2)
    styles = rng.normal(size=(1, 14, 11))
    clear = styles + 0.05 * rng.normal(size=(6, 14, 11))
    assert _recognised(clear) == 1.0
    assert _recognised(rng.normal(size=(6, 14, 11))) < 0.4


def test_manner_sees_a_smile() -> None:
    plain, smiling = frames(30), frames(30)
    smiling[:, INDEX["mouthSmileLeft"]] = 0.5
    assert np.abs(manner(plain) - manner(smiling)).max() == pytest.approx(0.5)


def test_appearance_tells_another_face_but_forgives_noise() -> None:
    rng = np.random.default_rng(3)
    face, other = (
        np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for _ in range(2)
    )
    assert face.shape == (CROP, CROP, 3)
    noisy = np.clip(face + rng.normal(0, 4, face.shape), 0, 255).astype(np.uint8)
    near = np.linalg.norm(appearance(face) - appearance(noisy))
    assert np.linalg.norm(appearance(face) - appearance(other)) > 3 * near


def test_long_speech_repeats_clips_to_the_sample() -> None:
    assert len(long_speech([spoken("pa")], 3.21)) == round(3.21 * 16_000)


def test_a_jump_at_the_joins_shows_in_the_seam_ratio() -> None:
    rng = np.random.default_rng(4)
    states = rng.normal(0, 0.01, (100, 88)).cumsum(0).astype(np.float32)
    weight = np.ones(88, np.float32)
    assert seam_ratio(states, [50], weight) == pytest.approx(1.0, abs=0.3)
    states[50:] += 0.5
    assert seam_ratio(states, [50], weight) > 5
