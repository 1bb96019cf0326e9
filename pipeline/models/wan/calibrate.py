"""``python -m pipeline.calibrate --model PATH``: what a checkpoint can leave out, from speech.

Generates each sound file live, with a bundled avatar, and derives settings from the latents. They
are written as ``acceleration.toml`` beside the weights and added to the profile at every later
start. With ``--export``, decoders for ONNX Runtime are made and measured on the same latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.acceleration.profile import LEARNED
from pipeline.avatars import catalogue
from pipeline.media.image_file import hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.models.wan.encoders.speech import SAMPLE_RATE, SpeechWindow
from pipeline.models.wan.generation.calibration import Learned, Sample, learn
from pipeline.models.wan.generation.chunked import GenerationSetup, GenerationState
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.generation.recipes import perform
from pipeline.models.wan.pipeline import HEARD_S, WanPipeline, fit_picture
from pipeline.models.wan.vae.onnx_files import Trial, make_decoders

CHUNKS: Final = 2  # of every clip: one that begins, one that goes on
LATENTS: Final = 8  # that calibrate a decoder and measure it
UNREUSABLE: Final = ("rolling", "memory")  # recipes whose steps are not those of one chunk
Speech = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is asked of a checkpoint; see ``learn`` for the bounds."""

    saved: float
    budget: float
    scales: bool = False
    export: bool = False


@dataclass(frozen=True, slots=True)
class Taught:
    """What was found. ``decoders`` are the ways to decode, the best one first."""

    learned: Learned
    decoders: tuple[Trial, ...]

    def toml(self) -> str:
        """The text of ``acceleration.toml``."""
        best = self.decoders[0].runtime if self.decoders else ""
        head = "# Learned by python -m pipeline.calibrate; read on top of every profile.\n\n"
        vae = f'[vae]\nruntime = "{best}"\n\n' if best else ""
        return head + vae + self.learned.toml()

    def report(self) -> str:
        """The same in words."""
        reuse = self.learned.reuse
        lines = [f"thresholds of the CFG cache: {list(self.learned.thresholds) or 'one branch'}",
                 f"attention {' '.join(reuse.steps)}: {reuse.reused} of "
                 f"{reuse.blocks * len(reuse.steps)} reused, error {self.learned.error:.2%}",
                 f"{len(self.learned.scales)} scales of int8-static"]  # fmt: skip
        lines += [f"decoder by {t.runtime or 'torch'}: {t.seconds:.3f} s of processor time a "
                  f"latent, {t.psnr:.0f} dB" for t in self.decoders]  # fmt: skip
        return "\n".join(lines)


def teach(
    pipeline: WanPipeline, clips: Sequence[Speech], lesson: Lesson, home: Path,
    size: tuple[int, int] | None = None,
) -> Taught:  # fmt: skip
    """Learn from ``clips`` (float32 mono 16 kHz) at a ``size`` of the card; decoders are written to
    ``home``. Raises ``ValueError`` for clips that are shorter than a chunk."""
    people = cycle(catalogue().values())
    samples = []
    for seed, (clip, person) in enumerate(zip(clips, people, strict=False)):
        picture = load_picture(hash_picture(person.reference)).pixels
        samples.append(sample(pipeline, clip, picture, seed, size))
    if not samples:
        raise ValueError("nothing to learn from: no clip was given")
    found = learn(samples, lesson.saved, lesson.budget, lesson.scales)
    tried = []
    if lesson.export:
        latents = samples[0].clean(AccelerationPlan())[:, :, :LATENTS].float().cpu()
        tried = make_decoders(pipeline.model.vae, home, latents)
    return Taught(found, tuple(tried))


def sample(
    pipeline: WanPipeline, clip: Speech, picture: NDArray[np.uint8], seed: int,
    size: tuple[int, int] | None = None,
) -> Sample:  # fmt: skip
    """The first chunks of a clip, spoken by the person of a picture (H, W, 3)."""
    model, recipe = pipeline.model, pipeline.model.card.recipe
    width, height = size or model.card.sizes[0]
    model.card.check_use(width, height, pipeline.frame_rate, pipeline.manner.force)
    reference = pipeline.reference(fit_picture(picture, width, height))
    score = GenerationSetup(model.dit, model.card.schedule, model.card.guidance, reference, seed)
    prompts = pipeline.prompts("")

    def start(pace: AccelerationPlan) -> GenerationState:
        return perform(replace(score, pace=pace), prompts, model.card)

    guidance = model.card.guidance
    return Sample(
        model.dit, model.card.schedule.steps, not guidance.text == guidance.audio == 1.0,
        recipe.kind not in UNREUSABLE, start, _heard(pipeline, start(AccelerationPlan()), clip),
    )  # fmt: skip


def _heard(pipeline: WanPipeline, run: GenerationState, clip: Speech) -> tuple[Tensor, ...]:
    """Speech features of the first chunks, as a live stream hears them."""
    size = SAMPLE_RATE // pipeline.frame_rate
    window = max(HEARD_S * pipeline.frame_rate, run.span().stop + run.hop)
    ears, told, heard = SpeechWindow(pipeline.model.speech, size, window), 0, []
    for _ in range(CHUNKS):
        span = run.span()
        need = span.stop * size
        if len(clip) < need:
            break
        ears.push(clip[told:need])
        told = need
        heard.append(ears.read(span.start, span.stop))
        run.advance(heard[-1])
    if not heard:
        raise ValueError(f"{len(clip) / SAMPLE_RATE:.1f} s of speech are shorter than a chunk of "
                         f"{run.span().stop / pipeline.frame_rate:.1f} s")  # fmt: skip
    return tuple(heard)


def write(taught: Taught, home: Path) -> Path:
    """Put it beside the weights in the folder ``home``; what was learned before is replaced."""
    path = home / LEARNED
    path.write_text(taught.toml(), "utf-8")
    return path
