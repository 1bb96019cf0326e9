"""Random crops of the corpus as training batches. Nothing is rendered: states and sound only.

Letters: B batch, L latents of a chunk, M latents of context, R latents of the encoder's reach.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.mini.audio import HOP, AudioEncoder, SpeechFeatures
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.vae import MotionVae
from training.corpus import STRIDE, Take, load_takes

SPECULATIVE: Final = 0.15  # of live chunks: what comes before the speech is known
DELIVERIES: Final = ("flat", "plain", "emphatic", "silence", "noise")


@dataclass(frozen=True, slots=True)
class Batch:
    latents: Tensor  # (B, C, M + L, 1, P)
    context_valid: Tensor  # bool (B, M)
    audio: Tensor  # (B, M + L, A)
    audio_known: Tensor  # bool (B, M + L)
    reference: Tensor  # (B, R)
    prompts: list[str]

    def to(self, device: torch.device) -> Batch:
        values = (getattr(self, f.name) for f in fields(self))
        return Batch(*(v.to(device) if isinstance(v, Tensor) else v for v in values))


def read_corpus(folder: Path, prefix: str) -> list[Take]:
    """All takes of the shards whose names start with ``prefix``."""
    return [take for path in sorted(folder.glob(f"{prefix}-*.npz")) for take in load_takes(path)]


class Crops:
    """Draws from takes whose latents are precomputed."""

    def __init__(self, takes: list[Take], vae: MotionVae, config: ModelConfig) -> None:
        self._config, self._takes = config, takes
        self._extra = config.audio.look_ahead_ms // 10
        self._reach = AudioEncoder.REACH
        silence = SpeechFeatures(config.audio.mel_bands).push(
            np.zeros(HOP * STRIDE * self._reach, np.float32)
        )
        self._silence: NDArray[np.float16] = silence.numpy().astype(np.float16)
        device = vae.state_mean.device
        with torch.no_grad():
            self._latents = [
                vae.encode(torch.from_numpy(t.states)[None].to(device))[0].cpu() for t in takes
            ]
        self._audio: list[Tensor] = []
        weights = np.array([t.latents for t in takes], np.float64)
        self._weights = weights / weights.sum()

    def _pick(self, rng: np.random.Generator, batch: int, length: int) -> list[tuple[int, int]]:
        picks = rng.choice(len(self._takes), batch, p=self._weights)
        return [(int(p), int(rng.integers(0, self._takes[p].latents - length + 1))) for p in picks]

    def _features(self, take: Take, start: int, length: int) -> NDArray[np.float16]:
        """Features under latents [start, start + length) with the encoder's reach before them."""
        first, last = STRIDE * (start - self._reach), STRIDE * (start + length) + self._extra
        if first >= 0:
            return take.features[first:last]
        return np.concatenate([self._silence[first:], take.features[:last]])

    def hearing(
        self, rng: np.random.Generator, batch: int, length: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, 8 (R + L) + look-ahead, F), the latents (B, C, L, 1, P) under them, and
        the number of each clip's delivery in ``DELIVERIES`` (B,).
        """
        picks = self._pick(rng, batch, length)
        features = np.stack([self._features(self._takes[p], s, length) for p, s in picks])
        latents = torch.stack([self._latents[p][:, s : s + length] for p, s in picks])
        deliveries = [DELIVERIES.index(self._takes[p].delivery) for p, _ in picks]
        return torch.from_numpy(features).float(), latents, torch.tensor(deliveries)

    @torch.no_grad()
    def hear(self, encoder: AudioEncoder, device: torch.device) -> None:
        """Embed the sound of every take with a finished encoder, for ``chunks``."""
        self._audio = []
        for take in self._takes:
            features = torch.from_numpy(self._features(take, 0, take.latents))
            embedded = encoder(features[None].float().to(device))[0, self._reach :]
            self._audio.append(embedded.cpu())

    def chunks(self, rng: np.random.Generator, batch: int, length: int, live: bool) -> Batch:
        """Chunks as the schedules meet them; needs ``hear`` first.

        ``live`` chunks hear what a tick shows, and perhaps a latent more, or nothing (a
        speculation, which also lacks the latents that are made beside it); half of the others
        have no context (inside a window).
        """
        past, hop = self._config.chunks.context, self._config.chunks.live_hop
        latents, valid, audio, known, references, prompts = [], [], [], [], [], []
        for pick, start in self._pick(rng, batch, length):
            start = 0 if rng.random() < 0.06 else start
            latents.append(self._padded(self._latents[pick], 1, start, past + length))
            audio.append(self._padded(self._audio[pick], 0, start, past + length))
            ok = np.arange(start - past, start) >= 0
            heard = np.arange(start - past, start + length) >= 0
            if live:
                speculative = rng.random() < SPECULATIVE
                if speculative:
                    ok[-hop:] = False
                heard[past + (0 if speculative else hop + int(rng.integers(0, 2))) :] = False
            elif rng.random() < 0.5:
                ok[:] = False
            valid.append(torch.from_numpy(ok))
            known.append(torch.from_numpy(heard))
            references.append(torch.from_numpy(self._takes[pick].reference))
            prompts.append(self._takes[pick].prompt if rng.random() > 0.1 else "")
        return Batch(
            torch.stack(latents), torch.stack(valid), torch.stack(audio), torch.stack(known),
            torch.stack(references), prompts,
        )  # fmt: skip

    def _padded(self, whole: Tensor, dim: int, start: int, length: int) -> Tensor:
        """Columns [start - M, start - M + length), zeros before the beginning."""
        first = start - self._config.chunks.context
        piece = whole.narrow(dim, max(0, first), length + min(0, first))
        if first >= 0:
            return piece
        zeros = torch.zeros_like(whole.narrow(dim, 0, 1)).repeat_interleave(-first, dim=dim)
        return torch.cat([zeros, piece], dim=dim)
