"""Render the bundled people.

    python -m training.portraits --out DIR [--only NAME] [--size 1024] [--samples 40]
    python -m training.portraits --out DIR --only NAME --states STATES.npy --samples 12

The first form writes one avatar folder per person. The second renders one person in every state
of a float32 (T, 88) array to DIR/NAME-0000.png ..., the truth that decoded frames are compared
with. Needs the ``train`` extra and ``bpy`` 5.0 (Python 3.11).
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.models.mini.rig.state import STATE_DIM, state
from training.portraits import bundle
from training.portraits.characters import CAST, Character
from training.portraits.portrait_render import Set, Shot, compose, film

log = logging.getLogger("portraits")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(CAST), action="append")
    parser.add_argument("--states", type=Path, help="float32 (T, 88) as .npy")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stage = Set()
    shot = Shot(arguments.size, arguments.samples, threads=arguments.threads)
    for name in arguments.only or CAST:
        if arguments.states is None:
            portrait(stage, CAST[name], shot, arguments.out / name)
        else:
            sequence(stage, CAST[name], shot, arguments.states, arguments.out)


def portrait(stage: Set, character: Character, shot: Shot, folder: Path) -> None:
    """Render one person's reference picture and write the avatar folder."""
    start = time.perf_counter()
    person = film(stage, character, state(**character.state), shot)
    picture = compose(person, character.backdrop.paint(shot.size))
    bundle.write(folder, character, picture, person[..., 3], stage.fit(character))
    log.info("%s: %.0f s", folder, time.perf_counter() - start)


def sequence(stage: Set, character: Character, shot: Shot, states: Path, out: Path) -> None:
    """Render one person in many states, over the reference's own background."""
    poses = np.load(states).astype(np.float32)
    if poses.ndim != 2 or poses.shape[1] != STATE_DIM:
        raise ValueError(f"states are (T, {STATE_DIM}), got {poses.shape}")
    out.mkdir(parents=True, exist_ok=True)
    backdrop = character.backdrop.paint(shot.size)
    for i, pose in enumerate(poses):
        picture = compose(film(stage, character, pose, shot), backdrop)
        Image.fromarray(picture).save(out / f"{character.name}-{i:04d}.png")
        log.info("%s %d/%d", character.name, i + 1, len(poses))


if __name__ == "__main__":
    main()
