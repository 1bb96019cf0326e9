"""Which accelerations are switched on: one frozen table, from a profile and from calibration.

Profiles for kinds of machines are in ``models/profiles``. What depends on a checkpoint's own steps
and blocks is found by calibration and stored beside its weights, as ``acceleration.toml`` in the
same form. The default switches nothing on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from pipeline.errors import ModelDamaged, ModelUnknown

PROFILES: Final = Path(__file__).parents[1] / "models" / "profiles"
LEARNED: Final = "acceleration.toml"
RUNTIMES: Final = ("", "onnx", "onnx-int8")  # of the decoder; "" is torch


@dataclass(frozen=True, slots=True)
class Acceleration:
    """Switches of a pixel-latent model, by section of the file.

    ``attention``: backends, the first that passes its self-check; for sparse-linear ``kept`` and
    ``skipped`` shares of key blocks, ``kept`` one a step. ``guidance``: all branches as one batch;
    thresholds of the CFG cache. ``reuse``: attention by step and block. ``linears``: quantisation,
    with the layers that keep their precision, and calibrated scales. ``offload``: gibibytes of the
    device for everything, of which blocks get what the rest leaves; 0: nothing is streamed.
    ``launch``: regional compilation; CUDA graphs up to so many tokens. ``streams``: how many live
    ones are one batch at most. ``vae``: memory layout, fused norms, latent rows a strip (0: whole
    frames); ``runtime`` "onnx" or "onnx-int8" for the sizes whose exported decoder lies beside the
    checkpoint.
    """

    name: str = "plain"
    attention_backends: tuple[str, ...] = ("sdpa",)
    attention_kept: tuple[float, ...] = ()
    attention_skipped: float = 0.0
    guidance_batched: bool = False
    guidance_thresholds: tuple[float, ...] = ()
    reuse_steps: tuple[str, ...] = ()
    linears_method: str = ""
    linears_keep: tuple[str, ...] = ()
    linears_scales: Mapping[str, float] = field(default_factory=dict)
    offload_gib: float = 0.0
    launch_compile: bool = False
    launch_graph_tokens: int = 0
    streams_together: int = 1
    vae_channels_last: bool = False
    vae_fused_norms: bool = False
    vae_strip_rows: int = 0
    vae_runtime: str = ""
    home: Path | None = None  # the checkpoint's folder, where decoders may lie

    @property
    def prepared(self) -> bool:
        """Whether a shape that was not seen before has to be compiled or recorded first."""
        return self.launch_compile or self.launch_graph_tokens > 0

    def __post_init__(self) -> None:
        if self.offload_gib and (self.launch_graph_tokens or self.launch_compile):
            raise ValueError(f"{self.name}: streamed weights change their place: offload excludes "
                             "graphs and compilation")  # fmt: skip
        if self.vae_runtime not in RUNTIMES:
            raise ValueError(f"{self.name}: runtime must be one of {RUNTIMES}, not "
                             f"{self.vae_runtime!r}")  # fmt: skip
        if self.streams_together < 1:
            raise ValueError(f"{self.name}: together must be at least 1, not "
                             f"{self.streams_together}")  # fmt: skip
        if self.offload_gib < 0 or self.vae_strip_rows < 0 or self.launch_graph_tokens < 0:
            raise ValueError(f"{self.name}: offload_gib {self.offload_gib}, strip_rows "
                             f"{self.vae_strip_rows} and graph_tokens {self.launch_graph_tokens} "
                             "must not be negative")  # fmt: skip


def _read(path: Path, base: Acceleration) -> Acceleration:
    known = {f.name for f in fields(Acceleration)}
    found: dict[str, Any] = {}
    try:
        for section, values in tomllib.loads(path.read_text()).items():
            for key, value in values.items():
                found[f"{section}_{key}"] = tuple(value) if isinstance(value, list) else value
        if not set(found) <= known:
            raise ValueError(f"unknown keys {sorted(set(found) - known)}")
        return replace(base, **found)
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelDamaged(f"{path.name}: {error}") from error


def profiles() -> tuple[str, ...]:
    """Names of the profiles."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.toml")))


def profile(name: str, weights: Path | None = None) -> Acceleration:
    """A profile ("plain" for none), with what was learned for the checkpoint in the folder
    ``weights`` on top. Raises ``ModelUnknown`` or ``ModelDamaged``."""
    chosen = Acceleration(name=name, home=weights)
    if name != "plain":
        path = PROFILES / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(("plain", *profiles()))
            raise ModelUnknown(f"no profile is called {name!r}; known are {known}")
        chosen = _read(path, chosen)
    learned = None if weights is None else weights / LEARNED
    return chosen if learned is None or not learned.is_file() else _read(learned, chosen)
