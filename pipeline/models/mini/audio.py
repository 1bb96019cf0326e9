"""Multi-scale speech features, and the audio encoder.

A frame of features belongs to one 10 ms hop and depends on past samples only: the spectrum of the
last 25 ms, pitch and voicing of the last 40 ms, and how energy, pitch, onsets and timbre compare
with the last half second to four seconds (emphasis, rhythm, speaker and channel). The encoder turns
them into one embedding per latent. It is causal except for a stated look-ahead, and its memory is
finite, so that a stream and a whole file give the same embeddings.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.mini.config import SAMPLE_RATE, AudioConfig

HOP: Final = 160
FRAMES_PER_SECOND: Final = SAMPLE_RATE // HOP
SPECTRUM: Final = 400  # samples of the spectral window
PITCH: Final = 640  # samples of the pitch window
HISTORY: Final = 400  # frames of the longest running mean
PITCH_HZ: Final = (70.0, 420.0)
OCTAVE_COST: Final = 0.03  # what a twice as long period must be better by
FLOOR: Final = 1e-5
COARSE_BANDS: Final = 12
SCALARS: Final = 4  # energy, voicing, pitch, onset
WINDOWS: Final = 8  # derived from running means


def feature_dim(mel_bands: int) -> int:
    """Channels of one feature frame."""
    return mel_bands + SCALARS + WINDOWS + COARSE_BANDS


def mel_filters(bands: int, n_fft: int, low_hz: float = 60.0, high_hz: float = 7600.0) -> Tensor:
    """Triangular filters on the mel scale (O'Shaughnessy), float32 (n_fft // 2 + 1, bands)."""

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    points = torch.linspace(mel(low_hz), mel(high_hz), bands + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (points / 2595.0) - 1.0)
    hz = torch.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return torch.clamp(torch.minimum(rising, falling), min=0).float()


class SpeechFeatures:
    """Streaming feature extractor: ``push`` samples, get the frames that they complete.

    Feature frame i covers samples [160 i, 160 (i + 1)). Any split of the same samples gives the
    same frames (to float32 rounding).
    """

    def __init__(self, mel_bands: int) -> None:
        self.dim = feature_dim(mel_bands)
        self._bands = mel_bands
        self._mel = mel_filters(mel_bands, 512)
        self._window = torch.hann_window(SPECTRUM)
        self._pitch_window = torch.hann_window(PITCH)
        self._window_correlation = _correlation(self._pitch_window)[: PITCH // 2]
        self._lags = [int(SAMPLE_RATE / hz) for hz in reversed(PITCH_HZ)]
        periods = torch.arange(min(self._lags[1], PITCH // 2) - self._lags[0])
        self._octave_cost = OCTAVE_COST * torch.log2(1.0 + periods / self._lags[0])
        self.reset()

    def reset(self) -> None:
        """Forget all past audio."""
        self._past = torch.zeros(PITCH - HOP)
        self._pending = torch.zeros(0)
        silence = self._base(torch.zeros(PITCH))
        self._history = silence.expand(HISTORY, -1).double()

    def push(self, pcm: NDArray[np.float32] | Tensor) -> Tensor:
        """Add float32 mono 16 kHz samples (N,); returns features (frames, dim)."""
        samples = torch.cat([self._pending, torch.as_tensor(pcm, dtype=torch.float32)])
        frames = len(samples) // HOP
        self._pending = samples[frames * HOP :].clone()
        if not frames:
            return torch.zeros(0, self.dim)
        audio = torch.cat([self._past, samples[: frames * HOP]])
        self._past = audio[frames * HOP :].clone()
        base = self._base(audio)
        joined = torch.cat([self._history, base.double()])
        self._history = joined[-HISTORY:].clone()
        return torch.cat([base, self._windows(joined, base)], dim=1)

    def _base(self, audio: Tensor) -> Tensor:
        """Short-time features of ``audio``, which starts PITCH - HOP samples before frame 0."""
        spans = audio.unfold(0, PITCH, HOP)  # (frames, PITCH)
        short = spans[:, PITCH - SPECTRUM :]
        power = torch.fft.rfft(short * self._window, n=512).abs().square()
        mel = torch.log(power @ self._mel / SPECTRUM + FLOOR) / 4.0 + 1.5
        energy = torch.log(short.square().mean(1, keepdim=True) + FLOOR) / 4.0 + 1.5
        voicing, pitch = self._pitch(spans)
        return torch.cat([mel, energy, voicing, pitch, self._onset(spans)], dim=1)

    def _onset(self, spans: Tensor) -> Tensor:
        """Rise of log energy inside the last 40 ms: (frames, 1)."""
        quarter = spans.view(len(spans), 4, PITCH // 4).square().mean(2)
        log = torch.log(quarter + FLOOR)
        return torch.relu(log[:, 2:].mean(1) - log[:, :2].mean(1))[:, None] / 2.0

    def _pitch(self, spans: Tensor) -> tuple[Tensor, Tensor]:
        """Voicing in [0, 1] and octaves above 150 Hz, weighted by voicing: two (frames, 1).

        Peak of the autocorrelation over that of the window (Boersma 1993).
        """
        centred = (spans - spans.mean(1, keepdim=True)) * self._pitch_window
        correlation = _correlation(centred)[:, : PITCH // 2]
        own, low = self._window_correlation, self._lags[0]
        normal = correlation / (correlation[:, :1] + 1e-4) / (own / own[0])
        peaks = normal[:, low : low + len(self._octave_cost)]
        lag = (peaks - self._octave_cost).argmax(1)
        voicing = ((peaks.gather(1, lag[:, None])[:, 0] - 0.3) / 0.6).clamp(0, 1)
        octaves = torch.log2(SAMPLE_RATE / (lag + low).float() / 150.0)
        return voicing[:, None], (octaves * voicing)[:, None]

    def _windows(self, joined: Tensor, base: Tensor) -> Tensor:
        """What running means tell; ``joined`` is HISTORY frames longer than ``base``."""
        total = F.pad(joined.cumsum(0), (0, 0, 1, 0))
        frames, bands = len(base), self._bands

        def mean(seconds: float) -> Tensor:
            span = int(seconds * FRAMES_PER_SECOND)
            ends = total[HISTORY + 1 : HISTORY + 1 + frames]
            return ((ends - total[HISTORY + 1 - span : HISTORY + 1 - span + frames]) / span).float()

        half, one, two, four = mean(0.5), mean(1.0), mean(2.0), mean(4.0)
        energy, voicing, pitch, onset = (slice(bands + i, bands + i + 1) for i in range(SCALARS))
        pitch_mean = four[:, pitch] / (four[:, voicing] + 0.05)
        tone = base[:, pitch] - base[:, voicing] * pitch_mean
        half_tone = half[:, pitch] - half[:, voicing] * pitch_mean
        coarse = F.adaptive_avg_pool1d(four[None, :, :bands], COARSE_BANDS)[0]
        return torch.cat(
            [
                base[:, energy] - one[:, energy],
                base[:, energy] - four[:, energy],
                half[:, energy] - four[:, energy],
                tone,
                half_tone,
                one[:, onset] * 4.0,
                two[:, onset] * 4.0,
                one[:, voicing],
                coarse,
            ],
            dim=1,
        )


def _correlation(x: Tensor) -> Tensor:
    """Autocorrelation of windows (..., PITCH), by lag."""
    power = torch.fft.rfft(x, n=2 * PITCH).abs().square()
    return cast(Tensor, torch.fft.irfft(power))


class CausalConv(nn.Module):
    """1D convolution of the past only, as one matrix product: (B, T, C) -> (B, T / stride, C')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.mix = nn.Linear(inputs * kernel, outputs)
        self.channels = inputs
        self.memory = (kernel - 1) * dilation - (stride - 1)  # inputs of the past that it hears

    @property
    def starts(self) -> range:
        """Where each tap begins in memory and inputs together."""
        return range(0, self.kernel * self.dilation, self.dilation)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """``past`` (B, memory, C) are the inputs just before; also returns those of the next."""
        joined = torch.cat([past, x], dim=1)
        last = x.shape[1] - self.stride + 1
        taps = [joined[:, i : i + last : self.stride] for i in self.starts]
        return self.mix(torch.cat(taps, dim=-1)), joined[:, -self.memory :]


class Residual(nn.Module):
    """Pre-norm causal residual block, (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = CausalConv(width, width, 3, dilation=dilation)
        self.out = nn.Linear(width, width)

    @property
    def channels(self) -> int:
        return self.mix.channels

    @property
    def memory(self) -> int:
        return self.mix.memory

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        mixed, past = self.mix(self.norm(x), past)
        return x + self.out(F.gelu(mixed)), past


class AudioEncoder(nn.Module):
    """Features at 100 Hz -> one embedding per latent.

    Embedding n depends on feature frames up to 8 (n + 1) + look-ahead and ``REACH`` latents of past
    at this layer (the features themselves remember four seconds).
    """

    STRIDE: Final = 8  # feature frames per latent
    REACH: Final = 20  # latents of past that an embedding may hear at this layer

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        width, dim = config.width, config.embed_dim
        self.look_ahead, self.dim = config.look_ahead_ms // 10, dim  # feature frames
        self.inputs = nn.Linear(feature_dim(config.mel_bands), width)
        self.down = nn.ModuleList(
            layer
            for _ in range(3)
            for layer in (Residual(width, 1), CausalConv(width, width, 4, stride=2))
        )
        self.widen = nn.Linear(width, dim)
        self.long = nn.ModuleList(Residual(dim, dilation) for dilation in (1, 2, 4))
        self.norm = nn.LayerNorm(dim)

    def nothing(self, batch: int = 1) -> list[Tensor]:
        """The initial memory of the layers: zeros."""
        layers = [*self.down, *self.long]
        like = self.norm.weight
        return [like.new_zeros(batch, layer.memory, layer.channels) for layer in layers]

    def forward(self, features: Tensor) -> Tensor:
        """(B, 8 T + look_ahead, F) -> (B, T, D); the first ``REACH`` outputs lack their past."""
        return self.hear(features[:, self.look_ahead :], self.nothing(len(features)))[0]

    def hear(self, features: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(B, 8 T, F) after what ``memory`` remembers -> (B, T, D), and the memory after them.

        Each frame is computed once, however long the recording; the look-ahead is the caller's.
        """
        x = self.inputs(features)
        kept: list[Tensor] = []
        for layer, past in zip([*self.down, *self.long], memory, strict=True):
            if len(kept) == len(self.down):
                x = self.widen(x)
            x, past = layer(x, past)
            kept.append(past)
        return self.norm(x), kept


class SpeechEncoder(Protocol):
    """What a stream asks of an audio encoder, whatever runs it."""

    look_ahead: int
    dim: int

    def nothing(self) -> list[Tensor]: ...

    def hear(self, features: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]: ...


class AudioStream:
    """Embeddings of a growing recording, each computed once, when its look-ahead has arrived."""

    def __init__(self, encoder: SpeechEncoder, mel_bands: int) -> None:
        self._encoder = encoder
        self._features = SpeechFeatures(mel_bands)
        self.reset()

    @torch.inference_mode()
    def reset(self) -> None:
        """Forget all past audio; before the first sample there is silence."""
        stride, look_ahead = AudioEncoder.STRIDE, self._encoder.look_ahead
        self._features.reset()
        silence = self._features.push(np.zeros(HOP, np.float32))
        self._features.reset()
        warm = silence.expand(stride * AudioEncoder.REACH, -1)[None]
        _, self._memory = self._encoder.hear(warm, self._encoder.nothing())
        # Embeddings start with the stream but are heard ``look_ahead`` later: the first ones that
        # come out belong to the silence before it.
        self._early = -(-look_ahead // stride)
        self._pending = silence.expand(self._early * stride - look_ahead, -1)

    @torch.inference_mode()
    def push(self, pcm: NDArray[np.float32]) -> Tensor:
        """Add samples; returns the embeddings (n, D) that became final."""
        self._pending = torch.cat([self._pending, self._features.push(pcm)])
        whole = len(self._pending) // AudioEncoder.STRIDE * AudioEncoder.STRIDE
        if not whole:
            return torch.zeros(0, self._encoder.dim)
        fresh = self._pending[None, :whole]
        self._pending = self._pending[whole:].clone()
        out, self._memory = self._encoder.hear(fresh, self._memory)
        early = min(self._early, out.shape[1])
        self._early -= early
        return out[0, early:]
