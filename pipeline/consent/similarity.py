"""Similarity of two pictures, from fingerprints and, with a model, from faces.

Fingerprints are imported at the first comparison, because they load SciPy.
"""

from __future__ import annotations

from PIL import Image

from pipeline.consent.face_models import FaceModels
from pipeline.errors import ConsentInvalid


def fingerprint_of(picture: bytes | Image.Image) -> bytes:
    """The fingerprint of a picture, or of its file. Raises ``ConsentInvalid``."""
    from pipeline.consent.image_fingerprint import fingerprint

    try:
        return fingerprint(picture)
    except Exception as error:  # a hostile header may make a decoder fail in any way
        raise ConsentInvalid(f"the picture cannot be read: {error}") from error


def compare(
    face_models: FaceModels,
    one: tuple[bytes | None, bytes | None],
    other: tuple[bytes | None, bytes | None],
) -> tuple[str, float] | None:
    """How two pictures, as fingerprint and face, are alike, and how much; None if they are not."""
    from pipeline.consent.image_fingerprint import SAME, likeness

    if one[0] and other[0]:
        score = likeness(one[0], bytes(other[0]))
        if score >= SAME:
            return "picture", score
    cosine = face_models.same_face(one[1], other[1])
    return None if cosine is None else ("face", cosine)
