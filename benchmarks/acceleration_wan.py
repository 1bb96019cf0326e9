"""Rows of the acceleration table for pixel-latent models: random weights in the published shapes.

``tiny`` has the structure at a size that a CPU finishes; ``--depth`` cuts the full ones to fewer
blocks. Forwards are compared by their output, whole chunks by their clean latents after three
steps, decoders by their frames; all with the plain float32 path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.acceleration import Figures, Options, Row, Skipped
from benchmarks.acceleration_peer import offload_rows, peer_rows
from benchmarks.acceleration_streams import stream_rows
from benchmarks.acceleration_subject import GUIDED, SINGLE, Subject
from benchmarks.acceleration_vae import decoder_rows
from pipeline.acceleration.quantize import Quantization, calibrate, quantize, quantize_torchao
from pipeline.attention.backends import capability, function
from pipeline.attention.cache import Reuse
from pipeline.attention.sparse import Sparsity
from pipeline.errors import BackendRefused
from pipeline.models.wan.accelerate import compile_blocks
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.cuda_graphs import CudaRecorder, Graphs
from pipeline.models.wan.network.dit import Shortcut


def rows(options: Options) -> Iterator[Row]:
    """All rows of a model; those on whole models last, which have the device to themselves."""
    subject = Subject(options)
    if subject.shape.depth < subject.whole.depth:
        why = "as was asked" if options.depth else "so that a plain float32 one fits beside another"
        print(f"{subject.shape.depth} of {subject.whole.depth} blocks, {why}")
    yield from _lossless(subject)
    yield from _caches(subject)
    yield from _attention(subject)
    yield from _linears(subject)
    yield from offload_rows(subject)
    yield from peer_rows(subject)
    yield from decoder_rows(options)
    yield from stream_rows(subject)


def _lossless(s: Subject) -> Iterator[Row]:
    def once() -> Figures:
        x, text, audio = s.inputs
        t = torch.tensor([[833.3] * s.shape.latents], device=s.device)

        def plain() -> Tensor:
            out: Tensor = s.dit(x, t, s.dit.encode(text, audio=audio))
            return out

        return s.versus(plain, s.forward(s.dit), "a step")

    def batched() -> Figures:
        return s.versus(
            s.chunk(s.dit, AccelerationPlan(), GUIDED),
            s.chunk(s.dit, AccelerationPlan(batched=True), GUIDED),
            "a chunk",
        )

    def one_branch() -> Figures:
        found = s.versus(s.chunk(s.dit, AccelerationPlan(), GUIDED),
                         s.chunk(s.dit, AccelerationPlan(), SINGLE))  # fmt: skip
        return replace(found, error=None, note="a chunk; another result, no approximation")

    def half() -> Figures:
        return s.versus(s.forward(s.dit), s.forward(s.twin(torch.bfloat16)), "a step")

    def compiled() -> Figures:
        twin = s.twin()
        compile_blocks(twin)
        return s.versus(s.forward(s.dit), s.forward(twin), "a step")

    def graphs() -> Figures:
        if not s.cuda:
            raise Skipped("CUDA graphs need a CUDA device")
        twin = s.twin()
        pace = AccelerationPlan(graphs=Graphs(CudaRecorder(), 10**6))
        plain = s.chunk(s.dit, AccelerationPlan(), SINGLE)
        return s.versus(plain, s.chunk(twin, pace, SINGLE), "a chunk")

    yield Row("lossless", "condition, levels, places once", once)
    yield Row("lossless", "branches in one batch", batched)
    yield Row("lossless", "guidance 1: one branch", one_branch)
    yield Row("type", "bfloat16", half)
    yield Row("launch", "regional compilation", compiled)
    yield Row("launch", "CUDA graphs", graphs)


def _caches(s: Subject) -> Iterator[Row]:
    def guidance(thresholds: tuple[float, ...]) -> Figures:
        return s.versus(
            s.chunk(s.dit, AccelerationPlan(), GUIDED),
            s.chunk(s.dit, AccelerationPlan(thresholds=thresholds), GUIDED),
            "a chunk",
        )

    def reuse(share: float) -> Figures:
        depth = s.shape.depth
        every = [(i, b) for i in (1, 2) for b in range(depth) if b % round(1 / share) == 0]
        table = Reuse.of(3, depth, every)
        return s.versus(
            s.chunk(s.dit, AccelerationPlan(), SINGLE),
            s.chunk(s.dit, AccelerationPlan(reuse=table), SINGLE),
            "a chunk",
        )

    yield Row("CFG cache", "unconditional at steps 1, 3", partial(guidance, (0.0, math.inf, 0.0)))
    yield Row("CFG cache", "unconditional at step 1", partial(guidance, (0.0, math.inf, math.inf)))
    yield Row("reuse", "attention of every second block", partial(reuse, 0.5))
    yield Row("reuse", "attention of every block", partial(reuse, 1.0))


def _attention(s: Subject) -> Iterator[Row]:
    def backend(name: str, sparsity: Sparsity | None = None) -> Figures:
        found = capability(name, s.device)
        if not found.available:
            raise Skipped(found.reason)
        twin = s.twin()
        short = Shortcut(function(name, s.device, sparsity))
        return s.versus(s.forward(s.dit), s.forward(twin, short), "a step")

    for name in ("flash2", "flash3", "flash3-float8", "sage"):
        yield Row("attention", name, partial(backend, name))
    for share in (0.5, 0.25, 0.1):
        sparsity = Sparsity(share)
        yield Row("attention", f"sparse-linear, {share:.0%} kept",
                  partial(backend, "sparse-linear", sparsity))  # fmt: skip


def _linears(s: Subject) -> Iterator[Row]:
    def own(method: str) -> Figures:
        twin = s.twin()
        run = s.forward(twin)
        scales = calibrate(twin, Quantization("int8-dynamic"), run) if "static" in method else {}
        once = ("*.cross_attn.k", "*.cross_attn.v") if scales else ()  # run once a chunk
        try:
            quantize(twin, Quantization(method, keep=once, scales=scales))
        except BackendRefused as refusal:
            raise Skipped(str(refusal)) from refusal
        return s.versus(s.forward(s.dit), s.forward(twin), "a step")

    def torchao(method: str) -> Figures:
        twin = s.twin()
        try:
            quantize_torchao(twin, Quantization(method))
        except BackendRefused as refusal:
            raise Skipped(str(refusal)) from refusal
        return s.versus(s.forward(s.dit), s.forward(twin), "a step")

    for method in ("int8-dynamic", "int8-static", "float8"):
        yield Row("linears", method, partial(own, method))
    for method in ("int8-dynamic", "float8"):
        yield Row("linears", f"{method}, torchao", partial(torchao, method))
