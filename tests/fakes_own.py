"""Pictures of people's own without networks or bodies: fixed points, a plain preview."""

from __future__ import annotations

import io
import json

from PIL import Image

from server.avatars.catalog import Card
from server.errors import ConsentRequired, PictureRefused, UnknownAvatar
from tests.fakes_server import FakeSource

FACE = {
    "eye_outer_right": (0.40, 0.40), "eye_inner_right": (0.47, 0.40),
    "eye_inner_left": (0.53, 0.40), "eye_outer_left": (0.60, 0.40), "nose_tip": (0.5, 0.48),
    "mouth_corner_right": (0.45, 0.55), "mouth_corner_left": (0.55, 0.55), "chin": (0.5, 0.66),
    "jaw_angle_right": (0.38, 0.56), "jaw_angle_left": (0.62, 0.56),
    "lip_upper_outer": (0.5, 0.53), "brow_mid_left": (0.57, 0.36),
}  # fmt: skip


class FakeOwn:
    """Refuses pictures that are wider than high; remembers what it was shown.

    Who is enrolled is added to the ``source`` of avatars.
    """

    def __init__(self, source: FakeSource) -> None:
        self.seen: dict[str, dict[str, list[float]]] = {}
        self._source = source

    def find(self, data: bytes) -> dict[str, object]:
        try:
            width, height = Image.open(io.BytesIO(data)).size
        except OSError as failure:
            raise PictureRefused("no picture", code="picture_unreadable") from failure
        if width > height:
            raise PictureRefused("no person was found", code="person_not_found")
        points = {name: [x * width, y * height] for name, (x, y) in FACE.items()}
        notes = ["hands are cut off or hidden"]
        return {"width": width, "height": height, "points": points, "notes": notes}

    def preview(self, data: bytes, landmarks: bytes, consent: str) -> bytes:
        try:
            self.seen["preview"] = json.loads(landmarks)["points"]
        except (ValueError, KeyError, TypeError, RecursionError) as failure:
            raise PictureRefused("no landmarks", code="landmarks_invalid") from failure
        if consent and consent != "c-1":
            raise ConsentRequired(f"there is no consent record {consent}", code="consent_missing")
        file = io.BytesIO()
        Image.new("RGB", (640, 200 if not consent else 400), (40, 120, 110)).save(file, "PNG")
        return file.getvalue()

    def add(
        self, avatar: str, title: str, data: bytes, landmarks: bytes, consent: str, actor: str
    ) -> str:
        if consent != "c-1":
            raise ConsentRequired("a consent record is needed", code="consent_missing")
        avatar, title = avatar or "own-1", title or "Your picture"
        card = Card(avatar, title, "A picture of one's own.", data, "image/png")
        self._source.enrolled[avatar] = card
        return avatar

    def remove(self, avatar: str, actor: str) -> None:
        if self._source.enrolled.pop(avatar, None) is None:
            raise UnknownAvatar(f"there is no avatar {avatar}")
