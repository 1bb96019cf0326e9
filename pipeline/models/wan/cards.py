"""What is published: under which licence, made of which files, and how it wants to be run.

One TOML per checkpoint under ``checkpoints/``. A checkpoint is used as it was trained: another size
or frame rate is refused, unless forced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.errors import ModelDamaged, ModelMismatch, ModelUnknown
from pipeline.schedule import levels

CARDS: Final = Path(__file__).parent / "checkpoints"
RECIPES: Final = ("ring", "motion", "overlap", "rolling", "memory")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class License:
    """What one may do with the weights; ``conflict`` is empty where all sources agree."""

    name: str
    conflict: str
    commercial: bool

    def __str__(self) -> str:
        use = "commercial use allowed" if self.commercial else "non-commercial use only"
        return f"{self.name}, {use}" + (f". CONFLICT: {self.conflict}" if self.conflict else "")


@dataclass(frozen=True, slots=True)
class Schedule:
    """``steps`` of the noise levels of ``of`` steps after the shift."""

    steps: int
    shift: float
    sampler: str
    time_dtype: str
    of: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in ("euler", "renoise"):
            raise ValueError(f"sampler must be 'euler' or 'renoise', not {self.sampler!r}")
        if self.of and self.of < self.steps:
            raise ValueError(f"{self.steps} steps cannot be chosen of {self.of}")

    @property
    def levels(self) -> tuple[float, ...]:
        """Falling levels from 1, with 0 at the end."""
        return (*levels(self.of or self.steps, self.shift)[: self.steps], 0.0)


@dataclass(frozen=True, slots=True)
class Guidance:
    text: float
    audio: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How chunks follow each other in the published run."""

    kind: str
    block: int = 0  # ring: latents a block
    window: int = 0
    sink: int = 0
    frames: int = 0  # motion, overlap: video frames a chunk
    overlap: int = 0  # of which known from the chunk before

    def __post_init__(self) -> None:
        if self.kind not in RECIPES:
            raise ValueError(f"recipe must be one of {RECIPES}, not {self.kind!r}")
        if self.frames and (self.frames % 4 != 1 or self.overlap % 4 != 1):
            raise ValueError(f"frames {self.frames} and overlap {self.overlap} must be 1 + 4 n")


@dataclass(frozen=True, slots=True)
class Adapter:
    rank: int
    alpha: float


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    title: str
    home: str
    layout: str
    frame_rate: int
    sizes: tuple[tuple[int, int], ...]  # width, height; empty: not told
    tensors: int
    parameters: int
    tflop_per_frame: float
    runnable: bool
    license: License
    files: Mapping[str, str]
    schedule: Schedule
    guidance: Guidance
    recipe: Recipe
    adapter: Adapter | None = None
    reason: str = ""  # why it is not runnable

    def __post_init__(self) -> None:
        if self.runnable == bool(self.reason):
            raise ValueError(f"{self.name}: runnable is {self.runnable} and its reason "
                             f"{self.reason!r}")  # fmt: skip

    def check_use(self, width: int, height: int, frame_rate: int, force: bool = False) -> str:
        """Refuse what the weights were not trained for; forced, return a warning instead."""
        problems = []
        if width % 16 or height % 16:
            raise ModelMismatch(f"{width}x{height} does not divide into 16x16 patches")
        if self.sizes and (width, height) not in self.sizes:
            known = ", ".join(f"{w}x{h}" for w, h in self.sizes)
            problems.append(f"{width}x{height} is not one of its sizes ({known})")
        if frame_rate != self.frame_rate:
            problems.append(f"{frame_rate} fps is not its {self.frame_rate}")
        if not self.runnable:
            raise ModelMismatch(f"{self.title} can be loaded but not run: {self.reason}")
        text = f"{self.title} was not trained for this: " + "; ".join(problems)
        if problems and not force:
            raise ModelMismatch(f"{text}. Add --force to try nevertheless")
        return text if problems else ""


_PARTS: Final[dict[str, type[Any]]] = {
    "license": License, "schedule": Schedule, "guidance": Guidance, "recipe": Recipe,
    "adapter": Adapter,
}  # fmt: skip


def _build(cls: type[T], values: dict[str, Any], where: str) -> T:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if not set(values) <= known:
        raise ModelDamaged(f"{where}: unknown keys {sorted(set(values) - known)}")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ModelDamaged(f"{where}: {error}") from error


def read_card(path: Path) -> Card:
    """One card; ``ModelDamaged`` says what is wrong with it."""
    values = {"name": path.stem, **tomllib.loads(path.read_text())}
    for key, cls in _PARTS.items():
        if key in values:
            values[key] = _build(cls, values[key], f"{path.name} [{key}]")
    values["sizes"] = tuple((w, h) for w, h in values.get("sizes", []))
    return _build(Card, values, path.name)


@cache
def all_cards() -> tuple[Card, ...]:
    """Every published checkpoint that is known, by name."""
    return tuple(read_card(path) for path in sorted(CARDS.glob("*.toml")))


def card(name: str) -> Card:
    """The card of this name; ``ModelUnknown`` lists the known ones."""
    found = [c for c in all_cards() if c.name == name]
    if not found:
        known = ", ".join(c.name for c in all_cards())
        raise ModelUnknown(f"no published checkpoint is called {name!r}; known are {known}")
    return found[0]


def candidates(layout: str, tensors: int, parameters: int) -> tuple[Card, ...]:
    """Cards whose merged transformer has these counts: several may share an architecture."""
    return tuple(
        c for c in all_cards()
        if (c.layout, c.tensors, c.parameters) == (layout, tensors, parameters)
    )  # fmt: skip
