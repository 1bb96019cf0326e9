"""Pictures of people's own, as the server sees them: found, looked at, and called.

Beside ``server.consents`` the only module that imports ``pipeline``. Nothing is kept on disk: a
picture that was enrolled to be called is held in memory until the server ends.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import Any, Final

from pipeline.consent import ConsentGate, Scope
from pipeline.picture import Bounds, PictureFile, hashed
from pipeline.sidecar import read_landmarks
from server.avatars import Card
from server.consents import translated
from server.errors import TooManyAvatars, UnknownAvatar

MOST: Final = 8  # avatars of people's own that are held at a time


@dataclass(frozen=True, slots=True)
class _Own:
    """What one enrolled picture needs to be called."""

    card: Card
    file: PictureFile
    landmarks: bytes
    consent: str


class OwnPictures:
    """Blocking calls, seconds each; one computation at a time."""

    def __init__(self, pipeline: Any, gate: ConsentGate, bounds: Bounds) -> None:
        self._pipeline, self._gate, self._bounds = pipeline, gate, bounds
        self._own: dict[str, _Own] = {}
        self._busy = threading.Lock()

    def find(self, data: bytes) -> dict[str, object]:
        """The sidecar of a picture file. Raises a ``ServerError`` that says why there is none."""
        from pipeline.enrol import enrolment

        with self._busy, translated():
            return enrolment(hashed(data, bounds=self._bounds)).sidecar()

    def preview(self, data: bytes, landmarks: bytes, consent: str) -> bytes:
        """A PNG of points and fit; with the id of a consent record also of test frames."""
        from pipeline.enrol import enrolment

        with self._busy, translated():
            file = hashed(data, bounds=self._bounds)
            grant = self._grant("preview", file, consent, Scope.RECORDING) if consent else None
            found = enrolment(file, read_landmarks(landmarks, file))
            out = io.BytesIO()
            found.preview(grant).save(out, "PNG")
            return out.getvalue()

    def add(self, name: str, data: bytes, landmarks: bytes, consent: str) -> Card:
        """Offers a picture to be called. Raises a ``ServerError``."""
        with translated():
            file = hashed(data, bounds=self._bounds)
            grant = self._grant(name, file, consent, Scope.LIVE)
            read_landmarks(landmarks, file)
        own = f"own-{file.sha256[:12]}"
        if own not in self._own and len(self._own) >= MOST:
            raise TooManyAvatars(f"{MOST} pictures are held already: restart the server first.")
        kind = f"image/{_kind(data)}"
        card = Card(own, name or "Your picture", "A picture of one's own.", data, kind)
        self._own[own] = _Own(card, file, landmarks, grant.consent_id)
        return card

    def __contains__(self, avatar: str) -> bool:
        return avatar in self._own

    def grant(self, avatar: str, session: str = "") -> object:
        """A fresh live grant; raises ``ConsentRequired`` when the record no longer holds."""
        own = self._known(avatar)
        with translated():
            return self._grant(avatar, own.file, own.consent, Scope.LIVE, session)

    def enrol(self, avatar: str, grant: object) -> object:
        """The avatar at the model's default size."""
        from pipeline.picture import load_picture

        own = self._known(avatar)
        with self._busy, translated():
            points = read_landmarks(own.landmarks, own.file)
            return self._pipeline.enrol(load_picture(own.file), grant, landmarks=points)

    def _known(self, avatar: str) -> _Own:
        if avatar not in self._own:
            raise UnknownAvatar(f"There is no avatar {avatar[:60]!r}.")
        return self._own[avatar]

    def _grant(
        self, avatar: str, file: PictureFile, consent: str, scope: Scope, session: str = ""
    ) -> Any:
        return self._gate.grant(
            avatar=avatar,
            image_sha256=file.sha256,
            scope=scope,
            consent_id=consent,
            session=session,
            actor="server",
        )


def _kind(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "png"
    return "webp" if data[8:12] == b"WEBP" else "jpeg"
