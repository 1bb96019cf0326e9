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
from pipeline.schedule import levels, shift_level

CARDS: Final = Path(__file__).parent / "checkpoints"
RECIPES: Final = ("ring", "motion", "overlap", "rolling", "memory")
MERGING: Final = ".memory_proj_"  # of names
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
    """``steps`` of the noise levels of ``of`` steps after the shift; ``at`` names the levels before
    the shift where they are not evenly spaced."""

    steps: int
    shift: float
    sampler: str
    time_dtype: str
    of: int = 0
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in ("euler", "renoise"):
            raise ValueError(f"sampler must be 'euler' or 'renoise', not {self.sampler!r}")
        if self.of and self.of < self.steps:
            raise ValueError(f"{self.steps} steps cannot be chosen of {self.of}")
        falls = all(a > b for a, b in zip(self.at, (*self.at[1:], 0.0), strict=False))
        if self.at and not (len(self.at) == self.steps and self.at[0] == 1.0 and falls):
            raise ValueError(f"{self.steps} steps need as many levels that fall from 1, not "
                             f"{list(self.at)}")  # fmt: skip

    @property
    def levels(self) -> tuple[float, ...]:
        """Falling levels from 1, with 0 at the end."""
        if self.at:
            return (*(shift_level(level, self.shift) for level in self.at), 0.0)
        return (*levels(self.of or self.steps, self.shift)[: self.steps], 0.0)


@dataclass(frozen=True, slots=True)
class Guidance:
    text: float
    audio: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How chunks follow each other in the published run."""

    kind: str
    block: int = 0  # ring, rolling, memory: latents a block
    window: int = 0  # of which attention sees so many, new ones among them
    sink: int = 0  # the oldest of them, never forgotten
    newest: int = 0  # memory: of the past, kept whole
    merge: int = 0  # memory: keys made one, between sink and newest
    frames: int = 0  # motion, overlap: video frames a chunk; memory: of the reference's clip
    overlap: int = 0  # of which known from the chunk before

    def __post_init__(self) -> None:
        if self.kind not in RECIPES:
            raise ValueError(f"recipe must be one of {RECIPES}, not {self.kind!r}")
        chunked = self.kind in ("motion", "overlap")
        if self.frames and (self.frames % 4 != 1 or (chunked and self.overlap % 4 != 1)):
            raise ValueError(f"frames {self.frames} and overlap {self.overlap} must be 1 + 4 n")
        if not chunked and not 0 < self.block <= self.window - self.sink:
            raise ValueError(f"a block of {self.block} does not fit into {self.window} beside a "
                             f"sink of {self.sink}")  # fmt: skip


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
    license: License
    files: Mapping[str, str]
    schedule: Schedule
    guidance: Guidance
    recipe: Recipe
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        if 16_000 % self.frame_rate:
            raise ValueError(f"a frame at {self.frame_rate} fps is no whole number of the 16,000 "
                             "samples of a second")  # fmt: skip

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
            told = {k: tuple(v) if isinstance(v, list) else v for k, v in values[key].items()}
            values[key] = _build(cls, told, f"{path.name} [{key}]")
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


def counted(sizes: Mapping[str, int]) -> tuple[int, int]:
    """Tensors and parameters by which cards are told apart, of the elements of every tensor:
    without the convolutions of a merged past, which not every copy carries."""
    own = [size for name, size in sizes.items() if MERGING not in name]
    return len(own), sum(own)


def candidates(layout: str, sizes: Mapping[str, int]) -> tuple[Card, ...]:
    """Cards whose merged transformer has tensors of these sizes: several may share an
    architecture."""
    merges = any(MERGING in name for name in sizes)
    return tuple(
        c for c in all_cards()
        if (c.layout, c.tensors, c.parameters) == (layout, *counted(sizes))
        and (c.recipe.merge or not merges)
    )  # fmt: skip
