"""Does the body follow how something is said? For any recordings, without knowing their words.

``python -m benchmarks.delivery AUDIO... [--seeds N] [--pair FLAT EMPHATIC ...] [--plot PNG]`` has
the director, the rendering and the live schedule perform every recording and prints, for each of
the three, how its arms go with the sound: a table for people, then JSON lines, one a recording and
one for all. AUDIO may also be a shard of ``training.voices.generate``, of which ``--clips`` are
taken. ``--pair`` takes two readings of one text. The Fréchet distance is to the director's motion.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import delivery_measures as measures
from benchmarks.generate import Motion
from benchmarks.lips import Row
from benchmarks.motion import States
from pipeline.media.audio_file import open_audio, speech
from pipeline.models.mini.config import SAMPLE_RATE
from training.director.director import direct
from training.director.performer import Performer
from training.director.styles import STYLES
from training.voices.clips import Clip, Phone, load_shard
from training.voices.unlabelled_clip import unlabelled_clip

SILENCE: Final = np.zeros(8 * SAMPLE_RATE, np.float32)
WHO: Final = ("director", "rendered", "live")
WINDOW: Final = 12  # latents of a window that the Fréchet distance looks at
Perform = Callable[[Clip, int], States]


@dataclass(frozen=True, slots=True)
class Made:
    """One recording as performed with one seed."""

    clip: Clip
    states: States
    silence: States


def performers(motion: Motion, performer: Performer) -> dict[str, Perform]:
    """The three who perform a clip with a seed, nobody being prompted."""
    reference = performer.reference()

    def generated(schedule: str) -> Perform:
        return lambda clip, seed: motion.perform(clip.audio, reference, "", seed, schedule)

    def directed(clip: Clip, seed: int) -> States:
        return direct(clip, STYLES["default"], performer, np.random.default_rng(seed))

    return dict(zip(WHO, (directed, generated("parallel"), generated("causal")), strict=True))


def clips_of(paths: Sequence[Path], count: int) -> Iterator[Clip]:
    """The recordings, and of every shard its first clips in which somebody speaks."""
    for path in paths:
        if path.suffix == ".npz":
            spoken = [clip for clip in load_shard(path) if any(p.ipa for p in clip.phones)]
            yield from spoken[:count]
        else:
            sound = np.concatenate(list(speech(open_audio(path))))
            yield unlabelled_clip(sound.astype(np.float32), path.stem)


def silent_clip() -> Clip:
    return Clip(SILENCE, (Phone(0, len(SILENCE), ""),), "quiet/silence", "", "silence", "")


def follows(made: Made, rng: np.random.Generator) -> Row:
    """How one performance goes with its sound."""
    sound, frames = made.clip.audio, len(made.states)
    speed = measures.arm_speed(made.states)
    speaks = measures.level(sound, frames) > measures.SPEAKS_DB
    peaks = measures.prosodic_peaks(sound, frames)
    beats = measures.onsets(sound, frames)
    still = float(measures.arm_speed(made.silence).mean())
    controls = [measures.before_peaks(speed, measures.shuffled(speaks, len(peaks), rng), speaks)
                for _ in range(10)]  # fmt: skip
    return {
        "speech_over_silence": float(speed[speaks].mean()) / max(still, 1e-6),
        "loudness_rank": measures.loudness_rank(speed, sound),
        "before_peaks": measures.before_peaks(speed, peaks, speaks),
        "before_peaks_control": _mean(controls),
        "before_onsets": measures.before_peaks(speed, beats, speaks),
        "beat_consistency": measures.beat_consistency(speed, beats),
        "diversity": measures.diversity(made.states),
        "repetition": measures.repetition(made.states),
        "arm_energy": measures.energy(made.states),
        "jerk": measures.jerk(made.states),
        "tremor": measures.tremor(made.states),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean of every figure over the rows that have it."""
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


