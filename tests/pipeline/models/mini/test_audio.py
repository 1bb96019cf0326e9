"""Speech features and the audio encoder: streaming, look-ahead, and what they hear."""

import numpy as np
import pytest
import torch

from pipeline.models.mini.audio import (
    HOP,
    AudioEncoder,
    AudioStream,
    SpeechFeatures,
    feature_dim,
    mel_filters,
)
from pipeline.models.mini.config import load_config

CONFIG = load_config("mini").audio


def speechlike(seconds: float, seed: int = 0) -> np.ndarray:
    """A gliding buzz with syllables: voiced bursts and pauses."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * t)) / 16_000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 2.0 * t), 0, 1)
    return (0.2 * buzz * syllables + 0.002 * rng.standard_normal(len(t))).astype(np.float32)


def test_any_split_of_the_samples_gives_the_same_features():
    audio = speechlike(6.0)
    whole = SpeechFeatures(CONFIG.mel_bands).push(audio)
    stream = SpeechFeatures(CONFIG.mel_bands)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(audio), 40))
    parts = torch.cat([stream.push(piece) for piece in np.split(audio, cuts)])
    assert whole.shape == (len(audio) // HOP, feature_dim(CONFIG.mel_bands))
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)


def test_a_feature_frame_does_not_depend_on_later_samples():
    audio = speechlike(2.0)
    changed = audio.copy()
    changed[16_000:] = 0.0
    a = SpeechFeatures(CONFIG.mel_bands).push(audio)
    b = SpeechFeatures(CONFIG.mel_bands).push(changed)
    torch.testing.assert_close(a[:100], b[:100])
    assert not torch.allclose(a[100:], b[100:])


@pytest.mark.parametrize("hz", [90.0, 150.0, 300.0])
def test_pitch_is_heard_in_octaves_above_150_hz(hz: float):
    t = np.arange(16_000) / 16_000
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 8)).astype(np.float32) * 0.2
    frame = SpeechFeatures(CONFIG.mel_bands).push(buzz)[50]
    voicing, octaves = frame[CONFIG.mel_bands + 1], frame[CONFIG.mel_bands + 2]
    assert voicing > 0.9
    assert abs(octaves / voicing - np.log2(hz / 150.0)) < 0.05


def test_noise_is_less_voiced_than_a_buzz():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    assert SpeechFeatures(CONFIG.mel_bands).push(noise)[20:, CONFIG.mel_bands + 1].mean() < 0.3


def test_a_burst_after_quiet_speech_stands_out_as_emphasis():
    audio = speechlike(4.0)
    audio[48_000:] *= 4.0
    features = SpeechFeatures(CONFIG.mel_bands).push(audio)
    against_four_seconds = features[:, CONFIG.mel_bands + 5]
    assert against_four_seconds[300:].max() > against_four_seconds[100:300].max() + 0.2


def test_mel_filters_cover_the_speech_band_without_gaps():
    filters = mel_filters(48, 512)
    inside = filters[4:240].sum(1)
    assert filters.shape == (257, 48) and (inside > 0).all()


def test_stream_embeddings_equal_those_of_the_whole_recording():
    torch.manual_seed(0)
    encoder = AudioEncoder(CONFIG).eval()
    audio = speechlike(5.0)
    stream = AudioStream(encoder, CONFIG.mel_bands)
    whole = stream.push(audio)
    stream.reset()
    parts = torch.cat([stream.push(piece) for piece in np.array_split(audio, 61)])
    assert len(whole) == (len(audio) - 640) // 1280
    torch.testing.assert_close(parts, whole, atol=1e-3, rtol=1e-3)


def test_an_embedding_hears_exactly_its_look_ahead():
    torch.manual_seed(0)
    encoder = AudioEncoder(CONFIG).eval()
    features = torch.randn(1, 8 * 30 + encoder.look_ahead, feature_dim(CONFIG.mel_bands))
    base = encoder(features)
    inside, outside = features.clone(), features.clone()
    inside[:, 8 * 26 + encoder.look_ahead - 1] += 1.0
    outside[:, 8 * 26 + encoder.look_ahead] += 1.0
    assert not torch.allclose(encoder(inside)[:, 25], base[:, 25])
    torch.testing.assert_close(encoder(outside)[:, :26], base[:, :26])


def test_the_encoder_forgets_what_lies_past_its_reach():
    torch.manual_seed(0)
    encoder = AudioEncoder(CONFIG).eval()
    features = torch.randn(1, 8 * 40 + encoder.look_ahead, feature_dim(CONFIG.mel_bands))
    late = encoder(features[:, 8 * 10 :])
    torch.testing.assert_close(
        encoder(features)[:, 10 + encoder.REACH :], late[:, encoder.REACH :], atol=1e-5, rtol=1e-4
    )
