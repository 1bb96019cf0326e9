"""What streams take on the device besides weights: conditions, past, temporaries, decoder.

Told by running one forward, one decode and one enrolment at full size on the meta device, with as
few blocks as the layout allows: what every block keeps is multiplied, what one needs while it
computes is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.acceleration.memory_trace import FlashShapes, Ledger, int8_shapes
from pipeline.acceleration.offload import block_bytes
from pipeline.acceleration.profile import Acceleration
from pipeline.acceleration.quantize import Int8Linear, Quantization, replace_layers
from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig
from pipeline.models.wan.generation.batching import decode_together
from pipeline.models.wan.model_cards import Card
from pipeline.models.wan.network.condition import encode_reference, latents_of
from pipeline.models.wan.network.dit import WanDiT, keep_float32
from pipeline.models.wan.vae.autoencoder import VaeConfig, VaeDecoder, WanVae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms
from pipeline.models.wan.vae.tiled_decode import decode_strips
from pipeline.streaming.isolation import Failed

DEPTH: Final = 3  # blocks that are traced; layout A has no audio before the third
LIBRARIES: Final = 2**28  # workspaces of cuBLAS and cuDNN: an allowance, not a measurement
RESIDENT: Final = ("modulation",)  # of a block: read before its turn
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Working:
    """Bytes of all streams that run together. Temporaries are those of the neediest stage: stages
    follow one another."""

    conditions: int
    past: int
    decoder_past: int
    temporaries: int

    def parts(self) -> dict[str, int]:
        """By name, for a budget."""
        return {
            "conditions": self.conditions, "past": self.past, "decoder's past": self.decoder_past,
            "temporaries": self.temporaries, "libraries": LIBRARIES,
        }  # fmt: skip

    @property
    def total(self) -> int:
        return sum(self.parts().values())


@dataclass(frozen=True, slots=True)
class Demand:
    """Which work is told of: a checkpoint run by a profile at one size (width, height)."""

    card: Card
    config: WanConfig
    vae: VaeConfig
    how: Acceleration
    dtype: torch.dtype
    size: Size
    fused: bool = True  # 8-bit linears: what runs apart makes an int32 and a float32 of everything

    @property
    def branches(self) -> int:
        guidance = self.card.guidance
        if guidance.text == 1 and guidance.audio == 1:
            return 1
        return 2 if self.config.layout == "A" else 3

    @property
    def rows(self) -> int:
        """Of one forward's batch."""
        return self.how.streams_together * (self.branches if self.how.guidance_batched else 1)

    @property
    def latents(self) -> int:
        """New ones, of one forward."""
        recipe = self.card.recipe
        if recipe.chunked:
            return latents_of(recipe.frames_at(*self.size))
        return recipe.block * (self.card.schedule.steps if recipe.kind == "rolling" else 1)

    @property
    def tokens(self) -> int:
        """Of one latent."""
        _, rows, columns = self.config.patch
        return self.size[0] // 8 // columns * (self.size[1] // 8 // rows)


def shadow(demand: Demand, depth: int) -> WanDiT:
    """The transformer as the profile leaves it, on the meta device."""
    config, how = demand.config, demand.how
    audio = config.audio
    if isinstance(audio, AddedAudio):
        audio = replace(audio, injections=min(audio.injections, depth - 2))
    with torch.device("meta"):
        dit = WanDiT(replace(config, depth=depth, audio=audio))
    for name, value in dit.named_parameters():
        value.data = value.data.to(torch.float32 if keep_float32(name) else demand.dtype)
    dit.eval().requires_grad_(False)
    if how.linears_method:
        replace_layers(dit, Quantization(how.linears_method, keep=how.linears_keep,
                                         scales=how.linears_scales))  # fmt: skip
    for module in dit.modules():
        if isinstance(module, Int8Linear) and demand.fused:
            module.fused = int8_shapes
    return dit


def transformer_bytes(demand: Demand) -> tuple[int, list[int]]:
    """What lies outside the blocks or stays beside them, and each block's buffer."""
    dit = shadow(demand, demand.config.depth)
    sizes = [block_bytes(block, RESIDENT) for block in dit.blocks]
    whole = sum(v.nbytes for v in [*dit.parameters(), *dit.buffers()])
    inside = sum(
        value.nbytes
        for block in dit.blocks
        for name, value in [*block.named_parameters(), *block.named_buffers()]
        if name not in RESIDENT
    )
    return whole - inside, sizes


@torch.no_grad()
def working_memory(demand: Demand) -> Working:
    """Everything that ``demand`` takes on the device besides weights."""
    conditions, forward = _forward(demand)
    decoder_past, decode, encode = _autoencoder(demand)
    return Working(conditions, _past(demand), decoder_past, max(forward, decode, encode))


@torch.no_grad()
def forward_bytes(demand: Demand) -> int:
    """Temporaries of one forward."""
    return _forward(demand)[1]


