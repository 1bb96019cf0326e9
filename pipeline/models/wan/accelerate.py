"""Switches an ``Acceleration`` on in a loaded model; says what was changed, and refuses what errs.

The order matters: layers are quantised where the weights lie, then decoders are rearranged, then
blocks are handed to a stream or moved, then attention is chosen on the device that it will run on.
Every fast path runs once on that device beside torch's own; one that fails or errs is not used, and
the notice says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.acceleration.linear_fusion import fuse
from pipeline.acceleration.offload import BlockStream
from pipeline.acceleration.profile import Acceleration
from pipeline.acceleration.quantize import Quantization, quantize
from pipeline.acceleration.self_check import agree
from pipeline.attention.backends import select, with_sparsity
from pipeline.attention.cache import Reuse
from pipeline.attention.exact import Attend
from pipeline.attention.sparse import Sparsity
from pipeline.errors import BackendRefused, ModelMismatch
from pipeline.models.wan.checkpoint.working_memory import RESIDENT
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.block import BlockCondition, Reach
from pipeline.models.wan.network.cuda_graphs import CudaRecorder, Graphs
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.vae.autoencoder import DecodeStep, WanVae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms, kernel_or_torch
from pipeline.models.wan.vae.onnx import OnnxDecoder
from pipeline.models.wan.vae.onnx_files import Size, find_decoders
from pipeline.models.wan.vae.tiled_decode import decode_strips

GIB: Final = 2**30
VARIANTS: Final = 64  # of a compiled block: with and without a past, alone and in batches
COMPILED_BOUND: Final = 0.05  # of a compiled block against the block, in 16 bits
CUDNN_CONV3D: Final = 91500  # from this cuDNN on, torch 2.9 runs 16-bit 3D convolutions with it
CHECK_TOKENS: Final = 1024  # of an attention's self-check


@dataclass(frozen=True, slots=True)
class Applied:
    """What runs, and what is to be told about it. ``decode`` is None for whole frames, ``streams``
    how many live streams are one batch at most, ``decoders`` the exported ones by size."""

    pace: AccelerationPlan
    decode: DecodeStep | None = None
    notices: tuple[str, ...] = ()
    streams: int = 1
    decoders: Mapping[Size, OnnxDecoder] = field(default_factory=dict)


def accelerate(
    dit: WanDiT,
    vae: WanVae,
    how: Acceleration,
    device: torch.device | str,
    share: Mapping[bool, int] | None = None,
) -> Applied:
    """Change the networks in place as ``how`` says; both end up on ``device``. ``share``: bytes for
    offloaded blocks, by whether 8-bit linears run fused; by default all that ``how`` allows.

    Raises ``BackendRefused`` if no attention that is listed can be used, ``ModelTooLarge`` if
    blocks do not fit into their share of the device, ``ValueError`` for tables that do not fit the
    model.
    """
    place = torch.device(device)
    notices = [*_linears(dit, how, place)]
    fused = any(getattr(m, "fused", None) is not None for m in dit.modules())
    room = int(how.offload_gib * GIB) if share is None else share[fused]
    notices += _settle(dit, how, place, room)
    step, about_decoder = _decoder(vae.to(place), how, place)
    notices += about_decoder
    attends, told = _attentions(dit, how, place)
    decoders: dict[Size, OnnxDecoder] = {}
    if how.vae_runtime:
        decoders, about = find_decoders(how.home, how.vae_runtime, place)
        told += about
    if how.launch_compile:
        notices.append(_compiled(dit))
    tokens = how.launch_graph_tokens
    graphs = Graphs(CudaRecorder(place), tokens) if tokens else None
    pace = AccelerationPlan(attends, how.guidance_batched, how.guidance_thresholds,
                Reuse(how.reuse_steps) if how.reuse_steps else None, graphs)  # fmt: skip
    return Applied(pace, step, (*notices, *told), how.streams_together, decoders)


def _settle(dit: WanDiT, how: Acceleration, place: torch.device, room: int) -> Iterator[str]:
    """Blocks to a stream, the rest to the device; or everything to the device."""
    if not how.offload_gib:
        dit.to(place)
        return
    blocks, dit.blocks = dit.blocks, nn.ModuleList()
    dit.to(place)
    dit.blocks = blocks
    stream = BlockStream(list(blocks), place, room, RESIDENT)
    dit.carrier = stream
    yield (f"{len(stream.resident)} of {len(blocks)} blocks stay on {place}, the others are "
           f"streamed: {stream.device_bytes / GIB:.1f} of {room / GIB:.1f} GiB")  # fmt: skip


def _linears(dit: WanDiT, how: Acceleration, place: torch.device) -> Iterator[str]:
    """Linears in 8 bits, fused where that pays; or as they are, with the reason."""
    if not how.linears_method:
        return
    wanted = Quantization(how.linears_method, keep=how.linears_keep, scales=how.linears_scales)
    try:
        names = quantize(dit, wanted, place)
    except BackendRefused as refusal:
        yield f"linear layers stay in {str(dit.dtype).removeprefix('torch.')}: {refusal}"
        return
    yield f"{len(names)} linear layers in {how.linears_method}"
    if place.type == "cuda" and not how.launch_compile:  # compilation fuses by itself
        yield fuse(dit, place)


def _decoder(
    vae: WanVae, how: Acceleration, place: torch.device
) -> tuple[DecodeStep | None, list[str]]:
    told = [slow_conv3d(vae.dtype, place, torch.__version__, torch.backends.cudnn.version() or 0)]
    if told[0]:
        vae.float()
    if how.vae_channels_last:
        channels_last(vae)
    if how.vae_fused_norms:
        fused, about = kernel_or_torch(vae, place)
        fuse_norms(vae, fused)
        told.append(about)
    step = partial(decode_strips, vae, rows=how.vae_strip_rows) if how.vae_strip_rows else None
    return step, [notice for notice in told if notice]


def slow_conv3d(dtype: torch.dtype, place: torch.device, version: str, cudnn: int) -> str:
    """What is to be told where torch runs 16-bit 3D convolutions without cuDNN, with many times the
    memory; empty elsewhere. The decoder is better off in float32 there."""
    slow = version.startswith("2.9.") and cudnn < CUDNN_CONV3D
    if place.type != "cuda" or dtype == torch.float32 or not slow:
        return ""
    return (f"the autoencoder runs in float32: torch {version} with cuDNN {cudnn} has no fast "
            "16-bit 3D convolution; pip install 'nvidia-cudnn-cu12>=9.15'")  # fmt: skip


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
        with_sparsity(chosen.attend, Sparsity(kept, min(how.attention_skipped, 1 - kept)))
        for kept in how.attention_kept
    )
    return sparse, [*told, f"key blocks kept by step: {how.attention_kept}"]


def compile_blocks(dit: WanDiT, backend: str = "inductor") -> None:
    """Compile the block once for all of them, instead of the whole transformer. A size that changes
    is compiled a second time, for any size: so a ring that fills, in batches of several streams, is
    a handful of variants and not one a length. Torch gives up on a function with more than eight
    variants and runs it plain, which ``VARIANTS`` puts off."""
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, VARIANTS)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, VARIANTS)
    for block in dit.blocks:
        block.compile(backend=backend)


def _compiled(dit: WanDiT) -> str:
    """Blocks compiled, if one of them gives what it gives uncompiled; else as they are."""
    plain = one_block(dit)
    exact = plain()
    compile_blocks(dit)
    try:
        agree("the compiled block", plain, lambda: exact, COMPILED_BOUND)
    except BackendRefused as refusal:
        leave_uncompiled(dit)
        return f"blocks are not compiled: {refusal}"
    return "blocks are compiled"


def leave_uncompiled(dit: WanDiT) -> None:
    """Undo ``compile_blocks``."""
    for block in dit.blocks:
        block._compiled_call_impl = None


@torch.no_grad()
def one_block(dit: WanDiT, frames: int = 2, side: int = 4) -> Callable[[], Tensor]:
    """The second block on noise, as a forward runs it: enough to see whether it works here."""
    like, config = dit.patch_embedding.weight, dit.config
    tokens = frames * side * side
    x = torch.randn(1, tokens, config.dim, device=like.device, dtype=like.dtype)
    words = torch.randn(1, config.text_tokens, config.dim, device=like.device, dtype=like.dtype)
    block: Any = dit.blocks[1]
    hint = BlockCondition(block.cross_attn.prepare_text(words))
    size = (1, config.in_channels, frames, 2 * side, 2 * side)
    reach = Reach(dit.table(size), frames)
    mod = dit.modulation(torch.tensor([500.0], device=like.device)).blocks[1]

    def run() -> Tensor:
        with torch.no_grad():
            made: Tensor = block(x, mod, hint, reach)[0]
        return made

    return run


@dataclass(frozen=True, slots=True)
class Accepted:
    """Sizes of pictures (width, height) that are ready, and why no others; empty: any."""

    sizes: frozenset[tuple[int, int]] = frozenset()
    why: str = "was not warmed up; {} were"

    def check(self, width: int, height: int) -> None:
        """Refuse a size that would have to be compiled or recorded while somebody waits, or that
        has no room."""
        if self.sizes and (width, height) not in self.sizes:
            known = ", ".join(f"{w}x{h}" for w, h in sorted(self.sizes))
            raise ModelMismatch(f"{width}x{height} {self.why.format(known)}")
