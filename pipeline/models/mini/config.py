"""A model's numbers: frozen dataclasses, read from one TOML per model under ``pipeline/models``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.diffusion.sampling import levels, spacing
from pipeline.errors import ModelDamaged, ModelUnknown
from pipeline.models.mini.rig.state import PARTS

MODELS: Final = Path(__file__).parents[1]
SAMPLE_RATE: Final = 16_000
FRAME_RATE: Final = 25
SAMPLES_PER_FRAME: Final = SAMPLE_RATE // FRAME_RATE

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AudioConfig:
    mel_bands: int
    width: int
    embed_dim: int
    look_ahead_ms: int

    def __post_init__(self) -> None:
        if self.look_ahead_ms % 10:
            raise ValueError(f"look_ahead_ms must be a multiple of 10, not {self.look_ahead_ms}")


@dataclass(frozen=True, slots=True)
class TextConfig:
    buckets: int
    tokens: int
    embed_dim: int


@dataclass(frozen=True, slots=True)
class VaeConfig:
    temporal_stride: int
    channels: int
    width: int
    history: int


@dataclass(frozen=True, slots=True)
class DitConfig:
    dim: int
    depth: int
    heads: int
    ffn_ratio: int
    theta: float

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} does not split into {self.heads} even heads")


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    steps: int
    shift: float
    sampler: str
    at: tuple[float, ...]  # levels before the shift; empty: evenly spaced

    def __post_init__(self) -> None:
        spacing(self.steps, self.at)
        if self.sampler not in ("euler", "renoise"):
            raise ValueError(f"sampler must be 'euler' or 'renoise', not {self.sampler!r}")

    @property
    def levels(self) -> tuple[float, ...]:
        """Falling levels from 1, with 0 at the end."""
        return levels(self.steps, self.shift, self.at)


@dataclass(frozen=True, slots=True)
class GuidanceConfig:
    scale: float
    rescale: float


@dataclass(frozen=True, slots=True)
class ChunkConfig:
    length: int
    overlap: int
    window: int
    context: int
    live_hop: int
    live_tail: int

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.overlap <= self.length:
            raise ValueError(
                f"overlap {self.overlap} must be at most half of the chunk length {self.length}"
            )
        if self.live_hop < 1 or self.live_tail < 0:
            raise ValueError(
                f"live_hop {self.live_hop} must be >= 1 and live_tail {self.live_tail} >= 0"
            )


@dataclass(frozen=True, slots=True)
class ContinuumConfig:
    trace: tuple[float, ...]  # weight of a speculation, by noise level
    hold: tuple[float, ...]  # ... and by column of the latents

    def __post_init__(self) -> None:
        if not self.trace or self.trace[-1] != 0.0:
            raise ValueError(f"trace must end with 0 (lips follow the speech), not {self.trace}")
        if not all(0.0 <= weight <= 1.0 for weight in self.trace + self.hold):
            raise ValueError(f"trace {self.trace} and hold {self.hold} must lie in [0, 1]")


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """How lively each part is (mouth, upper face, torso, left arm, right arm): decision 18."""

    parallel: tuple[float, ...]  # spread of a part's noise by schedule; 1 is what training drew
    causal: tuple[float, ...]
    ease: tuple[float, ...]  # how far a part goes towards each frame's value; 1 goes all the way

    def __post_init__(self) -> None:
        for name in ("parallel", "causal", "ease"):
            values = getattr(self, name)
            if len(values) != len(PARTS) or not all(value > 0 for value in values):
                raise ValueError(f"{name} must be {len(PARTS)} numbers above 0, not {values}")
        if max(self.ease) > 1:
            raise ValueError(f"ease must be at most 1, not {self.ease}")

    def spread(self, schedule: str) -> tuple[float, ...]:
        """The spread of the noise under a schedule, by part."""
        return self.causal if schedule == "causal" else self.parallel


@dataclass(frozen=True, slots=True)
class AccelerationConfig:
    """Switches of speed; what each one gains and costs is in ``docs/acceleration.md``."""

    runtime: str  # "auto" measures at start; "onnx" or "torch" settles it
    precision: str  # of the transformer's linears on ONNX Runtime: "float32" or "int8"
    threads: int  # of one network on ONNX Runtime
    cfg_cache: tuple[float, ...]  # a threshold per step, the first 0; empty: off
    attention: tuple[str, ...]  # a word of F (full) and R (reuse) per step; empty: off

    def __post_init__(self) -> None:
        if self.runtime not in ("auto", "onnx", "torch"):
            raise ValueError(f"runtime must be 'auto', 'onnx' or 'torch', not {self.runtime!r}")
        if self.precision not in ("float32", "int8"):
            raise ValueError(f"precision must be 'float32' or 'int8', not {self.precision!r}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, not {self.threads}")
        if self.cfg_cache and (self.cfg_cache[0] != 0 or min(self.cfg_cache) < 0):
            raise ValueError(f"cfg_cache must begin with 0 and not be negative: {self.cfg_cache}")
        if self.attention and (
            "R" in self.attention[0] or set("".join(self.attention)) - set("FR")
        ):
            raise ValueError(
                f"attention must be words of F and R, the first one without R: {self.attention}"
            )

    def reused_blocks(self, steps: int) -> tuple[frozenset[int], ...]:
        """Per step, the blocks that take what attention gave them before."""
        words = self.attention or ("",) * steps
        return tuple(
            frozenset(block for block, letter in enumerate(word) if letter == "R") for word in words
        )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that defines a model but its weights."""

    name: str
    weights: str
    audio: AudioConfig
    text: TextConfig
    vae: VaeConfig
    dit: DitConfig
    schedule: ScheduleConfig
    guidance: GuidanceConfig
    chunks: ChunkConfig
    continuum: ContinuumConfig
    motion: MotionConfig
    acceleration: AccelerationConfig

    def __post_init__(self) -> None:
        steps, fast = self.schedule.steps, self.acceleration
        for name, entries in (("cfg_cache", fast.cfg_cache), ("attention", fast.attention)):
            if entries and len(entries) != steps:
                raise ValueError(
                    f"acceleration.{name} has {len(entries)} entries for {steps} steps"
                )
        if any(len(word) != self.dit.depth for word in fast.attention):
            raise ValueError(f"{fast.attention} do not name {self.dit.depth} blocks each")
        if len(self.continuum.trace) != self.schedule.steps:
            raise ValueError(
                f"continuum.trace has {len(self.continuum.trace)} entries for "
                f"{self.schedule.steps} steps"
            )

    @property
    def samples_per_latent(self) -> int:
        return SAMPLES_PER_FRAME * self.vae.temporal_stride

    @property
    def look_ahead_samples(self) -> int:
        return SAMPLE_RATE * self.audio.look_ahead_ms // 1000


