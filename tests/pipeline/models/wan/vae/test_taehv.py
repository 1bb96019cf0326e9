"""The small decoder: its architecture re-derived, streaming, its file, and how it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from pipeline.consent import ConsentGrant
from pipeline.errors import ModelDamaged, ModelMismatch, ModelUnknown, ModelUnsafe
from pipeline.models.wan.identify import inspect
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.run_options import RunOptions
from pipeline.models.wan.vae.taehv import TinyDecoder, TinyStream, load_tiny
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.checkpoint.test_files import save_everything
from tests.pipeline.models.wan.whole import model, picture, render, speech
from tests.pipeline.weights.test_loading import Evil

THIN = (8, 6, 4, 4)
# name: shape of the published file (madebyollin/taehv, taew2_1), in stages of three blocks
SHAPES = {"decoder.1.weight": (256, 16, 3, 3), "decoder.1.bias": (256,),
          "decoder.22.weight": (3, 64, 3, 3), "decoder.22.bias": (3,)}  # fmt: skip
for _stage, (_width, _after, _frames) in enumerate([(256, 128, 1), (128, 64, 2), (64, 64, 2)]):
    _first = 3 + 6 * _stage
    for _block in range(_first, _first + 3):
        for _layer, _inputs in ((0, 2 * _width), (2, _width), (4, _width)):
            SHAPES[f"decoder.{_block}.conv.{_layer}.weight"] = (_width, _inputs, 3, 3)
            SHAPES[f"decoder.{_block}.conv.{_layer}.bias"] = (_width,)
    SHAPES[f"decoder.{_first + 4}.conv.weight"] = (_frames * _width, _width, 1, 1)
    SHAPES[f"decoder.{_first + 5}.weight"] = (_after, _width, 3, 3)


@pytest.fixture
def thin() -> TinyDecoder:
    torch.manual_seed(0)
    decoder = TinyDecoder(16, THIN)
    small.randomise(decoder, std=0.3)
    return decoder


def plain(s: dict[str, Tensor], latents: Tensor) -> Tensor:
    """(16, T, h, w) -> frames (4 T - 3, 3, 8 h, 8 w), frame by frame and pixel by pixel of memory:
    a convolution is a sum over its nine taps."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = s[f"{name}.weight"]
        if weight.shape[-1] == 1:
            return torch.einsum("oi,ihw->ohw", weight[:, :, 0, 0], x)
        padded = F.pad(x, (1, 1, 1, 1))
        rows, columns = x.shape[1:]
        out = sum(
            torch.einsum("oi,ihw->ohw", weight[:, :, a, b],
                         padded[:, a : a + rows, b : b + columns])
            for a in range(3) for b in range(3)
        )  # fmt: skip
        bias = s.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]  # type: ignore[return-value]

    frames = [
        conv("decoder.1", torch.tanh(x / 3) * 3).clamp(min=0) for x in latents.transpose(0, 1)
    ]
    for stage in range(3):
        first = 3 + 6 * stage
        for block in range(first, first + 3):
            before, out = torch.zeros_like(frames[0]), []
            for x in frames:
                h = torch.cat([x, before])
                for layer in (0, 2, 4):
                    h = conv(f"decoder.{block}.conv.{layer}", h)
                    h = h.clamp(min=0) if layer < 4 else h
                out.append((h + x).clamp(min=0))
                before = x
            frames = out
        grown = []
        for x in frames:
            large = x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
            several = conv(f"decoder.{first + 4}.conv", large)
            grown += list(several.split(x.shape[0]))
        frames = [conv(f"decoder.{first + 5}", x) for x in grown]
    return torch.stack([conv("decoder.22", x.clamp(min=0)).clamp(0, 1) for x in frames])[3:]


def test_the_small_decoder_equals_its_plain_re_derivation(thin: TinyDecoder) -> None:
    latents = torch.randn(1, 16, 4, 2, 3)
    ours = TinyStream(thin).push(latents)[0].transpose(0, 1)
    state = {name: value.double() for name, value in thin.state_dict().items()}
    theirs = 2 * plain(state, latents[0].double()) - 1
    assert ours.shape == theirs.shape == (13, 3, 16, 24)
    assert theirs.std() > 0.1 and small.relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("split", [[1, 3, 1], [1] * 5, [4, 1]])
def test_streamed_frames_equal_those_of_the_whole_clip(thin: TinyDecoder, split: list[int]) -> None:
    latents = torch.randn(1, 16, 5, 2, 3)
    whole = TinyStream(thin).push(latents)
    assert whole.shape == (1, 3, 17, 16, 24) and whole.abs().max() <= 1
    stream = TinyStream(thin)
    pieces = [stream.push(part) for part in latents.split(split, dim=2)]
    assert small.relative(torch.cat(pieces, dim=2), whole) < 1e-5
    stream.reset()
    assert small.relative(stream.push(latents), whole) < 1e-6


