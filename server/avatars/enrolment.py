"""Enrolment for the server: find landmarks, preview, add, remove.

An added avatar is stored encrypted in the consent registry, as ``continuum avatar add`` stores it;
nothing else is kept.
"""

from __future__ import annotations

import io
import threading
from typing import Final

from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGrant, Scope
from pipeline.media.image_file import Bounds, PictureFile, hashed
from pipeline.models.mini.enrolment.landmarks_file import read_landmarks
from server.avatars.pipeline_errors import translated
from server.errors import AvatarBundled

TITLE: Final = "Your picture"
DESCRIPTION: Final = "A picture of one's own."


class OwnPictures:
    """Blocking calls, seconds each; one computation at a time."""

    def __init__(self, catalog: AvatarCatalog, bounds: Bounds, most: int | None = None) -> None:
        self._catalog, self._bounds, self._most = catalog, bounds, most
        self._busy = threading.Lock()

    def find(self, data: bytes) -> dict[str, object]:
        """The sidecar of a picture file. Raises a ``ServerError`` that says why there is none."""
        from pipeline.models.mini.enrolment.enrolment import enrolment

        with self._busy, translated():
            return enrolment(hashed(data, bounds=self._bounds)).sidecar()

    def preview(self, data: bytes, landmarks: bytes, consent: str) -> bytes:
        """A PNG of points and fit; with the id of a consent record also of test frames."""
        from pipeline.models.mini.enrolment.enrolment import enrolment

        with self._busy, translated():
            file = hashed(data, bounds=self._bounds)
            grant = self._grant("preview", file, consent, Scope.RECORDING) if consent else None
            found = enrolment(file, read_landmarks(landmarks, file))
            out = io.BytesIO()
            found.preview(grant).save(out, "PNG")
            return out.getvalue()

    def add(
        self, avatar: str, title: str, data: bytes, landmarks: bytes, consent: str, actor: str
    ) -> str:
        """Adds an avatar and returns its id: ``avatar``, or one made from the picture's hash.

        The same picture under the same id is enrolled again. Raises a ``ServerError``.
        """
        with translated():
            file = hashed(data, bounds=self._bounds)
            avatar = avatar or f"own-{file.sha256[:12]}"
            self._catalog.add(
                self._grant(avatar, file, consent, Scope.LIVE, actor),
                file,
                landmarks,
                title=title or TITLE,
                description=DESCRIPTION,
                anew=True,
                most=self._most,
                actor=actor,
            )
        return avatar

    def remove(self, avatar: str, actor: str) -> None:
        """Forgets an enrolled avatar and erases its files; ``UnknownAvatar``, ``AvatarBundled``."""
        if avatar in self._catalog.bundled():
            raise AvatarBundled(
                f"{avatar!r:.60} came with the model. To bar it, revoke its consent record:"
                f" GET /v1/consents shows it, bundled-{avatar}-..."
            )
        with translated():
            self._catalog.enrolments.remove(avatar, actor=actor)

    def _grant(
        self, avatar: str, file: PictureFile, consent: str, scope: Scope, actor: str = "server"
    ) -> ConsentGrant:
        return self._catalog.grant_picture(avatar, file, consent, scope, actor)
