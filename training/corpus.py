"""What the networks learn from: speech features beside the body states the director gave them.

``python -m training.corpus`` reads the clips of ``training.voices.generate`` and writes one shard
of plain arrays per shard of clips, each clip performed by a new performer in a new style, its sound
degraded as calls are. Resumable: a shard that exists is kept.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.mini.audio import HOP, SpeechFeatures
from pipeline.models.mini.config import load_config
from training.director.director import direct
from training.director.performer import Performer
from training.director.styles import STYLES, mix, prompt
from training.voices.clips import Clip, load_shard
from training.voices.degrade import degrade

STRIDE = 8  # feature frames per latent
MIN_LATENTS = 24


@dataclass(frozen=True, slots=True)
class Take:
    """One performed clip. T latents: features (8 T + look-ahead, F), states (2 T, 88)."""

    features: NDArray[np.float16]
    states: NDArray[np.float32]
    reference: NDArray[np.float32]
    prompt: str
    voice: str
    delivery: str

    @property
    def latents(self) -> int:
        return len(self.states) // 2


def perform(clip: Clip, rng: np.random.Generator, clean: bool = False) -> Take:
    """Direct a clip with a random performer and style, and hear it through a random channel."""
    config = load_config("mini")
    names = sorted(STYLES)
    style = STYLES[str(rng.choice(names))]
    if rng.random() < 0.25:
        style = mix(style, STYLES[str(rng.choice(names))])
    text = prompt(style, rng)
    if rng.random() < 0.15:
        style, text = STYLES["default"], ""
    performer = Performer.random(rng)
    states = direct(clip, style, performer, rng)
    audio = clip.audio if clean else degrade(clip.audio, rng)
    count = len(states) // config.vae.temporal_stride
    look_ahead = config.audio.look_ahead_ms // 10
    wanted = HOP * (STRIDE * count + look_ahead)
    padded = np.zeros(wanted, np.float32)
    padded[: min(wanted, len(audio))] = audio[:wanted]
    features = SpeechFeatures(config.audio.mel_bands).push(padded).numpy()
    return Take(
        features.astype(np.float16),
        states[: count * config.vae.temporal_stride].astype(np.float32),
        performer.reference(),
        text,
        clip.voice,
        clip.delivery,
    )


def save_takes(path: Path, takes: list[Take]) -> None:
    """Write a shard whole or not at all."""
    meta = [[t.prompt, t.voice, t.delivery] for t in takes]
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            features=np.concatenate([t.features for t in takes]),
            states=np.concatenate([t.states for t in takes]).astype(np.float16),
            references=np.stack([t.reference for t in takes]),
            latents=np.array([t.latents for t in takes]),
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        )
    os.replace(part, path)


def load_takes(path: Path) -> Iterator[Take]:
    """The takes of a shard."""
    with np.load(path, allow_pickle=False) as shard:
        meta = json.loads(shard["meta"].tobytes())
        features, states = shard["features"], shard["states"]
        references, latents = shard["references"], shard["latents"]
    extra = (len(features) - STRIDE * int(latents.sum())) // len(latents)
    at_feature = at_state = 0
    for count, reference, (text, voice, delivery) in zip(latents, references, meta, strict=True):
        stop_feature, stop_state = at_feature + STRIDE * count + extra, at_state + 2 * count
        yield Take(
            features[at_feature:stop_feature],
            states[at_state:stop_state].astype(np.float32),
            reference,
            text,
            voice,
            delivery,
        )
        at_feature, at_state = stop_feature, stop_state


def build_shard(source: Path, target: Path, takes_per_clip: int, clean: bool, seed: int) -> int:
    """Perform every clip of a shard; returns the number of latents."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, *source.stem.encode()])
    takes = [
        perform(clip, rng, clean) for clip in load_shard(source) for _ in range(takes_per_clip)
    ]
    takes = [take for take in takes if take.latents >= MIN_LATENTS]
    save_takes(target, takes)
    return sum(take.latents for take in takes)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=Path, default=Path(".data/voices"))
    parser.add_argument("--out", type=Path, default=Path(".data/corpus"))
    parser.add_argument("--takes", type=int, default=2, help="performances of each training clip")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    sources = sorted(args.voices.glob("*.npz"))
    if not sources:
        parser.error(f"no clips in {args.voices}: run `python -m training.voices.generate` first")
    args.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.workers) as pool:
        jobs = {}
        for source in sources:
            target = args.out / source.name
            held_out = source.stem.startswith("heldout")
            if not target.exists():
                takes = 1 if held_out else args.takes
                job = pool.submit(build_shard, source, target, takes, held_out, args.seed)
                jobs[job] = target
        for job, target in jobs.items():
            print(f"{target}: {job.result()} latents", flush=True)


if __name__ == "__main__":
    main()
