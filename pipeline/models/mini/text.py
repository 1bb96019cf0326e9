"""Prompt encoder: a short style description ("calm, friendly") -> prompt tokens.

Words and neighbouring word pairs are hashed into a table (CRC-32, so the same everywhere). It needs
no vocabulary file, and paraphrases that share words share meaning.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import torch
from torch import Tensor, nn

from pipeline.models.mini.config import TextConfig

MAX_WORDS: Final = 64


def hash_prompt(prompt: str, buckets: int) -> Tensor:
    """Bucket numbers of a prompt's words and word pairs, int64 (n,); bucket 0 means empty."""
    words = re.findall(r"[^\W_]+", prompt.lower())[:MAX_WORDS]
    terms = words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    if not terms:
        return torch.zeros(1, dtype=torch.long)
    return torch.tensor([1 + zlib.crc32(term.encode()) % (buckets - 1) for term in terms])


class PromptEncoder(nn.Module):
    """Prompts -> (B, tokens, D)."""

    def __init__(self, config: TextConfig, dim: int) -> None:
        super().__init__()
        self.buckets, self.tokens = config.buckets, config.tokens
        self.table = nn.EmbeddingBag(config.buckets, config.embed_dim, mode="mean")
        self.mlp = nn.Sequential(
            nn.Linear(config.embed_dim, dim), nn.GELU(), nn.Linear(dim, dim * config.tokens)
        )

    def forward(self, prompts: list[str]) -> Tensor:
        hashed = [hash_prompt(prompt, self.buckets) for prompt in prompts]
        starts = torch.tensor([0] + [len(h) for h in hashed[:-1]]).cumsum(0)
        device = self.table.weight.device
        bags = self.table(torch.cat(hashed).to(device), starts.to(device))
        return self.mlp(bags).view(len(prompts), self.tokens, -1)  # type: ignore[no-any-return]
