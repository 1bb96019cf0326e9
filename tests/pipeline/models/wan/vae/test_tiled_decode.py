"""Faster ways to decode: strips, fused norms, channels last, ONNX; all give the plain frames."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import BackendRefused, ModelUnknown
from pipeline.models.wan.vae import tiled_decode
from pipeline.models.wan.vae.autoencoder import ChannelNorm, VaeDecoder, WanVae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms, norm, norm_silu
from pipeline.models.wan.vae.onnx import OnnxDecoder, check_decoder, export_decoder
from pipeline.models.wan.vae.tiled_decode import decode_strips
from tests.pipeline.models.wan import small


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(8)


def by_strips(vae: WanVae, rows: int) -> VaeDecoder:
    return VaeDecoder(vae, partial(decode_strips, vae, rows=rows))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9])
def test_strips_of_any_height_give_the_whole_frames(rows: int) -> None:
    vae, latents = small.vae(), torch.randn(1, 4, 4, 5, 3)
    whole = VaeDecoder(vae).push(latents)
    assert small.relative(by_strips(vae, rows).push(latents), whole) < 1e-5


def test_strips_can_follow_whole_frames_and_the_other_way_round() -> None:
    vae, latents = small.vae(), torch.randn(1, 4, 4, 4, 3)
    past: dict[nn.Module, Tensor] = {}
    ways = (vae.decode_step, partial(decode_strips, vae, rows=2))
    mixed = [ways[i % 2](latents[:, :, i : i + 1], past) for i in range(4)]
    assert small.relative(torch.cat(mixed, dim=2), VaeDecoder(vae).push(latents)) < 1e-5


def test_no_row_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, int] = {}
    plain = tiled_decode.Rows.push

    def counted(rows: tiled_decode.Rows, x: Tensor) -> Tensor:
        out = plain(rows, x)
        made[id(rows._weight)] = made.get(id(rows._weight), 0) + out.shape[3]
        return out

    monkeypatch.setattr(tiled_decode.Rows, "push", counted)
    vae = small.vae()
    head = vae.decoder.head[2]
    decode_strips(vae, torch.randn(1, 4, 1, 6, 2), {}, 2)
    assert made[id(head.weight)] == 48
    assert set(made.values()) <= {6, 12, 24, 48}


def test_a_strip_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row, not 0"):
        decode_strips(small.vae(), torch.randn(1, 4, 1, 2, 2), {}, 0)


def test_the_fused_norm_is_the_plain_norm() -> None:
    layer = ChannelNorm(12, 3)
    layer.gamma.data = torch.randn_like(layer.gamma)
    x = torch.randn(2, 12, 3, 5, 4) * 10
    x[0, :, 0, 0, 0] = 0
    plain = layer(x).detach()
    assert small.relative(norm(x, layer.gamma.detach()), plain) < 1e-6
    assert small.relative(norm_silu(x, layer.gamma.detach()), nn.functional.silu(plain)) < 1e-6


@pytest.mark.parametrize(("channels", "dtype"), [(12, torch.float32), (16, torch.float16)])
def test_the_norm_kernel_is_the_plain_norm(channels: int, dtype: torch.dtype) -> None:
    triton = pytest.importorskip("triton")
    if not triton.knobs.runtime.interpret:
        pytest.skip("Triton compiles here")
    from pipeline.models.wan.vae import norm_kernel

    x, gamma = torch.randn(1, channels, 2, 3, 3).to(dtype), torch.randn(channels, 1, 1, 1)
    x[0, :, 0, 0, 0] = 0
    ours = norm_kernel.norm_silu(x, gamma)
    assert ours.dtype == dtype
    assert small.relative(ours, norm_silu(x.float(), gamma)) < (
        1e-5 if dtype == torch.float32 else 2e-3
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_compiled_norm_kernel_is_the_plain_norm() -> None:
    from pipeline.models.wan.vae import norm_kernel

    x = torch.randn(1, 96, 4, 33, 47, device="cuda", dtype=torch.bfloat16)
    x, gamma = x.to(memory_format=torch.channels_last_3d), torch.randn(96, 1, 1, 1, device="cuda")
    assert small.relative(norm_kernel.norm_silu(x, gamma), norm_silu(x.float(), gamma)) < 1e-2


def test_fused_norms_are_taken_and_decode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fused, latents = small.vae(), small.vae(), torch.randn(1, 4, 3, 3, 2)
    names = list(fused.state_dict())
    count = fuse_norms(fused)
    assert count == sum(isinstance(m, nn.SiLU) for m in plain.modules()) > 20
    assert not any(isinstance(m, nn.SiLU) for m in fused.modules())
    assert list(fused.state_dict()) == names
    assert small.relative(VaeDecoder(fused).push(latents), VaeDecoder(plain).push(latents)) < 1e-5


def test_channels_last_decodes_the_same() -> None:
    plain, last, latents = small.vae(), small.vae(), torch.randn(1, 4, 3, 3, 2)
    channels_last(last)
    weight = last.decoder.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    fuse_norms(last)
    assert small.relative(VaeDecoder(last).push(latents), VaeDecoder(plain).push(latents)) < 1e-5
    assert small.relative(by_strips(last, 2).push(latents), VaeDecoder(plain).push(latents)) < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_exported_decoder_gives_torchs_frames_and_starts_again(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    vae, latents = small.vae(4, 4), torch.randn(1, 4, 4, 2, 2)
    export_decoder(vae, tmp_path, 16, 16)
    decoder = OnnxDecoder(tmp_path, threads=1)
    whole = VaeDecoder(vae).push(latents)
    for _ in range(2):
        pieces = [decoder.push(part) for part in latents.split([1, 2, 1], dim=2)]
        assert small.relative(torch.cat(pieces, dim=2), whole) < 1e-5
        decoder.reset()
    assert check_decoder(decoder, vae, 16, 16) < 1e-5
    with pytest.raises(BackendRefused, match="the ONNX decoder errs by"):
        check_decoder(decoder, small.vae(4, 4, seed=1), 16, 16)
    with pytest.raises(BackendRefused, match="has no NoSuchProvider here"):
        OnnxDecoder(tmp_path, "NoSuchProvider")


def test_a_decoder_that_was_not_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match=r"no decoder-first.onnx, decoder-later.onnx in"):
        OnnxDecoder(tmp_path)
