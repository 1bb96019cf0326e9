"""How good the avatars are, against ground truth that training never saw.

``python -m benchmarks.quality [--clips N] [--people N] [--sheets FOLDER] [--json]`` prints one
table for people and one JSON line for machines. Voices, languages, sentences and bodies are held
out; the truth of motion is the director's, the truth of pictures the rasteriser's. Needs espeak-ng.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.generate import Motion
from benchmarks.heldout import Spoken, performances
from benchmarks.motion import LipSync, gesture_energy, lip_sync, mouth_opening, seam_ratio
from benchmarks.people import TruePerson, compare
from pipeline.draw import Painter
from training.voices import say

Row = dict[str, float]
FRAME_STEP = 25  # one frame a second is compared


def lips(motion: Motion, held: Sequence[Spoken], schedule: str = "parallel") -> Row:
    """Lip sync with the truth, and with the truth of another clip as control."""
    truth = [mouth_opening(h.states) for h in held]
    made = [mouth_opening(_perform(motion, h, i, schedule)) for i, h in enumerate(held)]
    own = [lip_sync(a, b) for a, b in zip(truth, made, strict=True)]
    control = [_control(truth[i], made[i - 1]) for i in range(len(held))]
    return {
        "lips_r": _mean([s.r for s in own]),
        "lips_r_worst": min(s.r for s in own),
        "lips_lag_ms": float(np.median([s.lag_ms for s in own])),
        "lips_control_r": _mean([s.r for s in control]),
    }


def _control(truth: np.ndarray, other: np.ndarray) -> LipSync:  # type: ignore[type-arg]
    size = min(len(truth), len(other))
    return lip_sync(truth[:size], other[:size])


def _perform(motion: Motion, held: Spoken, seed: int, schedule: str = "parallel") -> np.ndarray:  # type: ignore[type-arg]
    reference = held.performer.reference()
    return motion.perform(held.clip.audio, reference, held.prompt, seed, schedule)


def seams(motion: Motion, held: Sequence[Spoken]) -> Row:
    """Motion jump at the joins of parallel chunks over motion inside them."""
    weight = 1.0 / motion.model.vae.state_std.numpy()
    ratios = []
    for i, h in enumerate(held):
        states = _perform(motion, h, i)
        ratios.append(seam_ratio(states, motion.joins(len(states)), weight))
    return {"seam_ratio": _mean(ratios)}


def gestures(motion: Motion, held: Sequence[Spoken], readings: int = 6) -> Row:
    """Energy of the arms: emphatic over flat readings of the same text, speech over silence."""
    text = "This is *really* important, and *everybody* here should know why it *matters* so much."
    reference = held[0].performer.reference()
    energy: dict[str, list[float]] = defaultdict(list)
    for seed in range(readings):
        for delivery in ("flat", "emphatic"):
            clip = say(text, "espeak/en-us+f4", delivery, seed=seed)
            energy[delivery].append(gesture_energy(motion.perform(clip.audio, reference, "", seed)))
        silence = np.zeros(16_000 * 8, np.float32)
        energy["silence"].append(gesture_energy(motion.perform(silence, reference, "", seed)))
    made = [_perform(motion, h, i) for i, h in enumerate(held)]
    truth = [gesture_energy(h.states) for h in held]
    speech = [gesture_energy(states) for states in made]
    return {
        "gesture_emphatic_over_flat": _mean(energy["emphatic"]) / _mean(energy["flat"]),
        "gesture_speech_over_silence": _mean(speech) / max(_mean(energy["silence"]), 1e-9),
        "gesture_over_truth": _mean(speech) / _mean(truth),
        "gesture_rank_with_truth": float(spearmanr(truth, speech).statistic),
    }


def frames(held: Sequence[Spoken], people: int, sheets: Path | None) -> Row:
    """Decoded frames of held-out bodies against true renders, beside copying the reference."""
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed, h in enumerate(held[:people]):
        person = TruePerson(seed, h.performer.rest)
        copy, anchor = person.enrolled()
        painter, cells = Painter(anchor), [copy]
        for state in h.states[FRAME_STEP // 2 :: FRAME_STEP]:
            frame = painter.paint(state)
            for region, score in compare(person, state, frame, copy).items():
                scores[region.split()[-1]].append((score.decoded, score.copied))
            cells += [person.render(state), frame]
        if sheets:
            _sheet(cells[:13], sheets / f"decoded-{seed}.png")
    out: Row = {}
    for region, pairs in scores.items():
        decoded, copied = np.mean(pairs, axis=0)
        out |= {f"psnr_{region}": decoded, f"psnr_{region}_gain": decoded - copied}
    return {name: float(value) for name, value in out.items()}


def _sheet(cells: Sequence[np.ndarray], path: Path) -> None:  # type: ignore[type-arg]
    """The reference, then pairs of truth and decoded frame, in one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([cell[::2, ::2] for cell in cells], axis=1)).save(path)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def measure(clips: int, people: int, seed: int, sheets: Path | None) -> Row:
    """All figures by name."""
    held, motion = list(performances(clips, seed)), Motion()
    few = held[: max(4, clips // 3)]
    three, causal = lips(motion, held), lips(motion, few, "causal")
    thirty = lips(motion.with_schedule(30), few)
    same = lips(motion, few)
    return {
        **three,
        "lips_r_causal": causal["lips_r"],
        "lips_lag_ms_causal": causal["lips_lag_ms"],
        "lips_r_causal_minus_parallel": causal["lips_r"] - same["lips_r"],
        "lips_r_three_minus_thirty": same["lips_r"] - thirty["lips_r"],
        **seams(motion, held),
        **gestures(motion, held),
        **frames(held, people, sheets),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    args = parser.parse_args(argv)
    figures = measure(args.clips, args.people, args.seed, args.sheets)
    if not args.json:
        for name, value in figures.items():
            print(f"{name:32s} {value:10.3f}")
    print(json.dumps({"benchmark": "quality", **figures}))


if __name__ == "__main__":
    main()
