"""The person in a picture: landmarks, what will not work with it, preview, identity anchor."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from pipeline.consent import ConsentGrant
from pipeline.errors import LandmarksInvalid, PersonNotFound
from pipeline.interface import Landmarks
from pipeline.media.image_file import Picture, PictureFile
from pipeline.media.image_sandbox import load_picture
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.landmark_fit import fit_landmarks, steadied
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
