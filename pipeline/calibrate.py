"""``python -m pipeline.calibrate --audio SPEECH.wav``: what can be reused across denoising steps.

Generates sample speech in full and derives two tables for the model's own schedule. For guidance:
the relative change below which the unconditional branch need not run again; the share of passes to
save is given, the error is minimised. For attention: which outputs may be reused; the allowed error
is given, reuse is maximised. Prints both, and writes them into a model's TOML; for a published
checkpoint (``--model PATH``) they are stored beside its weights.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipeline.attention.cache import Reuse, propose
from pipeline.avatars import catalogue
from pipeline.diffusion.guidance import CfgCache, Trial, change, guide, learn_thresholds
from pipeline.diffusion.sampling import euler, predict_x0, renoise
from pipeline.errors import ContinuumError
from pipeline.interface import native
from pipeline.loader import is_bundled, load_pipeline
from pipeline.media.audio_file import open_audio, speech
from pipeline.models.mini.config import MODELS, ModelConfig, load_config, read_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.dit import Condition, DiT
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import Generator, load_generator
from pipeline.models.mini.guided_velocity import GuidedVelocity, Transformer
from pipeline.models.mini.offline import Speech, states, trace_for
from pipeline.models.mini.onnx.runtime import accelerate
from pipeline.models.mini.rig.fit import REF_DIM, Fit, reference_vector

PERFORMERS: Final = 3  # bundled people that speak each sample
Sample = tuple[Condition, Tensor]


@dataclass(frozen=True, slots=True)
class Learned:
    """What calibration found; ``error`` is relative, of clean latents under the reuse table."""

    thresholds: tuple[float, ...]  # empty: one branch only
    saved: float  # share of unconditional passes that the thresholds spared on the samples
    reuse: Reuse
    error: float


class WatchedVelocity(GuidedVelocity):
    """Spares nothing; records each chunk's condition, and the error that reuse would cause."""

    def __init__(self, dit: Transformer, config: ModelConfig, null_prompt: Tensor) -> None:
        super().__init__(dit, config, null_prompt)
        self.samples: list[Sample] = []
        self.trials: list[list[Trial]] = []
        self._condition: Condition | None = None
        self._last: Tensor | None = None

    def encode(self, condition: Condition) -> list[Any]:
        self._condition = condition
        return super().encode(condition)

    def at(self, x: Tensor, step: int, caches: list[Any], branches: CfgCache) -> Tensor:
        if self._condition is not None:  # the first step: ``x`` is the chunk's noise
            self.samples.append((self._condition, x))
            self.trials.append([])
            self._condition = None
        found = self.branches(x, step, caches)
        if len(found) == 1:
            return found[0]
        guidance = self.config.guidance
        guided = guide(found[0], found[1], guidance.scale, guidance.rescale)
        if self._last is not None:
            (guess,) = branches.reuse(found[0])
            lazy = guide(found[0], guess, guidance.scale, guidance.rescale)
            self.trials[-1].append(Trial(change(found[0], self._last), change(lazy, guided)))
        branches.keep(found[0], found[1:])
        self._last = None if step == len(self.levels) - 2 else found[0]
        return guided


@torch.inference_mode()
def learn(
    model: Generator,
    config: ModelConfig,
    clips: Sequence[Speech],
    references: Sequence[Speech],
    saved: float,
    budget: float,
) -> Learned:
    """Thresholds that save at least the share ``saved`` of unconditional passes, and the table of
    most reuse whose relative error stays within ``budget``.

    Every clip (float32 mono 16 kHz) is performed live by every reference (R,). Raises
    ``ValueError`` where there is nothing to learn from, or more is to be saved than can be.
    """
    full = replace(config, acceleration=replace(config.acceleration, cfg_cache=(), attention=()))
    networks, null = accelerate(model, full), model.text([""])[0]
    watched = WatchedVelocity(networks.dit, full, null)
    denoiser = Denoiser(watched)
    for seed, (clip, reference) in enumerate(product(clips, references)):
        trace, spread = trace_for(full, "causal"), full.motion.spread("causal")
        performer = GenerationState(full, torch.from_numpy(reference), null, seed, trace, spread)
        deque(states(networks, denoiser, performer, [clip], "causal"), maxlen=0)
    if not watched.samples:
        raise ValueError(f"nothing to learn from: {len(clips)} clips, {len(references)} references")
    thresholds: tuple[float, ...] = ()
    spared = 0.0
    if full.guidance.scale != 1.0:
        learned = learn_thresholds(watched.trials, saved)
        thresholds = tuple(float(f"{bound:.4g}") for bound in learned)
        spared = _spared(watched.trials, thresholds)
    error = Replay(model.dit, full, watched.samples)
    reuse = propose(error, full.schedule.steps, full.dit.depth, budget)
    return Learned(thresholds, spared, reuse, error(reuse))


def _spared(trials: Sequence[Sequence[Trial]], thresholds: Sequence[float]) -> float:
    """Share of all unconditional passes that thresholds spare on the trials."""
    hits = sum(
        trial.change < bound
        for sample in trials
        for trial, bound in zip(sample, thresholds[1:], strict=True)
    )
    return hits / (len(trials) * len(thresholds))


