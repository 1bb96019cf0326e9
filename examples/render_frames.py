"""Renders speech with the Python API and hands every frame to your own code.

    python examples/render_frames.py speech.wav frames/ --every 25

Here, every 25th frame becomes a PNG. ``python -m pipeline.render`` writes an MP4 instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from pipeline import AvatarPipeline, ConsentGate
from pipeline.avatars import find_avatar
from pipeline.consent import Registry, Scope
from pipeline.media.audio_file import open_audio, speech


def render(audio: Path, folder: Path, every: int, registry: Registry) -> int:
    """Writes every ``every``-th frame; returns how many frames there were."""
    grant = ConsentGate(registry).grant_bundled(find_avatar("mira"), Scope.RECORDING)
    pipeline = AvatarPipeline.load("mini")
    avatar = pipeline.bundled("mira", grant)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for frame in pipeline.render(avatar, grant, speech(open_audio(audio)), prompt="lively", seed=7):
        if frame.index % every == 0:  # frame.image: uint8 (H, W, 3); frame.media_time: samples
            Image.fromarray(frame.image).save(folder / f"{frame.index:05d}.png")
        count += 1
    return count


def main() -> None:
    """Reads the arguments and renders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--registry", type=Path, default=Path("consents.sqlite"))
    arguments = parser.parse_args()
    registry = Registry(arguments.registry)
    try:
        frames = render(arguments.audio, arguments.folder, arguments.every, registry)
    finally:
        registry.close()
    sys.stdout.write(f"{frames} frames\n")


if __name__ == "__main__":
    main()
