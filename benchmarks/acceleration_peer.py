"""Rows of the acceleration table beside diffusers: its transformer of the same shape, its offload.

diffusers' class has no speech; its forwards are of the base layout, in the same type, with other
weights. ``speed`` of an offload is what is left of the speed of resident weights, ours or theirs.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks.acceleration import Figures, Row, Skipped, clock, compared
from benchmarks.acceleration_subject import SINGLE, Peak, Subject
from pipeline.acceleration.offload import BlockStream
from pipeline.diffusion.sampling import levels
from pipeline.models.wan.accelerate import RESIDENT
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.dit import WanDiT

STEPS: Final = 40  # of the sampling that a distilled model replaces
SCALE: Final = 5.0


def offload_rows(s: Subject) -> Iterator[Row]:
    """Ours at two bounds, theirs, and ours over theirs."""

    def streamed(share: float) -> Figures:
        twin, held = _streamed(s, share)
        peak = Peak(s.cuda)
        found = s.versus(s.forward(s.twin()), s.forward(twin))
        note = f"{found.note} a step, {held:.0%} of the blocks on the device{peak.note()}"
        return Figures(found.speed, found.error, note=note)

    def theirs() -> Figures:
        resident, away = diffusers_twin(s), group_offloaded(s)
        slow, quick = compared([_theirs(s, away), _theirs(s, resident)], s.device,
                               s.options.repeats)  # fmt: skip
        note = "" if s.cuda else "; its hooks alone: CPU to CPU, it copies nothing"
        return Figures(quick / slow, None, note=f"{1e3 * slow:.0f} ms a step{note}")

    def side_by_side() -> Figures:
        if not s.cuda:
            raise Skipped("diffusers streams to an accelerator alone")
        twin, _ = _streamed(s, 0.0)
        return _faster(s, s.forward(twin), _theirs(s, group_offloaded(s)))

    yield Row("offload", "own, two slots", partial(streamed, 0.0))
    yield Row("offload", "own, half of the blocks stay", partial(streamed, 0.5))
    yield Row("offload", "diffusers' group offloading", theirs)
    yield Row("offload", "own over diffusers', both streamed", side_by_side)


def _streamed(s: Subject, share: float) -> tuple[WanDiT, float]:
    """A twin whose blocks are streamed, and the share of their bytes that is on the device."""
    twin = s.twin()
    blocks, twin.blocks = twin.blocks, nn.ModuleList()
    total = sum(p.nbytes for p in blocks.parameters())
    budget = max(int(share * total), 5 * total // (2 * len(blocks)))
    twin.blocks = blocks.to("cpu")
    stream = BlockStream(list(blocks), s.device, budget, RESIDENT)
    twin.carrier = stream
    return twin, stream.device_bytes / total


def peer_rows(s: Subject) -> Iterator[Row]:
    """Ours over theirs: a forward, and a clip."""

    def forward() -> Figures:
        return _faster(s, s.forward(s.twin()), _theirs(s, diffusers_twin(s)))

    def clip() -> Figures:
        ours = s.chunk(s.twin(), AccelerationPlan(), SINGLE)
        ours()
        quick = _once(s, ours)
        slow = _once(s, _sampling(s, diffusers_twin(s)))
        note = (
            f"{quick:.2f} s ours in 3 steps, {slow:.2f} s theirs in {STEPS} of two branches, once"
        )
        return Figures(slow / quick, None, note=note)

    yield Row("peer", "a forward of diffusers' class", forward)
    yield Row("peer", f"a clip of {STEPS} guided steps", clip)


def _once(s: Subject, work: Callable[[], object]) -> float:
    start = clock(s.device)
    work()
    return clock(s.device) - start


def _faster(s: Subject, ours: Callable[[], Tensor], theirs: Callable[[], Any]) -> Figures:
    slow, quick = compared([theirs, ours], s.device, s.options.repeats)
    note = f"{1e3 * quick:.0f} ms ours, {1e3 * slow:.0f} ms theirs"
    return Figures(slow / quick, None, note=note)


def diffusers_twin(s: Subject) -> Any:
    """diffusers' transformer of the same shape, base layout, in the type that users run."""
    try:
        diffusers: Any = importlib.import_module("diffusers")
    except ImportError as error:
        raise Skipped(f"diffusers is not installed: {error}") from error
    shape = s.shape
    with torch.device(s.device):
        twin = diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=shape.heads,
            attention_head_dim=shape.dim // shape.heads, in_channels=16, out_channels=16,
            text_dim=4096, freq_dim=256, ffn_dim=shape.ffn, num_layers=shape.depth,
        )  # fmt: skip
    return twin.eval().requires_grad_(False).to(s.dtype)


def group_offloaded(s: Subject) -> Any:
    """The same with its blocks streamed, as that package does it best on the device."""
    twin = diffusers_twin(s)
    if importlib.util.find_spec("accelerate") is None:
        raise Skipped("diffusers' offloading needs the package accelerate")
    hooks: Any = importlib.import_module("diffusers.hooks")
    hooks.apply_group_offloading(
        twin, onload_device=torch.device(s.device), offload_device=torch.device("cpu"),
        offload_type="block_level", num_blocks_per_group=1, use_stream=s.cuda,
    )  # fmt: skip
    return twin


def _theirs(s: Subject, twin: Any) -> Callable[[], Any]:
    x, text, _ = s.inputs
    given = x[:, :16].to(s.dtype), torch.tensor([833.3], device=s.device)
    return partial(twin, *given, text.to(s.dtype), return_dict=False)


def _sampling(s: Subject, twin: Any) -> Callable[[], Tensor]:
    """Their usual sampling, plain Euler: two branches a step, one after the other."""
    x, text, _ = s.inputs
    wanted, unwanted = text.to(s.dtype), torch.zeros_like(text, dtype=s.dtype)
    points = levels(STEPS, 5.0)

    def run() -> Tensor:
        now = x[:, :16].to(s.dtype)
        for level, after in zip(points, points[1:], strict=False):
            t = torch.tensor([1000 * level], device=s.device)
            yes, no = (twin(now, t, words, return_dict=False)[0] for words in (wanted, unwanted))
            now = now + (after - level) * (no + SCALE * (yes - no))
        return now

    return run
