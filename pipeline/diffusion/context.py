"""Latent context: what a chunk sees of the past, by absolute latent index.

Clean latents and audio embeddings are kept in rings of constant size.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Timeline:
    """The last ``capacity`` columns of something that has one column per latent.

    ``dim`` is the time dimension of the tensors appended. Reading a span gives zeros and False
    where nothing is known: before the beginning, after the end, or too long ago.
    """

    def __init__(self, like: Tensor, dim: int, capacity: int) -> None:
        self._dim, self._capacity = dim, capacity
        self._empty = like.narrow(dim, 0, 1) * 0
        self.clear()

    def clear(self) -> None:
        """Forget everything; the next column is number 0 again."""
        self._kept = self._empty.narrow(self._dim, 0, 0)
        self.end = 0

    @property
    def start(self) -> int:
        """Index of the oldest column kept."""
        return self.end - self._kept.shape[self._dim]

    def append(self, columns: Tensor) -> None:
        """Add columns at the end, dropping the oldest past the capacity."""
        joined = torch.cat([self._kept, columns], dim=self._dim)
        drop = max(0, joined.shape[self._dim] - self._capacity)
        self._kept = joined.narrow(self._dim, drop, joined.shape[self._dim] - drop)
        self.end += columns.shape[self._dim]

    def truncate(self, end: int) -> None:
        """Forget the columns from ``end`` on; the next one appended is number ``end``."""
        if not self.start <= end <= self.end:
            raise ValueError(f"columns {self.start}-{self.end} cannot be cut at {end}")
        self._kept = self._kept.narrow(self._dim, 0, end - self.start)
        self.end = end

    def read(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Columns [start, start + length) and which of them are known, bool (length,)."""
        shape = list(self._kept.shape)
        shape[self._dim] = length
        out, known = self._empty.new_zeros(shape), torch.zeros(length, dtype=torch.bool)
        first, stop = max(start, self.start), min(start + length, self.end)
        if first < stop:
            piece = self._kept.narrow(self._dim, first - self.start, stop - first)
            out.narrow(self._dim, first - start, stop - first).copy_(piece)
            known[first - start : stop - start] = True
        return out, known
