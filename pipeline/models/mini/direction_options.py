"""``--gesture`` and ``--cue`` of a command that renders: read, checked, handed to the model."""

from __future__ import annotations

import argparse

from pipeline.errors import ModelMismatch
from pipeline.interface import (
    EMOTIONS,
    GESTURES,
    MOST_GESTURE,
    SAMPLE_RATE,
    AvatarModel,
    Cue,
    DirectedModel,
    Direction,
)

_NAMES = ", ".join((*GESTURES, *EMOTIONS))


def add_direction_options(parser: argparse.ArgumentParser) -> None:
    """The two options, for ``direct``."""
    parser.add_argument(
        "--gesture",
        type=_gesture,
        default=1.0,
        metavar="G",
        help="how much the body moves, 0 (still) to 1.5 (default 1); lips are not touched",
    )
    parser.add_argument(
        "--cue",
        type=_cue,
        action="append",
        default=[],
        metavar="NAME@SECONDS",
        help=f"perform {_NAMES} at a time; may be repeated",
    )


def direct(pipeline: AvatarModel, arguments: argparse.Namespace) -> None:
    """Tells the model's body what to do. Raises ``ModelMismatch`` if it has none and is told."""
    direction = Direction(arguments.gesture, tuple(arguments.cue))
    model: object = pipeline
    if isinstance(model, DirectedModel):
        model.direction = direction
    elif direction != Direction():
        raise ModelMismatch("--gesture and --cue are for mini: this model generates whole pictures")


def _gesture(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= MOST_GESTURE:
        raise argparse.ArgumentTypeError(f"must be in 0..{MOST_GESTURE}, got {value}")
    return value


def _cue(text: str) -> Cue:
    """A gesture or an emotion at a time, such as nod@2.5."""
    name, _, seconds = text.partition("@")
    try:
        at = round(float(seconds) * SAMPLE_RATE)
        return Cue(emotion=name, at=at) if name in EMOTIONS else Cue(gesture=name, at=at)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME@SECONDS with a name of {_NAMES}"
        ) from None
