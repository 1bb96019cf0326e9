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
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.consent import ConsentGate, ConsentGrant, Scope
from pipeline.consent.options import add_registry_option, registry_of
from pipeline.errors import ContinuumError, LandmarksInvalid, OutputUnwritable, PersonNotFound
from pipeline.interface import Landmarks
from pipeline.media.image_file import Picture, PictureFile, hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.landmark_fit import fit_landmarks, steadied
from pipeline.models.mini.enrolment.landmarks_file import (
    load_landmarks,
    sidecar_of,
    write_landmarks,
)
from pipeline.models.mini.enrolment.person_detector import find_person, notes_of
from pipeline.models.mini.enrolment.photo_parts import photo_parts
from pipeline.models.mini.preview import sheet
from pipeline.models.mini.rig.fit import Fit

DEFAULT_SIZE = (512, 512)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A picture with its points, and what will not work with it."""

    picture: Picture
    points: Landmarks
    notes: tuple[str, ...]

    def sidecar(self) -> dict[str, object]:
        """The sidecar as JSON; notes come with it and are not read back."""
        points = {n: [round(x, 2), round(y, 2)] for n, (x, y) in sorted(self.points.items())}
        return {
            "width": self.picture.width,
            "height": self.picture.height,
            "points": points,
            "notes": list(self.notes),
        }

    def preview(self, grant: ConsentGrant | None = None) -> Image.Image:
        """Points and fit; with a grant for this picture also the frames of a two-second test.

        Raises a ``ConsentError``, ``LandmarksInvalid`` or ``PersonNotFound``.
        """
        return self.drawn(None if grant is None else self.anchored(grant))

    def drawn(self, anchor: IdentityAnchor | None) -> Image.Image:
        """Points, fit, notes and, of an anchor, test frames."""
        fit = fitted(self.picture, self.points)
        notes = self.notes if anchor is None else anchor.notes
        return sheet(self.picture.pixels, fit, notes, anchor)

    def anchored(self, grant: ConsentGrant) -> IdentityAnchor:
        """What frames are drawn from, and which parts will move; raises as above."""
        grant.check(image_sha256=self.picture.sha256)
        return _anchored(self.picture, fitted(self.picture, self.points), self.points)


def enrolment(file: PictureFile, points: Landmarks | None = None) -> Enrolment:
    """The person in a picture file; ``points`` are those of a person who knows better.

    Raises a ``PictureError``.
    """
    picture = load_picture(file)
    if points is None:
        found = find_person(picture.pixels)
        return Enrolment(picture, _steadied(picture, found.points), found.notes)
    return Enrolment(picture, points, notes_of(points))


def _steadied(picture: Picture, points: Landmarks) -> Landmarks:
    try:
        return steadied(picture.pixels, points)
    except ValueError as error:
        raise PersonNotFound(f"what was found is no face that can be fitted: {error}") from error


def fitted(picture: Picture, points: Landmarks) -> Fit:
    """The body fitted to named points; raises ``LandmarksInvalid``."""
    try:
        return fit_landmarks(picture.pixels, points)
    except ValueError as error:
        raise LandmarksInvalid(f"the landmarks do not fit a person: {error}") from error


def _anchored(picture: Picture, fit: Fit, points: Landmarks) -> IdentityAnchor:
    try:
        parts = photo_parts(picture.pixels, points, picture.alpha)
        return build_anchor(picture.pixels, fit, *DEFAULT_SIZE, alpha=picture.alpha, parts=parts)
    except ValueError as error:
        raise PersonNotFound(f"{error}: check the landmarks against the picture") from error


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
    file = hash_picture(arguments.image)
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
            write_landmarks(arguments.sidecar or sidecar_of(arguments.image), found.sidecar())
        anchor = None if grant is None else found.anchored(grant)
        if arguments.preview:
            _save(found.drawn(anchor), arguments.preview)
    finally:
        if registry is not None:
            registry.close()
    return _summary(arguments, found, anchor)


def _given(arguments: argparse.Namespace, file: PictureFile) -> Landmarks | None:
    if arguments.landmarks is None:
        return None
    picture = load_picture(file)
    return load_landmarks(arguments.landmarks, picture.width, picture.height)


def _save(preview: Image.Image, path: Path) -> None:
    try:
        preview.save(path)
    except (OSError, ValueError) as error:
        raise OutputUnwritable(f"cannot write the preview {path} ({error})") from error


def _summary(arguments: argparse.Namespace, found: Enrolment, anchor: IdentityAnchor | None) -> str:
    if arguments.json:
        return json.dumps(found.sidecar())
    lines = [f"{len(found.points)} points"]
    if arguments.landmarks is None:
        lines.append(f"written to {arguments.sidecar or sidecar_of(arguments.image)}")
    if arguments.preview:
        lines.append(f"preview in {arguments.preview}")
        if anchor is None:
            lines.append("without test frames: they need --consent ID")
    return "; ".join([*lines, *(found.notes if anchor is None else anchor.notes)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.enrol", description="A picture of one's own."
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