def _section(cls: type[T], values: dict[str, Any], where: str) -> T:
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if names != set(values):
        missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
        raise ModelDamaged(f"{where}: missing keys {missing}, unknown keys {unknown}")
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except ValueError as error:
        raise ModelDamaged(f"{where}: {error}") from error


_SECTIONS: Final[dict[str, type[Any]]] = {
    "audio": AudioConfig, "text": TextConfig, "vae": VaeConfig, "dit": DitConfig,
    "schedule": ScheduleConfig, "guidance": GuidanceConfig, "chunks": ChunkConfig,
    "continuum": ContinuumConfig, "motion": MotionConfig, "acceleration": AccelerationConfig,
}  # fmt: skip


def load_config(name: str) -> ModelConfig:
    """The configuration of a bundled model; ``ModelUnknown`` lists the known names."""
    path = MODELS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in MODELS.glob("*.toml")))
        raise ModelUnknown(f"unknown model {name!r}: the bundled models are {known}")
    return read_config(path)


def read_config(path: Path) -> ModelConfig:
    """The configuration in a model's TOML; ``ModelDamaged`` says what is wrong with it."""
    values = tomllib.loads(path.read_text("utf-8"))
    parts = {
        key: _section(cls, values.get(key, {}), f"{path.name} [{key}]")
        for key, cls in _SECTIONS.items()
    }
    return _section(ModelConfig, {**values, **parts}, path.name)
