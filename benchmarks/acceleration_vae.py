"""Rows of the acceleration table for the pixel-latent autoencoder's decoder, in steady state."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.acceleration import Figures, Options, Row, Skipped, compared, relative
from pipeline.errors import BackendRefused
from pipeline.models.wan.generation.batching import decode_together
from pipeline.models.wan.vae.autoencoder import DecodeStep, VaeDecoder, WanVae, published_vae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms, kernel_or_torch
from pipeline.models.wan.vae.onnx import LATER_INT8, OnnxDecoder, export_decoder
from pipeline.models.wan.vae.onnx_files import psnr
from pipeline.models.wan.vae.onnx_int8 import quantize_decoder
from pipeline.models.wan.vae.tiled_decode import decode_strips


class Decoding:
    """A decoder with random weights, and latents of a few pictures for it."""

    def __init__(self, options: Options) -> None:
        self.options, self.device = options, options.device
        tiny, cuda = options.model == "tiny", options.device.startswith("cuda")
        config = replace(published_vae(), width=16) if tiny else published_vae()
        self.size = (512, 512) if cuda and not tiny else (64, 64)
        with torch.device(self.device):
            self.vae = WanVae(config).eval().requires_grad_(False)
            self.latents = torch.randn(1, 16, 2, self.size[0] // 8, self.size[1] // 8)

    def steady(self, vae: WanVae, step: DecodeStep | None = None) -> Callable[[], Tensor]:
        """Decoding of two latents in the middle of a video; each call goes on from the last."""
        decoder = VaeDecoder(vae, step)
        decoder.push(self.latents)
        return lambda: decoder.push(self.latents)

    def versus(self, fast: Callable[[], Tensor], note: str = "") -> Figures:
        plain = self.steady(self.vae)
        error = relative(fast(), plain())
        slow, quick = compared([plain, fast], self.device, self.options.repeats)
        return Figures(slow / quick, error, note=f"{1e3 * quick / 8:.0f} ms a frame {note}".strip())


def decoder_rows(options: Options) -> Iterator[Row]:
    """Every switch of the decoder."""
    made: list[Decoding] = []

    def subject() -> Decoding:
        if not made:
            made.append(Decoding(options))
        return made[0]

    def rearranged(last: bool, fused: bool) -> Figures:
        s = subject()
        vae = copy.deepcopy(s.vae)
        if last:
            channels_last(vae)
        if fused:
            fuse_norms(vae, kernel_or_torch(vae, torch.device(s.device))[0])
        return s.versus(s.steady(vae))

    def strips(rows: int) -> Figures:
        s = subject()
        found = s.versus(s.steady(s.vae, partial(decode_strips, s.vae, rows=rows)))
        return replace(found, note=found.note + peak(s, rows))

    def batch() -> Figures:
        s = subject()
        latents = [torch.randn_like(s.latents) for _ in range(4)]

        def four(most: int) -> Callable[[], Tensor]:
            decoders = [VaeDecoder(s.vae) for _ in latents]
            work = partial(decode_together, decoders, latents, most)
            work()
            return lambda: torch.cat(work())

        apart, joint = four(1), four(4)
        error = relative(joint(), apart())
        slow, quick = compared([apart, joint], s.device, s.options.repeats)
        return Figures(slow / quick, error, note=f"{1e3 * quick / 32:.0f} ms a frame")

    def onnx(provider: str) -> Figures:
        s = subject()
        with tempfile.TemporaryDirectory() as folder:
            try:
                export_decoder(s.vae, Path(folder), *s.size)
                decoder = OnnxDecoder(Path(folder), provider, torch.get_num_threads())
            except BackendRefused as refusal:
                raise Skipped(str(refusal)) from refusal
            decoder.push(s.latents)
            return s.versus(lambda: decoder.push(s.latents))

    def int8() -> Figures:
        """Calibrated on latents of one video, measured on those of another."""
        s = subject()
        if s.device != "cpu":
            raise Skipped("for a CPU")
        with tempfile.TemporaryDirectory() as folder:
            try:
                export_decoder(s.vae, Path(folder), *s.size)
                quantize_decoder(Path(folder), torch.randn_like(s.latents).repeat(1, 1, 2, 1, 1))
            except BackendRefused as refusal:
                raise Skipped(str(refusal)) from refusal
            decoder = OnnxDecoder(Path(folder), threads=torch.get_num_threads(), later=LATER_INT8)
            decoder.push(s.latents)
            exact = s.steady(s.vae)()
            found = s.versus(lambda: decoder.push(s.latents))
            decoder.reset()
            decoder.push(s.latents)
            return replace(found, error=psnr(decoder.push(s.latents), exact), unit="dB")

    yield Row("decoder", "channels last", partial(rearranged, True, False))
    yield Row("decoder", "fused norms", partial(rearranged, False, True))
    yield Row("decoder", "channels last, fused norms", partial(rearranged, True, True))
    yield Row("decoder", "strips of 2 rows", partial(strips, 2))
    yield Row("decoder", "4 streams in one batch", batch)
    yield Row("decoder", "ONNX Runtime, CPU", partial(onnx, "CPUExecutionProvider"))
    yield Row("decoder", "ONNX Runtime, int8 convolutions", int8)
    yield Row("decoder", "ONNX Runtime, CUDA", partial(onnx, "CUDAExecutionProvider"))


def peak(s: Decoding, rows: int) -> str:
    """Device memory at the peak of a decode, by strips against whole."""
    if not s.device.startswith("cuda"):
        return ""
    held = []
    for step in (partial(decode_strips, s.vae, rows=rows), None):
        work = s.steady(s.vae, step)
        torch.cuda.reset_peak_memory_stats()
        work()
        held.append(torch.cuda.max_memory_allocated() / 2**30)
    return f", peak {held[0]:.1f} of {held[1]:.1f} GiB"
