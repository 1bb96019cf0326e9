"""Pictures of people's own without networks or bodies: fixed points, a plain preview."""

from __future__ import annotations

import io
import json

from PIL import Image

from server.avatars import Card
from server.errors import ConsentRequired, PictureRefused

FACE = {
    "eye_outer_right": (0.40, 0.40), "eye_inner_right": (0.47, 0.40),
    "eye_inner_left": (0.53, 0.40), "eye_outer_left": (0.60, 0.40), "nose_tip": (0.5, 0.48),
    "mouth_corner_right": (0.45, 0.55), "mouth_corner_left": (0.55, 0.55), "chin": (0.5, 0.66),
    "jaw_angle_right": (0.38, 0.56), "jaw_angle_left": (0.62, 0.56),
    "lip_upper_outer": (0.5, 0.53), "brow_mid_left": (0.57, 0.36),
}  # fmt: skip


class FakeOwn:
    """Refuses pictures that are wider than high; remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, list[float]]] = {}
        self._own: dict[str, Card] = {}

    def find(self, data: bytes) -> dict[str, object]:
        try:
            width, height = Image.open(io.BytesIO(data)).size
        except OSError as failure:
            raise PictureRefused("no picture", code="picture_unreadable") from failure
        if width > height:
            raise PictureRefused("no face was found", code="person_not_found")
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

    def add(self, name: str, data: bytes, landmarks: bytes, consent: str) -> Card:
        if consent != "c-1":
            raise ConsentRequired("a consent record is needed", code="consent_missing")
        card = Card("own-1", name or "Your picture", "A picture of one's own.", data, "image/png")
        self._own[card.id] = card
        return card

    def __contains__(self, avatar: str) -> bool:
        return avatar in self._own

    def grant(self, avatar: str, session: str = "") -> object:
        return f"grant for {avatar}"

    def enrol(self, avatar: str, grant: object) -> object:
        from tests.fakes_server import FakeAvatar

        return FakeAvatar(avatar, 256, 256)
