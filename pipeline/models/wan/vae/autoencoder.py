"""The causal 3D autoencoder: frames <-> latents, 4 x 8 x 8 to one, streaming both ways.

Letters: B batch, C channels, T frames or latents, H rows, W columns.

Every convolution in time looks back only, so what a stream has to remember is the last one or two
inputs of each: a ``Past``, kept by the stream. The first frame (the first latent) goes alone; after
it, four frames make a latent. A whole clip is a stream that was not interrupted. Parameters carry
the original names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ModelMismatch
from pipeline.models.wan.config import Shapes, family

Past = dict[nn.Module, Tensor]
DecodeStep = Callable[[Tensor, Past], Tensor]  # one latent -> its frames


@dataclass(frozen=True, slots=True)
class VaeConfig:
    channels: int
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    temporal: tuple[bool, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.temporal) != len(self.multipliers) - 1:
            raise ValueError(f"{len(self.multipliers)} stages need {len(self.multipliers) - 1} "
                             f"temporal flags, not {len(self.temporal)}")  # fmt: skip
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"{self.channels} channels, {len(self.mean)} means and "
                             f"{len(self.std)} deviations")  # fmt: skip


def published_vae() -> VaeConfig:
    """The one VAE of the family."""
    told = family()["vae"]
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return VaeConfig(**values)


def vae_from_shapes(shapes: Shapes) -> VaeConfig:
    """The family's VAE at the width that its tensors tell; ``ModelMismatch`` for another one."""
    try:
        width, channels = shapes["encoder.conv1.weight"][0], shapes["conv2.weight"][0]
    except KeyError as error:
        raise ModelMismatch(f"these tensors are no Wan autoencoder: {error} is missing") from error
    config = published_vae()
    if channels != config.channels:
        raise ModelMismatch(f"this autoencoder has {channels} latent channels, the family's has "
                            f"{config.channels}")  # fmt: skip
    return replace(config, width=width)


class CausalConv(nn.Conv3d):
    """3D convolution that sees past and present: zeros before the first input."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=(0, kernel // 2, kernel // 2))
        self.look_back = kernel - 1

    def forward(self, x: Tensor, past: Past) -> Tensor:  # type: ignore[override]
        if self.look_back:
            before = past.get(self)
            if before is None:
                before = x.new_zeros(*x.shape[:2], self.look_back, *x.shape[3:])
            x = torch.cat([before, x], dim=2)
            past[self] = x[:, :, -self.look_back :].clone()
        return super().forward(x)


class TimeConv(nn.Conv3d):
    """Three-tap convolution in time, told its past by the caller."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, (3, 1, 1), (stride, 1, 1))


class ChannelNorm(nn.Module):
    """Unit root-mean-square over channels, times gamma; in float32."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * dims))
        self.fused: Callable[[Tensor, Tensor], Tensor] | None = None  # with what follows, at once

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None:
            return self.fused(x, self.gamma)
        unit = F.normalize(x.float(), dim=1).type_as(x)
        return unit * x.shape[1] ** 0.5 * self.gamma  # type: ignore[no-any-return]


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(inputs, 3), nn.SiLU(), CausalConv(inputs, outputs, 3),
            ChannelNorm(outputs, 3), nn.SiLU(), nn.Dropout(0.0), CausalConv(outputs, outputs, 3),
        )  # fmt: skip
        self.shortcut = CausalConv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, past: Past) -> Tensor:
        skip = self.shortcut(x, past) if isinstance(self.shortcut, CausalConv) else x
        return run(self.residual, x, past) + skip


class FrameAttention(nn.Module):
    """Each frame's pixels attend to each other; one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        batch, _, _, height, _ = x.shape
        frames = x.transpose(1, 2).flatten(0, 1)  # (B T, C, H, W)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)
        q, k, v = (y[:, None].contiguous() for y in qkv.chunk(3, dim=-1))
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        out = self.proj(seen.unflatten(2, (height, -1)))
        return x + out.unflatten(0, (batch, -1)).transpose(1, 2)  # type: ignore[no-any-return]


def _per_frame(layers: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = layers(x.transpose(1, 2).flatten(0, 1))
    return out.unflatten(0, (x.shape[0], -1)).transpose(1, 2)  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Half the rows and columns, and half the frames if ``temporal``."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2)
        )
        if temporal:
            self.time_conv = TimeConv(channels, channels, 2)
        self.temporal = temporal

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = _per_frame(self.resample, x)
        if not self.temporal:
            return x
        before, past[self] = past.get(self), x[:, :, -1:].clone()
        if before is None:  # the first frame stays one
            return x
        return self.time_conv(torch.cat([before, x], dim=2))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Twice the rows and columns, half the channels, and twice the frames if ``temporal``."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest-exact"),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )
        if temporal:
            self.time_conv = TimeConv(channels, 2 * channels, 1)
        self.temporal = temporal

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return _per_frame(self.resample, self._in_time(x, past) if self.temporal else x)

    def _in_time(self, x: Tensor, past: Past) -> Tensor:
        before = past.get(self)
        if before is None:  # the first latent is one frame, and the second sees nothing before it
            past[self] = x.new_zeros(*x.shape[:2], 2, *x.shape[3:])
            return x
        joined = torch.cat([before, x], dim=2)
        past[self] = joined[:, :, -2:].clone()
        pairs = self.time_conv(joined).unflatten(1, (2, -1))  # (B, 2, C, T, H, W)
        return pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)  # type: ignore[no-any-return]


