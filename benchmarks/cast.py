"""The bundled avatars one by one: the same figures for each, with a contact sheet and a clip."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.generate import Motion
from benchmarks.heldout import Spoken
from benchmarks.lips import Row
from benchmarks.motion import gesture_energy, lip_sync, mouth_opening
from pipeline import AvatarPipeline, ConsentGate
from pipeline.avatars import catalogue, find_avatar
from pipeline.consent import Registry, Scope
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.drift import colour_statistics
from pipeline.models.mini.painter import FrameRenderer

SHOWN: Final = 8  # frames of a contact sheet
CLIP_S: Final = 6


def enrolled(folder: Path) -> dict[str, Avatar]:
    """Every bundled avatar at 512x512, through the gate; its registry is a file in ``folder``."""
    gate, pipeline = ConsentGate(Registry(folder / "consents.sqlite")), AvatarPipeline.load("mini")
    return {
        name: pipeline.bundled(name, gate.grant_bundled(find_avatar(name), Scope.RECORDING))
        for name in catalogue()
    }


def per_avatar(
    motion: Motion, cast: Mapping[str, Avatar], held: Sequence[Spoken]
) -> dict[str, Row]:
    """Lips against the truth, energy of gestures and colour drift, for each avatar."""
    return {name: _figures(motion, avatar, held) for name, avatar in cast.items()}


def _figures(motion: Motion, avatar: Avatar, held: Sequence[Spoken]) -> Row:
    anchor, painter = avatar.anchor, FrameRenderer(avatar.anchor)
    made = [motion.perform(h.clip.audio, anchor.reference, "", seed) for seed, h in enumerate(held)]
    sync = [
        lip_sync(mouth_opening(h.states), mouth_opening(m)) for h, m in zip(held, made, strict=True)
    ]
    still = colour_statistics(painter.paint(anchor.fit.state))
    seen = np.mean([colour_statistics(painter.paint(s)) for s in made[0][::25]], axis=0)
    return {
        "lips_r": float(np.mean([s.r for s in sync])),
        "lips_lag_ms": float(np.median([s.lag_ms for s in sync])),
        "gesture_energy": float(np.mean([gesture_energy(m) for m in made])),
        "colour_from_reference": float(np.abs(seen - still)[:3].max()),
    }


def sheets(
    motion: Motion, cast: Mapping[str, Avatar], held: Spoken, folder: Path, clips: bool = True
) -> None:
    """``NAME.png``, frames of a performance in a row, and ``NAME.mp4``, its first seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, avatar in cast.items():
        states = motion.perform(held.clip.audio, avatar.anchor.reference, "friendly", seed=3)
        painter = FrameRenderer(avatar.anchor)
        at = np.linspace(10, len(states) - 10, SHOWN).astype(int)
        row = np.concatenate([painter.paint(states[i]) for i in at], axis=1)
        Image.fromarray(row).save(folder / f"{name}.png")
        if clips:
            _clip(name, held, folder / f"{name}.mp4")


def _clip(name: str, held: Spoken, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        speech = Path(scratch) / "speech.wav"
        _write_wav(speech, held.clip.audio[: CLIP_S * 16_000])
        command = [
            sys.executable, "-m", "pipeline.render", "--avatar", name, "--audio", str(speech),
            "--out", str(out), "--prompt", "friendly", "--seed", "3",
            "--registry", str(Path(scratch) / "consents.sqlite"),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)


def _write_wav(path: Path, audio: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
