"""Switches an ``Acceleration`` on in a loaded model; says what was changed, and refuses what errs.

The order matters: layers are quantised where the weights lie, then decoders are rearranged, then
blocks are handed to a stream or moved, then attention is chosen on the device that it will run on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import torch
from torch import nn

from pipeline.acceleration.offload import BlockStream
from pipeline.acceleration.profile import Acceleration
from pipeline.acceleration.quantize import Quantization, quantize
from pipeline.attention.backends import function, select
from pipeline.attention.cache import Reuse
from pipeline.attention.exact import Attend
from pipeline.attention.sparse import Sparsity
from pipeline.errors import ModelMismatch
from pipeline.models.wan.generation.guided_velocity import Pace
from pipeline.models.wan.network.cuda_graphs import CudaRecorder, Graphs
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.vae.autoencoder import DecodeStep, WanVae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms
from pipeline.models.wan.vae.onnx import OnnxDecoder
from pipeline.models.wan.vae.onnx_files import Size, find_decoders
from pipeline.models.wan.vae.tiled_decode import decode_strips

GIB: Final = 2**30
RESIDENT: Final = ("modulation",)  # read before a block's turn
VARIANTS: Final = 512  # of a compiled block, by shapes and by what it is told
CHECK_TOKENS: Final = 1024  # of an attention's self-check


@dataclass(frozen=True, slots=True)
class Applied:
    """What runs, and what is to be told about it. ``decode`` is None for whole frames, ``streams``
    how many live streams are one batch at most, ``decoders`` the exported ones by size."""

    pace: Pace
    decode: DecodeStep | None = None
    notices: tuple[str, ...] = ()
    streams: int = 1
    decoders: Mapping[Size, OnnxDecoder] = field(default_factory=dict)


def accelerate(dit: WanDiT, vae: WanVae, how: Acceleration, device: torch.device | str) -> Applied:
    """Change the networks in place as ``how`` says; both end up on ``device``.

    Raises ``BackendRefused`` for a fast path that is absent or errs, ``ModelTooLarge`` if blocks do
    not fit into their share of the device, ``ValueError`` for tables that do not fit the model.
    """
    place, notices = torch.device(device), []
    if how.linears_method:
        names = quantize(dit, Quantization(how.linears_method, keep=how.linears_keep,
                                           scales=how.linears_scales))  # fmt: skip
        notices.append(f"{len(names)} linear layers in {how.linears_method}")
    notices += _settle(dit, how, place)
    step = _decoder(vae.to(place), how, place)
    attends, told = _attentions(dit, how, place)
    decoders: dict[Size, OnnxDecoder] = {}
    if how.vae_runtime:
        decoders, about = find_decoders(how.home, how.vae_runtime, place)
        told += about
    if how.launch_compile:
        compile_blocks(dit)
        notices.append("blocks are compiled at their first use")
    graphs = Graphs(CudaRecorder(), how.launch_graph_tokens) if how.launch_graph_tokens else None
    pace = Pace(attends, how.guidance_batched, how.guidance_thresholds,
                Reuse(how.reuse_steps) if how.reuse_steps else None, graphs)  # fmt: skip
    return Applied(pace, step, (*notices, *told), how.streams_together, decoders)


def _settle(dit: WanDiT, how: Acceleration, place: torch.device) -> Iterator[str]:
    """Blocks to a stream, the rest to the device; or everything to the device."""
    if not how.offload_gib:
        dit.to(place)
        return
    blocks, dit.blocks = dit.blocks, nn.ModuleList()
    dit.to(place)
    dit.blocks = blocks
    stream = BlockStream(list(blocks), place, int(how.offload_gib * GIB), RESIDENT)
    dit.carrier = stream
    yield (f"{len(stream.resident)} of {len(blocks)} blocks stay on {place}, the others are "
           f"streamed through {stream.device_bytes / GIB:.1f} GiB")  # fmt: skip


def _decoder(vae: WanVae, how: Acceleration, place: torch.device) -> DecodeStep | None:
    if how.vae_channels_last:
        channels_last(vae)
    if how.vae_fused_norms:
        fuse_norms(vae, kernel=place.type == "cuda")
    return partial(decode_strips, vae, rows=how.vae_strip_rows) if how.vae_strip_rows else None


def _attentions(
    dit: WanDiT, how: Acceleration, place: torch.device
) -> tuple[tuple[Attend, ...], list[str]]:
    config = dit.config
    shape, device = (1, config.heads, CHECK_TOKENS, config.head_dim), str(place)
    chosen = select(how.attention_backends, shape, dit.dtype, device)
    told = [*chosen.refused, f"attention: {chosen.name} ({chosen.reason})"]
    if chosen.name != "sparse-linear" or not how.attention_kept:
        return (chosen.attend,), told
    sparse = tuple(
        function("sparse-linear", device, Sparsity(kept, min(how.attention_skipped, 1 - kept)))
        for kept in how.attention_kept
    )
    return sparse, [*told, f"key blocks kept by step: {how.attention_kept}"]


def compile_blocks(dit: WanDiT, backend: str = "inductor") -> None:
    """Compile the block once for all of them, instead of the whole transformer: seconds, not
    minutes. Other shapes than those warmed up compile anew: see ``Accepted``. Torch gives up on a
    function with more than eight variants and runs it plain; a ring that fills, told with and
    without speech, in batches of several streams, has more."""
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, VARIANTS)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, VARIANTS)
    for block in dit.blocks:
        block.compile(backend=backend, dynamic=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Sizes of pictures (width, height) that were warmed up; empty: any."""

    sizes: frozenset[tuple[int, int]] = frozenset()

    def check(self, width: int, height: int) -> None:
        """Refuse a size that would have to be compiled or recorded while somebody waits."""
        if self.sizes and (width, height) not in self.sizes:
            known = ", ".join(f"{w}x{h}" for w, h in sorted(self.sizes))
            raise ModelMismatch(f"{width}x{height} was not warmed up; {known} were")