def run(layers: nn.Sequential, x: Tensor, past: Past) -> Tensor:
    """A sequence in which some layers remember."""
    for layer in layers:
        remembers = isinstance(layer, (CausalConv, Residual, FrameAttention, Downsample, Upsample))
        x = layer(x, past) if remembers else layer(x)
    return x


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(
        Residual(channels, channels), FrameAttention(channels), Residual(channels, channels)
    )


def _head(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ChannelNorm(channels, 3), nn.SiLU(), CausalConv(channels, outputs, 3))


def _residuals(inputs: int, outputs: int, count: int) -> Iterator[nn.Module]:
    for i in range(count):
        yield Residual(inputs if i == 0 else outputs, outputs)


class Encoder(nn.Module):
    """Frames (B, 3, T, H, W) -> means and log variances (B, 32, T', H / 8, W / 8)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in (1, *config.multipliers)]
        self.conv1 = CausalConv(3, widths[0], 3)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += _residuals(inputs, outputs, config.blocks)
            if i < len(config.temporal):
                layers.append(Downsample(outputs, config.temporal[i]))
        self.downsamples = nn.Sequential(*layers)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * config.channels)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = run(self.downsamples, self.conv1(x, past), past)
        return run(self.head, run(self.middle, x, past), past)


class Decoder(nn.Module):
    """Latents (B, 16, T, h, w) -> frames (B, 3, T', 8 h, 8 w)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in (config.multipliers[-1], *config.multipliers[::-1])]
        self.conv1 = CausalConv(config.channels, widths[0], 3)
        self.middle = _middle(widths[0])
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += _residuals(inputs // 2 if i else inputs, outputs, config.blocks + 1)
            if i < len(config.temporal):
                layers.append(Upsample(outputs, config.temporal[::-1][i]))
        self.upsamples = nn.Sequential(*layers)
        self.head = _head(widths[-1], 3)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = run(self.middle, self.conv1(x, past), past)
        return run(self.head, run(self.upsamples, x, past), past)


class WanVae(nn.Module):
    """Frames in [-1, 1] (B, 3, 1 + 4 n, H, W) <-> latents (B, 16, 1 + n, H / 8, W / 8)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.conv1 = CausalConv(2 * config.channels, 2 * config.channels, 1)
        self.conv2 = CausalConv(config.channels, config.channels, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """Normalised mean latents, float32."""
        return VaeEncoder(self).push(frames)

    def decode(self, latents: Tensor) -> Tensor:
        """Frames clamped to [-1, 1], float32."""
        return VaeDecoder(self).push(latents)

    def encode_step(self, frames: Tensor, past: Past) -> Tensor:
        """One latent from its frames: the first one from one frame, the others from four."""
        moments = self.conv1(self.encoder(frames.to(self.dtype), past), past)
        mean: Tensor = moments[:, : self.config.channels].float()  # the variance half is not used
        return (mean - _column(self.config.mean, mean)) / _column(self.config.std, mean)

    def decode_step(self, latent: Tensor, past: Past) -> Tensor:
        """The frames of one latent: one of the first, four of the others."""
        frames: Tensor = self.decoder(self.raw(latent, past), past)
        return frames.float().clamp(-1, 1)

    def raw(self, latent: Tensor, past: Past) -> Tensor:
        """What the decoder reads, of a normalised latent."""
        wide = latent.float()
        values = wide * _column(self.config.std, wide) + _column(self.config.mean, wide)
        return self.conv2(values.to(self.dtype), past)  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.conv2.weight.dtype


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1, 1)


class VaeEncoder:
    """Streaming encode of one video: any split of the frames gives the same latents."""

    def __init__(self, vae: WanVae) -> None:
        self._vae = vae
        self.reset()

    def reset(self) -> None:
        """The next frame starts a video."""
        self._past: Past = {}
        self._pending: Tensor | None = None

    @torch.no_grad()
    def push(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, T, H, W) in [-1, 1]; returns the latents that they complete."""
        if self._pending is not None:
            frames = torch.cat([self._pending, frames], dim=2)
        done, used = [], 0
        while frames.shape[2] - used >= (need := 4 if self._past else 1):
            done.append(self._vae.encode_step(frames[:, :, used : used + need], self._past))
            used += need
        self._pending = frames[:, :, used:]
        if done:
            return torch.cat(done, dim=2)
        batch, _, _, height, width = frames.shape
        return frames.new_zeros(batch, self._vae.config.channels, 0, height // 8, width // 8)


class VaeDecoder:
    """Streaming decode of one video: any split of the latents gives the same frames, to the bit.

    ``step`` decodes one latent in another way than ``WanVae.decode_step``, by strips for example.
    """

    def __init__(self, vae: WanVae, step: DecodeStep | None = None) -> None:
        self.step = step or vae.decode_step
        self.reset()

    def reset(self) -> None:
        """The next latent starts a video."""
        self.past: Past = {}

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, T, h, w) -> their frames (B, 3, T', 8 h, 8 w) in [-1, 1]."""
        steps = [self.step(latents[:, :, i : i + 1], self.past)
                 for i in range(latents.shape[2])]  # fmt: skip
        return torch.cat(steps, dim=2)
