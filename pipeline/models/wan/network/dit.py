"""The Wan transformer, whole, with either audio layout.

Letters: B batch, C channels, T latents, S tokens of one latent, D width.

``encode`` computes once a chunk what does not depend on the noise level (keys and values of text,
image and audio), ``modulation`` once and for all what depends on nothing else; ``forward`` runs one
denoising step. Parameters carry the original names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.attention.cache import Recalling
from pipeline.attention.exact import Attend, attend
from pipeline.models.wan.config import AddedAudio, WanConfig, family
from pipeline.models.wan.network.audio_conditioning import AddedProjection, AttendedProjection
from pipeline.models.wan.network.block import Block, BlockCondition, Causal, Reach
from pipeline.models.wan.network.kv_ring import Memory
from pipeline.models.wan.network.layers import (
    LayerNorm,
    Table,
    modulate,
    rotary_grid,
    rotary_type,
    time_sinusoid,
)
from pipeline.models.wan.network.speakers import PERSONS

FLOAT32 = ("time_embedding.", "time_projection.", "modulation")  # float32 whatever the rest is
Speech = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Modulation:
    """The modulation of every block and the head by the noise level: float32, B or 1, T or 1."""

    blocks: list[Tensor]  # each (B, T, 6, D)
    head: Tensor  # (B, T, 2, D)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How one forward may save work; the default saves nothing."""

    attend: Attend = attend  # of self-attention
    reuse: Recalling | None = None  # what self-attention gave at the steps before `step`
    step: int = 0


class Head(nn.Module):
    """Modulated norm and projection to the patch; the time embedding enters as it is."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config.dim, eps=config.eps, elementwise_affine=False)
        self.head = nn.Linear(config.dim, math.prod(config.patch) * config.latent_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)

    def modulated(self, embedded: Tensor) -> Tensor:
        """float32 (B, T or 1, 2, D) of the time embedding (B, T or 1, D)."""
        return self.modulation.float()[:, None] + embedded[:, :, None]

    def forward(self, x: Tensor, mod: Tensor) -> Tensor:
        """x (B, N, D), ``mod`` from ``modulated``."""
        shift, scale = mod.unbind(2)
        return self.head(modulate(x, self.norm, shift, scale))  # type: ignore[no-any-return]


class ImageProjection(nn.Module):
    """CLIP features (B, 257, 1280) -> (B, 257, D); exact GELU, norms before and after."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(inputs, eps=1e-5), nn.Linear(inputs, inputs), nn.GELU(),
            nn.Linear(inputs, dim), nn.LayerNorm(dim, eps=1e-5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)  # type: ignore[no-any-return]