class Replay:
    """Denoises the chunks that were watched once more, all in one batch, with a table of reuse.

    Calling it gives the relative error of the clean latents against full attention.
    """

    def __init__(self, dit: DiT, config: ModelConfig, samples: Sequence[Sample]) -> None:
        told, noise = zip(*samples, strict=True)
        self._condition = Condition(
            *(torch.cat([getattr(c, f.name) for c in told]) for f in fields(Condition))
        )
        self._dit, self._noise, self._schedule = dit, torch.cat(noise), config.schedule
        self._full = self._denoised(Reuse.of(config.schedule.steps, config.dit.depth))

    @torch.inference_mode()
    def _denoised(self, table: Reuse) -> Tensor:
        cache, x, schedule = self._dit.condition(self._condition), self._noise, self._schedule
        noise_levels = schedule.levels
        for word, t, following in zip(table.steps, noise_levels, noise_levels[1:], strict=False):
            blocks = {block for block, letter in enumerate(word) if letter == "R"}
            x0 = predict_x0(x, self._dit.velocity(x, t, cache, blocks), t)
            plain_flow = schedule.sampler == "euler"
            x = euler(x, x0, t, following) if plain_flow else renoise(x0, self._noise, following)
        return x

    def __call__(self, table: Reuse) -> float:
        return change(self._denoised(table), self._full)


def written(text: str, learned: Learned) -> str:
    """A model's TOML with what was learned under ``[acceleration]``, comments left alone."""
    table = [] if not learned.reuse.reused else list(learned.reuse.steps)
    values = {"cfg_cache": list(learned.thresholds), "attention": table}
    head, found, rest = text.partition("[acceleration]")
    if not found:
        raise ValueError("the model's TOML has no section [acceleration]")
    for key, value in values.items():
        plain = json.dumps(value).replace("Infinity", "inf")
        pattern = rf"^({key}\s*=\s*)\[[^\]]*\]"
        rest, count = re.subn(pattern, rf"\g<1>{plain}", rest, count=1, flags=re.M)
        if count != 1:
            raise ValueError(f"the section [acceleration] has no list {key}")
    return head + found + rest


def main(argv: Sequence[str] | None = None) -> int:
    """Learns from sound files; 0, or 2 with one line on stderr when the input is at fault."""
    given = _parser().parse_args(argv)
    if not is_bundled(given.model):
        return _checkpoint(given)
    path = given.toml or MODELS / f"{given.model}.toml"
    try:
        config = read_config(path) if given.toml else load_config(given.model)
        if given.scale is not None:
            config = replace(config, guidance=replace(config.guidance, scale=given.scale))
        clips = [np.concatenate(list(speech(open_audio(file)))) for file in given.audio]
        model = load_generator(config, REF_DIM)
        learned = learn(model, config, clips, _references(), given.saved, given.budget)
        if given.write:
            path.write_text(written(path.read_text("utf-8"), learned), "utf-8")
    except (ContinuumError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    print(report(learned, config.guidance.scale, path if given.write else None))
    return 0


def _checkpoint(given: argparse.Namespace) -> int:
    """The same for a published checkpoint, in its own words."""
    try:
        loaded = load_pipeline(given.model, given.checkpoint, given.device, given.force)
        from pipeline.models.wan.calibrate import Lesson, teach, write
        from pipeline.models.wan.pipeline import WanPipeline

        pipeline = native(loaded, WanPipeline)
        path = Path(given.model).expanduser()
        home = path if path.is_dir() else path.parent
        clips = [np.concatenate(list(speech(open_audio(file)))) for file in given.audio]
        lesson = Lesson(given.saved, given.budget, given.scales, given.export)
        taught = teach(pipeline, clips, lesson, home, given.size)
        told = (
            f"written to {write(taught, home)}" if given.write else "nothing written; see --write"
        )
    except (ContinuumError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    print(f"{taught.report()}\n{told}")
    return 0


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _references() -> list[Speech]:
    """The reference vectors of the bundled people."""
    fits = [Fit.from_json(found.fit.read_text("utf-8")) for found in catalogue().values()]
    return [reference_vector(fit, fit.camera) for fit in fits[:PERFORMERS]]


def report(learned: Learned, scale: float, path: Path | None) -> str:
    """What was learned, in words."""
    lines = [f"guidance scale {scale:g}: " + (
        f"thresholds {list(learned.thresholds)} spare {learned.saved:.0%} of unconditional passes"
        if learned.thresholds else "one branch, nothing for the CFG cache to spare"
    )]  # fmt: skip
    lines.append(
        f"attention {' '.join(learned.reuse.steps)}: {learned.reuse.reused} of "
        f"{learned.reuse.blocks * len(learned.reuse.steps)} reused, error {learned.error:.2%}"
    )
    lines.append(f"written to {path}" if path else "nothing written; --write puts it into the TOML")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.calibrate", description=__doc__)
    parser.add_argument("--audio", type=Path, nargs="+", required=True, help="sample speech")
    parser.add_argument("--model", default="mini", metavar="NAME|PATH",
                        help="a bundled model (default mini), or a checkpoint's path")  # fmt: skip
    parser.add_argument("--checkpoint", help="which one --model PATH is, if it could be several")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for --model PATH")
    parser.add_argument("--size", type=_size, help="WIDTHxHEIGHT, for --model PATH")
    parser.add_argument("--force", action="store_true", help="a size it was not trained for")
    parser.add_argument("--scales", action="store_true", help="of int8-static, for --model PATH")
    parser.add_argument("--export", action="store_true",
                        help="decoders for ONNX Runtime, for --model PATH on a CPU")  # fmt: skip
    parser.add_argument("--toml", type=Path, help="another model's TOML instead")
    parser.add_argument("--scale", type=float, help="guidance scale to learn for")
    parser.add_argument("--saved", type=float, default=1 / 3,
                        help="share of unconditional passes to save (default 1/3)")  # fmt: skip
    parser.add_argument("--budget", type=float, default=0.01,
                        help="relative error that reused attention may make (0.01)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write into the model's TOML")
    return parser


if __name__ == "__main__":
    sys.exit(main())
