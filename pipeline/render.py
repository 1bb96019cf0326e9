"""``python -m pipeline.render``: an avatar speaks a sound file, into a video file.

Checks everything that can be checked before the model is loaded, asks the consent gate, renders,
prints one line. An error that the user can fix is one line on stderr with exit status 2, and leaves
no file behind.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn, Self

from tqdm import tqdm

from pipeline.avatar_catalog import AvatarCatalog, GrantedAvatar
from pipeline.avatars import AVATARS
from pipeline.consent import ConsentGate, ConsentGrant, Registry, Scope
from pipeline.consent.options import add_registry_option, registry_of
from pipeline.errors import ContinuumError, LabelInvalid, OutputUnwritable, SealUnusable
from pipeline.interface import SCHEDULES, AvatarFrame, AvatarModel, Landmarks
from pipeline.loader import add_model_options, is_bundled, load_chosen
from pipeline.media.audio_file import AudioFile, Samples, check_duet, duet, open_audio, speech
from pipeline.media.background import read_background
from pipeline.media.containers import container_of
from pipeline.media.image_file import Picture, hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.media.label import Label, Place, Style, removed
from pipeline.media.provenance import Origin, Seal, load_signer, sealing
from pipeline.media.render_file import Result, Stages, record
from pipeline.media.video_file import check_size, check_target
from pipeline.models.mini.direction_options import add_direction_options, direct

BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} s{postfix}, {remaining} left"


def load_model(arguments: argparse.Namespace) -> AvatarModel:
    """The model asked for. Imported when it is needed: bad input is refused within a moment."""
    return load_chosen(arguments)


def main(
    argv: Sequence[str] | None = None,
    load: Callable[[], AvatarModel] | None = None,
    avatars: Path = AVATARS,
) -> int:
    """Renders one file; 0 when it stands complete, 2 when the input is at fault, 130 on Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        result = _render(arguments, load or (lambda: load_model(arguments)), avatars)
    except ContinuumError as error:
        print("render: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("render: interrupted, nothing was written", file=sys.stderr)
        return 130
    print(json.dumps(asdict(result)) if arguments.json else _summary(result))
    return 0


def _render(
    arguments: argparse.Namespace, load: Callable[[], AvatarModel], avatars: Path
) -> Result:
    size = (arguments.width, arguments.height)
    if bool(arguments.c2pa_cert) != bool(arguments.c2pa_key):
        raise SealUnusable("--c2pa-cert and --c2pa-key belong together: name both")
    check_size(*size)
    _check_output(arguments)
    background = read_background(arguments.background) if arguments.background else None
    transparent = background is not None and background.transparent
    container_of(arguments.out, transparent)
    audio = open_audio(arguments.audio)
    if arguments.speakers:
        check_duet(audio)
    registry = registry_of(arguments)
    try:
        granted = _granted(arguments, AvatarCatalog(ConsentGate(registry), folder=avatars))
        stages = Stages()
        with stages.time("load"):
            pipeline = load()
        direct(pipeline, arguments)
        pipeline.label = _label(arguments, registry)
        with stages.time("enrol"):
            avatar = granted.prepare(pipeline, size)
            if background is not None:
                avatar = avatar.before(background)

        def perform(heard: Iterator[Samples]) -> Iterator[AvatarFrame]:
            return pipeline.render(
                avatar,
                granted.grant,
                heard,
                prompt=arguments.prompt,
                seed=arguments.seed,
                schedule=arguments.schedule,
            )

        rate = pipeline.frame_rate
        with _Progress(audio, rate) as progress:
            seal = _seal(arguments, registry, granted.grant, pipeline.label)
            return record(audio, perform, arguments.out, size, stages, progress.at, rate, seal,
                          duet if arguments.speakers else speech, transparent)  # fmt: skip
    finally:
        registry.close()


def _label(arguments: argparse.Namespace, registry: Registry) -> Label:
    """The mark in every frame, or none, on words that are in the audit log first."""
    if not arguments.remove_label:
        return Label(place=arguments.label_place, style=arguments.label_style)

    def audit(what: str, words: str) -> None:
        registry.log.record(what, actor="render", avatar=arguments.avatar, declaration=words)

    try:
        return removed(arguments.remove_label, "render", audit)
    except ValueError as error:
        raise LabelInvalid(f"--remove-label: {error}") from error


def _seal(
    arguments: argparse.Namespace, registry: Registry, grant: ConsentGrant, label: Label
) -> Seal:
    """Signs the finished file: by what, of whom and on whose consent it was made."""
    signer = load_signer(arguments.c2pa_cert, arguments.c2pa_key) if arguments.c2pa_cert else None
    consent = registry.get(grant.consent_id).consent_sha256()
    mark = label.declaration or label.text
    return sealing(
        Origin(Path(arguments.model).name, grant.avatar, consent, mark), arguments.out.name, signer
    )


def _check_output(arguments: argparse.Namespace) -> None:
    check_target(arguments.out)
    sources = [path for path in (arguments.audio, arguments.image) if path is not None]
    if arguments.out.resolve() in {path.resolve() for path in sources}:
        raise OutputUnwritable(f"{arguments.out} is the input: name another file for the output")


def _granted(arguments: argparse.Namespace, catalog: AvatarCatalog) -> GrantedAvatar:
    """Asks the gate first; a picture is decoded, and landmarks are read, only after it agreed."""
    landmarks = is_bundled(arguments.model)  # pixel models draw from the picture itself
    if arguments.image is None:
        avatar = catalog.find(arguments.avatar)
        return catalog.read(avatar, catalog.grant(avatar, Scope.RECORDING), landmarks)
    file = hash_picture(arguments.image)
    grant = catalog.grant_picture(arguments.avatar, file, arguments.consent, Scope.RECORDING)
    picture = load_picture(file)
    if not landmarks:
        return GrantedAvatar(grant, picture)
    return GrantedAvatar(grant, picture, _landmarks(arguments.image, arguments.landmarks, picture))


def _landmarks(image: Path, path: Path | None, picture: Picture) -> Landmarks:
    # Imported here: only a picture of one's own needs the body and its compiler this early.
    from pipeline.models.mini.enrolment.landmarks_file import load_landmarks, sidecar_of

    return load_landmarks(path or sidecar_of(image), picture.width, picture.height)


class _Progress:
    """The bar on a terminal: how much is done, how fast, how much time is left."""

    def __init__(self, audio: AudioFile, rate: int) -> None:
        self._rate = rate
        total = None if audio.duration_s is None else round(audio.duration_s, 2)
        self._bar = tqdm(total=total, bar_format=BAR, disable=None, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def at(self, frames: int) -> None:
        """So many frames are written."""
        if self._bar.disable:
            return
        self._bar.n = round(frames / self._rate, 2)
        speed = self._bar.n / max(self._bar.format_dict["elapsed"], 1e-3)
        self._bar.set_postfix_str(f"{speed:.2f} x real time", refresh=False)
        self._bar.update(0)


def _summary(result: Result) -> str:
    return (
        f"{result.out}: {result.seconds:.2f} s in {result.frames} frames of"
        f" {result.width}x{result.height}, {result.speed:.2f} x real time,"
        f" {result.peak_memory_mb:.0f} MB"
    )


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"render: {message} (--help shows the options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m pipeline.render", description="An avatar speaks a file.")
    parser.add_argument(
        "--avatar",
        required=True,
        metavar="NAME",
        help="a bundled or enrolled avatar, or a name for --image",
    )
    parser.add_argument(
        "--audio", required=True, type=Path, metavar="IN", help="speech, any format"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT.mp4",
        help="H.264 and AAC; .webm is VP9 and Opus, .mov ProRes 4444",
    )
    add_model_options(parser)
    parser.add_argument(
        "--prompt", default="", metavar="TEXT", help='style of speaking, such as "calm, friendly"'
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="same seed, same video (default 0)"
    )
    add_direction_options(parser)
    parser.add_argument("--image", type=Path, metavar="REF.png", help="a picture of one's own")
    parser.add_argument("--consent", metavar="ID", help="the consent record of --image")
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE.json",
        help="landmarks of --image (default: REF.landmarks.json beside it)",
    )
    parser.add_argument("--width", type=int, default=512, metavar="W", help="even (default 512)")
    parser.add_argument("--height", type=int, default=512, metavar="H", help="even (default 512)")
    parser.add_argument(
        "--background",
        default="",
        metavar="green|transparent|COLOUR|FILE",
        help="instead of the picture's own; transparent needs .webm or .mov",
    )
    parser.add_argument(
        "--schedule", choices=SCHEDULES, default="parallel", help="causal is what live calls use"
    )
    _add_marks(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line")
    add_registry_option(parser)
    return parser


def _add_marks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label-place", type=Place, choices=list(Place), default=Place.TOP_RIGHT, help="its corner"
    )
    parser.add_argument(
        "--label-style", type=Style, choices=list(Style), default=Style.DARK, help="its look"
    )
    parser.add_argument(
        "--remove-label", default="", metavar="WHY", help="no mark, on your audited declaration"
    )
    parser.add_argument(
        "--c2pa-cert", type=Path, metavar="PEM", help="certificate chain that signs"
    )
    parser.add_argument("--c2pa-key", type=Path, metavar="PEM", help="its private key")


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be in 0..2^63-1, got {value}")
    return value


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # a stopped service leaves no half-written file either
    sys.exit(main())
