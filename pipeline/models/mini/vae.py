"""The motion VAE: body states <-> latents.

``temporal_stride`` body states become one latent of five part tokens (mouth, upper face, torso,
left arm, right arm): (B, C, T, 1, 5). Encoder and decoder are causal and work on each part
separately, so that a stream decodes latent by latent and gets the frames of the whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.mini.config import VaeConfig
from pipeline.models.mini.rig.state import INDEX, PARTS, SLICES, STATE_DIM

PART_COUNT: Final = len(PARTS)
_CARRIES: Final = {  # what turns the eyes when the lids' own part does not
    "gaze_yaw": ("head_yaw", "spine_yaw"),
    "gaze_pitch": ("head_pitch", "spine_pitch"),
}


def carried_gaze(sign: float) -> Tensor:
    """(88, 88): states @ this adds ``sign`` times the turns of head and spine to the gaze.

    Latents hold where the eyes look in the room, states where they look from the head: a steady
    look is a constant then, whatever the head does.
    """
    matrix = torch.eye(STATE_DIM)
    for gaze, turns in _CARRIES.items():
        matrix[[INDEX[turn] for turn in turns], INDEX[gaze]] = sign
    return matrix


class PartCoder(nn.Module):
    """A small causal network over ``window`` consecutive inputs, (B, T, I) -> (B, T, O)."""

    def __init__(self, inputs: int, outputs: int, width: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.skip = nn.Linear(inputs, outputs)
        self.net = nn.Sequential(
            nn.Linear(inputs * window, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        past = F.pad(x, (0, 0, self.window - 1, 0), mode="replicate")
        joined = past.unfold(1, self.window, 1).flatten(2)  # (B, T, I * window)
        return self.skip(x) + self.net(joined)  # type: ignore[no-any-return]


class MotionVae(nn.Module):
    """Body states (B, stride T, 88) <-> latents (B, C, T, 1, 5), unit variance per channel."""

    state_mean: Tensor
    state_std: Tensor
    latent_mean: Tensor
    latent_std: Tensor
    to_room: Tensor
    from_room: Tensor

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.stride, self.channels = config.temporal_stride, config.channels
        self.history = config.history
        sizes = [len(names) * self.stride for names in PARTS.values()]
        self.encoders = nn.ModuleList(
            PartCoder(size, 2 * self.channels, config.width, 2) for size in sizes
        )
        self.decoders = nn.ModuleList(
            PartCoder(self.channels, size, config.width, self.history + 1) for size in sizes
        )
        self.register_buffer("to_room", carried_gaze(1.0), persistent=False)
        self.register_buffer("from_room", carried_gaze(-1.0), persistent=False)
        self.register_buffer("state_mean", torch.zeros(STATE_DIM))
        self.register_buffer("state_std", torch.ones(STATE_DIM))
        self.register_buffer("latent_mean", torch.zeros(self.channels, 1, 1, PART_COUNT))
        self.register_buffer("latent_std", torch.ones(self.channels, 1, 1, PART_COUNT))

    def moments(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the raw posterior, each (B, C, T, 1, 5)."""
        x = (states @ self.to_room - self.state_mean) / self.state_std
        outs = []
        for part, encoder in zip(PARTS, self.encoders, strict=True):
            grouped = x[..., SLICES[part]].unflatten(1, (-1, self.stride)).flatten(2)
            outs.append(encoder(grouped))
        stacked = torch.stack(outs, dim=-1)[:, :, None]  # (B, T, 1, 2C, 5)
        mean, log_var = stacked.permute(0, 3, 1, 2, 4).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)

    def encode(self, states: Tensor) -> Tensor:
        """States (B, stride T, 88) -> normalised latents (B, C, T, 1, 5)."""
        return (self.moments(states)[0] - self.latent_mean) / self.latent_std

    def decode_raw(self, latents: Tensor) -> Tensor:
        outs = []
        for i, decoder in enumerate(self.decoders):
            out = decoder(latents[:, :, :, 0, i].transpose(1, 2))  # (B, T, size)
            outs.append(out.unflatten(2, (self.stride, -1)).flatten(1, 2))
        return (torch.cat(outs, dim=2) * self.state_std + self.state_mean) @ self.from_room

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, T, 1, 5) -> states (B, stride T, 88); the first latent is its own past."""
        return self.decode_raw(latents * self.latent_std + self.latent_mean)

    def decode_after(self, latents: Tensor) -> Tensor:
        """Latents (1, C, history + T, 1, 5) -> states (1, stride T, 88) of the last T."""
        return self.decode(latents)[:, self.history * self.stride :]


class Decoder(Protocol):
    """What a stream asks of a decoder, whatever runs it."""

    history: int

    def decode_after(self, latents: Tensor) -> Tensor: ...


class MotionDecoder:
    """Streaming decode of one performance: the feature cache is the last ``history`` latents.

    A part with an ``ease`` below 1 goes only so far from each frame towards the next: arms and
    torso come without a tremor, a frame later. Eyes keep their look in the room meanwhile.
    """

    def __init__(self, decoder: Decoder, ease: Sequence[float] = (1.0,) * PART_COUNT) -> None:
        self._decoder = decoder
        self._ease = torch.cat([
            torch.full((len(names),), share)
            for names, share in zip(PARTS.values(), ease, strict=True)
        ])  # fmt: skip
        self._to_room, self._from_room = carried_gaze(1.0), carried_gaze(-1.0)
        self.reset()

    def reset(self) -> None:
        """The next latent starts a performance."""
        self._cache: Tensor | None = None
        self._last: Tensor | None = None

    @torch.inference_mode()
    def push(self, latents: Tensor) -> Tensor:
        """Latents (C, T, 1, 5) -> states (stride T, 88), equal to a whole-clip decode."""
        history = self._decoder.history
        if self._cache is None:
            self._cache = latents[:, :1].expand(-1, history, -1, -1)
        joined = torch.cat([self._cache, latents], dim=1)
        self._cache = joined[:, joined.shape[1] - history :]
        return self._eased(self._decoder.decode_after(joined[None])[0])

    def _eased(self, states: Tensor) -> Tensor:
        """The frames (T, 88), each a part of the way from the one before."""
        states = states @ self._to_room
        last = states[0] if self._last is None else self._last
        eased = []
        for state in states:
            last = torch.lerp(last, state, self._ease)
            eased.append(last)
        self._last = last
        return torch.stack(eased) @ self._from_room
