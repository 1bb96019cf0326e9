"""What a Wan model hears, reads and sees: front ends against plain re-derivations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import ModelMismatch, ModelUnknown
from pipeline.models.wan.encoders.image import (
    PictureEncoder,
    fill_vision,
    vision_sizes,
    vision_state,
)
from pipeline.models.wan.encoders.prompt import (
    KEPT,
    PromptEncoder,
    fill_text,
    load_prompt_encoder,
    original_text,
    text_sizes,
)
from pipeline.models.wan.encoders.speech import SpeechEncoder, SpeechWindow
from pipeline.weights.files import open_weights
from tests.pipeline.models.wan import small

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(2)


def wav2vec():  # type: ignore[no-untyped-def]
    config = transformers.Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return transformers.Wav2Vec2Model(config).eval().requires_grad_(False)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(int(16_000 * seconds))
    return (0.1 * noise).astype(np.float32)


def plain_wav2vec(model, pcm: np.ndarray, frames: int) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """All hidden states (frames, D), step by step from the weights."""
    s = {name: value.double() for name, value in model.state_dict().items()}
    x = torch.from_numpy(pcm).double()
    x = ((x - x.mean()) / (x.var(correction=0) + 1e-7).sqrt())[None]
    for i, (kernel, stride) in enumerate([(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]):
        name = f"feature_extractor.conv_layers.{i}"
        weight = s[f"{name}.conv.weight"]
        spans = x.unfold(1, kernel, stride)  # (C, n, kernel)
        x = torch.einsum("ock,cnk->on", weight, spans)
        if i == 0:
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            x = x * s[f"{name}.layer_norm.weight"][:, None] + s[f"{name}.layer_norm.bias"][:, None]
        x = F.gelu(x)
    at = np.linspace(0, x.shape[1] - 1, frames)
    x = torch.from_numpy(np.stack([np.interp(at, np.arange(x.shape[1]), row) for row in x.numpy()]))
    x = x.T  # (frames, C)

    def norm(name: str, y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)

    def linear(name: str, y: Tensor) -> Tensor:
        return y @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    h = linear("feature_projection.projection", norm("feature_projection.layer_norm", x))
    conv = model.encoder.pos_conv_embed.conv
    place = F.conv1d(h.T[None], conv.weight.double(), conv.bias.double(), padding=8, groups=2)
    h = norm("encoder.layer_norm", h + F.gelu(place[0, :, :frames]).T)
    states = [h]
    for i in range(2):
        name = f"encoder.layers.{i}"
        q, k, v = (linear(f"{name}.attention.{p}_proj", h).view(frames, 2, 12) for p in "qkv")
        weight = torch.softmax(torch.einsum("nhd,mhd->hnm", q, k) / 12**0.5, dim=-1)
        seen = torch.einsum("hnm,mhd->nhd", weight, v).reshape(frames, 24)
        h = norm(f"{name}.layer_norm", h + linear(f"{name}.attention.out_proj", seen))
        up = F.gelu(linear(f"{name}.feed_forward.intermediate_dense", h))
        h = norm(f"{name}.final_layer_norm", h + linear(f"{name}.feed_forward.output_dense", up))
        states.append(h)
    return states


@pytest.mark.parametrize(("layout", "frames"), [("A", 16), ("B", 25)])
def test_speech_features_equal_their_plain_re_derivation(layout: str, frames: int) -> None:
    model, pcm = wav2vec(), speech(1.0)
    states = plain_wav2vec(model, pcm, frames)
    chosen = [states[-1], *states] if layout == "A" else states[1:]
    encoder = SpeechEncoder(model, layout)
    ours = encoder.features(pcm, frames)
    assert ours.shape == (frames, encoder.channels)
    assert small.relative(ours, torch.cat(chosen, dim=1)) < 1e-5


def test_published_channel_counts() -> None:
    base = transformers.Wav2Vec2Config()
    with torch.device("meta"):
        for layout, channels in (("A", 10752), ("B", 9216)):
            encoder = SpeechEncoder(transformers.Wav2Vec2Model(base), layout)
            assert encoder.channels == channels


def test_streamed_features_equal_the_whole_clip_until_the_window_is_full() -> None:
    encoder, pcm = SpeechEncoder(wav2vec(), "A"), speech(1.2)
    window = SpeechWindow(encoder, 640, 30)
    for start in range(0, len(pcm), 1000):  # pieces that do not divide into frames
        window.push(pcm[start : start + 1000])
    assert window.frames == 30
    assert small.relative(window.read(0, 30), encoder.features(pcm, 30)) < 1e-6


def test_streamed_features_equal_those_of_a_clip_of_the_window() -> None:
    encoder, pcm = SpeechEncoder(wav2vec(), "B"), speech(2.0)
    window = SpeechWindow(encoder, 640, 20)
    for stop in range(4, 51, 4):
        window.push(pcm[(stop - 4) * 640 : stop * 640])
        ours = window.read(stop - 4, stop)
        first = max(stop - 20, 0)
        theirs = encoder.features(pcm[first * 640 : stop * 640], stop - first)[-4:]
        assert small.relative(ours, theirs) < 1e-6
    assert len(window._kept) <= 24 * 640


def test_a_window_refuses_what_it_forgot_or_has_not_heard() -> None:
    window = SpeechWindow(SpeechEncoder(wav2vec(), "B"), 640, 5)
    window.push(speech(0.4))
    window.read(5, 10)
    with pytest.raises(ValueError, match="frames 2-4 are not in the window: 5-10 are"):
        window.read(2, 4)
    with pytest.raises(ValueError, match="frames 9-11 are not in the window"):
        window.read(9, 11)


def original_umt5(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names back to the published ones."""
    inner = {
        "0.layer_norm": "norm1", "1.layer_norm": "norm2", "0.SelfAttention.q": "attn.q",
        "0.SelfAttention.k": "attn.k", "0.SelfAttention.v": "attn.v",
        "0.SelfAttention.o": "attn.o",
        "0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
        "1.DenseReluDense.wi_0": "ffn.gate.0", "1.DenseReluDense.wi_1": "ffn.fc1",
        "1.DenseReluDense.wo": "ffn.fc2",
    }  # fmt: skip
    out = {"token_embedding.weight": state["shared.weight"],
           "norm.weight": state["encoder.final_layer_norm.weight"]}  # fmt: skip
    for name, value in state.items():
        if name.startswith("encoder.block."):
            _, _, block, _, rest = name.split(".", 4)
            out[f"blocks.{block}.{inner[rest.removesuffix('.weight')]}.weight"] = value
    return {name: value.clone() for name, value in out.items()}


