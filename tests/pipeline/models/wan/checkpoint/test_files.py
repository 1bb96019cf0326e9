"""Checkpoints as they lie on a disk, and how they may be run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.consent import ConsentGrant
from pipeline.errors import (
    ModelMismatch,
    ModelUnknown,
)
from pipeline.loader import load_pipeline
from pipeline.models.wan.checkpoint.files import find_files
from pipeline.models.wan.loading import WanModel
from pipeline.models.wan.model_cards import card
from pipeline.models.wan.pipeline import WanPipeline, fit_picture
from pipeline.models.wan.run_options import RunOptions
from tests.pipeline.models.wan.whole import listener, model, picture, speech

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


def save_everything(root: Path, parts: WanModel) -> Path:
    """A checkpoint as it lies on a disk: weights, VAE, and the folders of its encoders."""
    (root / "live").mkdir()
    save_file(dict(parts.dit.state_dict()), root / "live" / "model.safetensors")
    (root / "live" / "config.json").write_text('{"num_heads": 2, "text_len": 7}')
    base = root / "Wan2.1-T2V-1.3B"
    base.mkdir()
    torch.save(dict(parts.vae.state_dict()), base / "Wan2.1_VAE.pth")
    words = transformers.UMT5Config(vocab_size=12, d_model=20, d_kv=8, d_ff=32, num_layers=2,
                                    num_heads=2, feed_forward_proj="gated-gelu")  # fmt: skip
    transformers.UMT5EncoderModel(words).save_pretrained(base / "models_t5_umt5-xxl-enc-bf16.pth")
    vocabulary = {"<unk>": 0, "calm": 1, "friendly": 2}
    split = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    split.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=split).save_pretrained(base / "umt5-xxl")
    ears = parts.speech._model
    ears.feature_extractor = ears.feature_extractor.inner
    ears.save_pretrained(root / "wav2vec2-base-960h")
    return root / "live"


def test_a_checkpoint_runs_from_its_files(tmp_path: Path, grant: ConsentGrant) -> None:
    parts = model("livetalk-1.3b")
    count = sum(p.numel() for p in parts.dit.parameters())
    small_one = replace(parts.card, parameters=count)
    path = save_everything(tmp_path, parts)
    with pytest.raises(ModelMismatch, match="has layout A and 1,421,187,232 parameters, these"):
        WanPipeline.load(path, "livetalk-1.3b", dtype=torch.float32)
    pipeline = WanPipeline.load(path, small_one, dtype=torch.float32)
    avatar = pipeline.enrol(picture(), grant)
    frames = list(pipeline.render(avatar, grant, [speech(0.5)], "calm friendly"))
    assert len(frames) == 8
    assert "livetalk" in pipeline.reason.lower() and "CC BY-NC-SA" in pipeline.reason
    assert isinstance(load_pipeline(str(path), small_one), WanPipeline)
    expected = WanPipeline(replace(parts, speech=listener("A"), prompt=pipeline.model.prompt))
    again = expected.render(avatar, grant, [speech(0.5)], "calm friendly")
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))


def test_files_are_found_around_the_path_or_all_missing_ones_are_named(tmp_path: Path) -> None:
    live = card("livetalk-1.3b")
    weights = tmp_path / "LiveTalk" / "model.safetensors"
    weights.parent.mkdir()
    weights.touch()
    with pytest.raises(ModelUnknown) as refused:
        find_files(weights.parent, live)
    for name in ("Wan2.1_VAE.pth", "umt5-xxl", "wav2vec2-base-960h"):
        assert name in str(refused.value)
    base = tmp_path / "Wan2.1-T2V-1.3B"
    (base / "google" / "umt5-xxl").mkdir(parents=True)
    (base / "Wan2.1_VAE.pth").touch()
    (base / "models_t5_umt5-xxl-enc-bf16.pth").touch()
    (tmp_path / "wav2vec2-base-960h").mkdir()
    found = find_files(weights.parent, live)
    assert found.transformer == weights and found.tokenizer == base / "google" / "umt5-xxl"
    assert found.speech == tmp_path / "wav2vec2-base-960h"


def test_a_model_that_is_neither_bundled_nor_a_path_is_refused() -> None:
    with pytest.raises(ModelUnknown, match="neither a bundled model .*mini.* nor a path"):
        load_pipeline("sora")


def test_the_licence_is_told(grant: ConsentGrant) -> None:
    assert "CONFLICT" in WanPipeline(model("livetalk-1.3b")).license


def test_a_size_that_was_not_trained_is_refused_unless_forced(grant: ConsentGrant) -> None:
    parts = model("livetalk-1.3b")
    with pytest.raises(ModelMismatch, match="64x32 is not one of its sizes"):
        WanPipeline(parts).enrol(picture(), grant, size=(64, 32))
    forced = WanPipeline(parts, RunOptions(force=True))
    assert forced.enrol(picture(), grant, size=(64, 32)).reference.latent.shape[3:] == (4, 8)
    assert any("64x32 is not one of its sizes" in notice for notice in forced.notices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"carry": "pixels"}, "carry must be one of"),
        ({"positions": "none"}, "positions must be"),
        ({"carry": "frames", "window": 2}, "window 2 must be 1"),
    ],
)
def test_a_manner_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunOptions(**changes)  # type: ignore[arg-type]


def test_a_picture_is_scaled_to_cover_and_cut_evenly() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    fitted = fit_picture(pixels, 32, 32)
    assert fitted.shape == (32, 32, 3)
    assert fitted[:, :14].max() < 30 and fitted[:, 18:].min() > 225