def _forward(demand: Demand) -> tuple[int, int]:
    """Conditions of all streams, and the temporaries of one forward."""
    dit, depth, streams = shadow(demand, DEPTH), demand.config.depth, demand.how.streams_together
    x, text, image, audio = _inputs(demand, demand.rows)
    with FlashShapes(), Ledger() as ledger:
        hints = dit.encode(text, image, audio)
        one = ledger.live // DEPTH * depth // demand.rows
    ring, mod = _Past(demand), dit.modulation(x.new_zeros(1))
    with FlashShapes(), Ledger() as ledger:
        dit(x, mod, hints, ring=None if demand.card.recipe.chunked else ring, keep=ring.kept)
    joined = one * demand.rows if demand.rows > 1 else 0  # a batch has them once more
    fresh = _keys(demand, demand.latents, demand.rows) if ring.kept else 0
    told = one * streams * demand.branches + joined + _levels(demand)
    return told, ledger.peak + fresh


def _levels(demand: Demand) -> int:
    """What the noise levels of a performance tell every block, one a latent, and the latents that
    a chunk is made from: noise of every step, what stands beside it, fields by branch."""
    config, how, latents = demand.config, demand.how, demand.latents
    levels = demand.card.schedule.steps + 1
    told = 4 * latents * config.dim * (6 * config.depth + 2)
    width, height = demand.size
    field = 4 * config.in_channels * latents * (width // 8) * (height // 8)
    own = levels * told + (levels + 4 + demand.branches) * field
    return how.streams_together * own + (told * demand.rows if demand.rows > 1 else 0)


def _inputs(demand: Demand, rows: int) -> tuple[Tensor, Tensor, Tensor | None, Any]:
    config, (width, height), latents = demand.config, demand.size, demand.latents

    def empty(*shape: int) -> Tensor:
        return torch.empty(rows, *shape, device="meta")

    audio: Any = None
    if isinstance(config.audio, AddedAudio):
        audio = empty(latents, 4 * config.audio.channels)
    elif isinstance(config.audio, AttendedAudio):
        window, channels = config.audio.window, config.audio.channels
        audio = (empty(1, window, channels), empty(latents - 1, window + 3, channels))
    image = empty(257, config.image_dim) if config.image_dim else None
    x = empty(config.in_channels, latents, height // 8, width // 8)
    return x, empty(config.text_tokens, config.text_dim), image, audio


class _Past:
    """A memory that is full."""

    def __init__(self, demand: Demand) -> None:
        recipe, config = demand.card.recipe, demand.config
        self.kept = not recipe.chunked
        self._held = max(recipe.window - demand.latents, 1) if self.kept else 0
        self._shape = (demand.rows, config.heads, self._held * demand.tokens, config.head_dim)
        self._dtype = demand.dtype

    def places(self, start: int, fresh: int) -> Tensor:
        return torch.arange(self._held + fresh)

    def past(self, block: int, fresh: int) -> tuple[Tensor, Tensor]:
        empty = partial(torch.empty, self._shape, dtype=self._dtype, device="meta")
        return empty(), empty()

    def keep(self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]) -> None:
        return


def _keys(demand: Demand, latents: int, rows: int) -> int:
    """Keys and values of so many latents, in every block."""
    config = demand.config
    return 2 * latents * demand.tokens * config.dim * config.depth * demand.dtype.itemsize * rows


def _past(demand: Demand) -> int:
    """Of all streams; those of a batch are laid side by side only while one block computes."""
    return _keys(demand, past_latents(demand.card), demand.how.streams_together)


def past_latents(card: Card) -> int:
    """Latents whose keys and values one stream keeps, over all steps."""
    recipe = card.recipe
    if recipe.chunked:
        return 0
    if recipe.kind == "rolling":
        return recipe.window - recipe.block * (card.schedule.steps - 1)
    if recipe.kind == "memory":
        return recipe.block + card.schedule.steps * (recipe.window - recipe.block)
    return recipe.window


def _autoencoder(demand: Demand) -> tuple[int, int, int]:
    """The decoders' past, and the temporaries of decoding and of enrolling a picture."""
    how, (width, height) = demand.how, demand.size
    with torch.device("meta"):
        vae = WanVae(demand.vae).to(demand.dtype).eval().requires_grad_(False)
    if how.vae_channels_last:
        channels_last(vae)
    if how.vae_fused_norms:
        fuse_norms(vae)
    step = partial(decode_strips, vae, rows=how.vae_strip_rows) if how.vae_strip_rows else None
    streams = how.streams_together
    latent = torch.empty(1, demand.vae.channels, 1, height // 8, width // 8, device="meta")
    with FlashShapes(), Ledger() as ledger:
        decoders = [VaeDecoder(vae, step) for _ in range(streams)]
        for _ in range(2):  # the first latent has no past
            for made in decode_together([(d, latent) for d in decoders], streams):
                if isinstance(made, Failed):
                    raise made.error
        past, decode = ledger.live, ledger.peak - ledger.live
    picture = torch.empty(1, 3, height, width, device="meta")
    frames = demand.card.recipe.frames_at(width, height) or 1
    with FlashShapes(), Ledger() as ledger:
        encode_reference(vae, demand.config, picture, frames)
    return past, decode, ledger.peak
