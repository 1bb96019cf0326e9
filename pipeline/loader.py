"""Opens what ``--model`` names: a bundled model by name, or a published checkpoint by path."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BackendRefused, ModelMismatch, ModelUnknown
from pipeline.models.mini.config import MODELS

if TYPE_CHECKING:
    from pipeline.interface import AvatarModel
    from pipeline.models.wan.model_cards import Card


def is_bundled(model: str) -> bool:
    """Whether ``model`` names a model that ships with the project."""
    return (MODELS / f"{model}.toml").is_file()


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """``--model`` and what goes with the path of a checkpoint, for ``load_chosen``."""
    add = parser.add_argument
    add("--model", default="mini", metavar="NAME|PATH",
        help="a bundled model, or the path of a published checkpoint (docs/models.md)")  # fmt: skip
    add("--checkpoint", metavar="NAME",
        help="which one --model PATH is, where it could be several; or a card's path")  # fmt: skip
    add("--device", default="cpu", help="cpu or cuda, for --model PATH")
    add("--speed", default="plain", metavar="PROFILE",
        help="accelerations of --model PATH: plain, cpu, gpu-24gb or gpu-80gb")  # fmt: skip
    add("--decoder", default="full", metavar="full|tiny|PATH",
        help="of --model PATH: its own, or a small one (taew2_1), faster and softer")  # fmt: skip
    add("--recipe", default="continuum", choices=("continuum", "published"),
        help="how chunks of --model PATH go on: ours, or as its authors run it")  # fmt: skip
    add("--window", type=_count, default=1, metavar="K",
        help="chunks of --model PATH that are harmonised as one batch (default 1)")  # fmt: skip
    add("--speakers", type=_boxes, default=(), metavar="halves|BOX,BOX",
        help="two people in the picture, the file's left channel speaks for the first: each has a "
        "half, or a box left:top:right:bottom in shares of the picture")  # fmt: skip
    add("--force", action="store_true", help="try sizes that --model PATH was not trained for")


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{value} is not between 1 and 64")
    return value


def _boxes(text: str) -> tuple[tuple[float, float, float, float], ...]:
    """Where two people are."""
    if text == "halves":
        from pipeline.models.wan.network.speakers import HALVES

        return HALVES
    try:
        first, second = (tuple(map(float, box.split(":"))) for box in text.split(","))
        (a, b, c, d), (e, f, g, h) = first, second
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither halves nor two boxes such as 0:0:0.5:1,0.5:0:1:1"
        ) from None
    return (a, b, c, d), (e, f, g, h)


def load_chosen(arguments: argparse.Namespace) -> AvatarModel:
    """The pipeline that ``add_model_options`` asked for. Raises a ``ModelError``."""
    return load_pipeline(
        arguments.model, arguments.checkpoint, arguments.device, arguments.force, arguments.speed,
        arguments.decoder, arguments.recipe, arguments.window, arguments.speakers,
    )  # fmt: skip


def load_pipeline(
    model: str,
    checkpoint: str | Card | None = None,
    device: str = "cpu",
    force: bool = False,
    speed: str = "plain",
    decoder: str = "full",
    recipe: str = "continuum",
    window: int = 1,
    speakers: tuple[tuple[float, float, float, float], ...] = (),
) -> AvatarModel:
    """The pipeline of a bundled model ("mini"), or of the checkpoint at a path.

    The rest is for checkpoints: which one it is, where its weights could be several; where it runs,
    in float32 on a CPU and bfloat16 elsewhere; ``force`` tries sizes that it was not trained for;
    ``speed`` is a profile of docs/acceleration.md; ``decoder`` is "full", "tiny" or the path of a
    small one; ``recipe`` is how chunks go on, "continuum" or "published"; ``window`` is how many of
    them are harmonised when a file is rendered; ``speakers`` are the boxes of two people.
    Raises a ``ModelError``.
    """
    if is_bundled(model):
        from pipeline.models.mini.pipeline import AvatarPipeline

        if speakers:
            raise ModelMismatch(
                f"{model} draws one person: two speakers need --model PATH of a checkpoint that "
                "was trained for them (docs/models.md)"
            )
        return AvatarPipeline.load(model)
    path = Path(model).expanduser()
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in MODELS.glob("*.toml")))
        raise ModelUnknown(f"{model!r} is neither a bundled model ({known}) nor a path that exists")
    try:
        import torch

        from pipeline.models.wan.pipeline import WanPipeline
        from pipeline.models.wan.run_options import manner_of

        if device != "cpu" and not torch.cuda.is_available():
            raise BackendRefused(f"device {device!r} was asked for, and torch sees no GPU here")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        return WanPipeline.load(
            path,
            checkpoint or None,
            device,
            dtype,
            manner_of(recipe, window, force, speakers),
            speed=speed,
            decoder=decoder,
        )
    except ModuleNotFoundError as missing:
        raise BackendRefused(
            f"published checkpoints need {missing.name}: pip install 'continuum-avatar[wan]'"
        ) from missing
