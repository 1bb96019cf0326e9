"""Which runtime each network of the bundled model runs on, and why.

At start every network is built for ONNX Runtime, compared with its module on random inputs, and
timed beside it. The one with less processor time and equal results runs from then on. A network
that cannot be built, or is wrong, is refused; the log and ``/healthz`` say so.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor

from pipeline.models.mini.audio import SpeechEncoder
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.guided_velocity import Transformer
from pipeline.models.mini.onnx.candidates import Trial, trials
from pipeline.models.mini.text import PromptEncoder
from pipeline.models.mini.vae import Decoder

LIMITS: Final = {"float32": 1e-4, "int8": 0.1}  # relative error that a fast network may have
ROUNDS: Final = 5
log = logging.getLogger(__name__)
N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs a network. Times are processor milliseconds of one live tick's share."""

    network: str
    runtime: str  # "onnx" or "torch"
    precision: str
    reason: str
    onnx_ms: float | None = None
    torch_ms: float | None = None
    error: float | None = None  # relative, of ONNX Runtime against torch


@dataclass(frozen=True, slots=True)
class Networks:
    """A generator's networks as they run, with the choice behind each."""

    config: ModelConfig
    audio: SpeechEncoder
    text: PromptEncoder
    vae: Decoder
    dit: Transformer
    choices: tuple[Choice, ...]

    def describe(self) -> dict[str, object]:
        """For people who operate it: what runs each network, which switches are on, and why."""
        return {
            "networks": [asdict(choice) for choice in self.choices],
            "switches": switches(self.config),
        }


def switches(config: ModelConfig) -> dict[str, str]:
    """The caches across steps: on, or why not."""
    fast, unset = config.acceleration, "off: nothing learned, see pipeline.calibrate"
    cfg = f"on: thresholds {list(fast.cfg_cache)}" if fast.cfg_cache else unset
    if config.guidance.scale == 1.0:
        cfg = "off: guidance.scale is 1, so there is no unconditional branch to spare"
    attention = f"on: {' '.join(fast.attention)}" if fast.attention else unset
    return {"cfg_cache": cfg, "attention_cache": attention}


@torch.inference_mode()
def accelerate(model: Generator, config: ModelConfig) -> Networks:
    """The networks of ``model``, each on the runtime that ``config.acceleration`` asks for."""
    wanted = config.acceleration.runtime
    transformer, ears, decoder = trials(model, config)
    dit, dit_choice = choose(transformer, wanted)
    audio, audio_choice = choose(ears, wanted)
    vae, vae_choice = choose(decoder, wanted)
    choices = (dit_choice, audio_choice, vae_choice)
    return Networks(config, audio, model.text, vae, dit, choices)


def choose(trial: Trial[N], wanted: str) -> tuple[N, Choice]:
    """The network that runs, and why. A refused ONNX network is never run, whatever is wanted."""
    if wanted == "torch":
        choice = Choice(trial.network, "torch", "float32", "asked for by the configuration")
        return trial.plain, _reported(choice)
    try:
        fast = trial.build()
        error = difference(trial.check(fast), trial.check(trial.plain))
    except Exception as problem:  # whatever it is, torch still runs; it must be said
        return trial.plain, _refused(trial, f"ONNX Runtime cannot run it: {problem!r}")
    limit = LIMITS[trial.precision]
    if not error <= limit:
        return trial.plain, _refused(trial, f"relative error {error:.2g} exceeds {limit:g}", error)
    onnx_ms, torch_ms = milliseconds([lambda: trial.tick(fast), lambda: trial.tick(trial.plain)])
    if wanted == "onnx":
        runtime, reason = "onnx", "asked for by the configuration"
    else:
        runtime, reason = min((onnx_ms, "onnx"), (torch_ms, "torch"))[1], "measured to be cheaper"
    times = round(onnx_ms, 3), round(torch_ms, 3)
    precision = trial.precision if runtime == "onnx" else "float32"
    choice = Choice(trial.network, runtime, precision, reason, *times, float(f"{error:.2g}"))
    return (fast if runtime == "onnx" else trial.plain), _reported(choice)


def _refused(trial: Trial[N], reason: str, error: float | None = None) -> Choice:
    log.warning("%s runs on torch: %s", trial.network, reason)
    finite = error if error is not None and math.isfinite(error) else None  # JSON knows no NaN
    return Choice(trial.network, "torch", "float32", reason, error=finite)


def _reported(choice: Choice) -> Choice:
    log.info("%s", choice)
    return choice


def difference(found: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """The largest relative error of any output; NaN if any is not a number."""
    errors = [(a - b).norm() / (b.norm() + 1e-6) for a, b in zip(found, plain, strict=True)]
    return float(torch.stack(errors).max())


def milliseconds(works: Sequence[Callable[[], object]]) -> list[float]:
    """Processor time of each, the best of some rounds taken in turns."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, taken, strict=True):
            start = time.process_time()
            work()
            times.append(1e3 * (time.process_time() - start))
    return [min(times) for times in taken]
