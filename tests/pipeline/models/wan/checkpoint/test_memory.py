"""Memory: told part by part from headers, and refused before anything is read."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import pipeline.models.wan.checkpoint.memory as budget
from pipeline.errors import ModelTooLarge
from pipeline.models.wan.checkpoint.memory import Budget, past_elements
from pipeline.models.wan.model_cards import card
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.weights.files import SafetensorsSource
from tests.pipeline.models.test_inspect import PUBLISHED, full_size, hollow_file
from tests.pipeline.models.wan.checkpoint.test_files import save_everything
from tests.pipeline.models.wan.whole import model

GIB = 2**30


def refused(parts: dict[str, float], free: dict[str, float], home: str = "") -> str:
    whole = {name: int(size * GIB) for name, size in parts.items()}
    half = {name: size // 2 for name, size in whole.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "free_memory", lambda place: int(free[str(place)] * GIB))
        with pytest.raises(ModelTooLarge) as refusal:
            Budget(whole, half).check("cuda", home or "cuda")
    return str(refusal.value)


PARTS = {"transformer": 60.0, "prompt encoder": 20.0, "autoencoder": 2.0, "past": 6.0}


def test_the_refusal_names_every_part_and_what_would_fit() -> None:
    told = refused(PARTS, {"cuda": 50.0})
    assert "needs 88.00 GiB on cuda (transformer 60.00 GiB, prompt encoder 20.00 GiB" in told
    assert "50.00 GiB are free" in told and "bfloat16 they would need 44.00 GiB, which fits" in told
    assert "--speed gpu-24gb" in refused(PARTS, {"cuda": 24.0})
    assert "take a smaller checkpoint" in refused(PARTS, {"cuda": 3.0})


def test_what_stays_in_host_memory_is_counted_there() -> None:
    told = refused(PARTS, {"cuda": 24.0, "cpu": 10.0}, home="cpu")
    assert "80.00 GiB on cpu" in told and "autoencoder" not in told


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "free_memory", lambda place: 100)
    Budget({"transformer": 60, "past": 40}, {"transformer": 30, "past": 20}).check("cpu", "cpu")


def test_a_checkpoint_that_does_not_fit_is_refused_before_a_tensor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = model("livetalk-1.3b")
    own = replace(parts.card, parameters=sum(p.numel() for p in parts.dit.parameters()))
    path = save_everything(tmp_path, parts)
    monkeypatch.setattr(budget, "free_memory", lambda place: 100_000)
    monkeypatch.setattr(SafetensorsSource, "read", lambda self, name: pytest.fail("was read"))
    with pytest.raises(ModelTooLarge, match="speech encoder .* would not fit either"):
        WanPipeline.load(path, own, dtype=torch.float32)


def test_a_full_size_checkpoint_is_refused_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nineteen billion parameters of which nothing is on the disk."""
    hollow_file(tmp_path / "diffusion_pytorch_model-00001-of-00001.safetensors", full_size("B-14B"))
    small_one = {"w": torch.zeros(2)}
    for name in ("vae", "text", "image"):
        save_file(small_one, tmp_path / f"{name}.safetensors")
    (tmp_path / "speech").mkdir()
    save_file(small_one, tmp_path / "speech" / "model.safetensors")
    (tmp_path / "umt5-xxl").mkdir()
    given = {name: tmp_path / f"{name}.safetensors" for name in ("vae", "text", "image")}
    monkeypatch.setattr(budget, "free_memory", lambda place: 24 * GIB)
    began = time.process_time()
    with pytest.raises(ModelTooLarge, match=r"transformer 35\.\d+ GiB.* would not fit either"):
        WanPipeline.load(tmp_path, "flashtalk-14b", given={**given, "speech": tmp_path / "speech"})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("name", "sizes", "gigabytes"),
    [
        ("livetalk-1.3b", "A-1.3B", 2.6),  # 15 latents of 1024 tokens
        ("avatarforcing-1.3b", "A-1.3B", 1.9),  # 7 of 1560
        ("liveact-18b", "B-14B", 20.3),  # three memories of 6, and a block of 8
        ("flashtalk-14b", "B-14B", 0.0),
    ],
)
def test_the_past_of_every_recipe_is_counted(name: str, sizes: str, gigabytes: float) -> None:
    elements = past_elements(card(name), PUBLISHED[sizes])
    assert 2 * elements / GIB == pytest.approx(gigabytes, abs=0.1)
