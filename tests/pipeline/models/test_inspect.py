"""`continuum model inspect`: told from headers, in seconds, whatever the file's size."""

from __future__ import annotations

import json
import math
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import ModelMismatch, ModelUnknown
from pipeline.models.inspect import fits, main, text
from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig
from pipeline.models.wan.identify import inspect
from pipeline.models.wan.model_cards import all_cards, candidates, card
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.vae.autoencoder import WanVae, published_vae
from tests.pipeline.models.wan import small

PUBLISHED = {
    "A-1.3B": WanConfig(1536, 8960, 30, 12, 33, 16, 4096, 512, 256, (1, 2, 2), 1e-6, None,
                        AddedAudio(10752, 32, 14)),
    "A-14B": WanConfig(5120, 13824, 40, 40, 33, 16, 4096, 512, 256, (1, 2, 2), 1e-6, None,
                       AddedAudio(10752, 32, 19)),
    "B-14B": WanConfig(5120, 13824, 40, 40, 36, 16, 4096, 512, 256, (1, 2, 2), 1e-6, 1280,
                       AttendedAudio(9216, 5, 512, 32, 768, True)),
}  # fmt: skip


def hollow_file(path: Path, model: torch.nn.Module, kind: str = "BF16") -> None:
    """A safetensors file of full size that takes no room: a header, and a hole."""
    size, end, header = 2 if kind == "BF16" else 4, 0, {}
    for name, value in model.state_dict().items():
        start, end = end, end + math.prod(value.shape) * size
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)


def full_size(name: str) -> WanDiT:
    with torch.device("meta"):
        return WanDiT(PUBLISHED[name])


@pytest.mark.parametrize(
    ("name", "tensors", "gigabytes", "cards"),
    [
        ("A-1.3B", 857, 2.6, {"avatarforcing-1.3b", "livetalk-1.3b", "omniavatar-1.3b"}),
        ("A-14B", 1137, 26.6, {"omniavatar-14b"}),
        ("B-14B", 1633, 35.2,
         {"flashtalk-14b", "infinitetalk-14b", "liveact-18b", "multitalk-14b"}),
    ],
)  # fmt: skip
def test_full_size_checkpoints_are_recognised_from_their_headers_in_seconds(
    tmp_path: Path, name: str, tensors: int, gigabytes: float, cards: set[str]
) -> None:
    hollow_file(tmp_path / "model.safetensors", full_size(name))
    began = time.process_time()
    report = inspect(tmp_path / "model.safetensors")
    assert time.process_time() - began < 5
    assert (report.kind, report.layout, report.complete) == ("transformer", name[0], True)
    assert report.tensors == tensors and report.types == {"bfloat16": tensors}
    assert set(report.candidates) == cards
    assert report.memory["bfloat16"] == pytest.approx(gigabytes * 2**30, rel=0.05)
    assert report.memory["float32"] == 4 * report.parameters


def test_the_licence_and_its_conflict_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "LiveTalk-1.3B-V0.1"
    folder.mkdir()
    hollow_file(folder / "model.safetensors", full_size("A-1.3B"), "F32")
    report = inspect(folder / "model.safetensors")
    assert report.candidates == ["livetalk-1.3b"]
    shown = text(report)
    assert "CC BY-NC-SA" in shown and "CONFLICT" in shown and "non-commercial" in shown
    assert "bring     speech: wav2vec2-base-960h" in shown


def test_missing_tensors_make_it_incomplete(tmp_path: Path) -> None:
    model = small.dit("A")
    state = dict(model.state_dict())
    del state["blocks.2.ffn.2.bias"]
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_heads": 2, "text_len": 7}')
    report = inspect(tmp_path)
    assert not report.complete
    assert report.problems == ["1 missing: blocks.2.ffn.2.bias"]


def test_the_autoencoder_is_recognised_and_checked(tmp_path: Path) -> None:
    with torch.device("meta"):
        vae = WanVae(published_vae())
    hollow_file(tmp_path / "Wan2.1_VAE.safetensors", vae, "F32")
    report = inspect(tmp_path / "Wan2.1_VAE.safetensors")
    assert (report.kind, report.complete, report.parameters) == ("vae", True, 126_892_531)


def test_an_adapter_and_an_unknown_file_are_told_apart(tmp_path: Path) -> None:
    layer = "blocks.0.self_attn.q"
    halves = {"A": torch.zeros(4, 8), "B": torch.zeros(8, 4)}
    pair = {f"{layer}.lora_{side}.default.weight": value for side, value in halves.items()}
    torch.save(pair, tmp_path / "lora.pt")
    assert inspect(tmp_path / "lora.pt").kind == "adapter"
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    other = inspect(tmp_path / "other.safetensors")
    assert (other.kind, other.complete) == ("unknown", False)


