"""Rows of ``benchmarks.acceleration`` for the bundled model: its networks, and whole performances.

A performance is a held-out clip spoken live (or rendered) twice with the same noise, plainly in
float32 on torch and with one switch; its speed is that of everything but drawing, its error the
PSNR of the drawn frames. Both go their own way for the whole clip: what a switch changes early is
in the context of all that follows. Clip, body and noise are drawn afresh.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.acceleration import Figures, Options, Row, compared
from benchmarks.heldout import Spoken, performances
from benchmarks.motion import lip_sync, mouth_opening
from benchmarks.people import TruePerson
from pipeline.models.mini.audio import AudioEncoder, SpeechEncoder, feature_dim
from pipeline.models.mini.config import ModelConfig, load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import load_generator
from pipeline.models.mini.guided_velocity import GuidedVelocity
from pipeline.models.mini.offline import states, trace_for
from pipeline.models.mini.onnx.candidates import Trial, first, random_condition, trials
from pipeline.models.mini.onnx.runtime import LIMITS, Networks, accelerate, difference
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.rig.fit import REF_DIM
from pipeline.models.mini.vae import PART_COUNT

SIZE: Final = 256  # of the frames that are compared
EVERY: Final = 5  # of which one in so many is drawn
SECONDS: Final = 6.0  # of speech
States = NDArray[np.float32]
Switches = dict[str, object]


class WholeWindows:
    """The audio encoder as it would be without a memory: every embedding hears its past anew."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self.look_ahead, self.dim, self._encoder = encoder.look_ahead, encoder.dim, encoder
        self._bands = encoder.inputs.in_features

    def nothing(self) -> list[Tensor]:
        """The features of the past, one window of them."""
        return [torch.zeros(1, AudioEncoder.REACH * AudioEncoder.STRIDE, self._bands)]

    def hear(self, features: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """As ``AudioEncoder.hear``."""
        window = torch.cat([memory[0], features], dim=1)
        fresh = features.shape[1] // AudioEncoder.STRIDE
        heard, _ = self._encoder.hear(window, self._encoder.nothing())
        return heard[:, -fresh:], [window[:, -memory[0].shape[1] :]]


@dataclass(frozen=True, slots=True)
class Take:
    """One performance: body states (frames, 88), and processor seconds without drawing."""

    states: States
    seconds: float


class Stage:
    """A clip, a body and the bundled weights; performances of them under other configurations."""

    def __init__(self, seed: int) -> None:
        self.config, self.seed = load_config("mini"), seed
        self.model = load_generator(self.config, REF_DIM)

    @cached_property
    def spoken(self) -> Spoken:
        """A clip that training never heard."""
        return next(iter(performances(1, self.seed)))

    @cached_property
    def painter(self) -> FrameRenderer:
        """A body that training never saw."""
        return FrameRenderer(TruePerson(self.seed, self.spoken.performer.rest, SIZE).enrolled()[1])

    def plain(self, config: ModelConfig | None = None) -> ModelConfig:
        """Float32 on torch, nothing reused."""
        return self.switched(
            config, runtime="torch", precision="float32", cfg_cache=(), attention=()
        )

    def switched(self, config: ModelConfig | None = None, **changes: object) -> ModelConfig:
        """The bundled configuration, or another, with changed switches."""
        base = config or self.config
        return replace(base, acceleration=replace(base.acceleration, **changes))  # type: ignore[arg-type]

    def take(self, networks: Networks, schedule: str) -> Take:
        """Performs the clip once."""
        config, spoken = networks.config, self.spoken
        tokens, null = networks.text([spoken.prompt, ""])
        performer = GenerationState(
            config, torch.from_numpy(spoken.performer.reference()), tokens, self.seed,
            trace_for(config, schedule), config.motion.spread(schedule),
        )  # fmt: skip
        denoiser = Denoiser(GuidedVelocity(networks.dit, config, null))
        sound = spoken.clip.audio[: int(SECONDS * 16_000)]
        start = time.process_time()
        made = np.stack(list(states(networks, denoiser, performer, [sound], schedule)))
        return Take(made, time.process_time() - start)

    def compared(
        self, plain: Networks, fast: Networks, repeats: int, schedule: str = "causal"
    ) -> Figures:
        """Speed and error of one against the other, in turns."""
        takes = [(self.take(plain, schedule), self.take(fast, schedule)) for _ in range(repeats)]
        speed = np.median([a.seconds for a, _ in takes]) / np.median([b.seconds for _, b in takes])
        expected, found = (take.states for take in takes[0])
        latents = len(expected) / self.config.vae.temporal_stride
        per_tick = [1e3 * np.median([t[i].seconds for t in takes]) / latents for i in range(2)]
        lips = lip_sync(mouth_opening(expected), mouth_opening(found)).r
        note = f"{per_tick[0]:.1f} -> {per_tick[1]:.1f} ms per 80 ms of speech, lips r {lips:.3f}"
        return Figures(float(speed), self.psnr(expected, found), "dB", note)

    def psnr(self, expected: States, found: States) -> float:
        """Of drawn frames, all of them as one picture; infinite where they are the same."""
        errors = [
            np.square(self.painter.paint(a).astype(np.float64) - self.painter.paint(b)).mean()
            for a, b in zip(expected[::EVERY], found[::EVERY], strict=True)
        ]
        error = float(np.mean(errors))
        return 10 * math.log10(255**2 / error) if error else math.inf


def rows(options: Options) -> Iterator[Row]:
    """Every switch of the bundled model. Shapes: live is one latent of one speaker."""
    stage = Stage(options.seed)
    yield from _networks(stage, options.repeats)
    yield from _performances(stage, options.repeats)


def _networks(stage: Stage, repeats: int) -> Iterator[Row]:
    """Each network alone, in the share of it that one live tick needs; relative error."""
    int8 = stage.switched(precision="int8")

    def row(name: str, trial: Trial[Any], note: str = "") -> Row:
        def measure() -> Figures:
            fast = trial.build()
            error = difference(trial.check(fast), trial.check(trial.plain))
            times = compared(
                [lambda: trial.tick(trial.plain), lambda: trial.tick(fast)], "cpu", 10 * repeats
            )
            told = f"{1e3 * times[0]:.2f} -> {1e3 * times[1]:.2f} ms a tick"
            return Figures(times[0] / times[1], error, note=told + note)

        return Row("network", name, measure)

    for trial in trials(stage.model, stage.config):
        yield row(f"{trial.network}, ONNX Runtime", trial)
    yield row("transformer, int8", trials(stage.model, int8)[0], f", limit {LIMITS['int8']}")
    yield Row("network", "audio encoder remembers", lambda: _remembering(stage, repeats))
    yield Row("network", "transformer, four streams a batch", lambda: _batched(stage, repeats))


def _batched(stage: Stage, repeats: int) -> Figures:
    """Four live streams in one batch against one after the other."""
    config, transformer = stage.config, trials(stage.model, stage.config)[0].build()
    live = config.chunks.live_hop + config.chunks.live_tail
    four = random_condition(stage.model, config, live, 4)
    noise = torch.randn(4, config.vae.channels, live, 1, PART_COUNT)
    noise_levels = config.schedule.levels[:-1]

    def tick(count: int) -> Tensor:
        told = transformer.condition(first(four, count))
        steps = [transformer.velocity(noise[:count], level, told) for level in noise_levels]
        return steps[-1]

    times = compared([lambda: [tick(1) for _ in range(4)], lambda: tick(4)], "cpu", 10 * repeats)
    told = f"{1e3 * times[0]:.2f} -> {1e3 * times[1]:.2f} ms for four"
    return Figures(times[0] / times[1], difference([tick(4)[:1]], [tick(1)]), note=told)


def _remembering(stage: Stage, repeats: int) -> Figures:
    encoder: SpeechEncoder = stage.model.audio
    whole: SpeechEncoder = WholeWindows(stage.model.audio)
    source = torch.Generator().manual_seed(stage.seed)
    shape = (1, AudioEncoder.STRIDE, feature_dim(stage.config.audio.mel_bands))
    heard = [torch.randn(*shape, generator=source) for _ in range(2 * AudioEncoder.REACH)]
    found: list[Tensor] = []
    memories = [encoder.nothing(), whole.nothing()]
    for features in heard:
        pairs = zip((encoder, whole), memories, strict=True)
        made = [ears.hear(features, memory) for ears, memory in pairs]
        memories = [memory for _, memory in made]
        found = [embedding for embedding, _ in made]
    works: list[Callable[[], object]] = [
        lambda: whole.hear(heard[0], memories[1]), lambda: encoder.hear(heard[0], memories[0])
    ]  # fmt: skip
    times = compared(works, "cpu", 10 * repeats)
    told = f"{1e3 * times[0]:.2f} -> {1e3 * times[1]:.2f} ms a tick, both on torch"
    return Figures(times[0] / times[1], difference(found[:1], found[1:]), note=told)


def _performances(stage: Stage, repeats: int) -> Iterator[Row]:
    """Whole performances, each against plain float32 on torch with the same guidance."""
    fast: Switches = {"runtime": "onnx", "precision": "float32"}
    guided = replace(stage.config, guidance=replace(stage.config.guidance, scale=2.0))
    int8: Switches = {**fast, "precision": "int8"}
    switches: list[tuple[str, ModelConfig | None, str, Switches]] = [
        ("lossless, live", None, "causal", fast),
        ("lossless, rendered", None, "parallel", fast),
        ("int8, live", None, "causal", int8),
        ("int8, rendered", None, "parallel", int8),
    ]
    for words in (("FFFF", "RRRR", "FFFF"), ("FFFF", "RRRR", "RRRR")):
        name = f"attention {' '.join(words)}"
        switches.append((name, None, "causal", {**fast, "attention": words}))
    switches.append(("guidance 2, lossless", guided, "causal", fast))
    for count in (1, 2):
        thresholds = (0.0, 0.0, 0.0)[: 3 - count] + (math.inf,) * count
        name = f"guidance 2, spare {count} of 3"
        switches.append((name, guided, "causal", {**fast, "cfg_cache": thresholds}))
    for name, base, schedule, changes in switches:
        yield _performance(stage, repeats, name, base, schedule, changes)
    yield Row("performance", "before all of this, live", lambda: _before(stage, repeats))


def _performance(
    stage: Stage,
    repeats: int,
    name: str,
    base: ModelConfig | None,
    schedule: str,
    changes: Switches,
) -> Row:
    def measure() -> Figures:
        plain = accelerate(stage.model, stage.plain(base))
        fast = accelerate(stage.model, stage.switched(base, **changes))
        return stage.compared(plain, fast, repeats, schedule)

    return Row("performance", name, measure)


def _before(stage: Stage, repeats: int) -> Figures:
    """Torch, and an encoder without memory, against what runs by default."""
    plain = accelerate(stage.model, stage.plain())
    before = replace(plain, audio=WholeWindows(stage.model.audio))
    return stage.compared(before, accelerate(stage.model, stage.config), repeats)
