"""From the corpus to ``mini.safetensors``: the VAE, then the audio encoder, then the DiT.

``python -m training.train --minutes 60`` goes on where the last run stopped, on a GPU if there is
one, and leaves resumable state in ``--run`` and weights (the running average) in ``--out``.
``--start FILE --vae-minutes 0 --audio-minutes 0`` tunes the DiT of finished weights.

1. *vae*: body states -> latents -> body states, then the statistics of the latents.
2. *audio*: the encoder alone learns to tell the latents, how much each part moves, and whether the
   reading is flat, plain or emphatic, which gives the DiT ears that already know phones, stress,
   pauses and manner; then it is frozen.
3. *dit*: flow matching on chunks as the schedules will meet them: with and without clean context,
   with the future unheard, conditions dropped now and then.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.mini.audio import AudioEncoder
from pipeline.models.mini.config import MODELS, ModelConfig, load_config
from pipeline.models.mini.dit import Condition
from pipeline.models.mini.generator import Generator, load_generator, save_generator
from pipeline.models.mini.rig.fit import REF_DIM
from pipeline.models.mini.vae import PART_COUNT
from training.data import DELIVERIES, Batch, Crops, read_corpus

LIVE_SHARE = 0.65  # of the steps: live chunks are harder, for they hear less of what follows
PART_WEIGHT = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0])
EARS_WEIGHT = torch.tensor([2.0, 1.0, 1.0, 0.3, 0.3])
MANNER_WEIGHT = 0.2
MANNER_AFTER = 8  # latents of a crop before its delivery can be told
LIVE_LENGTHS = (2, 2, 2, 2, 3, 4)  # latents of a live chunk: what is shown, and tails
ANYWHERE = 0.3  # of the noise levels; the others are those that the schedule visits


class Trainer:
    """Model, running average, optimiser and clock of one run; everything that a resume needs."""

    def __init__(self, config: ModelConfig, run: Path, device: torch.device) -> None:
        self.config, self.run, self.device = config, run, device
        self.model = Generator(config, REF_DIM).to(device)
        told = PART_COUNT * (config.vae.channels + 1)
        self.ears = nn.Linear(config.audio.embed_dim, told).to(device)
        self.manner = nn.Linear(config.audio.embed_dim, len(DELIVERIES)).to(device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.steps = {"vae": 0, "audio": 0, "dit": 0}
        self.spent = {"vae": 0.0, "audio": 0.0, "dit": 0.0}
        self.optimisers: list[torch.optim.Optimizer] = []
        self.stage = ""
        self.resume()

    @property
    def checkpoint(self) -> Path:
        return self.run / "train.pt"

    def resume(self) -> None:
        if not self.checkpoint.exists():
            return
        saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.ears.load_state_dict(saved["ears"])
        self.manner.load_state_dict(saved["manner"])
        self.average = saved["average"]
        self.steps, self.spent = saved["steps"], saved["spent"]
        self._saved = (saved["stage"], saved["optimisers"])

    _saved: tuple[str, list[dict]] = ("", [])  # type: ignore[type-arg]

    def start_from(self, weights: Path) -> None:
        """Begin with finished weights, unless this run has a checkpoint of its own."""
        if self.checkpoint.exists():
            return
        self.model = load_generator(self.config, REF_DIM, weights).to(self.device).train()
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def begin(self, stage: str, modules: list[nn.Module], rate: float) -> None:
        """Optimise ``modules`` from now on, going on with a saved state of the same stage."""
        self.stage, self.optimisers = stage, optimisers(modules, rate)
        if self._saved[0] == stage:
            for optimiser, state in zip(self.optimisers, self._saved[1], strict=True):
                optimiser.load_state_dict(state)

    def descend(self, loss: Tensor, rate: float) -> None:
        groups = [group for optimiser in self.optimisers for group in optimiser.param_groups]
        parameters = [p for group in groups for p in group["params"]]
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in groups:
            group["lr"] = rate
        for optimiser in self.optimisers:
            optimiser.step()
        self.steps[self.stage] += 1
        self._update_average()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.998, self.steps[self.stage] / (self.steps[self.stage] + 20))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)

    def settle(self, name: str) -> None:
        """Put the running average into the network ``name``, whose training is over."""
        own = {k[len(name) + 1 :]: v for k, v in self.average.items() if k.startswith(f"{name}.")}
        self.model.get_submodule(name).load_state_dict(own)

    def save(self, out: Path) -> None:
        """Resumable state and deliverable weights, each whole or not at all."""
        self.run.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(".part")
        state = {
            "model": self.model.state_dict(), "ears": self.ears.state_dict(),
            "manner": self.manner.state_dict(),
            "average": self.average, "steps": self.steps, "spent": self.spent,
            "stage": self.stage,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }  # fmt: skip
        torch.save(state, part)
        part.replace(self.checkpoint)
        save_generator({k: v.cpu() for k, v in self.average.items()}, out)


def optimisers(modules: list[nn.Module], rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of transformer blocks, AdamW for all the rest."""
    blocks = [m for module in modules for m in getattr(module, "blocks", ())]
    matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for module in modules for p in module.parameters() if id(p) not in inside]
    adam = torch.optim.AdamW(rest, rate, betas=(0.9, 0.98), weight_decay=0.01)
    if not matrices:
        return [adam]
    decay, like_adam = 0.01, "match_rms_adamw"
    return [adam, torch.optim.Muon(matrices, rate, weight_decay=decay, adjust_lr_fn=like_adam)]


