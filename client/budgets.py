"""What a latency run must and should reach (docs/architecture.md), beside what it reached. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

USUAL_FPS: Final = 25.0


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of the table; ``path`` leads to its number in the result."""

    name: str
    path: tuple[str, ...]
    must: float
    aim: float
    more_is_better: bool = False

    def met(self, measured: float) -> bool:
        """Whether ``measured`` is good enough."""
        return measured >= self.must if self.more_is_better else measured <= self.must


BUDGETS: Final = (
    Budget("microphone to frame, p50, ms", ("latency_ms", "p50"), 350, 220),
    Budget("microphone to frame, p95, ms", ("latency_ms", "p95"), 450, 300),
    Budget("connected to first frame, ms", ("first_frame_ms",), 500, 150),
    Budget("frames a second", ("smoothness", "fps"), 24.5, 25, more_is_better=True),
    Budget("sound to picture, p95, ms", ("offset_ms", "by_clock", "p95"), 45, 20),
    Budget("interrupt to silence, ms", ("interrupt", "silence_ms"), 200, 100),
    Budget("interrupt to idle, ms", ("interrupt", "idle_ms"), 200, 100),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A budget and what was measured; None when it could not be."""

    budget: Budget
    measured: float | None

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.measured is None:
            return "unknown"
        return "met" if self.budget.met(self.measured) else "missed"


def check(result: Mapping[str, Any]) -> list[Line]:
    """Every budget against a result; frames a second are in proportion to the model's own."""
    share = float(result.get("frame_rate") or USUAL_FPS) / USUAL_FPS
    budgets = [
        replace(b, must=b.must * share, aim=b.aim * share) if b.more_is_better else b
        for b in BUDGETS
    ]
    return [Line(budget, _find(result, budget.path)) for budget in budgets]


def table(lines: list[Line]) -> str:
    """For people."""
    rows = [f"{'':32}{'must':>8}{'aim':>8}{'measured':>10}"]
    for line in lines:
        measured = "-" if line.measured is None else f"{line.measured:.1f}"
        budget = line.budget
        rows.append(
            f"{budget.name:32}{budget.must:8g}{budget.aim:8g}{measured:>10}  {line.verdict}"
        )
    return "\n".join(rows)


def _find(result: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        result = result.get(name) if isinstance(result, Mapping) else None
    return None if result is None else float(result)
