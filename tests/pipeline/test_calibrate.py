"""Calibration: what is learned keeps its promises, and lands in the TOML that the model reads."""

import wave
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.attention.cache import Reuse
from pipeline.calibrate import main
from pipeline.models.mini.calibrate import Learned, learn, report, written
from pipeline.models.mini.config import MODELS, ModelConfig, load_config, read_config
from pipeline.models.mini.generator import Generator

CONFIG = load_config("mini")
DEPTH = CONFIG.dit.depth
TABLE = Reuse(("F" * DEPTH, "R" * DEPTH, "F" * DEPTH))


@cache
def model() -> Generator:
    torch.manual_seed(5)
    made = Generator(CONFIG, 17).eval().requires_grad_(False)
    made.dit.head.weight.normal_(std=0.1)
    return made


def guided(scale: float) -> ModelConfig:
    return replace(CONFIG, guidance=replace(CONFIG.guidance, scale=scale))


def learned(scale: float, saved: float = 0.0, budget: float = 0.0) -> Learned:
    rng = np.random.default_rng(0)
    clip = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    reference = rng.standard_normal(17).astype(np.float32)
    return learn(model(), guided(scale), [clip], [reference], saved, budget)


def test_thresholds_save_what_was_asked_for():
    found = learned(2.0, saved=0.3)
    assert len(found.thresholds) == CONFIG.schedule.steps and found.thresholds[0] == 0
    assert 0.25 <= found.saved <= 0.7


def test_one_branch_has_nothing_to_spare():
    found = learned(1.0, saved=0.5)
    assert found.thresholds == () and found.saved == 0
    assert "one branch" in report(found, 1.0, None)


def test_reuse_grows_with_the_error_allowed_and_stays_within_it():
    none, all_of_it = learned(1.0, budget=0.0), learned(1.0, budget=10.0)
    assert none.reuse.reused == 0 and none.error == 0.0
    assert all_of_it.reuse.reused == DEPTH * (CONFIG.schedule.steps - 1)
    assert 0 < all_of_it.error <= 10.0


def test_nothing_is_learned_from_no_speech():
    with pytest.raises(ValueError, match="0 clips"):
        learn(model(), CONFIG, [], [], 0.3, 0.01)


def test_what_was_learned_is_what_the_model_reads(tmp_path: Path):
    text = (MODELS / "mini.toml").read_text()
    path = tmp_path / "mini.toml"
    path.write_text(written(text, Learned((0.0, 0.25, float("inf")), 0.5, TABLE, 0.01)))
    fast = read_config(path).acceleration
    assert fast.cfg_cache == (0.0, 0.25, float("inf")) and fast.attention == TABLE.steps
    comments = [line.partition("#")[2] for line in text.splitlines()]
    assert [line.partition("#")[2] for line in path.read_text().splitlines()] == comments
    full = Learned((), 0.0, Reuse.of(CONFIG.schedule.steps, DEPTH), 0.0)
    assert written(path.read_text(), full) == written(text, full)


@pytest.mark.parametrize("text", ["[dit]\n", "[acceleration]\nthreads = 1\n"])
def test_a_toml_without_a_place_for_it_is_refused(text: str):
    with pytest.raises(ValueError, match="no section|no list cfg_cache"):
        written(text, Learned((), 0.0, TABLE, 0.0))


def test_the_command_writes_only_where_it_is_told(tmp_path: Path, capsys, monkeypatch):
    sound, toml = tmp_path / "speech.wav", tmp_path / "own.toml"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(1).integers(-3000, 3000, 16_000, np.int16).tobytes())
    toml.write_text((MODELS / "mini.toml").read_text())
    monkeypatch.setattr("pipeline.models.mini.calibrate.PERFORMERS", 1)
    assert main(["--audio", str(sound), "--toml", str(toml), "--budget", "10"]) == 0
    assert read_config(toml).acceleration.attention == CONFIG.acceleration.attention
    assert main(["--audio", str(sound), "--toml", str(toml), "--budget", "10", "--write"]) == 0
    assert "R" in "".join(read_config(toml).acceleration.attention)
    assert f"written to {toml}" in capsys.readouterr().out


def test_the_command_refuses_sound_that_is_not_there(tmp_path: Path, capsys):
    assert main(["--audio", str(tmp_path / "none.wav")]) == 2
    assert "does not exist" in capsys.readouterr().err