def test_the_command_tells_by_its_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hollow_file(tmp_path / "model.safetensors", full_size("B-14B"))
    assert main([str(tmp_path / "model.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["image_dim"] == 1280
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert main([str(tmp_path / "x.safetensors"), "--sha256"]) == 1
    assert "sha256" in capsys.readouterr().out
    assert main([str(tmp_path / "gone.safetensors")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_what_fits_is_told_by_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hollow_file(tmp_path / "model.safetensors", full_size("A-1.3B"))
    monkeypatch.setattr("pipeline.models.inspect.free_memory", lambda device: 4 * 2**30)
    assert fits(inspect(tmp_path / "model.safetensors")) == {"float32": False, "bfloat16": True}


def test_the_cards_count_what_their_architectures_count() -> None:
    for layout, sizes in PUBLISHED.items():
        with torch.device("meta"):
            model = WanDiT(sizes)
        sizes = {name: value.numel() for name, value in model.state_dict().items()}
        assert candidates(layout[0], sizes)
        if layout == "B-14B":
            merging = {"blocks.0.self_attn.memory_proj_k.weight": 25_600}
            assert [c.name for c in candidates("B", sizes | merging)] == ["liveact-18b"]
    assert len(all_cards()) == 8


def test_the_levels_are_the_published_ones() -> None:
    four = (1.0, 0.9375, 0.83333, 0.625, 0.0)
    assert card("livetalk-1.3b").schedule.levels == pytest.approx(four, abs=1e-5)
    assert card("flashtalk-14b").schedule.levels == pytest.approx(four, abs=1e-5)
    assert card("liveact-18b").schedule.levels == pytest.approx((*four[:3], 0.0), abs=1e-5)


def test_sizes_and_rates_that_were_not_trained_are_refused_unless_forced() -> None:
    live = card("livetalk-1.3b")
    assert live.check_use(512, 512, 16) == ""
    with pytest.raises(ModelMismatch, match=r"720x400 is not one of its sizes \(512x512\)"):
        live.check_use(720, 400, 16)
    with pytest.raises(ModelMismatch, match="25 fps is not its 16"):
        live.check_use(512, 512, 25)
    assert "25 fps is not its 16" in live.check_use(512, 512, 25, force=True)
    with pytest.raises(ModelMismatch, match="500x512 does not divide"):
        live.check_use(500, 512, 16, force=True)


def test_an_unknown_card_lists_the_known_ones() -> None:
    with pytest.raises(ModelUnknown, match="known are avatarforcing-1.3b, flashtalk-14b"):
        card("sora")


def test_what_no_tensor_and_no_file_tells_is_said_to_be_assumed(tmp_path: Path) -> None:
    hollow_file(tmp_path / "model.safetensors", full_size("A-1.3B"))
    report = inspect(tmp_path / "model.safetensors")
    assert report.complete and report.assumed == ["12 heads of 128", "512 text tokens"]
    assert "assumed   12 heads of 128: no config.json tells" in text(report)
    (tmp_path / "config.json").write_text('{"num_heads": 24, "text_len": 256}')
    report = inspect(tmp_path / "model.safetensors")
    assert (report.assumed, report.config["heads"]) == ([], 24)
    assert report.config["text_tokens"] == 256 and "assumed" not in text(report)


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({}, "nothing tells how many heads the 48 channels split into"),
        ({"num_heads": 2, "num_attention_heads": 4}, "contradicts itself about the heads of 48"),
        ({"num_heads": 2, "attention_head_dim": 12}, "contradicts itself about the heads of 48"),
        ({"num_heads": 2, "num_layers": 9}, "num_layers is 9 in config.json and 6 in the tensors"),
        ({"num_heads": 2, "qk_norm": False}, "qk_norm is False in config.json and must be True"),
        ({"num_heads": 2, "window_size": [4, 4]}, "window_size is [4, 4] in config.json and must"),
        ({"num_heads": "two"}, "num_heads must be a whole number above 0, not 'two'"),
        ({"num_heads": 2, "text_len": 0}, "text_len must be a whole number above 0, not 0"),
        ({"num_heads": 5}, "dim 48 does not split into 5 even heads"),
    ],
)
def test_a_configuration_that_conflicts_or_is_missing_is_refused(
    tmp_path: Path, stated: dict[str, object], problem: str
) -> None:
    save_file(dict(small.dit("A").state_dict()), tmp_path / "model.safetensors")
    if stated:
        (tmp_path / "config.json").write_text(json.dumps(stated))
    report = inspect(tmp_path)
    assert not report.complete and problem in report.problems[0]
