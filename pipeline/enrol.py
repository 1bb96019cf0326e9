"""``python -m pipeline.enrol``: finds the person in a picture and shows whether it will work.

Finds the person and the landmarks, writes them to the file that ``pipeline.render`` reads, fits the
body, and shows landmarks, fit and test frames in one picture. Landmarks and fit need no consent.
Frames in which the person moves need a grant (``--consent``), as everywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.consent import ConsentGate, Scope
from pipeline.consent.options import add_registry_option, registry_of
from pipeline.errors import ContinuumError, OutputUnwritable
from pipeline.media.image_file import PictureFile, hash_picture
from pipeline.media.image_sandbox import load_picture

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.interface import Landmarks
    from pipeline.models.mini.enrolment.enrolment import Enrolment
    from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor


def main(argv: Sequence[str] | None = None) -> int:
    """Enrols one picture; 0 when it works, 2 with one line on stderr when it does not."""
    arguments = _parser().parse_args(argv)
    try:
        done = _enrol(arguments)
    except ContinuumError as error:
        print("enrol: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(done)
    return 0


def _enrol(arguments: argparse.Namespace) -> str:
    # Imported here: bad options and --help need no model.
    from pipeline.models.mini.enrolment.enrolment import enrolment
    from pipeline.models.mini.enrolment.landmarks_file import sidecar_of, write_landmarks

    file = hash_picture(arguments.image)
    sidecar = arguments.sidecar or sidecar_of(arguments.image)
    grant, registry = None, None
    try:
        if arguments.consent:
            registry = registry_of(arguments)
            grant = ConsentGate(registry).grant(
                avatar=arguments.image.stem, image_sha256=file.sha256,
                scope=Scope.RECORDING, consent_id=arguments.consent,
            )  # fmt: skip
        found = enrolment(file, _given(arguments, file))
        if arguments.landmarks is None:
            write_landmarks(sidecar, found.sidecar())
        anchor = None if grant is None else found.anchored(grant)
        if arguments.preview:
            _save(found.drawn(anchor), arguments.preview)
    finally:
        if registry is not None:
            registry.close()
    return _summary(arguments, found, anchor, sidecar)


def _given(arguments: argparse.Namespace, file: PictureFile) -> Landmarks | None:
    if arguments.landmarks is None:
        return None
    from pipeline.models.mini.enrolment.landmarks_file import load_landmarks

    picture = load_picture(file)
    return load_landmarks(arguments.landmarks, picture.width, picture.height)


def _save(preview: Image.Image, path: Path) -> None:
    try:
        preview.save(path)
    except (OSError, ValueError) as error:
        raise OutputUnwritable(f"cannot write the preview {path} ({error})") from error


def _summary(
    arguments: argparse.Namespace, found: Enrolment, anchor: IdentityAnchor | None, sidecar: Path
) -> str:
    if arguments.json:
        return json.dumps(found.sidecar())
    lines = [f"{len(found.points)} points"]
    if arguments.landmarks is None:
        lines.append(f"written to {sidecar}")
    if arguments.preview:
        lines.append(f"preview in {arguments.preview}")
        if anchor is None:
            lines.append("without test frames: they need --consent ID")
    return "; ".join([*lines, *(found.notes if anchor is None else anchor.notes)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.enrol",
        description="Enrols a photo: finds the person, shows what will work.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="PNG, JPEG or WebP")
    parser.add_argument("--preview", type=Path, metavar="OUT.png", help="what to look at")
    parser.add_argument(
        "--sidecar", type=Path, metavar="OUT.json",
        help="where the points are written (default: IMAGE.landmarks.json beside it)",
    )  # fmt: skip
    parser.add_argument(
        "--landmarks", type=Path, metavar="FILE.json", help="take these points, look for none"
    )
    parser.add_argument("--consent", metavar="ID", help="the consent record, for test frames")
    parser.add_argument("--json", action="store_true", help="print the sidecar as one JSON line")
    add_registry_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