class WanDiT(nn.Module):
    """Velocity of noisy latents, given a chunk's condition."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        dim, audio = config.dim, config.audio
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, config.patch, config.patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(
            nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head = Head(config)
        if config.image_dim is not None:
            self.img_emb = ImageProjection(config.image_dim, dim)
        if isinstance(audio, AddedAudio):
            self.audio_proj: nn.Module = AddedProjection(audio)
            self.audio_cond_projs = nn.ModuleList(
                nn.Linear(audio.hidden, dim) for _ in range(audio.injections)
            )
        elif audio is not None:
            self.audio_proj = AttendedProjection(audio)
        self.carrier: Callable[[], Iterable[nn.Module]] | None = None  # brings blocks from afar

    @property
    def dtype(self) -> torch.dtype:
        """Type of the large weights; time embedding and modulation stay float32."""
        return self.patch_embedding.weight.dtype

    def encode(
        self,
        text: Tensor,
        image: Tensor | None = None,
        audio: Speech | None = None,
        areas: Tensor | None = None,
    ) -> list[BlockCondition]:
        """The condition of each block, for any number of denoising steps.

        ``text`` (B, up to 512, 4096) is padded with zeros to its full length before the text MLP,
        and the padding is attended to. ``image`` (B, 257, 1280). ``audio`` of layout A is (B, T,
        4 C) from ``group_frames``, of layout B the pair from ``latent_steps``; where two people
        speak each of the pair has them as second dimension, and ``areas`` (B, 3, S) says where
        they are (``speakers.regions``).
        """
        self._check(text, image, audio)
        padded = F.pad(text, (0, 0, 0, self.config.text_tokens - text.shape[1]))
        words = self.text_embedding(padded.to(self.dtype))
        picture = None if image is None else self.img_emb(image.to(self.dtype))
        heard = self._hear(audio)
        return [
            BlockCondition(
                text=block.cross_attn.prepare_text(words),
                image=None if picture is None else block.cross_attn.prepare_image(picture),
                added=self._added(heard, i),
                audio=self._attended(heard, block, 1 if areas is None else PERSONS),
                areas=areas,
            )
            for i, block in enumerate(self.carry())
        ]

    def carry(self) -> Iterable[Block]:
        """The blocks in their order, each on the device while it is at hand."""
        return self._layers if self.carrier is None else self.carrier()  # type: ignore[return-value]

    @property
    def _layers(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _check(self, text: Tensor, image: Tensor | None, audio: Speech | None) -> None:
        config = self.config
        if text.shape[1] > config.text_tokens:
            raise ValueError(f"{text.shape[1]} text tokens, at most {config.text_tokens} fit")
        for name, given, wanted in (
            ("image", image is not None, config.image_dim is not None),
            ("audio", audio is not None, config.audio is not None),
        ):
            if given != wanted:
                raise ValueError(f"{name} is {'given' if given else 'missing'}, and this model "
                                 f"takes {'one' if wanted else 'none'}")  # fmt: skip

    def _hear(self, audio: Speech | None) -> Tensor | None:
        if audio is None:
            return None
        parts = (audio,) if isinstance(audio, Tensor) else audio
        if isinstance(audio, Tensor) or parts[0].ndim == 4:
            return self.audio_proj(*(part.to(self.dtype) for part in parts))  # type: ignore[no-any-return]
        batch, persons = parts[0].shape[:2]
        apart = self.audio_proj(*(part.flatten(0, 1).to(self.dtype) for part in parts))
        return torch.cat(apart.unflatten(0, (batch, persons)).unbind(1), dim=2)

    def _added(self, heard: Tensor | None, block: int) -> Tensor | None:
        if not isinstance(self.config.audio, AddedAudio) or heard is None:
            return None
        index = block - 2
        if not 0 <= index < len(self.audio_cond_projs):
            return None
        return self.audio_cond_projs[index](heard)  # type: ignore[no-any-return]

    def _attended(
        self, heard: Tensor | None, block: nn.Module, persons: int
    ) -> tuple[Tensor, Tensor] | None:
        if heard is None or isinstance(self.config.audio, AddedAudio):
            return None
        return block.audio_cross_attn.prepare(heard, persons)  # type: ignore[no-any-return,operator,union-attr]

    def modulation(self, t: Tensor) -> Modulation:
        """Modulation of blocks and head by levels ``t`` in [0, 1000], (B,) or per latent (B, T)."""
        levels = t[:, None] if t.ndim == 1 else t
        embedded = self.time_embedding(time_sinusoid(levels, self.config.freq_dim))
        mod = self.time_projection(embedded).unflatten(-1, (6, -1))
        return Modulation([b.modulated(mod) for b in self._layers], self.head.modulated(embedded))

    def table(
        self, size: torch.Size | tuple[int, ...], start: int = 0, ring: Memory | None = None
    ) -> Table:
        """Rotary positions of latents (B, C, T, h, w) numbered from ``start``, and of the past
        that ``ring`` keeps before them; the same for every step of a chunk."""
        _, rows, columns = self.config.patch
        frames, height, width = size[2], size[3] // rows, size[4] // columns
        device = self.patch_embedding.weight.device
        times = torch.arange(start, start + frames) if ring is None else ring.places(start, frames)
        theta = family()["transformer"]["theta"]
        wide = rotary_type(self.dtype)
        cos, sin = rotary_grid(times.to(device), height, width, self.config.head_dim, theta)
        return cos.to(wide), sin.to(wide)

    def forward(
        self,
        x: Tensor,
        t: Tensor | Modulation,
        conditions: list[BlockCondition],
        *,
        start: int = 0,
        causal: Causal | None = None,
        ring: Memory | None = None,
        keep: bool = False,
        table: Table | None = None,
        shortcut: Shortcut | None = None,
    ) -> Tensor:
        """Velocity float32 (B, 16, T, h, w) of ``x`` (B, C, T, h, w), all its input channels.

        ``t`` in [0, 1000]: (B,), or a level per latent (B, T); or their ``modulation``. ``start``
        numbers the first latent. With a ``ring``, latents attend to what it keeps as well, and
        ``keep`` stores them in it; without, to each other, all of them or as ``causal`` allows.
        """
        short = shortcut or Shortcut()
        if keep and short.reuse is not None:
            raise ValueError("keys that are kept are never those of another step")
        mod = t if isinstance(t, Modulation) else self.modulation(t)
        grid = self.patch_embedding(x.to(self.dtype))  # (B, D, T, h / 2, w / 2)
        frames, height, width = grid.shape[2:]
        tokens = grid.flatten(2).transpose(1, 2).contiguous()  # (B, N, D), as blocks leave them
        places = self.table(x.shape, start, ring) if table is None else table
        reach = Reach(places, frames, causal, short.attend)
        kept = []
        for i, block in enumerate(self.carry()):
            past = None if ring is None else ring.past(i, frames)
            again = None if short.reuse is None else short.reuse.recall(short.step, i)
            tokens = _added(tokens, conditions[i].added, frames)
            tokens, attended, own = block(tokens, mod.blocks[i], conditions[i], reach, past, again)
            if short.reuse is not None and again is None:
                short.reuse.keep(short.step, i, attended)
            if keep and own is not None:
                kept.append(own)
        out = self._unpatch(self.head(tokens, mod.head), frames, height, width)
        if ring is not None and keep:  # last, so that a forward that fails keeps nothing
            ring.keep(start, frames, kept)
        return out

    def _unpatch(self, x: Tensor, frames: int, height: int, width: int) -> Tensor:
        """(B, N, patch and channel, channel fastest) -> float32 (B, 16, T, h, w)."""
        pt, ph, pw = self.config.patch
        x = x.view(x.shape[0], frames, height, width, pt, ph, pw, -1)
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3).float()


def _added(tokens: Tensor, added: Tensor | None, frames: int) -> Tensor:
    """Tokens (B, N, D) with one vector a latent (B, T, D) on top, here and not in the block: so all
    blocks are one compiled function."""
    if added is None:
        return tokens
    return (tokens.unflatten(1, (frames, -1)) + added[:, :, None]).flatten(1, 2)  # type: ignore[no-any-return]


def keep_float32(name: str) -> bool:
    """Whether a parameter stays float32 when the model runs in a smaller type."""
    return name.startswith(FLOAT32[:2]) or name.endswith(FLOAT32[2])
