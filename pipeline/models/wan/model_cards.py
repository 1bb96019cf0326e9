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

from pipeline.diffusion.sampling import levels, spacing
from pipeline.errors import ModelDamaged, ModelMismatch, ModelUnknown

CARDS: Final = Path(__file__).parent / "checkpoints"
CHUNKED: Final = ("motion", "overlap", "video")  # bidirectional chunks, one after another
RECIPES: Final = ("ring", *CHUNKED, "rolling", "memory")
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
    """``steps`` of the noise levels of ``of`` steps. Before the shift they are evenly spaced down
    to 0, or to ``last`` and then 0, or they are ``at``. ``spread`` of the noise that a chunk starts
    from; training drew 1."""

    steps: int
    shift: float
    sampler: str
    time_dtype: str
    of: int = 0
    at: tuple[float, ...] = ()
    last: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.sampler not in ("euler", "renoise"):
            raise ValueError(f"sampler must be 'euler' or 'renoise', not {self.sampler!r}")
        if self.of and self.of < self.steps:
            raise ValueError(f"{self.steps} steps cannot be chosen of {self.of}")
        if self.of and (self.at or self.last):
            raise ValueError(f"of {self.of} steps is for evenly spaced levels, not for at or last")
        if self.spread <= 0:
            raise ValueError(f"the noise's spread must be above 0, not {self.spread}")
        spacing(self.steps, self.at, self.last)

    @property
    def levels(self) -> tuple[float, ...]:
        """Falling levels from 1, with 0 at the end."""
        if self.of:
            return (*levels(self.of, self.shift)[: self.steps], 0.0)
        return levels(self.steps, self.shift, self.at, self.last)


@dataclass(frozen=True, slots=True)
class Guidance:
    """Scales, and how far the guided field's spread is pulled back to the conditional one's."""

    text: float
    audio: float
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], not {self.rescale}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How chunks follow each other in the published run."""

    kind: str
    block: int = 0  # ring, rolling, memory: latents a block
    window: int = 0  # of which attention sees so many, new ones among them
    sink: int = 0  # the oldest of them, never forgotten
    newest: int = 0  # memory: of the past, kept whole
    merge: int = 0  # memory: keys made one, between sink and newest
    frames: int = 0  # chunked: video frames a chunk; memory: of the reference's clip
    overlap: int = 0  # of which known from the chunk before
    tokens: int = 0  # of a chunk at most, where its frames follow from the size

    def __post_init__(self) -> None:
        if self.kind not in RECIPES:
            raise ValueError(f"recipe must be one of {RECIPES}, not {self.kind!r}")
        if (self.frames or self.tokens) and (
            (self.frames and self.frames % 4 != 1) or (self.chunked and self.overlap % 4 != 1)
        ):
            raise ValueError(f"frames {self.frames} and overlap {self.overlap} must be 1 + 4 n")
        if self.chunked and bool(self.frames) == bool(self.tokens):
            raise ValueError(f"a chunk has frames or tokens, one of the two, not {self.frames} "
                             f"and {self.tokens}")  # fmt: skip
        if not self.chunked and not 0 < self.block <= self.window - self.sink:
            raise ValueError(f"a block of {self.block} does not fit into {self.window} beside a "
                             f"sink of {self.sink}")  # fmt: skip

    @property
    def chunked(self) -> bool:
        """Whether bidirectional chunks follow one another."""
        return self.kind in CHUNKED

    def frames_at(self, width: int, height: int) -> int:
        """Video frames of a chunk of this size: 1 + 4 n, as many as the tokens permit."""
        if not self.tokens:
            return self.frames
        fit = self.tokens * 16 * 16 * 4 // (width * height)
        return fit // 4 * 4 + 1 if fit % 4 else fit - 3


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
    negative_prompt: str = ""  # of the authors: what their guidance leads away from
    speakers: int = 1  # at most, in one picture

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
    try:
        values = {"name": path.stem, **tomllib.loads(path.read_text("utf-8"))}
    except OSError as error:
        raise ModelUnknown(f"the card {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelDamaged(f"{path.name} is no TOML: {error}") from error
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
    """The card of this name, or in the TOML of this path; ``ModelUnknown`` lists the known ones."""
    if name.endswith(".toml"):
        return read_card(Path(name).expanduser())
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
