"""The catalogue of bundled avatars: one folder each, with picture, fit, card and consent record.

    avatars/mira/reference.png    the picture that she is drawn from
                 fit.json         body, pose and camera of that picture, exactly
                 card.toml        title, description, framing
                 consent.json     the statement that this person does not exist

The catalogue finds folders and reads what is in them. What a fit means is known by
``pipeline.models.mini.enrolment.identity_anchor``; whether an avatar may be used is the gate's to
say.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.consent.registry import ConsentRecord, Kind, Scope, sha256_of
from pipeline.errors import AvatarDamaged, UnknownAvatar

AVATARS: Final = Path(__file__).parent / "models" / "mini" / "avatars"
_PICTURES: Final = ("reference.png", "reference.jpg", "reference.webp")


@dataclass(frozen=True, slots=True)
class BundledAvatar:
    """One folder of the catalogue. Files are read when they are asked for."""

    name: str
    folder: Path

    @property
    def reference(self) -> Path:
        """The reference picture; raises ``AvatarDamaged`` when there is none."""
        for name in _PICTURES:
            if (self.folder / name).is_file():
                return self.folder / name
        raise self._damaged("has no reference picture")

    @property
    def fit(self) -> Path:
        """The exact fit of the picture, as ``pipeline.models.mini.enrolment.identity_anchor.Fit``
        writes it."""
        path = self.folder / "fit.json"
        if not path.is_file():
            raise self._damaged("has no fit.json")
        return path

    def mask(self) -> NDArray[np.uint8] | None:
        """The person's alpha in the picture, uint8 (H, W), if the folder has ``mask.png``."""
        path = self.folder / "mask.png"
        return np.asarray(Image.open(path).convert("L")) if path.is_file() else None

    def card(self) -> dict[str, Any]:
        """Title, description and further entries of its card."""
        try:
            return tomllib.loads((self.folder / "card.toml").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(f"has no readable card.toml ({error})") from error

    def image_sha256(self) -> str:
        """SHA-256 of the reference picture's file, computed from its bytes."""
        return sha256_of(self.reference)

    def picture(self) -> bytes:
        """The reference picture's file."""
        return self.reference.read_bytes()

    def consent(self) -> ConsentRecord:
        """The synthetic-person record of the folder, for the picture that it names.

        Its id carries the picture's hash: a new picture in a later release is a new record.
        """
        try:
            content = json.loads((self.folder / "consent.json").read_text("utf-8"))
            return ConsentRecord(
                id=f"bundled-{self.name}-{content['image_sha256'][:12]}",
                subject=content["subject"],
                kind=Kind(content["kind"]),
                statement=content["statement"],
                image_sha256=content["image_sha256"],
                scopes=frozenset(Scope),
                verified_by=content["verified_by"],
                created_at=float(content["created_at"]),
                adult=True,  # the project draws adults alone
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"has no readable consent.json ({error})") from error

    def _damaged(self, what: str) -> AvatarDamaged:
        return AvatarDamaged(f"bundled avatar {self.name!r} {what}: reinstall Continuum")


def catalogue(root: Path = AVATARS) -> dict[str, BundledAvatar]:
    """Every bundled avatar by name, in alphabetical order."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {f.name: BundledAvatar(f.name, f) for f in folders if (f / "fit.json").is_file()}


def find_avatar(name: str, root: Path = AVATARS, also: Iterable[str] = ()) -> BundledAvatar:
    """The avatar of this name; ``UnknownAvatar`` lists the known ones, and ``also`` these."""
    known = catalogue(root)
    if name not in known:
        names = ", ".join([*known, *also]) or "none is installed"
        raise UnknownAvatar(f"there is no avatar {name!r}; known ones: {names}")
    return known[name]


def write_consent(avatar: BundledAvatar, subject: str, statement: str, created_at: float) -> Path:
    """Writes the synthetic-person record of a folder, bound to its reference picture."""
    content = {
        "subject": subject,
        "kind": str(Kind.SYNTHETIC),
        "statement": statement,
        "image_sha256": avatar.image_sha256(),
        "verified_by": "rendered by training/portraits from a parametric body",
        "created_at": created_at,
    }
    path = avatar.folder / "consent.json"
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return path
