"""Checkpoints of every kind as they are published, in small, from their files to frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.consent import ConsentGrant
from pipeline.errors import ModelDamaged, ModelMismatch, ModelUnknown
from pipeline.models.wan.config import AddedAudio, AttendedAudio
from pipeline.models.wan.encoders.speech import SpeechEncoder
from pipeline.models.wan.identify import inspect
from pipeline.models.wan.model_cards import CARDS, Card, card, counted
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.run_options import RunOptions
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.checkpoint.test_files import save_everything
from tests.pipeline.models.wan.encoders.test_encoders import original_clip
from tests.pipeline.models.wan.whole import model, picture, speech
from tests.pipeline.weights.test_loading import save_shards, state_of

transformers = pytest.importorskip("transformers")

CLIP = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"


def surroundings(root: Path, name: str, ears: str) -> None:
    """Autoencoder, prompt and speech encoders beside an empty folder for the weights."""
    save_everything(root, model(name))
    for file in (root / "live").iterdir():
        file.unlink()
    (root / "live").rmdir()
    if ears != "wav2vec2-base-960h":
        (root / "wav2vec2-base-960h").rename(root / ears)


def clip_file(root: Path) -> None:
    torch.manual_seed(3)
    tower = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(
        hidden_size=80, num_hidden_layers=3, num_attention_heads=1, intermediate_size=24,
        image_size=28, patch_size=7, hidden_act="gelu"))  # fmt: skip
    torch.save(original_clip(dict(tower.state_dict())), root / CLIP)


def own(card: Card, dit: WanDiT, **changes: object) -> Card:
    """The card with the counts of a small transformer."""
    _, count = counted({name: value.numel() for name, value in dit.state_dict().items()})
    schedule = replace(card.schedule, steps=2, of=0, at=())
    return replace(card, parameters=count, schedule=schedule, **changes)  # type: ignore[arg-type]


def settings(folder: Path) -> None:
    (folder / "config.json").write_text('{"num_heads": 2, "text_len": 7}')


def shards(root: Path, name: str) -> tuple[Path, WanDiT]:
    """A folder of shards, as FlashTalk and LiveAct come."""
    audio = AttendedAudio(48, 5, 10, 3, 6, True)
    memory = 5 if name == "liveact-18b" else None
    dit = small.dit("B", image_dim=80, audio=audio, memory=memory)
    folder = root / name
    folder.mkdir()
    save_shards(state_of(dit), folder)
    settings(folder)
    return folder, dit


def adapter_on_base(root: Path, name: str) -> tuple[Path, WanDiT]:
    """Low-rank changes, audio and patch embedding over a base, as OmniAvatar comes."""
    dit = small.dit("A", audio=AddedAudio(96, 8, 2))
    base = root / "Wan2.1-T2V-1.3B"
    state = {k: v for k, v in state_of(dit).items() if not k.startswith("audio")}
    state["patch_embedding.weight"] = state["patch_embedding.weight"][:, :16].contiguous()
    save_file(state, base / "diffusion_pytorch_model.safetensors")
    settings(base)
    change = {k: v for k, v in state_of(dit).items()
              if k.startswith(("audio", "patch_embedding"))}  # fmt: skip
    layer = "blocks.0.self_attn.q"
    zero: dict[str, Tensor] = {
        f"{layer}.lora_A.default.weight": torch.zeros(4, 48),
        f"{layer}.lora_B.default.weight": torch.zeros(48, 4),
    }
    folder = root / "OmniAvatar-1.3B"
    folder.mkdir()
    torch.save(change | zero, folder / "pytorch_model.pt")
    return folder, dit


def whole_over_base(root: Path, name: str) -> tuple[Path, WanDiT]:
    """Whole tensors over the shards of a base, one speaker's and several speakers' beside each
    other, as InfiniteTalk comes."""
    dit = small.dit("B", image_dim=80, audio=AttendedAudio(48, 5, 10, 3, 6, True))
    marks = ("audio", "norm_x", "audio_cross_attn")
    base, folder = root / "Wan2.1-I2V-14B-480P", root / "InfiniteTalk"
    base.mkdir()
    state = state_of(dit)
    save_shards({k: v for k, v in state.items() if not any(m in k for m in marks)}, base)
    settings(base)
    spoken = {k: v for k, v in state.items() if any(m in k for m in marks)}
    for speakers in ("multi", "single"):
        (folder / speakers).mkdir(parents=True)
        values = spoken if speakers == "single" else {k: v + 9 for k, v in spoken.items()}
        save_file(values, folder / speakers / "infinitetalk.safetensors")
    return folder, dit


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("flashtalk-14b", shards),
        ("liveact-18b", shards),
        ("omniavatar-1.3b", adapter_on_base),
        ("infinitetalk-14b", whole_over_base),
    ],
)
def test_a_checkpoint_runs_from_its_published_files(
    tmp_path: Path,
    grant: ConsentGrant,
    name: str,
    build: Callable[[Path, str], tuple[Path, WanDiT]],
) -> None:
    like = "flashtalk-14b" if name == "infinitetalk-14b" else name
    parts = model(like)
    ears = "chinese-wav2vec2-base" if parts.card.layout == "B" else "wav2vec2-base-960h"
    surroundings(tmp_path, like, ears)
    path, dit = build(tmp_path, name)
    chosen = card(name)
    small_card = own(chosen, dit, sizes=parts.card.sizes, recipe=parts.card.recipe)
    if chosen.layout == "B":
        clip_file(tmp_path / "Wan2.1-T2V-1.3B")
    pipeline = WanPipeline.load(path, small_card, dtype=torch.float32)
    loaded = pipeline.model.dit.state_dict()
    for key, value in dit.state_dict().items():
        assert torch.equal(loaded[key], value), key
    avatar = pipeline.enrol(picture(), grant)
    frames = list(pipeline.render(avatar, grant, [speech(0.6)], "calm friendly"))
    assert len(frames) == 15 and frames[0].image.shape == (16, 32, 3)
    assert chosen.title in pipeline.reason and chosen.license.name in pipeline.license


def test_encoders_are_recognised_and_their_lacks_listed(tmp_path: Path) -> None:
    surroundings(tmp_path, "livetalk-1.3b", "wav2vec2-base-960h")
    clip_file(tmp_path)
    report = inspect(tmp_path / CLIP)
    assert (report.kind, report.complete) == ("image encoder", True)
    state = torch.load(tmp_path / CLIP, weights_only=True)
    del state["visual.transformer.1.mlp.2.bias"]
    torch.save(state, tmp_path / "less.pth")
    assert inspect(tmp_path / "less.pth").problems == ["1 missing: encoder.layers.1.mlp.fc2.bias"]
    words = tmp_path / "Wan2.1-T2V-1.3B" / "models_t5_umt5-xxl-enc-bf16.pth"
    assert inspect(words).kind == "text encoder" and inspect(words).complete
    heard = inspect(tmp_path / "wav2vec2-base-960h")
    assert (heard.kind, heard.complete) == ("speech encoder", True)
    file = tmp_path / "wav2vec2-base-960h" / "model.safetensors"
    state = load_file(file)
    lost = next(name for name in state if name.endswith("layers.1.attention.k_proj.bias"))
    save_file({k: v for k, v in state.items() if k != lost}, file)
    assert inspect(file).problems == ["1 missing: encoder.layers.1.attention.k_proj.bias"]
    with pytest.raises(ModelMismatch, match=r"1 missing: encoder\.layers\.1\.attention\.k_proj"):
        SpeechEncoder.load(file.parent, "A")


def test_another_shape_runs_by_a_cards_recipe_when_forced_and_says_so(
    tmp_path: Path, grant: ConsentGrant
) -> None:
    parts = model("flashtalk-14b")
    surroundings(tmp_path, "flashtalk-14b", "chinese-wav2vec2-base")
    clip_file(tmp_path / "Wan2.1-T2V-1.3B")
    path, dit = shards(tmp_path, "flashtalk-14b")
    published = replace(parts.card, parameters=card("flashtalk-14b").parameters)
    with pytest.raises(ModelMismatch, match=r"18,882,046,784 parameters, .* Add --force to run"):
        WanPipeline.load(path, published, dtype=torch.float32)
    pipeline = WanPipeline.load(path, published, dtype=torch.float32, manner=RunOptions(force=True))
    count = sum(value.numel() for value in dit.state_dict().values())
    assert f"{count:,} parameters (48 wide, 4 blocks, 2 heads)" in pipeline.notices[0]
    avatar = pipeline.enrol(picture(), grant)
    assert len(list(pipeline.render(avatar, grant, [speech(0.3)], "calm friendly"))) == 8


def test_a_card_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    text = (CARDS / "livetalk-1.3b.toml").read_text("utf-8")
    own = tmp_path / "mine.toml"
    own.write_text(text.replace("block = 3 ", "block = 2 "), "utf-8")
    assert (card(str(own)).name, card(str(own)).recipe.block) == ("mine", 2)
    with pytest.raises(ModelUnknown, match="gone.toml cannot be read"):
        card(str(tmp_path / "gone.toml"))
    own.write_text("block = ")
    with pytest.raises(ModelDamaged, match="mine.toml is no TOML"):
        card(str(own))
