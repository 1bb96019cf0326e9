"""Weight files: round trips through every form, and bad ones refused with what is wrong."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import pipeline.weights.loading as weights
from pipeline.errors import (
    ModelDamaged,
    ModelMismatch,
    ModelTooLarge,
    ModelUnknown,
    ModelUnsafe,
)
from pipeline.models.wan.checkpoint.key_mapping import NESTS, vae_rename
from pipeline.models.wan.identify import transformer_source
from pipeline.models.wan.network.dit import WanDiT, keep_float32
from pipeline.models.wan.vae.autoencoder import WanVae
from pipeline.weights.files import RenamedSource, SafetensorsSource, open_weights
from pipeline.weights.loading import load_into
from pipeline.weights.lora import LoraSource
from tests.pipeline.models.wan import small

State = dict[str, Tensor]


@pytest.fixture
def model() -> WanDiT:
    torch.set_num_threads(1)
    return small.dit("A", heads=2)


def stated(folder: Path, **more: object) -> None:
    (folder / "config.json").write_text(json.dumps({"num_heads": 2, "text_len": 7, **more}))


def state_of(model: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


def loaded(path: Path, adapter: Path | None = None, alpha: float | None = None) -> WanDiT:
    source, config = transformer_source(path, adapter, alpha)
    with torch.device("meta"):
        model = WanDiT(config)
    load_into(model, source, dtype=torch.float32)
    return model


def assert_same(model: torch.nn.Module, state: State) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in state)


def save_shards(state: State, folder: Path, count: int = 3, index: bool = True) -> list[Path]:
    names, files, where = sorted(state), [], {}
    for i in range(count):
        part = {name: state[name] for name in names[i::count]}
        file = folder / f"diffusion_pytorch_model-{i + 1:05d}-of-{count:05d}.safetensors"
        save_file(part, file)
        where.update(dict.fromkeys(part, file.name))
        files.append(file)
    if index:
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": where})
        )
    return files


# -- round trips ------------------------------------------------------------------------------


def test_a_single_safetensors_file_round_trips(tmp_path: Path, model: WanDiT) -> None:
    save_file(state_of(model), tmp_path / "model.safetensors")
    stated(tmp_path)
    again = loaded(tmp_path / "model.safetensors")
    assert again.config == model.config
    assert_same(again, state_of(model))


@pytest.mark.parametrize("index", [True, False])
def test_a_sharded_folder_round_trips(tmp_path: Path, model: WanDiT, index: bool) -> None:
    save_shards(state_of(model), tmp_path, index=index)
    stated(tmp_path)
    assert_same(loaded(tmp_path), state_of(model))


@pytest.mark.parametrize("nest", ["", "generator", "state_dict"])
def test_a_pt_file_round_trips_bare_or_wrapped(tmp_path: Path, model: WanDiT, nest: str) -> None:
    inner = {f"model._fsdp_wrapped_module.{k}": v for k, v in state_of(model).items()}
    torch.save({nest: inner, "step": 7} if nest else inner, tmp_path / "model.pt")
    stated(tmp_path)
    assert_same(loaded(tmp_path / "model.pt"), state_of(model))


def test_an_old_pt_file_without_an_archive_round_trips(tmp_path: Path, model: WanDiT) -> None:
    path = tmp_path / "model.pth"
    torch.save(state_of(model), path, _use_new_zipfile_serialization=False)
    stated(tmp_path)
    assert_same(loaded(path), state_of(model))


def test_diffusers_names_of_the_transformer_are_read(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    for image_dim in (None, 18):
        model = small.dit(image_dim=image_dim)
        folder = tmp_path / str(image_dim) / "transformer"
        folder.mkdir(parents=True)
        save_file(convert_wan_transformer_to_diffusers(state_of(model)),
                  folder / "diffusion_pytorch_model.safetensors")  # fmt: skip
        stated(folder)
        assert_same(loaded(folder.parent), state_of(model))


def test_diffusers_names_of_the_autoencoder_are_read(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    ours = small.vae()
    theirs = diffusers.AutoencoderKLWan(
        base_dim=6, z_dim=4, latents_mean=list(ours.config.mean), latents_std=list(ours.config.std)
    )
    save_file(dict(theirs.state_dict()), tmp_path / "vae.safetensors")
    raw = open_weights(tmp_path / "vae.safetensors")
    with torch.device("meta"):
        vae = WanVae(ours.config)
    load_into(vae, RenamedSource(raw, vae_rename(raw.infos)), dtype=torch.float32)
    frames = torch.rand(1, 3, 5, 16, 16)
    mode = theirs.encode(frames).latent_dist.mode()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (ours.config.mean, ours.config.std))
    assert small.relative(vae.encode(frames), ((mode - mean) / std).detach()) < 1e-5


def lora_pair(state: State, scale: float, prefix: str = "") -> tuple[State, State]:
    """An adapter of every q and ffn.0, with audio as whole tensors, and the merged state."""
    generator = torch.Generator().manual_seed(11)
    adapter, merged = {}, dict(state)
    for name, value in state.items():
        layer = name.removesuffix(".weight")
        if layer.endswith((".q", "ffn.0")) and layer != name:
            a = torch.randn(4, value.shape[1], generator=generator)
            b = torch.randn(value.shape[0], 4, generator=generator)
            adapter[f"{prefix}{layer}.lora_A.default.weight"] = a
            adapter[f"{prefix}{layer}.lora_B.default.weight"] = b
            merged[name] = value + scale * (b @ a)
        if name.startswith(("audio", "patch_embedding")):
            merged[name] = torch.randn(value.shape, generator=generator)
            adapter[prefix + name] = merged[name]
    return adapter, merged


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_an_adapter_is_merged_with_its_alpha(tmp_path: Path, model: WanDiT, prefix: str) -> None:
    base = {k: v for k, v in state_of(model).items() if not k.startswith("audio")}
    base["patch_embedding.weight"] = base["patch_embedding.weight"][:, :16].contiguous()
    adapter, merged = lora_pair(state_of(model), 2.0 / 4, prefix)
    (tmp_path / "base").mkdir(), (tmp_path / "change").mkdir()
    save_file(base, tmp_path / "base" / "model.safetensors")
    stated(tmp_path / "base")
    torch.save(adapter, tmp_path / "change" / "pytorch_model.pt")
    (tmp_path / "change" / "config.json").write_text('{"lora_alpha": 2.0}')
    source, _ = transformer_source(tmp_path / "base", tmp_path / "change" / "pytorch_model.pt")
    assert source.infos.keys() == merged.keys()
    for name, value in merged.items():
        assert torch.allclose(source.read(name), value, atol=1e-5)


def test_an_adapter_in_diffusers_names_is_merged(tmp_path: Path, model: WanDiT) -> None:
    state = state_of(model)
    adapter, merged = lora_pair(state, 2.0 / 4)
    theirs = {"self_attn.q": "attn1.to_q", "cross_attn.q": "attn2.to_q", "ffn.0": "ffn.net.0.proj"}
    renamed = {}
    for name, value in adapter.items():
        for ours, other in theirs.items():
            name = name.replace(f".{ours}.lora", f".{other}.lora")
        renamed[f"transformer.{name.replace('.default', '')}"] = value
    (tmp_path / "base").mkdir()
    save_file(state, tmp_path / "base" / "model.safetensors")
    stated(tmp_path / "base")
    save_file(renamed, tmp_path / "change.safetensors")
    source, _ = transformer_source(tmp_path / "base", tmp_path / "change.safetensors", 2.0)
    assert source.infos.keys() == merged.keys()
    for name, value in merged.items():
        assert torch.allclose(source.read(name), value, atol=1e-5), name


def test_an_adapter_with_its_base_in_one_file_is_merged(tmp_path: Path, model: WanDiT) -> None:
    state = state_of(model)
    adapter, merged = lora_pair(state, 64 / 4)
    both: State = {}
    for name, value in merged.items():
        layer = name.removesuffix(".weight").removesuffix(".bias")
        changed = f"{layer}.lora_A.default.weight" in adapter
        original = state[name] if changed else value
        both[f"model.{layer}.base_layer{name[len(layer) :]}" if changed else f"model.{name}"] = (
            original
        )
    both |= {f"model.{k}": v for k, v in adapter.items() if "lora" in k}
    torch.save({"generator": both}, tmp_path / "model.pt")
    stated(tmp_path)
    again = loaded(tmp_path / "model.pt", alpha=64.0)
    for name, value in again.state_dict().items():
        assert torch.allclose(value, merged[name], atol=1e-4)


def test_half_precision_keeps_time_and_modulation_in_float32(tmp_path: Path, model: WanDiT) -> None:
    save_file(state_of(model), tmp_path / "model.safetensors")
    stated(tmp_path)
    source, config = transformer_source(tmp_path)
    with torch.device("meta"):
        small_one = WanDiT(config)
    load_into(small_one, source, dtype=torch.bfloat16, keep_float32=keep_float32)
    wide = {k for k, v in small_one.state_dict().items() if v.dtype == torch.float32}
    assert wide == {k for k in state_of(model) if keep_float32(k)}
    assert "time_embedding.0.weight" in wide and "blocks.0.modulation" in wide
    assert "head.modulation" in wide and len(wide) < 20


# -- bad files --------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [4, 40, 300, -1])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, model: WanDiT, cut: int) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file(state_of(model), whole)
    (tmp_path / "model.safetensors").write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(ModelDamaged, match="truncated|no safetensors file"):
        open_weights(tmp_path / "model.safetensors")


def test_a_truncated_pt_file_is_refused(tmp_path: Path, model: WanDiT) -> None:
    torch.save(state_of(model), tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelDamaged, match=r"model\.pt is truncated"):
        open_weights(tmp_path / "model.pt")


class Evil:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_wants_to_run_code_is_refused_unrun(tmp_path: Path, archive: bool) -> None:
    marker = tmp_path / "ran"
    torch.save({"weight": torch.zeros(2), "x": Evil(str(marker))}, tmp_path / "model.pt",
               _use_new_zipfile_serialization=archive)  # fmt: skip
    with pytest.raises(ModelUnsafe, match="mkdir"):
        open_weights(tmp_path / "model.pt")
    assert not marker.exists()


def test_a_bare_pickle_is_refused_unrun(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "model.bin").write_bytes(pickle.dumps(Evil(str(marker)), protocol=2))
    with pytest.raises((ModelUnsafe, ModelDamaged)):
        open_weights(tmp_path / "model.bin")
    assert not marker.exists()


def test_a_pt_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "model.pt")
    with pytest.raises(ModelMismatch, match="no state dict: it also holds epoch, loss"):
        open_weights(tmp_path / "model.pt", NESTS)


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_shard_is_named(tmp_path: Path, model: WanDiT, index: bool) -> None:
    files = save_shards(state_of(model), tmp_path, index=index)
    files[1].unlink()
    with pytest.raises(ModelDamaged, match="1 of 3 shards are missing: .*00002-of-00003"):
        open_weights(tmp_path)


def test_an_index_that_promises_more_than_its_shards_is_refused(
    tmp_path: Path, model: WanDiT
) -> None:
    save_shards(state_of(model), tmp_path)
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"]["blocks.99.ffn.0.weight"] = next(iter(told["weight_map"].values()))
    index.write_text(json.dumps(told))
    with pytest.raises(ModelDamaged, match=r"1 tensors that its shards do not hold: blocks\.99"):
        open_weights(tmp_path)


def test_a_shard_outside_the_folder_is_not_followed(tmp_path: Path, model: WanDiT) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file(state_of(model), tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../outside.safetensors"}})
    )
    with pytest.raises(ModelDamaged, match="1 of 1 shards are missing"):
        open_weights(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for i in (1, 2):
        save_file({"a": torch.zeros(2)}, tmp_path / f"m-{i:05d}-of-00002.safetensors")
    with pytest.raises(ModelDamaged, match="a is both in"):
        open_weights(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelMismatch, match=r"no Wan transformer .* first names: layer\.weight"):
        transformer_source(tmp_path / "model.safetensors")


def test_a_config_that_contradicts_the_tensors_is_refused(tmp_path: Path, model: WanDiT) -> None:
    save_file(state_of(model), tmp_path / "model.safetensors")
    stated(tmp_path, num_layers=40, dim=5120)
    with pytest.raises(ModelMismatch, match="num_layers is 40 in config.json and 6 in the tensors"):
        transformer_source(tmp_path)
    for wrong in ({"in_channels": 16}, {"patch_size": [2, 2, 2]}, {"audio_hidden_size": 9}):
        stated(tmp_path, **wrong)
        with pytest.raises(ModelMismatch, match=f"{next(iter(wrong))} is .* in config.json"):
            transformer_source(tmp_path)
    stated(tmp_path, attention_head_dim=128)
    with pytest.raises(ModelMismatch, match="config.json contradicts itself about the heads"):
        transformer_source(tmp_path)


def test_missing_unexpected_and_mis_shaped_tensors_are_all_listed(
    tmp_path: Path, model: WanDiT
) -> None:
    state = state_of(model)
    del state["blocks.3.ffn.2.bias"]
    state["blocks.1.extra"] = torch.zeros(1)
    state["blocks.2.norm3.weight"] = torch.zeros(5)
    save_file(state, tmp_path / "model.safetensors")
    stated(tmp_path)
    with pytest.raises(ModelMismatch) as refused:
        loaded(tmp_path)
    message = str(refused.value)
    assert "1 missing: blocks.3.ffn.2.bias" in message
    assert "1 unexpected: blocks.1.extra" in message
    assert "1 mis-shaped: blocks.2.norm3.weight (5,) instead of (48,)" in message


def test_too_little_memory_is_told_before_anything_is_read(
    tmp_path: Path, model: WanDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(state_of(model), tmp_path / "model.safetensors")
    stated(tmp_path)
    monkeypatch.setattr(weights, "free_memory", lambda device: 600_000)
    monkeypatch.setattr(SafetensorsSource, "read", lambda self, name: 1 / 0)
    with pytest.raises(
        ModelTooLarge, match="0.00 GiB on cpu .* in bfloat16 they would need .* fits"
    ):
        loaded(tmp_path)
    monkeypatch.setattr(weights, "free_memory", lambda device: 1000)
    with pytest.raises(ModelTooLarge, match="would not fit either: take a smaller checkpoint"):
        loaded(tmp_path)


def test_half_an_adapter_and_a_wrong_one_are_refused(tmp_path: Path, model: WanDiT) -> None:
    adapter, _ = lora_pair(state_of(model), 1.0)
    save_file(state_of(model), tmp_path / "model.safetensors")
    base = open_weights(tmp_path / "model.safetensors")

    def merge(change: State, alpha: float | None = 4.0) -> None:
        save_file(change, tmp_path / "change.safetensors")
        LoraSource(base, open_weights(tmp_path / "change.safetensors"), alpha)

    first = next(name for name in adapter if "lora_A" in name)
    with pytest.raises(ModelDamaged, match="1 layers have half an adapter"):
        merge({k: v for k, v in adapter.items() if k != first})
    with pytest.raises(ModelMismatch, match="does not fit it"):
        merge(adapter | {first: torch.zeros(4, 3)})
    with pytest.raises(ModelMismatch, match="alpha is neither"):
        merge(adapter, None)
    elsewhere = {k.replace("blocks.", "layers."): v for k, v in adapter.items()}
    with pytest.raises(ModelMismatch, match="layers that the base does not have"):
        merge(elsewhere)


def test_a_folder_without_or_with_several_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match="holds 0 weight files"):
        open_weights(tmp_path)
    for name in ("a", "b"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelUnknown, match=r"2 weight files \(a.safetensors, b.safetensors\)"):
        open_weights(tmp_path)
    with pytest.raises(ModelUnknown, match="does not exist"):
        open_weights(tmp_path / "gone.safetensors")
