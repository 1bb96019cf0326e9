"""A checkpoint is taught from speech: what is found lies beside it and is read at every start."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from pipeline import calibrate
from pipeline.acceleration.profile import profile
from pipeline.errors import ModelMismatch
from pipeline.models.wan import calibrate as module
from pipeline.models.wan.accelerate import accelerate
from pipeline.models.wan.calibrate import Lesson, teach, write
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.vae.onnx_files import Trial
from tests.pipeline.models.wan.whole import model, speech

TWO = Schedule(2, 5.0, "renoise", "float32")


def pipeline(name: str = "omniavatar-1.3b", scale: float = 3.0) -> WanPipeline:
    return WanPipeline(model(name, schedule=TWO, guidance=Guidance(scale, scale)))


def test_what_is_taught_is_read_at_the_next_start(tmp_path: Path) -> None:
    clips = [speech(2.0, seed) for seed in range(2)]
    taught = teach(pipeline(), clips, Lesson(0.5, 0.5, scales=True), tmp_path)
    assert taught.learned.reuse.reused > 0 and len(taught.learned.thresholds) == 2
    path = write(taught, tmp_path)
    how = profile("cpu", tmp_path)
    assert path.name == "acceleration.toml" and how.home == tmp_path
    assert how.reuse_steps == taught.learned.reuse.steps
    assert how.guidance_thresholds == taught.learned.thresholds
    assert how.linears_method == "int8-static"
    parts = model("omniavatar-1.3b", schedule=TWO)
    assert accelerate(parts.dit, parts.vae, how, "cpu").pace.reuse == taught.learned.reuse


def test_a_ring_has_one_branch_and_chunks_that_go_on() -> None:
    run = pipeline("livetalk-1.3b", scale=1.0)
    found = module.sample(run, speech(2.0), np.zeros((60, 60, 3), np.uint8), 0)
    assert not found.guided and len(found.heard) == 2
    assert teach(run, [speech(2.0)], Lesson(0.3, 0.0), Path()).learned.thresholds == ()


def test_decoders_are_made_of_what_was_spoken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[object] = []

    def make(vae: object, home: Path, latents: object) -> list[Trial]:
        given.extend([home, latents])
        return [Trial("onnx-int8", 0.1, 44.0), Trial("", 0.3, float("inf"))]

    monkeypatch.setattr(module, "make_decoders", make)
    taught = teach(pipeline(), [speech(2.0)], Lesson(0.5, 0.0, export=True), tmp_path)
    assert given[0] == tmp_path and tuple(given[1].shape) == (1, 16, 8, 2, 4)  # type: ignore[attr-defined]
    write(taught, tmp_path)
    assert profile("plain", tmp_path).vae_runtime == "onnx-int8"
    assert "decoder by torch: 0.300 s" in taught.report()


def test_clips_that_teach_nothing_and_sizes_that_were_not_trained_are_refused() -> None:
    with pytest.raises(ValueError, match="0.1 s of speech are shorter than a chunk of 0.8 s"):
        teach(pipeline(), [speech(0.1)], Lesson(0.3, 0.0), Path())
    with pytest.raises(ValueError, match="no clip was given"):
        teach(pipeline(), [], Lesson(0.3, 0.0), Path())
    with pytest.raises(ModelMismatch, match="64x64 is not one of its sizes"):
        teach(pipeline(), [speech(2.0)], Lesson(0.3, 0.0), Path(), (64, 64))


def test_the_command_teaches_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "load_pipeline", lambda *_: pipeline())
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((speech(2.0) * 20_000).astype(np.int16).tobytes())
    asked = ["--model", str(tmp_path), "--audio", str(tmp_path / "speech.wav"), "--budget", "0.2"]
    assert calibrate.main([*asked, "--write"]) == 0
    told = capsys.readouterr().out
    assert "reused, error" in told and f"written to {tmp_path}" in told
    assert profile("plain", tmp_path).guidance_thresholds
    assert calibrate.main([*asked, "--size", "64x64"]) == 2
    assert "64x64 is not one of its sizes" in capsys.readouterr().err
