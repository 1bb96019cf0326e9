"""Rows of the acceleration table on whole models: several live streams as one batch, and what
``--speed`` gives, in frames a second and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.acceleration import Figures, Row, Skipped, compared, relative
from benchmarks.acceleration_subject import SPEECH, Peak, Subject
from pipeline.acceleration.offload import BlockStream
from pipeline.acceleration.profile import profile
from pipeline.models.wan.accelerate import RESIDENT, Applied, accelerate
from pipeline.models.wan.generation.batching import together
from pipeline.models.wan.generation.chunked import ChunkPerformance
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.vae.autoencoder import VaeDecoder, WanVae, published_vae

STREAMS: Final = 4


class Stage:
    """A whole model under a profile, and live streams of it that hear noise."""

    def __init__(self, s: Subject, name: str) -> None:
        self.subject, how = s, profile(name)
        if name.startswith("gpu") and not s.cuda:
            raise Skipped("the profile is for a CUDA device")
        self.dit = s.full("cpu" if how.offload_gib else s.device)
        self.vae = small_vae(s)
        self.applied: Applied = accelerate(self.dit, self.vae, how, s.device)

    def stream(self) -> tuple[ChunkPerformance, VaeDecoder]:
        """A fresh one."""
        run = self.subject.performer(self.dit, self.applied.pace, 0)
        return run, VaeDecoder(self.vae, self.applied.decode)


def small_vae(s: Subject) -> WanVae:
    """The decoder; thin for ``tiny``."""
    config = published_vae()
    with torch.device(s.device):
        vae = WanVae(replace(config, width=16) if s.options.model == "tiny" else config)
    return vae.eval().requires_grad_(False).to(s.dtype)


def advance(streams: Sequence[ChunkPerformance], most: int) -> list[Tensor]:
    """One chunk of every stream: its clean latents."""
    turns = []
    for run in streams:
        span = run.span()
        draw = torch.Generator().manual_seed(span.start)
        turns.append(run.turn(torch.randn(span.stop - span.start, SPEECH, generator=draw)))
    return [fresh.latents for fresh in together(turns, most)]


def stream_rows(s: Subject) -> Iterator[Row]:
    """Batches of streams of the model as it is, then the profiles."""

    def batch(offload: bool) -> Figures:
        dit = s.full("cpu" if offload else s.device)
        if offload:
            stream_blocks(s, dit)

        def four() -> list[ChunkPerformance]:
            return [s.performer(dit, AccelerationPlan(), k) for k in range(STREAMS)]

        pairs = zip(advance(four(), STREAMS), advance(four(), 1), strict=True)
        error = max(relative(ours, alone) for ours, alone in pairs)
        apart, joint = four(), four()
        slow, quick = compared([partial(advance, apart, 1), partial(advance, joint, STREAMS)],
                               s.device, s.options.repeats)  # fmt: skip
        made = STREAMS * joint[0].hop
        note = f"{made / quick:.2f} frames/s of {STREAMS} streams, {made / slow:.2f} apart"
        return Figures(slow / quick, error, note=note)

    def whole(name: str) -> Figures:
        stage = Stage(s, name)
        peak = Peak(s.cuda)
        run, decoder = stage.stream()
        work = partial(advance, [run], 1)
        times = compared([work, lambda: decoder.push(work()[0])], s.device, s.options.repeats)
        rates = [run.hop / taken for taken in times]
        note = f"{rates[0]:.2f} frames/s, {rates[1]:.2f} with decoding{peak.note()}"
        return Figures(None, None, note=note)

    def offloaded() -> Figures:
        """What is left of the speed of the same quantised weights, resident."""
        if not s.cuda:
            raise Skipped("the profile is for a CUDA device")
        how, taken = profile("gpu-24gb"), []
        for gib in (0.0, how.offload_gib):
            dit = s.full("cpu")
            applied = accelerate(dit, small_vae(s), replace(how, offload_gib=gib), s.device)
            taken.append(_chunk_time(s, dit, applied))
        return Figures(taken[0] / taken[1], None, note=f"{taken[1]:.2f} s a chunk")

    yield Row("streams", f"{STREAMS} in one batch", partial(batch, False))
    yield Row("streams", f"{STREAMS} in one batch, two slots", partial(batch, True))
    yield Row("whole", "--speed cpu", partial(_on_cpu, s, whole))
    yield Row("whole", "--speed gpu-80gb", partial(whole, "gpu-80gb"))
    yield Row("whole", "--speed gpu-24gb", partial(whole, "gpu-24gb"))
    yield Row("whole", "gpu-24gb over the same resident", offloaded)


def stream_blocks(s: Subject, dit: WanDiT) -> None:
    """Bring the blocks from the host, through as little of the device as is possible."""
    blocks, dit.blocks = dit.blocks, nn.ModuleList()
    dit.to(s.device)
    dit.blocks = blocks
    size = max(sum(p.nbytes + 256 for p in block.parameters()) for block in blocks)
    dit.carrier = BlockStream(list(blocks), s.device, 2 * size, RESIDENT)


def _on_cpu(s: Subject, whole: Callable[[str], Figures]) -> Figures:
    if s.cuda:
        raise Skipped("the profile is for a CPU")
    return whole("cpu")


def _chunk_time(s: Subject, dit: WanDiT, applied: Applied) -> float:
    run = s.performer(dit, applied.pace, 0)
    return compared([partial(advance, [run], 1)], s.device, s.options.repeats)[0]
