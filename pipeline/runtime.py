"""Which runtime each network of the bundled model runs on, and why.

At start every network is built for ONNX Runtime, compared with its module on random inputs, and
measured beside it; the cheaper one in processor time that gives the same numbers runs from then on.
A network that cannot be built, or is wrong, is refused: the log and ``/healthz`` say so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.audio import AudioEncoder, Ears, feature_dim
from pipeline.config import ModelConfig
from pipeline.dit import Condition
from pipeline.generator import Generator
from pipeline.performance import Transformer
from pipeline.schedule import levels
from pipeline.text import PromptEncoder
from pipeline.vae import PART_COUNT, Decoder

LIMITS: Final = {"float32": 1e-4, "int8": 0.1}  # relative error that a fast network may have
ROUNDS: Final = 5
log = logging.getLogger(__name__)
N = TypeVar("N")
Outputs = list[Tensor]


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
    audio: Ears
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


@dataclass(frozen=True, slots=True)
class Trial(Generic[N]):
    """One network's candidates, and what they are tried on.

    ``check`` gives outputs at every shape that will come, ``tick`` does what a live tick asks for.
    """

    network: str
    plain: N
    build: Callable[[], N]
    check: Callable[[N], Outputs]
    tick: Callable[[N], object]
    precision: str = "float32"


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


def trials(
    model: Generator, config: ModelConfig
) -> tuple[Trial[Transformer], Trial[Ears], Trial[Decoder]]:
    """The networks of a live tick: what each can run on, and random inputs to try that with."""
    return _transformer(model, config), _ears(model, config), _decoder(model, config)


def choose(trial: Trial[N], wanted: str) -> tuple[N, Choice]:
    """The network that runs, and why. A refused ONNX network is never run, whatever is wanted."""
    if wanted == "torch":
        choice = Choice(trial.network, "torch", "float32", "asked for by the configuration")
        return trial.plain, _told(choice)
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
    return (fast if runtime == "onnx" else trial.plain), _told(choice)


def _refused(trial: Trial[N], reason: str, error: float | None = None) -> Choice:
    log.warning("%s runs on torch: %s", trial.network, reason)
    return Choice(trial.network, "torch", "float32", reason, error=error)


def _told(choice: Choice) -> Choice:
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


# -- what each network is tried on -----------------------------------------------------------------


def _draws() -> Callable[..., Tensor]:
    """Normal numbers of any shape that leave everybody else's draws as they are."""
    source = torch.Generator().manual_seed(time.time_ns() % 2**31)
    return lambda *shape: torch.randn(*shape, generator=source)


def _transformer(model: Generator, config: ModelConfig) -> Trial[Transformer]:
    chunks, fast = config.chunks, config.acceleration
    live = chunks.live_hop + chunks.live_tail
    told = {length: random_condition(model, config, length) for length in {live, chunks.length}}
    draw = _draws()
    noisy = {n: draw(2, config.vae.channels, n, 1, PART_COUNT) for n in told}
    noise_levels = levels(config.schedule.steps, config.schedule.shift)[:-1]
    reused = fast.reused_blocks(config.schedule.steps)

    def run(dit: Transformer, length: int, batch: int) -> Outputs:
        cache = dit.condition(first(told[length], batch))
        return [
            dit.velocity(noisy[length][:batch], level, cache, blocks)
            for level, blocks in zip(noise_levels, reused, strict=True)
        ]

    def build() -> Transformer:
        from pipeline.fast import FastDit

        tokens = model.text.tokens
        return FastDit(model.dit, chunks.context, told, tokens, fast.precision, fast.threads,
                       keep=bool(fast.attention))  # fmt: skip

    return Trial(
        "transformer", model.dit, build, lambda dit: [v for n in told for v in run(dit, n, 2)],
        lambda dit: run(dit, live, 2 if chunks.live_tail else 1), fast.precision,
    )  # fmt: skip


def random_condition(
    model: Generator, config: ModelConfig, length: int, batch: int = 2
) -> Condition:
    """Random conditions of some chunks, all but the first one early in their streams."""
    draw, past = _draws(), config.chunks.context
    valid, known = torch.ones(batch, past).bool(), torch.ones(batch, past + length).bool()
    valid[1:, : past // 2] = known[1:, : past // 2] = False
    return Condition(
        reference=draw(batch, model.dit.reference_in.in_features),
        prompt=draw(batch, model.text.tokens, config.dit.dim),
        context=draw(batch, config.vae.channels, past, 1, PART_COUNT), context_valid=valid,
        audio=draw(batch, past + length, config.audio.embed_dim), audio_known=known,
    )  # fmt: skip


def first(c: Condition, count: int) -> Condition:
    """The conditions of the first ``count`` chunks."""
    return Condition(
        c.reference[:count], c.prompt[:count], c.context[:count], c.context_valid[:count],
        c.audio[:count], c.audio_known[:count],
    )  # fmt: skip


def _ears(model: Generator, config: ModelConfig) -> Trial[Ears]:
    draw, stride = _draws(), AudioEncoder.STRIDE
    memory = [draw(*past.shape) for past in model.audio.nothing()]
    features = [
        draw(1, latents * stride, feature_dim(config.audio.mel_bands))
        for latents in (config.chunks.live_hop, AudioEncoder.REACH)
    ]

    def run(ears: Ears, heard: Tensor) -> Outputs:
        out, kept = ears.hear(heard, memory)
        return [out, *kept]

    def build() -> Ears:
        from pipeline.fast import FastEars

        return FastEars(model.audio, config.acceleration.threads)

    return Trial(
        "audio encoder", model.audio, build,
        lambda ears: [x for heard in features for x in run(ears, heard)],
        lambda ears: run(ears, features[0]),
    )  # fmt: skip


def _decoder(model: Generator, config: ModelConfig) -> Trial[Decoder]:
    draw, history = _draws(), config.vae.history
    latents = [
        draw(1, config.vae.channels, history + fresh, 1, PART_COUNT)
        for fresh in (config.chunks.live_hop, config.chunks.length)
    ]

    def build() -> Decoder:
        from pipeline.fast import FastDecoder

        return FastDecoder(model.vae, config.acceleration.threads)

    return Trial(
        "decoder", model.vae, build, lambda net: [net.decode_after(x) for x in latents],
        lambda net: net.decode_after(latents[0]),
    )  # fmt: skip
