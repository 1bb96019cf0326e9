"""Rows of the acceleration table for pixel-latent models: random weights in the published shapes.

``tiny`` has the structure at a size that a CPU finishes; ``--depth`` cuts the full ones to fewer
blocks. Forwards are compared by their output, whole chunks by their clean latents after three
steps, decoders by their frames; all with the plain float32 path.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks.acceleration import Figures, Options, Row, Skipped, compared, relative
from benchmarks.acceleration_vae import decoder_rows
from pipeline.attention.backends import capability, function
from pipeline.attention.cache import Reuse
from pipeline.attention.sparse import Sparsity
from pipeline.errors import BackendRefused
from pipeline.models.wan.accelerate import RESIDENT, compile_blocks
from pipeline.models.wan.cards import Guidance, Schedule
from pipeline.models.wan.condition import Reference
from pipeline.models.wan.config import AddedAudio, WanConfig
from pipeline.models.wan.denoise import Prompts, branches, denoise
from pipeline.models.wan.dit import Shortcut, WanDiT, keep_float32
from pipeline.models.wan.field import Field, Pace
from pipeline.models.wan.graphs import CudaRecorder, Graphs
from pipeline.models.wan.performance import Score
from pipeline.offload import BlockStream
from pipeline.quantize import Quantization, calibrate, quantize, quantize_torchao

STEPS: Final = Schedule(3, 5.0, "renoise", "float32")
GUIDED: Final = Guidance(4.5, 4.5)


@dataclass(frozen=True, slots=True)
class Shape:
    dim: int
    ffn: int
    depth: int
    heads: int
    latents: int
    rows: int
    columns: int
    text_tokens: int


SHAPES: Final = {
    "tiny": Shape(384, 1536, 6, 3, 3, 32, 32, 64),
    "wan-1.3b": Shape(1536, 8960, 30, 12, 9, 64, 64, 512),
    "wan-14b": Shape(5120, 13824, 40, 40, 9, 56, 96, 512),
}


class Subject:
    """A transformer with random weights, plain and in float32, and fresh inputs for it."""

    def __init__(self, options: Options) -> None:
        self.options, shape = options, SHAPES[options.model]
        self.shape = replace(shape, depth=options.depth or shape.depth)
        self.device = options.device
        self.cuda = self.device.startswith("cuda")
        torch.manual_seed(options.seed)

    @cached_property
    def dit(self) -> WanDiT:
        s = self.shape
        audio = AddedAudio(10752, 32, s.depth // 2 - 1)
        config = WanConfig(s.dim, s.ffn, s.depth, s.heads, 33, 16, 4096, s.text_tokens, 256,
                           (1, 2, 2), 1e-6, None, audio)  # fmt: skip
        with torch.device(self.device):
            return WanDiT(config).eval().requires_grad_(False)

    def twin(self, dtype: torch.dtype | None = None) -> WanDiT:
        """A copy to be changed: bfloat16 on a GPU, float32 elsewhere, unless told."""
        wanted = dtype or (torch.bfloat16 if self.cuda else torch.float32)
        made = copy.deepcopy(self.dit)
        for name, value in made.named_parameters():
            if not keep_float32(name):
                value.data = value.data.to(wanted)
        return made

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device)

    @cached_property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latents and what stands beside them, text, speech."""
        s = self.shape
        return (self.draw(1, 33, s.latents, s.rows, s.columns),
                self.draw(1, s.text_tokens, 4096), self.draw(1, s.latents, 4 * 10752))  # fmt: skip

    @cached_property
    def noise(self) -> list[Tensor]:
        """Of every step of a chunk."""
        return [self.draw(*self.inputs[0][:, :16].shape) for _ in range(STEPS.steps)]

    def forward(self, dit: WanDiT, short: Shortcut | None = None) -> Callable[[], Tensor]:
        """One step of a chunk, with all that is computed once a chunk done."""
        x, text, audio = self.inputs
        told = dit.encode(text, audio=audio)
        level = dit.modulation(torch.tensor([833.3], device=self.device))
        table = dit.table(x.shape)
        return lambda: dit(x, level, told, table=table, shortcut=short)

    def chunk(self, dit: WanDiT, pace: Pace, guidance: Guidance) -> Callable[[], Tensor]:
        """A whole chunk: encode, three steps."""
        x, text, audio = self.inputs
        like = Reference(self.draw(1, 16, 1, *x.shape[3:]))
        mods = Score(dit, STEPS, guidance, like, 0, pace).modulations()

        def run() -> Tensor:
            lot = branches(dit, guidance, Prompts(text, text[:, :8]), None, audio)
            return denoise(Field(dit, lot, x[:, 16:], mods, pace), STEPS, self.noise.__getitem__)

        return run

    def versus(
        self, plain: Callable[[], Tensor], fast: Callable[[], Tensor], note: str = ""
    ) -> Figures:
        error = relative(fast(), plain())
        slow, quick = compared([plain, fast], self.device, self.options.repeats)
        return Figures(slow / quick, error, note=f"{1e3 * quick:.0f} ms {note}".strip())