@torch.inference_mode()
def gestures(motion: Motion, performances: Sequence[States]) -> NDArray[np.float64]:
    """What the decoder's latents say of both arms in windows of a second: (n, 4 channels)."""
    rows = []
    for states in performances:
        whole = torch.from_numpy(states[: len(states) // 2 * 2])[None]
        arms = motion.model.vae.encode(whole)[0, :, :, 0, 3:].flatten(2).permute(1, 0, 2)
        rows += [_moments(arms[k : k + WINDOW]) for k in range(0, len(arms) - WINDOW + 1, 4)]
    return np.array(rows, np.float64)


def _moments(window: torch.Tensor) -> NDArray[np.float32]:
    """Mean and spread over time of a window (T, C, 2), each half over both arms."""
    found = torch.cat([window.mean(0).flatten(), window.std(0).flatten()])
    return np.asarray(found.numpy(), np.float32)


def measure(
    motion: Motion, clips: Sequence[Clip], seeds: int, pairs: Sequence[tuple[Clip, Clip]]
) -> tuple[dict[str, Row], list[dict[str, object]], dict[str, list[Made]]]:
    """Figures of each performer, a line for each of its recordings, and its performances."""
    by = performers(motion, Performer())
    rng, lines = np.random.default_rng(0), list[dict[str, object]]()
    rows, performed = dict[str, Row](), dict[str, list[Made]]()
    for who, perform in by.items():
        quiet = [perform(silent_clip(), seed) for seed in range(seeds)]
        made = [Made(c, perform(c, 100 * i + s), quiet[s])
                for i, c in enumerate(clips) for s in range(seeds)]  # fmt: skip
        found = [follows(one, rng) for one in made]
        lines += [{"who": who, "voice": one.clip.voice, **row}
                  for one, row in zip(made, found, strict=True)]  # fmt: skip
        rows[who], performed[who] = mean_row(found), made
        if pairs:
            rows[who]["emphatic_over_flat"] = emphasis(perform, pairs, 2 * seeds)
    _against_director(motion, rows, performed)
    return rows, lines, performed


def emphasis(perform: Perform, pairs: Sequence[tuple[Clip, Clip]], seeds: int) -> float:
    """Energy of the arms in emphatic readings over flat ones of the same texts."""
    flat, meant = (
        np.mean([measures.energy(perform(pair[i], s)) for pair in pairs for s in range(seeds)])
        for i in range(2)
    )
    return float(meant / max(flat, 1e-9))


def _against_director(
    motion: Motion, rows: dict[str, Row], performed: dict[str, list[Made]]
) -> None:
    """Energy, tremor and the distance of gestures, over what the director does."""
    truth = [one.states for one in performed["director"]]
    told = gestures(motion, truth)
    for who, row in rows.items():
        row["energy_over_director"] = row["arm_energy"] / rows["director"]["arm_energy"]
        row["tremor_over_director"] = row["tremor"] / rows["director"]["tremor"]
        found = gestures(motion, [one.states for one in performed[who]])
        row["frechet"] = measures.frechet(told, found) if who != "director" else _halves(told)


def _halves(told: NDArray[np.float64]) -> float:
    """The distance of two halves of one who performs: what chance makes of no difference."""
    return measures.frechet(told[::2], told[1::2])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio", type=Path, nargs="+", metavar="AUDIO")
    parser.add_argument("--seeds", type=int, default=2, help="performances of each recording")
    parser.add_argument("--clips", type=int, default=8, help="clips of each shard")
    parser.add_argument("--pair", type=Path, nargs=2, action="append", default=[])
    parser.add_argument("--weights", type=Path, help="measure this file, not the bundled one")
    parser.add_argument("--plot", type=Path, help="a picture of the first recording")
    parser.add_argument("--json", action="store_true", help="the JSON lines alone")
    args = parser.parse_args(argv)
    missing = [str(p) for p in (*args.audio, *chain(*args.pair)) if not p.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    motion = Motion.of(args.weights) if args.weights else Motion()
    clips = list(clips_of(args.audio, args.clips))
    pairs = [(flat, meant) for a, b in args.pair for flat, meant in [clips_of([a, b], 1)]]
    rows, lines, performed = measure(motion, clips, args.seeds, pairs)
    if not args.json:
        _print(rows, len(clips))
    for line in lines:
        print(json.dumps({"benchmark": "delivery", **line}))
    print(json.dumps({"benchmark": "delivery", "recordings": len(clips), **rows}))
    if args.plot:
        from benchmarks.delivery_plot import save

        first = {who: performed[who][0].states for who in WHO}
        save(args.plot, clips[0].audio, first)


def _print(rows: dict[str, Row], count: int) -> None:
    print(f"{f'{count} recordings':24s}" + "".join(f"{who:>12s}" for who in WHO))
    for name in rows[WHO[0]]:
        print(f"{name:24s}" + "".join(f"{rows[who][name]:12.3f}" for who in WHO))


if __name__ == "__main__":
    main()
