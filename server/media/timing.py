"""How a model moves through time: its frames, its steps, what it must hear ahead. Pure.

Frame rate and step are properties of the model; everything that paces media takes them from here.
All lengths count 16 kHz samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from pipeline.interface import Timed
from server.media.clock import RATE


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """Defaults of the bundled model: 25 fps, two frames a step, one frame of look-ahead."""

    frame: int = RATE // 25
    step: int = 2 * RATE // 25
    ahead: int = RATE // 25

    def __post_init__(self) -> None:
        if not 0 < self.frame <= self.step or self.ahead < 0:
            raise ValueError(
                f"a beat needs 0 < frame {self.frame} <= step {self.step} and ahead {self.ahead}"
                " not below 0"
            )

    @classmethod
    def of(cls, stream: Timed) -> Self:
        """The timing of a stream."""
        return cls(stream.samples_per_frame, stream.samples_per_step, stream.look_ahead)

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(RATE, self.frame)

    @property
    def chunk(self) -> int:
        """Samples that a step needs, from its first one: the step and its look-ahead."""
        return self.step + self.ahead

    @property
    def step_s(self) -> float:
        """Seconds that one step makes."""
        return self.step / RATE

    def next_need(self, needs: int, heard: int) -> int:
        """Up to where the first step that lacks audio must hear, if the next one ``needs`` so much
        and ``heard`` is there."""
        if heard < needs:
            return needs
        return needs + ((heard - needs) // self.step + 1) * self.step
