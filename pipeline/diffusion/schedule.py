"""The noise levels of a generation: spacing and shift.

Level 1 is noise, 0 is data. A shift s maps t to s t / (1 + (s - 1) t) (Esser et al. 2024), so
that s = 5 with three of four steps gives the published list 1, 0.9375, 0.8333. Before the shift
levels are evenly spaced down to 0, or down to a ``last`` one with 0 behind it (a grid of n steps
that ends at 1 of 1000), or they are a list of their own (``at``).
"""

from __future__ import annotations

from collections.abc import Sequence


def shift_level(t: float, shift: float) -> float:
    """The shifted level of t in [0, 1]."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def levels(
    steps: int, shift: float, at: Sequence[float] = (), last: float = 0.0
) -> tuple[float, ...]:
    """``steps`` + 1 falling levels from 1 to 0."""
    if shift <= 0:
        raise ValueError(f"steps must be >= 1 and shift > 0, not {steps} and {shift}")
    return tuple(shift_level(t, shift) for t in spacing(steps, at, last))


def spacing(steps: int, at: Sequence[float] = (), last: float = 0.0) -> tuple[float, ...]:
    """The same before the shift. Raises ``ValueError`` for what is no spacing of ``steps``."""
    if steps < 1 or not 0 <= last < 1:
        raise ValueError(f"steps must be >= 1 and the last level in [0, 1), not {steps} and {last}")
    if at:
        falls = all(a > b for a, b in zip(at, (*at[1:], 0.0), strict=True))
        if len(at) != steps or at[0] != 1.0 or not falls or last:
            raise ValueError(f"{steps} steps need as many levels that fall from 1, not {list(at)}"
                             + (f" with a last level {last}" if last else ""))  # fmt: skip
        return (*at, 0.0)
    if not last:
        return tuple(1.0 - i / steps for i in range(steps + 1))
    if steps == 1:
        raise ValueError(f"one step begins at 1 and cannot end at {last}")
    return (*(1.0 - (1.0 - last) * i / (steps - 1) for i in range(steps)), 0.0)
