"""``python -m pipeline.calibrate --audio SPEECH.wav``: what can be reused across denoising steps.

Generates sample speech in full and derives two tables for the model's own schedule. For guidance:
the relative change below which the unconditional branch need not run again; the share of passes to
save is given, the error is minimised. For attention: which outputs may be reused; the allowed error
is given, reuse is maximised. Prints both, and writes them into a model's TOML; for a published
checkpoint (``--model PATH``) they are stored beside its weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ContinuumError
from pipeline.loader import is_bundled, load_pipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main(argv: Sequence[str] | None = None) -> int:
    """Learns from sound files; 0, or 2 with one line on stderr when the input is at fault."""
    given = _parser().parse_args(argv)
    learn = _bundled if is_bundled(given.model) else _checkpoint
    try:
        print(learn(given))
    except (ContinuumError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


def _clips(files: Sequence[Path]) -> list[NDArray[np.float32]]:
    """Each file's speech, float32 mono at 16 kHz."""
    import numpy as np

    from pipeline.media.audio_file import open_audio, speech

    return [np.concatenate(list(speech(open_audio(file)))) for file in files]


def _bundled(given: argparse.Namespace) -> str:
    """Learns for a bundled model; the report."""
    from pipeline.models.mini import calibrate
    from pipeline.models.mini.config import MODELS, load_config, read_config
    from pipeline.models.mini.generator import load_generator
    from pipeline.models.mini.rig.fit import REF_DIM

    path = given.toml or MODELS / f"{given.model}.toml"
    config = read_config(path) if given.toml else load_config(given.model)
    if given.scale is not None:
        config = replace(config, guidance=replace(config.guidance, scale=given.scale))
    clips = _clips(given.audio)
    model = load_generator(config, REF_DIM)
    people = calibrate.references()
    learned = calibrate.learn(model, config, clips, people, given.saved, given.budget)
    if given.write:
        path.write_text(calibrate.written(path.read_text("utf-8"), learned), "utf-8")
    return calibrate.report(learned, config.guidance.scale, path if given.write else None)


def _checkpoint(given: argparse.Namespace) -> str:
    """The same for a published checkpoint."""
    from pipeline.interface import native
    from pipeline.models.wan.calibrate import Lesson, teach, write
    from pipeline.models.wan.pipeline import WanPipeline

    loaded = load_pipeline(given.model, given.checkpoint, given.device, given.force)
    pipeline = native(loaded, WanPipeline)
    path = Path(given.model).expanduser()
    home = path if path.is_dir() else path.parent
    lesson = Lesson(given.saved, given.budget, given.scales, given.export)
    taught = teach(pipeline, _clips(given.audio), lesson, home, given.size)
    end = f"written to {write(taught, home)}" if given.write else "nothing written; see --write"
    return f"{taught.report()}\n{end}"


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.calibrate", description=__doc__)
    parser.add_argument("--audio", type=Path, nargs="+", required=True, help="sample speech")
    parser.add_argument("--model", default="mini", metavar="NAME|PATH",
                        help="a bundled model (default mini), or a checkpoint's path")  # fmt: skip
    parser.add_argument("--checkpoint", help="which one --model PATH is, if it could be several")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for --model PATH")
    parser.add_argument("--size", type=_size, help="WIDTHxHEIGHT, for --model PATH")
    parser.add_argument("--force", action="store_true", help="a size it was not trained for")
    parser.add_argument("--scales", action="store_true", help="of int8-static, for --model PATH")
    parser.add_argument("--export", action="store_true",
                        help="decoders for ONNX Runtime, for --model PATH on a CPU")  # fmt: skip
    parser.add_argument("--toml", type=Path, help="another model's TOML instead")
    parser.add_argument("--scale", type=float, help="guidance scale to learn for")
    parser.add_argument("--saved", type=float, default=1 / 3,
                        help="share of unconditional passes to save (default 1/3)")  # fmt: skip
    parser.add_argument("--budget", type=float, default=0.01,
                        help="relative error that reused attention may make (0.01)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write into the model's TOML")
    return parser


if __name__ == "__main__":
    sys.exit(main())
