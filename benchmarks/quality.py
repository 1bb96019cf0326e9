"""How good the avatars are, against ground truth that training never saw.

``python -m benchmarks.quality [--clips N] [--people N] [--minutes M ...] [--sheets FOLDER]
[--against WEIGHTS] [--only SECTION ...] [--json]`` prints one table for people and one JSON line
for machines. Voices, languages, sentences and bodies are held out; the truth of motion is the
director's, the truth of pictures the rasteriser's. ``--against`` measures a second weights file on
the same clips and puts it beside the first. Needs espeak-ng.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.behaviour import beats, gaze_and_blinks, gestures, prompts
from benchmarks.cast import enrolled, per_avatar, sheets
from benchmarks.endurance import endurance
from benchmarks.generate import Motion
from benchmarks.heldout import Spoken, performances
from benchmarks.lips import Row, lips, states_of
from benchmarks.motion import gesture_energy, seam_ratio
from benchmarks.people import TruePerson, compare
from benchmarks.recorded import DEBIAN, recorded, recordings
from pipeline.models.mini.painter import FrameRenderer

FRAME_STEP: Final = 25  # one frame a second is compared
CAST_CLIPS: Final = 2


def seams(motion: Motion, held: Sequence[Spoken]) -> Row:
    """Motion jump at the joins of parallel chunks over motion inside them."""
    weight = np.asarray(1.0 / motion.model.vae.state_std.numpy(), np.float32)
    ratios = []
    for i, h in enumerate(held):
        states = states_of(motion, h, i)
        ratios.append(seam_ratio(states, motion.joins(len(states)), weight))
    return {"seam_ratio": float(np.mean(ratios))}


def schedules(motion: Motion, held: Sequence[Spoken]) -> Row:
    """Causal against parallel, and three steps against thirty, on a third of the clips; and how a
    live performer moves."""
    few = held[: max(4, len(held) // 3)]
    same, causal = lips(motion, few), lips(motion, few, "causal")
    thirty = lips(motion.with_schedule(30), few)
    live = [states_of(motion, h, i, "causal") for i, h in enumerate(few)]
    energy = [float(np.mean([gesture_energy(s) for s in made]))
              for made in (live, [h.states for h in few])]  # fmt: skip
    return {
        "lips_r_causal": causal["lips_r"],
        "lips_lag_ms_causal": causal["lips_lag_ms"],
        "lips_r_causal_minus_parallel": causal["lips_r"] - same["lips_r"],
        "lips_r_three_minus_thirty": same["lips_r"] - thirty["lips_r"],
        "gesture_over_truth_causal": energy[0] / energy[1],
        "beat_drive_causal": beats(few, live)["beat_drive"],
        **{f"{name}_causal": value for name, value in gaze_and_blinks(few, live).items()
           if "truth" not in name},
    }  # fmt: skip


def frames(held: Sequence[Spoken], folder: Path | None) -> Row:
    """Decoded frames of held-out bodies against true renders, beside copying the reference."""
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed, h in enumerate(held):
        person = TruePerson(seed, h.performer.rest)
        copy, anchor = person.enrolled()
        painter, cells = FrameRenderer(anchor), [copy]
        for state in h.states[FRAME_STEP // 2 :: FRAME_STEP]:
            frame = painter.paint(state)
            for region, score in compare(person, state, frame, copy).items():
                scores[region.split()[-1]].append((score.decoded, score.copied))
            cells += [person.render(state), frame]
        if folder:
            _sheet(cells[:13], folder / f"decoded-{seed}.png")
    out: Row = {}
    for region, pairs in scores.items():
        decoded, copied = np.mean(pairs, axis=0)
        out |= {f"psnr_{region}": decoded, f"psnr_{region}_gain": decoded - copied}
    return {name: float(value) for name, value in out.items()}


def _sheet(cells: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """The reference, then pairs of truth and decoded frame, in one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([cell[::2, ::2] for cell in cells], axis=1)).save(path)


class Quality:
    """The sections of the benchmark over one set of held-out clips."""

    def __init__(
        self, clips: int, people: int, minutes: Sequence[float], speech: Path, seed: int
    ) -> None:
        self.held = list(performances(clips, seed))
        self.recordings = recordings(speech)
        self._people, self._minutes = people, minutes
        with tempfile.TemporaryDirectory() as scratch:
            self.cast = enrolled(Path(scratch))

    def of_motion(self) -> dict[str, Callable[[Motion], Row]]:
        """Sections that depend on the weights."""
        return {
            "lips": lambda motion: lips(motion, self.held),
            "schedules": lambda motion: schedules(motion, self.held),
            "seams": lambda motion: seams(motion, self.held),
            "gestures": lambda motion: gestures(motion, self.held),
            "recorded": lambda motion: recorded(
                motion, self.recordings, self.held[0].performer.reference()
            ),
            "prompts": lambda motion: prompts(motion, self.held),
            "endurance": lambda motion: endurance(motion, self.cast, self.held, self._minutes),
        }

    def frames(self, folder: Path | None) -> Row:
        """The section that depends on the decoder alone."""
        return frames(self.held[: self._people], folder)

    def per_avatar(self, motion: Motion) -> dict[str, Row]:
        """Figures of every bundled avatar."""
        return per_avatar(motion, self.cast, self.held[:CAST_CLIPS])


SECTIONS: Final = (
    "lips", "schedules", "seams", "gestures", "recorded", "prompts", "endurance", "frames",
    "avatars",
)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 30])
    parser.add_argument(
        "--recordings",
        type=Path,
        default=DEBIAN,
        help="WAV files of a person (default: alsa-utils')",
    )
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets and clips")
    parser.add_argument("--weights", type=Path, help="measure this file, not the bundled one")
    parser.add_argument("--against", type=Path, help="weights to put beside them")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    args = parser.parse_args(argv)
    quality = Quality(args.clips, args.people, args.minutes, args.recordings, args.seed)
    motions = [Motion.of(args.weights) if args.weights else Motion()]
    motions += [Motion.of(args.against)] if args.against else []
    rows = [_measure(quality, motion, args.only) for motion in motions]
    if "frames" in args.only:
        rows[0] |= quality.frames(args.sheets)
    people = quality.per_avatar(motions[0]) if "avatars" in args.only else {}
    if args.sheets:
        sheets(motions[0], quality.cast, quality.held[0], args.sheets, clips=not args.weights)
    if not args.json:
        _print(rows, people)
    line = {"benchmark": "quality", **rows[0], "avatars": people}
    print(json.dumps(line | ({"against": rows[1]} if len(rows) > 1 else {})))


def _measure(quality: Quality, motion: Motion, only: Sequence[str]) -> Row:
    row: Row = {}
    for name, section in quality.of_motion().items():
        if name in only:
            row |= section(motion)
    return row


def _print(rows: Sequence[Row], people: dict[str, Row]) -> None:
    for name in rows[0]:
        print(f"{name:32s}" + "".join(f"{row.get(name, np.nan):12.3f}" for row in rows))
    for person, row in people.items():
        print(f"{person:12s}" + "  ".join(f"{name} {value:.3f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
