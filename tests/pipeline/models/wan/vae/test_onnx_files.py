"""Exported decoders beside a checkpoint: made, measured, checked at start, taken, or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pipeline.acceleration.profile import Acceleration, profile
from pipeline.consent import ConsentGrant
from pipeline.models.wan.accelerate import accelerate
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.vae import onnx_files as module
from pipeline.models.wan.vae.autoencoder import VaeDecoder
from pipeline.models.wan.vae.onnx import LATER_INT8, OnnxDecoder
from pipeline.models.wan.vae.onnx_files import Trial, find_decoders, make_decoders, psnr
from pipeline.models.wan.vae.onnx_int8 import quantize_decoder
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.whole import SIZE, model, picture, speech

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Trial]]:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("checkpoint")
    latents = torch.randn(1, 16, 4, SIZE[1] // 8, SIZE[0] // 8)
    return home, make_decoders(small.vae(4, 16), home, latents)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def test_every_way_is_measured_and_the_fastest_that_is_near_comes_first(
    made: tuple[Path, list[Trial]],
) -> None:
    tried = {trial.runtime: trial for trial in made[1]}
    assert set(tried) == {"", "onnx", "onnx-int8"}
    assert tried["onnx"].psnr > 90 and 20 < tried["onnx-int8"].psnr < 80
    fine = [t for t in made[1] if t.psnr >= module.FLOORS.get(t.runtime, 0)]
    assert made[1][: len(fine)] == sorted(fine, key=lambda t: t.seconds)


def test_convolutions_are_in_8_bits_and_nothing_else(made: tuple[Path, list[Trial]]) -> None:
    network = onnx.load(made[0] / "decoder" / "32x16" / LATER_INT8)
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    sources = {name: node.op_type for node in network.graph.node for name in node.output}
    assert len(convolutions) > 30
    assert all(sources[c.input[0]] == "DequantizeLinear" for c in convolutions)
    read = [name for node in network.graph.node if node.op_type == "Softmax" for name in node.input]
    assert all(sources[name] != "DequantizeLinear" for name in read)


@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
def test_a_checkpoint_with_decoders_decodes_by_them(
    made: tuple[Path, list[Trial]], grant: ConsentGrant, runtime: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(module.FLOORS, "onnx-int8", 20.0)  # four channels are few to average over
    shown = []
    for how in (Acceleration(), Acceleration(vae_runtime=runtime, home=made[0])):
        parts = model("livetalk-1.3b")
        what = accelerate(parts.dit, parts.vae, how, "cpu")
        pipeline = WanPipeline(parts, applied=what)
        avatar = pipeline.enrol(picture(), grant)
        streams = [pipeline.open(avatar, grant, "calm", seed) for seed in range(2)]
        for stream in streams:
            stream.push(speech(1.0))
        shown.append([list(stream.step()) for stream in streams])
    assert f"decoder 32x16 by {runtime}" in pipeline.reason
    assert all(isinstance(stream._parts.decoder, OnnxDecoder) for stream in streams)
    for plain, ours in zip(*shown, strict=True):
        gaps = [np.abs(a.image.astype(int) - b.image.astype(int)).mean()
                for a, b in zip(plain, ours, strict=True)]  # fmt: skip
        assert max(gaps) < (1 if runtime == "onnx" else 12)


def test_videos_on_the_same_networks_do_not_mix(made: tuple[Path, list[Trial]]) -> None:
    decoders, _ = find_decoders(made[0], "onnx", CPU)
    first = decoders[SIZE].another()
    second = first.another()
    one, two = (torch.randn(1, 16, 3, 2, 4) for _ in range(2))
    pieces = [(first.push(a), second.push(b)) for a, b in zip(one.split(1, 2), two.split(1, 2))]
    for frames, latents in zip(zip(*pieces), (one, two)):
        exact = VaeDecoder(small.vae(4, 16)).push(latents)
        assert small.relative(torch.cat(frames, dim=2), exact) < 1e-5


def test_a_decoder_that_does_not_repeat_its_sample_is_refused(
    made: tuple[Path, list[Trial]], tmp_path: Path
) -> None:
    shutil.copytree(made[0] / "decoder", tmp_path / "decoder")
    path = tmp_path / "decoder" / "32x16" / "sample.npz"
    with np.load(path) as sample:
        np.savez(path, latents=sample["latents"], frames=-sample["frames"])
    found, told = find_decoders(tmp_path, "onnx", CPU)
    assert not found and "dB of its sample, at least 60 are wanted" in told[0]
    path.unlink()
    found, told = find_decoders(tmp_path, "onnx", CPU)
    assert not found and "no sample.npz" in told[0]


def test_without_exports_torch_decodes_and_says_so(tmp_path: Path) -> None:
    found, told = find_decoders(tmp_path, "onnx-int8", CPU)
    assert not found and "pipeline.calibrate --export makes one" in told[0]
    found, told = find_decoders(tmp_path, "onnx-int8", torch.device("cuda"))
    assert not found and "was measured on a CPU, this is cuda" in told[0]
    how = profile("cpu", tmp_path)
    assert how.home == tmp_path
    with pytest.raises(ValueError, match="runtime must be one of"):
        Acceleration(vae_runtime="tensorrt")


def test_one_latent_calibrates_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 latents: the first one calibrates nothing"):
        quantize_decoder(tmp_path, torch.zeros(1, 16, 1, 2, 2))
    with pytest.raises(ValueError, match="3 latents of speech are too few, 4 are wanted"):
        make_decoders(small.vae(4, 16), tmp_path, torch.zeros(1, 16, 3, 2, 2))


def test_equal_frames_are_infinitely_near() -> None:
    assert psnr(torch.ones(3), torch.ones(3)) == float("inf")
    assert psnr(torch.full((4,), 0.2), torch.zeros(4)) == pytest.approx(20.0)
