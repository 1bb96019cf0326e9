"""The noise levels of a generation: spacing and shift.

Level 1 is noise, 0 is data. A shift s maps t to s t / (1 + (s - 1) t) (Esser et al. 2024), so
that s = 5 with three of four steps gives the published list 1, 0.9375, 0.8333.
"""

from __future__ import annotations


def shift_level(t: float, shift: float) -> float:
    """The shifted level of t in [0, 1]."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def levels(steps: int, shift: float) -> tuple[float, ...]:
    """``steps`` + 1 falling levels from 1 to 0."""
    if steps < 1 or shift <= 0:
        raise ValueError(f"steps must be >= 1 and shift > 0, not {steps} and {shift}")
    return tuple(shift_level(1.0 - i / steps, shift) for i in range(steps + 1))