def test_the_published_text_encoder_loads_and_encodes_each_prompt_once(tmp_path: Path) -> None:
    config = transformers.UMT5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    reference = transformers.UMT5EncoderModel(config).eval()
    torch.save(original_umt5(dict(reference.state_dict())), tmp_path / "umt5.pth")
    source = original_text(open_weights(tmp_path / "umt5.pth"))
    with torch.device("meta"):
        ours = transformers.UMT5EncoderModel(transformers.UMT5Config(**text_sizes(source)))
    fill_text(ours, source, torch.float32)
    asked: list[str] = []

    def tokenize(text: str) -> list[int]:
        asked.append(text)
        return [3, 14, 15, 9, 2, 6, 1]

    encoder = PromptEncoder(ours.eval(), tokenize, 5)
    encoded = encoder("calm,\n  friendly")
    theirs = reference(torch.tensor([[3, 14, 15, 9, 1]])).last_hidden_state.detach()
    assert small.relative(encoded, theirs) < 1e-6
    assert encoder("calm, friendly") is encoded and asked == ["calm, friendly"]
    for i in range(40):
        encoder(f"manner {i}")
    assert len(encoder._known) == KEPT, "a session may ask for any number of prompts"


def test_a_text_encoder_that_is_none_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "umt5.pth")
    with pytest.raises(ModelMismatch, match="no umT5 encoder"):
        text_sizes(original_text(open_weights(tmp_path / "umt5.pth")))
    with pytest.raises(ModelUnknown, match="needs its tokenizer"):
        load_prompt_encoder(tmp_path / "umt5.pth", tmp_path / "gone", 512)


def original_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names back to the published ones, with a text half beside them."""
    s = {name.removeprefix("vision_model."): value.clone() for name, value in state.items()}
    out = {
        "log_scale": torch.zeros(()), "textual.embed.weight": torch.zeros(2, 2),
        "visual.head": torch.zeros(2, 2),
        "visual.cls_embedding": s["embeddings.class_embedding"].view(1, 1, -1),
        "visual.pos_embedding": s["embeddings.position_embedding.weight"][None],
        "visual.patch_embedding.weight": s["embeddings.patch_embedding.weight"],
    }  # fmt: skip
    for leaf in ("weight", "bias"):
        out[f"visual.pre_norm.{leaf}"] = s[f"pre_layrnorm.{leaf}"]
        out[f"visual.post_norm.{leaf}"] = s[f"post_layernorm.{leaf}"]
        for i in range(3):
            ours, theirs = f"visual.transformer.{i}", f"encoder.layers.{i}"
            out[f"{ours}.attn.to_qkv.{leaf}"] = torch.cat(
                [s[f"{theirs}.self_attn.{part}_proj.{leaf}"] for part in "qkv"]
            )
            for a, b in (("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("mlp.0", "mlp.fc1"),
                         ("mlp.2", "mlp.fc2"), ("attn.proj", "self_attn.out_proj")):  # fmt: skip
                out[f"{ours}.{a}.{leaf}"] = s[f"{theirs}.{b}.{leaf}"]
    return out


def test_the_published_picture_encoder_loads_and_gives_the_last_but_one_layer(
    tmp_path: Path,
) -> None:
    config = transformers.CLIPVisionConfig(
        hidden_size=160, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        image_size=28, patch_size=7, hidden_act="gelu",
    )  # fmt: skip
    reference = transformers.CLIPVisionModel(config).eval()
    torch.save(original_clip(dict(reference.state_dict())), tmp_path / "clip.pth")
    state = vision_state(open_weights(tmp_path / "clip.pth"))
    sizes = vision_sizes(state)
    assert (sizes["image_size"], sizes["num_attention_heads"]) == (28, 2)
    ours = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sizes)).eval()
    fill_vision(ours, state)
    picture = torch.rand(1, 3, 28, 28) * 2 - 1
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    pixels = (picture / 2 + 0.5 - mean) / std
    theirs = reference(pixels, output_hidden_states=True).hidden_states[-2].detach()
    tokens = PictureEncoder(ours)(picture)
    assert tokens.shape == (1, 17, 160)
    assert small.relative(tokens, theirs) < 1e-5
