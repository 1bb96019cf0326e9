"""From noise to clean latents: the branches of guidance, the steps of the schedule.

Noise levels are numbers on the host, and noise is drawn there: nothing in the loop waits for the
device.

Letters: K chunks of a batch, C channels, T latents of a chunk, h and w.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.diffusion.guidance import rescaled
from pipeline.diffusion.sampling import euler, predict_x0, renoise
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.dit import Speech, WanDiT

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
Velocity = Callable[[Tensor, int], Tensor]  # latents, step
Agree = Callable[[Tensor], Tensor]
Noise = Callable[[int], Tensor]
Steps = Generator[tuple[Tensor, int], Tensor, Tensor]  # asks for the velocity of latents at a step


@dataclass(frozen=True, slots=True)
class Prompts:
    """Encoded prompts (1, tokens, 4096): what is wanted, and what guidance leads away from."""

    wanted: Tensor
    unwanted: Tensor


@dataclass(frozen=True, slots=True)
class Known:
    """Latents (1, C, m, h, w) that are given. They are written over the first m of the first chunk
    before every step and at the end: as they are or, with ``noise``, at the level of the step."""

    latents: Tensor
    noise: Noise | None = None

    def at(self, step: int, level: float) -> Tensor:
        """What is written before ``step``, which begins at ``level``; level 0 is the end."""
        if self.noise is None or level == 0.0:
            return self.latents
        return renoise(self.latents, self.noise(step), level)


def silent(audio: Speech) -> Speech:
    """Zero features: what "no audio" means to guidance (the branch stays on)."""
    if isinstance(audio, Tensor):
        return torch.zeros_like(audio)
    return torch.zeros_like(audio[0]), torch.zeros_like(audio[1])


@dataclass(frozen=True, slots=True)
class Branches:
    """Fields to be evaluated at every step, and how much each counts; weights sum to one. The first
    is the conditional one, to whose spread ``rescale`` pulls the guided field back."""

    conditions: list[list[BlockCondition]]
    weights: tuple[float, ...]
    rescale: float = 0.0

    def mix(self, fields: Sequence[Tensor]) -> Tensor:
        """The guided field."""
        if len(fields) == 1:
            return fields[0]
        guided = torch.stack([w * f for w, f in zip(self.weights, fields, strict=True)]).sum(0)
        return rescaled(guided, fields[0], self.rescale)


def guided_branches(
    dit: WanDiT,
    guidance: Guidance,
    prompts: Prompts,
    image: Tensor | None,
    audio: Speech,
    areas: Tensor | None = None,
) -> Branches:
    """Encode the condition of each branch of guidance, once a chunk.

    Scale 1 for both is one branch. Equal scales lead away from silence and the unwanted prompt
    together. Otherwise layout A leads first by the prompt (both in silence), then by the audio;
    layout B by the prompt (both with audio), and by the audio (both unwanted).
    """
    text, sound = guidance.text, guidance.audio
    batch = audio.shape[0] if isinstance(audio, Tensor) else audio[0].shape[0]

    def conditions(prompt: Tensor, heard: Speech) -> list[BlockCondition]:
        seen = None if image is None else image.expand(batch, -1, -1)
        where = None if areas is None else areas.expand(batch, -1, -1)
        return dit.encode(prompt.expand(batch, -1, -1), seen, heard, where)

    if text == sound == 1.0:
        return Branches([conditions(prompts.wanted, audio)], (1.0,))
    quiet = silent(audio)
    full, empty = conditions(prompts.wanted, audio), conditions(prompts.unwanted, quiet)
    back = guidance.rescale
    if text == sound:
        return Branches([full, empty], (text, 1.0 - text), back)
    if dit.config.layout == "A":
        middle = conditions(prompts.wanted, quiet)
        return Branches([full, middle, empty], (sound, text - sound, 1.0 - text), back)
    middle = conditions(prompts.unwanted, audio)
    return Branches([full, middle, empty], (text, sound - text, 1.0 - sound), back)


def timestep(level: float, schedule: Schedule, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A noise level as the network's input: 0..1000, rounded as the published run does."""
    t = torch.full(shape, 1000.0 * level, dtype=torch.float64, device=like.device)
    if schedule.time_dtype == "bfloat16":
        t = t.to(torch.bfloat16)
    return t.float()


def denoise(
    velocity: Velocity,
    schedule: Schedule,
    noise: Noise,
    known: Known | None = None,
    agree: Agree = lambda x0: x0,
) -> Tensor:
    """Clean latents (K, C, T, h, w) under the guided field ``velocity(x, step)``; see ``denoising``
    for the rest."""
    return answered(denoising(schedule, noise, known, agree), lambda asked: velocity(*asked))


def denoising(
    schedule: Schedule,
    noise: Noise,
    known: Known | None = None,
    agree: Agree = lambda x0: x0,
) -> Steps:
    """The loop that ends with clean latents, and asks whoever runs it for each velocity.

    ``noise(draw)`` gives the initial noise (0) and the fresh noise of later steps; ``known`` tells
    which latents are given; ``agree`` harmonises the chunks' x0.
    """
    levels = schedule.levels
    x, *fresh = (noise(draw) for draw in range(draws(schedule)))
    for step, (level, after) in enumerate(zip(levels, levels[1:], strict=False)):
        x = _given(x, known, step, level)
        velocity = yield x, step
        x0 = agree(predict_x0(x, velocity, level))
        if after == 0.0:
            x = x0
        elif schedule.sampler == "euler":
            x = euler(x, x0, level, after)
        else:
            x = renoise(x0, fresh[step], after)
    return _given(x, known, schedule.steps, 0.0)


def answered(work: Generator[A, B, T], answer: Callable[[A], B]) -> T:
    """What ``work`` returns once all that it asks for is answered."""
    try:
        asked = next(work)
        while True:
            asked = work.send(answer(asked))
    except StopIteration as end:
        result: T = end.value
        return result


def draws(schedule: Schedule) -> int:
    """How often noise is drawn for a chunk; the last step of a re-noising sampler adds none."""
    return schedule.steps if schedule.sampler == "renoise" else 1


def _given(x: Tensor, known: Known | None, step: int, level: float) -> Tensor:
    if known is None:
        return x
    written = known.at(step, level)
    head = torch.cat([written, x[:1, :, written.shape[2] :]], dim=2)
    return torch.cat([head, x[1:]])
