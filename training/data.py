"""Random crops of the corpus as training batches. Nothing is rendered: states and sound only.

Letters: B batch, L latents of a chunk, M latents of context, R latents of the encoder's reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.audio import HOP, AudioEncoder, SpeechFeatures
from pipeline.config import ModelConfig
from pipeline.vae import MotionVae
from training.corpus import STRIDE, Take, load_takes


@dataclass(frozen=True, slots=True)
class Batch:
    features: Tensor  # (B, 8 (R + M + L) + look-ahead, F)
    latents: Tensor  # (B, C, M + L, 1, P)
    context_valid: Tensor  # bool (B, M)
    audio_known: Tensor  # bool (B, M + L)
    reference: Tensor  # (B, R)
    prompts: list[str]


def read_corpus(folder: Path, prefix: str) -> list[Take]:
    """All takes of the shards whose names start with ``prefix``."""
    return [take for path in sorted(folder.glob(f"{prefix}-*.npz")) for take in load_takes(path)]


class Crops:
    """Draws chunks with their context from takes whose latents are precomputed."""

    def __init__(self, takes: list[Take], vae: MotionVae, config: ModelConfig) -> None:
        self._config, self._takes = config, takes
        self._past = config.chunks.context
        self._lead = self._past + 20  # AudioEncoder.reach
        silence = SpeechFeatures(config.audio.mel_bands).push(
            np.zeros(HOP * STRIDE * self._lead, np.float32)
        )
        self._silence: NDArray[np.float16] = silence.numpy().astype(np.float16)
        with torch.inference_mode():
            self._latents = [vae.encode(torch.from_numpy(t.states)[None])[0] for t in takes]
        weights = np.array([t.latents for t in takes], np.float64)
        self._weights = weights / weights.sum()

    def _features(self, take: Take, start: int, length: int) -> NDArray[np.float16]:
        first = STRIDE * (start - self._lead)
        last = STRIDE * (start + length) + self._config.audio.look_ahead_ms // 10
        if first >= 0:
            return take.features[first:last]
        return np.concatenate([self._silence[first:], take.features[:last]])

    def draw(self, rng: np.random.Generator, batch: int, length: int, live: bool) -> Batch:
        """``live`` chunks hear only their first latent, or nothing (a speculation)."""
        picks = rng.choice(len(self._takes), batch, p=self._weights)
        past = self._past
        features, latents, valid, known, references, prompts = [], [], [], [], [], []
        for pick in picks:
            take = self._takes[pick]
            start = int(rng.integers(0, take.latents - length + 1))
            if rng.random() < 0.08:
                start = 0
            features.append(torch.from_numpy(self._features(take, start, length)).float())
            chunk = torch.zeros(self._latents[pick].shape[0], past + length, 1, 5)
            first = max(0, start - past)
            span = self._latents[pick][:, first : start + length]
            chunk[:, past + length - span.shape[1] :] = span
            latents.append(chunk)
            ok = np.arange(start - past, start) >= 0
            heard = np.arange(-past, length) + start >= 0
            if live:
                speculative = rng.random() < 0.35
                hop = self._config.chunks.live_hop
                if speculative:
                    ok[-hop:] = False
                heard[past + (0 if speculative else hop + int(rng.integers(0, 2))) :] = False
            elif rng.random() < 0.5:
                ok[:] = False
            valid.append(torch.from_numpy(ok))
            known.append(torch.from_numpy(heard))
            references.append(torch.from_numpy(take.reference))
            prompts.append(take.prompt if rng.random() > 0.1 else "")
        return Batch(
            torch.stack(features), torch.stack(latents), torch.stack(valid), torch.stack(known),
            torch.stack(references), prompts,
        )  # fmt: skip


def encode_audio(encoder: AudioEncoder, features: Tensor, lead: int) -> Tensor:
    """Embeddings of the context and the chunk alone."""
    return encoder(features)[:, lead:]  # type: ignore[no-any-return]