def test_the_small_decoder_has_the_published_tensors() -> None:
    with torch.device("meta"):
        decoder = TinyDecoder()
    assert {k: tuple(v.shape) for k, v in decoder.state_dict().items()} == SHAPES
    assert (len(SHAPES), sum(p.numel() for p in decoder.parameters())) == (64, 9_844_611)


def published(folder: Path, name: str = "taew2_1.safetensors") -> Path:
    """A file as published: half precision, with an encoder that is not used."""
    torch.manual_seed(1)
    state = {n: (torch.randn(shape) / max(np.prod(shape[1:]), 1) ** 0.5).half()
             for n, shape in SHAPES.items()}  # fmt: skip
    state["encoder.0.weight"] = torch.zeros(64, 3, 3, 3).half()
    if name.endswith(".pth"):
        torch.save(state, folder / name)
    else:
        save_file(state, folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["taew2_1.safetensors", "taew2_1.pth"])
def test_a_published_file_is_loaded_strictly(tmp_path: Path, name: str) -> None:
    path = published(tmp_path, name)
    decoder = load_tiny(path)
    assert decoder.decoder[1].weight.dtype == torch.float32
    report = inspect(path)
    assert (report.kind, report.complete) == ("tiny decoder", True)


def test_damaged_unsafe_and_wrong_files_are_refused(tmp_path: Path) -> None:
    path = published(tmp_path)
    state = {n: torch.zeros(shape) for n, shape in SHAPES.items()}
    save_file({**state, "decoder.23.weight": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(ModelMismatch, match=r"1 unexpected: decoder\.23\.weight"):
        load_tiny(tmp_path / "more.safetensors")
    save_file({n: v for n, v in state.items() if n != "decoder.9.conv.2.bias"},
              tmp_path / "less.safetensors")  # fmt: skip
    with pytest.raises(ModelMismatch, match=r"1 missing: decoder\.9\.conv\.2\.bias"):
        load_tiny(tmp_path / "less.safetensors")
    assert inspect(tmp_path / "less.safetensors").problems == ["1 missing: decoder.9.conv.2.bias"]
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelDamaged, match="truncated"):
        load_tiny(tmp_path / "cut.safetensors")
    torch.save({"decoder.1.weight": Evil(str(tmp_path / "ran"))}, tmp_path / "evil.pth")
    with pytest.raises(ModelUnsafe, match="mkdir"):
        load_tiny(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_it_is_found_beside_the_model_or_named_and_its_absence_is_told(tmp_path: Path) -> None:
    parts = model("livetalk-1.3b")
    count = sum(p.numel() for p in parts.dit.parameters())
    own = replace(parts.card, parameters=count)
    path = save_everything(tmp_path, parts)

    def load(decoder: str) -> WanPipeline:
        return WanPipeline.load(path, own, dtype=torch.float32, decoder=decoder)

    with pytest.raises(ModelUnknown, match=r"the small decoder \(taew2_1.safetensors or taew2_1"):
        load("tiny")
    with pytest.raises(ModelUnknown, match=r"the small decoder \(.*/gone\.pth\)"):
        load(str(tmp_path / "gone.pth"))
    assert load("full").model.tiny is None
    assert load(str(published(tmp_path, "other.pth"))).model.tiny is not None
    published(tmp_path / "live")
    found = load("tiny")
    assert found.model.tiny is not None and "small decoder (TAEHV, MIT)" in found.reason


@pytest.mark.parametrize(
    "name", ["livetalk-1.3b", "omniavatar-1.3b", "flashtalk-14b", "avatarforcing-1.3b"]
)
def test_every_recipe_takes_it_live_and_rendered(
    grant: ConsentGrant, thin: TinyDecoder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    schedule = replace(model(name).card.schedule, steps=2, of=0, at=())
    parts = replace(model(name, schedule=schedule), tiny=thin)
    pipeline = WanPipeline(parts)
    monkeypatch.setattr(parts.vae, "decode_step", lambda *_: pytest.fail("the large one decoded"))
    rendered = render(pipeline, grant, 1.2, schedule="causal")
    assert len(rendered) == -(-int(1.2 * 16_000) * pipeline.frame_rate // 16_000)
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant, "calm", 3)
    live = []
    for piece in np.array_split(speech(1.2), 9):
        stream.push(piece)
        live += list(stream.step())
    assert live and all(np.array_equal(a.image, b.image) for a, b in zip(live, rendered))


def test_frames_that_are_encoded_again_ask_for_the_full_decoder(thin: TinyDecoder) -> None:
    with pytest.raises(ModelMismatch, match="asks for the full decoder"):
        WanPipeline(replace(model("flashtalk-14b"), tiny=thin), RunOptions(carry="frames"))
