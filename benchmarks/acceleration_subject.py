"""The transformer that the rows of a pixel-latent model are about: random weights, fresh inputs.

Two of them, since 14 billion parameters in float32 and a twin of them do not fit into 80 GB: the
*plain* one, in float32, cut to the depth that leaves room for a twin, is what errors and speed-ups
are measured against; the *whole* one has every block, in the type that users run, and is what
frames a second and memory are measured on.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from benchmarks.acceleration import Figures, Options, compared, relative
from pipeline.models.wan.config import AddedAudio, WanConfig
from pipeline.models.wan.generation.chunked import ChunkPerformance, GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts, denoise, guided_branches
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan, GuidedVelocity
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.condition import Reference
from pipeline.models.wan.network.dit import Shortcut, WanDiT, keep_float32

STEPS: Final = Schedule(3, 5.0, "renoise", "float32")
GUIDED: Final = Guidance(4.5, 4.5)
SINGLE: Final = Guidance(1.0, 1.0)
SPEECH: Final = 10752  # channels of a frame's speech, layout A


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

    def config(self) -> WanConfig:
        audio = AddedAudio(SPEECH, 32, self.depth // 2 - 1)
        return WanConfig(self.dim, self.ffn, self.depth, self.heads, 33, 16, 4096,
                         self.text_tokens, 256, (1, 2, 2), 1e-6, None, audio)  # fmt: skip

    @property
    def block(self) -> int:
        """Parameters of a block, to the percent."""
        return 8 * self.dim**2 + 2 * self.dim * self.ffn


SHAPES: Final = {
    "tiny": Shape(384, 1536, 6, 3, 3, 32, 32, 64),
    "wan-1.3b": Shape(1536, 8960, 30, 12, 9, 64, 64, 512),
    "wan-14b": Shape(5120, 13824, 40, 40, 9, 56, 96, 512),
}
SPARE: Final = 12 * 2**30  # bytes of a device for activations, and what else there is


def depth_that_fits(shape: Shape, free: int) -> int:
    """Blocks that leave room on a device with ``free`` bytes for float32 and a half-sized twin."""
    return max(min(shape.depth, (free - SPARE) // (6 * shape.block)), 2)


class Subject:
    """The plain transformer, its twins, and fresh inputs for them."""

    def __init__(self, options: Options) -> None:
        self.options, self.whole = options, SHAPES[options.model]
        self.device = options.device
        self.cuda = self.device.startswith("cuda")
        depth = options.depth or self.whole.depth
        if self.cuda and not options.depth:
            depth = depth_that_fits(self.whole, torch.cuda.mem_get_info()[0])
        self.shape = replace(self.whole, depth=depth)
        self.size = (8 * self.whole.rows, 8 * self.whole.columns)  # of pictures: height, width
        torch.manual_seed(options.seed)

    @property
    def dtype(self) -> torch.dtype:
        """What users run: bfloat16 on a GPU, float32 on a CPU."""
        return torch.bfloat16 if self.cuda else torch.float32

    @cached_property
    def dit(self) -> WanDiT:
        with torch.device(self.device):
            return WanDiT(self.shape.config()).eval().requires_grad_(False)

    def twin(self, dtype: torch.dtype | None = None) -> WanDiT:
        """The plain one again, to be changed, in ``dtype`` or what users run."""
        free(self.cuda)
        wanted = dtype or self.dtype
        with torch.device("meta"):
            made = WanDiT(self.shape.config())
        cast = {
            name: value if keep_float32(name) else value.to(wanted)
            for name, value in self.dit.state_dict().items()
        }
        made.load_state_dict(cast, assign=True)
        return made.eval().requires_grad_(False)

    def full(self, home: str) -> WanDiT:
        """Every block (or as many as --depth says), in what users run, at ``home``. The plain one
        is dropped: both at once would not fit."""
        self.__dict__.pop("dit", None)
        free(self.cuda)
        shape = replace(self.whole, depth=self.options.depth or self.whole.depth)
        with torch.device("meta"):
            made = WanDiT(shape.config())
        state = {
            name: self._weight(name, value.shape).to(home)
            for name, value in made.state_dict().items()
        }
        made.load_state_dict(state, assign=True)
        return made.eval().requires_grad_(False)

    def _weight(self, name: str, shape: torch.Size) -> Tensor:
        dtype = torch.float32 if keep_float32(name) else self.dtype
        if len(shape) == 1:
            return torch.full(shape, float("norm" in name), dtype=dtype, device=self.device)
        spread = math.prod(shape[1:]) ** -0.5
        return torch.randn(shape, dtype=dtype, device=self.device).mul_(spread)

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device)

    @cached_property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latents and what stands beside them, text, speech."""
        s = self.shape
        return (self.draw(1, 33, s.latents, s.rows, s.columns),
                self.draw(1, s.text_tokens, 4096), self.draw(1, s.latents, 4 * SPEECH))  # fmt: skip

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

    def chunk(
        self, dit: WanDiT, pace: AccelerationPlan, guidance: Guidance
    ) -> Callable[[], Tensor]:
        """A whole chunk: encode, three steps."""
        x, text, audio = self.inputs
        like = Reference(self.draw(1, 16, 1, *x.shape[3:]))
        mods = GenerationSetup(dit, STEPS, guidance, like, 0, pace).modulations()

        def run() -> Tensor:
            branches = guided_branches(dit, guidance, Prompts(text, text[:, :8]), None, audio)
            return denoise(
                GuidedVelocity(dit, branches, x[:, 16:], mods, pace), STEPS, self.noise.__getitem__
            )

        return run

    def performer(self, dit: WanDiT, pace: AccelerationPlan, seed: int) -> ChunkPerformance:
        """A stream's generator with a picture and prompt of its own: chunks of all latents of the
        shape, one of them known from the chunk before."""
        s, draw = self.shape, torch.Generator().manual_seed(self.options.seed + seed)
        picture = torch.randn(1, 16, 1, s.rows, s.columns, generator=draw).to(self.device)
        text = torch.randn(1, s.text_tokens, 4096, generator=draw).to(self.device)
        score = GenerationSetup(dit, STEPS, SINGLE, Reference(picture), seed, pace)
        return ChunkPerformance(score, Prompts(text, text), s.latents, 1)

    def versus(
        self, plain: Callable[[], Tensor], fast: Callable[[], Tensor], note: str = ""
    ) -> Figures:
        error = relative(fast(), plain())
        slow, quick = compared([plain, fast], self.device, self.options.repeats)
        return Figures(slow / quick, error, note=f"{1e3 * quick:.0f} ms {note}".strip())


def free(cuda: bool) -> None:
    """Give memory of what is no longer used back to the device."""
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()


class Peak:
    """Device memory held at most between entering and ``gib``; nothing on a CPU."""

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        if cuda:
            torch.cuda.reset_peak_memory_stats()

    def note(self) -> str:
        if not self._cuda:
            return ""
        return f", peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
