"""Which latents belong to which chunk. Pure: integers in, integers out.

Consecutive chunks overlap: the tail of one and the head of the next are the same latents.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """Latents [start, start + length), of which [start, start + left) and the last ``right`` are
    shared with the neighbours."""

    start: int
    length: int
    left: int
    right: int

    @property
    def stop(self) -> int:
        return self.start + self.length


def plan(start: int, total: int, length: int, overlap: int) -> list[Chunk]:
    """Chunks of exactly ``length`` that cover [start, start + total) with at least ``overlap``
    shared between neighbours; the last may reach past the end.

    Raises ``ValueError`` if nothing is to be covered or the overlap does not fit.
    """
    if total < 1:
        raise ValueError(f"nothing to cover: {total} latents")
    if not 0 <= 2 * overlap <= length:
        raise ValueError(f"overlap {overlap} must be at most half of the chunk length {length}")
    hop = length - overlap
    count = 1 if total <= length else 1 + -(-(total - length) // hop)
    return [
        Chunk(start + i * hop, length, overlap if i else 0, overlap if i < count - 1 else 0)
        for i in range(count)
    ]