def schedule(progress: float, peak: float) -> float:
    """Linear warm-up over 2 %, then cosine to 2 % of the peak; ``progress`` in [0, 1]."""
    if progress < 0.02:
        return peak * (progress / 0.02 + 0.01)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def timed(trainer: Trainer, stage: str, minutes: float, until: float) -> Iterator[float]:
    """Progress in [0, 1] of a stage that lasts ``minutes`` in all; stops at clock ``until``."""
    while trainer.spent[stage] < 60 * minutes and time.monotonic() < until:
        begin = time.monotonic()
        yield trainer.spent[stage] / (60 * minutes)
        trainer.spent[stage] += time.monotonic() - begin


def vae_loss(model: Generator, states: Tensor) -> Tensor:
    """Reconstruction of states and their velocities in normalised units, and a light KL.

    The gaze counts in the room.
    """
    vae = model.vae
    mean, log_var = vae.moments(states)
    latents = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
    error = ((vae.decode_raw(latents) - states) @ vae.to_room) / vae.state_std
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
    return error.square().mean() + 2.0 * error.diff(dim=1).square().mean() + 1e-3 * kl


def train_vae(trainer: Trainer, states: list[np.ndarray], minutes: float, until: float) -> float:  # type: ignore[type-arg]
    """Returns the last loss; fixes the latent statistics at the end."""
    vae, frames = trainer.model.vae, 32
    everything = np.concatenate(states) @ vae.to_room.cpu().numpy()
    vae.state_mean.copy_(torch.from_numpy(everything.mean(0)))
    vae.state_std.copy_(torch.from_numpy(np.maximum(everything.std(0), 0.01)))
    trainer.begin("vae", [vae], 2e-3)
    rng, loss = np.random.default_rng(trainer.steps["vae"]), torch.zeros(())
    longest = [s for s in states if len(s) > frames]
    for progress in timed(trainer, "vae", minutes, until):
        picks = rng.integers(0, len(longest), 64)
        starts = [int(rng.integers(0, (len(longest[p]) - frames) // 2)) * 2 for p in picks]
        batch = np.stack([longest[p][s : s + frames] for p, s in zip(picks, starts, strict=True)])
        loss = vae_loss(trainer.model, torch.from_numpy(batch).to(trainer.device))
        trainer.descend(loss, schedule(progress, 2e-3))
        report(trainer, loss, 200)
    _fix_latent_statistics(trainer, longest)
    return float(loss.detach())


@torch.no_grad()
def _fix_latent_statistics(trainer: Trainer, states: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    vae = trainer.model.vae
    trainer.settle("vae")
    sample = [torch.from_numpy(s[: len(s) // 2 * 2])[None].to(trainer.device) for s in states[:400]]
    latents = torch.cat([vae.moments(s)[0][0] for s in sample], dim=1)
    vae.latent_mean.copy_(latents.mean((1, 2), keepdim=True))
    vae.latent_std.copy_(latents.std((1, 2), keepdim=True).clamp(min=0.02))
    trainer.average.update({f"vae.{k}": v.clone() for k, v in vae.state_dict().items()})


def ears_loss(trainer: Trainer, embedded: Tensor, latents: Tensor) -> Tensor:
    """How well embeddings (B, L, A) alone tell the latents (B, C, L, 1, P) and how much each part
    moves; arms count little, for the voice tells when they move but not where.
    """
    told = trainer.ears(embedded).unflatten(-1, (PART_COUNT, -1))  # (B, L, P, C + 1)
    target = latents[:, :, :, 0].permute(0, 2, 3, 1)
    motion = F.pad(target.diff(dim=1), (0, 0, 0, 0, 1, 0)).abs().mean(-1, keepdim=True)
    error = (told - torch.cat([target, 2.0 * motion], dim=-1)).square()
    return (error * EARS_WEIGHT.to(told)[:, None]).mean()


def manner_loss(trainer: Trainer, embedded: Tensor, deliveries: Tensor) -> Tensor:
    """How well embeddings (B, L, A) tell the delivery (B,) once they have heard enough of it."""
    told = trainer.manner(embedded[:, MANNER_AFTER:])  # (B, L', deliveries)
    return F.cross_entropy(told.flatten(0, 1), deliveries.repeat_interleave(told.shape[1]))


def flow_loss(trainer: Trainer, batch: Batch, sigma: float = 0.3) -> Tensor:
    """Velocity error of noisy chunks, the mouth counting double; most of them at the levels that
    the schedule visits.
    """
    model, past = trainer.model, trainer.config.chunks.context
    latents, size = batch.latents, len(batch.latents)
    clean, context = latents[:, :, past:], latents[:, :, :past]
    context = context + sigma * torch.rand(size, 1, 1, 1, 1).to(context) * torch.randn_like(context)
    t = noise_levels(trainer.config, size).to(clean)
    known = batch.audio_known & (torch.rand(size, 1, device=clean.device) > 0.05)
    condition = Condition(
        batch.reference, model.text(batch.prompts), context, batch.context_valid, batch.audio, known
    )
    noise = torch.randn_like(clean)
    level = t[:, None, None, None, None]
    x = (1 - level) * clean + level * noise
    v = model.dit(x, t[:, None].expand(-1, clean.shape[2]), model.dit.condition(condition))
    return ((v - (noise - clean)).square() * PART_WEIGHT.to(v)).mean()


def noise_levels(config: ModelConfig, size: int) -> Tensor:
    """Noise levels to train at, (size,): the schedule's own, and now and then any other."""
    visited = torch.tensor(config.schedule.levels[:-1])
    t = visited[torch.randint(len(visited), (size,))]
    return torch.where(torch.rand(size) < ANYWHERE, torch.rand(size).clamp(min=0.02), t)


def train_audio(trainer: Trainer, crops: Crops, minutes: float, until: float, size: int) -> None:
    """The encoder alone, on long crops."""
    trainer.begin("audio", [trainer.model.audio, trainer.ears, trainer.manner], 2e-3)
    rng = np.random.default_rng([7, trainer.steps["audio"]])
    for progress in timed(trainer, "audio", minutes, until):
        features, latents, deliveries = crops.hearing(rng, size, 48)
        embedded = trainer.model.audio(features.to(trainer.device))[:, AudioEncoder.REACH :]
        loss = ears_loss(trainer, embedded, latents.to(trainer.device))
        loss = loss + MANNER_WEIGHT * manner_loss(trainer, embedded, deliveries.to(trainer.device))
        trainer.descend(loss, schedule(progress, 2e-3))
        report(trainer, loss, 50)


def train_dit(
    trainer: Trainer, crops: Crops, minutes: float, until: float, size: int, out: Path,
    rate: float = 1.5e-3,
) -> None:  # fmt: skip
    """The transformer and the prompt encoder, on what the finished encoder hears."""
    model, chunks = trainer.model, trainer.config.chunks
    trainer.settle("audio")
    crops.hear(model.audio, trainer.device)
    trainer.begin("dit", [model.dit, model.text], rate)
    rng = np.random.default_rng([11, trainer.steps["dit"]])
    saved = time.monotonic()
    for progress in timed(trainer, "dit", minutes, until):
        live = rng.random() < LIVE_SHARE
        length = int(rng.choice(LIVE_LENGTHS)) if live else chunks.length
        batch = crops.chunks(rng, 2 * size if live else size, length, live).to(trainer.device)
        loss = flow_loss(trainer, batch)
        trainer.descend(loss, schedule(progress, rate))
        report(trainer, loss, 50)
        if time.monotonic() - saved > 240:
            trainer.save(out)
            saved = time.monotonic()


def report(trainer: Trainer, loss: Tensor, every: int) -> None:
    """One JSON line every ``every`` steps."""
    step = trainer.steps[trainer.stage]
    if step % every == 0:
        minutes = round(trainer.spent[trainer.stage] / 60, 2)
        line = {
            "stage": trainer.stage,
            "step": step,
            "minutes": minutes,
            "loss": round(loss.item(), 4),
        }
        print(json.dumps(line), flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path(".data/corpus"))
    parser.add_argument("--run", type=Path, default=Path(".runs/mini"))
    parser.add_argument("--out", type=Path, default=MODELS / "mini/mini.safetensors")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the DiT stage")
    parser.add_argument("--vae-minutes", type=float, default=4.0)
    parser.add_argument("--audio-minutes", type=float, default=10.0)
    parser.add_argument("--slice", type=float, default=1e9, help="stop after so many minutes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--start", type=Path, help="finished weights to tune")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate of the DiT")
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    until = time.monotonic() + 60 * args.slice
    trainer = Trainer(load_config("mini"), args.run, device)
    if args.start:
        trainer.start_from(args.start)
    takes = read_corpus(args.corpus, "train")
    if not takes:
        parser.error(f"no takes in {args.corpus}: run `python -m training.corpus` first")
    if trainer.spent["vae"] < 60 * args.vae_minutes:
        train_vae(trainer, [t.states for t in takes], args.vae_minutes, until)
        trainer.save(args.out)
    crops = Crops(takes, trainer.model.vae, trainer.config)
    train_audio(trainer, crops, args.audio_minutes, until, args.batch)
    trainer.save(args.out)
    train_dit(trainer, crops, args.minutes, until, args.batch, args.out, args.rate)
    trainer.save(args.out)


if __name__ == "__main__":
    main()
