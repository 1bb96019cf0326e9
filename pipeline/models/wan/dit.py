"""The Wan transformer, whole, with either audio layout.

Letters: B batch, C channels, T latents, S tokens of one latent, D width.

``encode`` computes once a chunk what does not depend on the noise level (keys and values of text,
image and audio); ``forward`` runs one denoising step. Parameters carry the original names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.wan.block import Block, Causal, Hint, Reach
from pipeline.models.wan.config import AddedAudio, WanConfig, family
from pipeline.models.wan.hearing import AddedProjection, AttendedProjection
from pipeline.models.wan.layers import LayerNorm, modulate, rotary_grid, time_sinusoid
from pipeline.models.wan.ring import KvRing

FLOAT32 = ("time_embedding.", "time_projection.", "modulation")  # float32 whatever the rest is
Speech = Tensor | tuple[Tensor, Tensor]


class Head(nn.Module):
    """Modulated norm and projection to the patch; the time embedding enters as it is."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config.dim, eps=config.eps, elementwise_affine=False)
        self.head = nn.Linear(config.dim, math.prod(config.patch) * config.latent_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """x (B, N, D), embedded float32 (B, T or 1, D)."""
        shift, scale = (self.modulation.float()[:, None] + embedded[:, :, None]).unbind(2)
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
    """Velocity of noisy latents under what a chunk is told."""

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

    @property
    def dtype(self) -> torch.dtype:
        """Type of the large weights; time embedding and modulation stay float32."""
        return self.patch_embedding.weight.dtype

    def encode(
        self, text: Tensor, image: Tensor | None = None, audio: Speech | None = None
    ) -> list[Hint]:
        """What each block is told, for any number of denoising steps.

        ``text`` (B, up to 512, 4096) is padded with zeros to its full length before the text MLP,
        and the padding is attended to. ``image`` (B, 257, 1280). ``audio`` of layout A is (B, T,
        4 C) from ``hearing.group_frames``, of layout B the pair from ``hearing.latent_steps``.
        """
        self._check(text, image, audio)
        padded = F.pad(text, (0, 0, 0, self.config.text_tokens - text.shape[1]))
        words = self.text_embedding(padded.to(self.dtype))
        picture = None if image is None else self.img_emb(image.to(self.dtype))
        heard = self._hear(audio)
        return [
            Hint(
                text=block.cross_attn.prepare_text(words),
                image=None if picture is None else block.cross_attn.prepare_image(picture),
                added=self._added(heard, i),
                audio=self._attended(heard, block),
            )
            for i, block in enumerate(self._layers)
        ]

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
        return self.audio_proj(*(part.to(self.dtype) for part in parts))  # type: ignore[no-any-return]

    def _added(self, heard: Tensor | None, block: int) -> Tensor | None:
        if not isinstance(self.config.audio, AddedAudio) or heard is None:
            return None
        index = block - 2
        if not 0 <= index < len(self.audio_cond_projs):
            return None
        return self.audio_cond_projs[index](heard)  # type: ignore[no-any-return]

    def _attended(self, heard: Tensor | None, block: nn.Module) -> tuple[Tensor, Tensor] | None:
        if heard is None or isinstance(self.config.audio, AddedAudio):
            return None
        return block.audio_cross_attn.prepare(heard)  # type: ignore[no-any-return,operator,union-attr]

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        told: list[Hint],
        *,
        start: int = 0,
        causal: Causal | None = None,
        ring: KvRing | None = None,
        keep: bool = False,
    ) -> Tensor:
        """Velocity float32 (B, 16, T, h, w) of ``x`` (B, C, T, h, w), all its input channels.

        ``t`` in [0, 1000]: (B,), or a level per latent (B, T). ``start`` numbers the first latent.
        With a ``ring``, latents attend to what it keeps as well, and ``keep`` stores them in it;
        without, to each other, all of them or as ``causal`` allows.
        """
        grid = self.patch_embedding(x.to(self.dtype))  # (B, D, T, h / 2, w / 2)
        _, _, frames, height, width = grid.shape
        tokens = grid.flatten(2).transpose(1, 2)  # (B, N, D)
        embedded, mod = self._time(t)
        times = torch.arange(start, start + frames)
        places = (times if ring is None else ring.places(start, frames)).to(x.device)
        theta = family()["transformer"]["theta"]
        table = rotary_grid(places, height, width, self.config.head_dim, theta)
        reach = Reach(table, frames, causal)
        kept = []
        for i, (block, hint) in enumerate(zip(self.blocks, told, strict=True)):
            past = None if ring is None else ring.past(i, frames)
            tokens, own = block(tokens, mod, hint, reach, past)
            if keep:
                kept.append(own)
        if ring is not None and keep:
            ring.keep(start, frames, kept)
        return self._unpatch(self.head(tokens, embedded), frames, height, width)

    def _time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding (B, T or 1, D) and block modulation (B, T or 1, 6, D), float32."""
        levels = t[:, None] if t.ndim == 1 else t
        embedded = self.time_embedding(time_sinusoid(levels, self.config.freq_dim))
        return embedded, self.time_projection(embedded).unflatten(-1, (6, -1))

    def _unpatch(self, x: Tensor, frames: int, height: int, width: int) -> Tensor:
        """(B, N, patch and channel, channel fastest) -> float32 (B, 16, T, h, w)."""
        pt, ph, pw = self.config.patch
        x = x.view(x.shape[0], frames, height, width, pt, ph, pw, -1)
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3).float()


def keep_float32(name: str) -> bool:
    """Whether a parameter stays float32 when the model runs in a smaller type."""
    return name.startswith(FLOAT32[:2]) or name.endswith(FLOAT32[2])
