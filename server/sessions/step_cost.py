"""What the engine has measured of one stream's steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StepCost:
    """Seconds a step; the newest sixteenth counts."""

    generate_s: float = 0.05
    worst_s: float = 0.05

    def observe(self, seconds: float) -> None:
        """A step took so long."""
        self.generate_s += (seconds - self.generate_s) / 16
        self.worst_s = max(seconds, self.worst_s * 0.98)