def rows(options: Options) -> Iterator[Row]:
    """All rows of a model."""
    subject = Subject(options)
    yield from _lossless(subject)
    yield from _caches(subject)
    yield from _attention(subject)
    yield from _linears(subject)
    yield from _memory(subject)
    yield from decoder_rows(options)


def _lossless(s: Subject) -> Iterator[Row]:
    def once() -> Figures:
        x, text, audio = s.inputs
        t = torch.tensor([[833.3] * s.shape.latents], device=s.device)

        def plain() -> Tensor:
            out: Tensor = s.dit(x, t, s.dit.encode(text, audio=audio))
            return out

        return s.versus(plain, s.forward(s.dit), "a step")

    def batched() -> Figures:
        return s.versus(s.chunk(s.dit, Pace(), GUIDED),
                        s.chunk(s.dit, Pace(batched=True), GUIDED), "a chunk")  # fmt: skip

    def one_branch() -> Figures:
        found = s.versus(s.chunk(s.dit, Pace(), GUIDED),
                         s.chunk(s.dit, Pace(), Guidance(1.0, 1.0)))  # fmt: skip
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
        pace = Pace(graphs=Graphs(CudaRecorder(), 10**6))
        plain = s.chunk(s.dit, Pace(), Guidance(1.0, 1.0))
        return s.versus(plain, s.chunk(twin, pace, Guidance(1.0, 1.0)), "a chunk")

    yield Row("lossless", "condition, levels, places once", once)
    yield Row("lossless", "branches in one batch", batched)
    yield Row("lossless", "guidance 1: one branch", one_branch)
    yield Row("type", "bfloat16", half)
    yield Row("launch", "regional compilation", compiled)
    yield Row("launch", "CUDA graphs", graphs)


def _caches(s: Subject) -> Iterator[Row]:
    def guidance(thresholds: tuple[float, ...]) -> Figures:
        return s.versus(s.chunk(s.dit, Pace(), GUIDED),
                        s.chunk(s.dit, Pace(thresholds=thresholds), GUIDED), "a chunk")  # fmt: skip

    def reuse(share: float) -> Figures:
        depth = s.shape.depth
        every = [(i, b) for i in (1, 2) for b in range(depth) if b % round(1 / share) == 0]
        table = Reuse.of(3, depth, every)
        single = Guidance(1.0, 1.0)
        return s.versus(s.chunk(s.dit, Pace(), single),
                        s.chunk(s.dit, Pace(reuse=table), single), "a chunk")  # fmt: skip

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


def _memory(s: Subject) -> Iterator[Row]:
    def streamed(share: float) -> Figures:
        twin = s.twin()
        blocks = twin.blocks
        total = sum(p.nbytes for p in blocks.parameters())
        budget = max(int(share * total), 5 * total // (2 * len(blocks)))
        twin.blocks = nn.ModuleList()
        twin.blocks = blocks.to("cpu")
        stream = BlockStream(list(blocks), s.device, budget, RESIDENT)
        twin.carrier = stream
        note = f"a step, {stream.device_bytes / total:.0%} of the blocks' memory"
        return s.versus(s.forward(s.dit if not s.cuda else s.twin()), s.forward(twin), note)

    def theirs(offload: bool) -> Figures:
        twin = diffusers_twin(s)
        if offload:
            if not s.cuda:
                raise Skipped("diffusers streams to an accelerator alone")
            from diffusers.hooks import apply_group_offloading

            apply_group_offloading(
                twin, onload_device=torch.device(s.device), offload_device=torch.device("cpu"),
                offload_type="block_level", num_blocks_per_group=1, use_stream=True,
            )  # fmt: skip
        return compare_with_diffusers(s, twin)

    yield Row("offload", "own, the least memory", partial(streamed, 0.0))
    yield Row("offload", "own, half of the blocks' memory", partial(streamed, 0.5))
    yield Row("offload", "ours resident, over diffusers' streamed", partial(theirs, True))
    yield Row("peer", "a forward of diffusers' class", partial(theirs, False))


def diffusers_twin(s: Subject) -> Any:
    """diffusers' transformer of the same shape, base layout, in the type of ``Subject.twin``."""
    try:
        import diffusers
    except ImportError as error:
        raise Skipped(f"diffusers is not installed: {error}") from error
    shape = s.shape
    with torch.device(s.device):
        twin = diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=shape.heads,
            attention_head_dim=shape.dim // shape.heads, in_channels=16, out_channels=16,
            text_dim=4096, freq_dim=256, ffn_dim=shape.ffn, num_layers=shape.depth,
        )  # fmt: skip
    return twin.eval().requires_grad_(False).to(torch.bfloat16 if s.cuda else torch.float32)


def compare_with_diffusers(s: Subject, theirs: Any) -> Figures:
    """How many times faster our forward is than theirs: same shape, same type, other weights."""
    x, text, _ = s.inputs
    ours = s.forward(s.twin())
    given = x[:, :16].to(theirs.dtype), torch.tensor([833.3], device=s.device)
    words = text.to(theirs.dtype)
    plain = partial(theirs, *given, words, return_dict=False)
    slow, quick = compared([plain, ours], s.device, s.options.repeats)
    return Figures(
        slow / quick, None, note=f"{1e3 * quick:.0f} ms ours, {1e3 * slow:.0f} ms theirs"
    )
