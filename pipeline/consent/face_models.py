"""Optional ONNX models for faces and for age, supplied by the operator. None ships with Continuum.

Beside ``model.onnx`` lies ``model.toml``, which describes input and output:

    size = [112, 112]      # width, height
    mean = 127.5           # (pixel - mean) / scale
    scale = 127.5
    order = "RGB"          # or "BGR"
    output = "embedding"   # a face; for age: "years", or "classes" from 0 upwards
    same = 0.4             # cosine from which on two embeddings are one person

Knows nothing of records; a model that cannot be used is refused when it is loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline import onnx_runtime
from pipeline.errors import PolicyInvalid
from pipeline.media.image_color import to_srgb
from pipeline.media.image_file import FORMATS

Points = Mapping[str, tuple[float, float]]
_AROUND: Final = 1.9  # side of the square that is looked at, by the spread of the face's points
_FACE: Final = ("eye_outer_right", "eye_outer_left", "mouth_corner_right", "chin", "nose_tip")


@dataclass(frozen=True, slots=True)
class Card:
    """How a model wants its picture, and what its answer is."""

    size: tuple[int, int] = (112, 112)
    mean: float = 127.5
    scale: float = 127.5
    order: str = "RGB"
    output: str = "embedding"
    same: float = 0.4

    def __post_init__(self) -> None:
        if self.order not in ("RGB", "BGR"):
            raise PolicyInvalid(f"order is RGB or BGR, not {self.order!r}")
        if self.output not in ("embedding", "years", "classes"):
            raise PolicyInvalid(f"output is embedding, years or classes, not {self.output!r}")


class FaceModel:
    """One loaded model. Raises ``PolicyInvalid`` when it cannot be loaded or run."""

    def __init__(self, path: Path) -> None:
        self.path, self.card = path, _card(path.with_suffix(".toml"))
        try:
            self._session = onnx_runtime.load().InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime raises classes of its own
            raise PolicyInvalid(f"model {path} cannot be loaded: {error}") from error
        self._input = self._session.get_inputs()[0].name

    def look(
        self, picture: bytes | Image.Image, points: Points | None = None
    ) -> NDArray[np.float32]:
        """The model's answer about the face in a picture or its file, as one vector."""
        face = _face(picture, points).resize(self.card.size, Image.Resampling.BILINEAR)
        pixels = np.asarray(face, np.float32)[..., :: 1 if self.card.order == "RGB" else -1]
        batch = ((pixels - self.card.mean) / self.card.scale).transpose(2, 0, 1)[None]
        try:
            (answer, *_) = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        except Exception as error:
            raise PolicyInvalid(f"model {self.path} cannot be run: {error}") from error
        return np.asarray(answer, np.float32).reshape(-1)


@dataclass(frozen=True, slots=True)
class FaceModels:
    """What this installation can see besides fingerprints."""

    face: FaceModel | None = field(default=None)
    age: FaceModel | None = field(default=None)

    def embedding(self, picture: bytes | Image.Image, points: Points | None = None) -> bytes | None:
        """The face in a picture, as float32 of length one; None without a model."""
        if self.face is None:
            return None
        vector = self.face.look(picture, points)
        return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype("<f4").tobytes()

    def years(self, picture: bytes | Image.Image, points: Points | None = None) -> float | None:
        """How old the person looks; None without a model."""
        if self.age is None:
            return None
        answer = self.age.look(picture, points)
        if self.age.card.output == "years":
            return float(answer[0])
        weights = np.exp(answer - answer.max())
        return float((weights / weights.sum()) @ np.arange(len(answer)))

    def same_face(self, one: bytes | None, other: bytes | None) -> float | None:
        """The cosine of two embeddings if they are one person's, else None."""
        if self.face is None or not one or not other or len(one) != len(other):
            return None
        cosine = float(np.frombuffer(one, "<f4") @ np.frombuffer(other, "<f4"))
        return cosine if cosine >= self.face.card.same else None


def load_face_models(face: Path | None, age: Path | None) -> FaceModels:
    """Loads what is named. Raises ``PolicyInvalid``."""
    face_models = FaceModels(FaceModel(face) if face else None, FaceModel(age) if age else None)
    if face_models.face and face_models.face.card.output != "embedding":
        raise PolicyInvalid(f"{face} answers {face_models.face.card.output}, not an embedding")
    if face_models.age and face_models.age.card.output == "embedding":
        raise PolicyInvalid(f"{age} answers an embedding, not years or classes")
    return face_models


def _card(path: Path) -> Card:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        width, height = content.pop("size", (112, 112))
        return Card(size=(int(width), int(height)), **content)
    except (OSError, ValueError, TypeError) as error:
        raise PolicyInvalid(f"model card {path} cannot be used: {error}") from error


def _face(picture: bytes | Image.Image, points: Points | None) -> Image.Image:
    """A square around the face, or around the middle where no points are known."""
    if isinstance(picture, bytes):
        picture = Image.open(BytesIO(picture), formats=FORMATS)
    image = to_srgb(ImageOps.exif_transpose(picture)).convert("RGB")
    known = [points[name] for name in _FACE if name in points] if points else []
    if len(known) < 3:
        side = min(image.size)
        left = (image.width - side) // 2
        return image.crop((left, 0, left + side, side))
    corners = np.asarray(known)
    middle, spread = corners.mean(0), float(np.ptp(corners, axis=0).max())
    left, top = middle - _AROUND * spread / 2
    return image.crop(
        (int(left), int(top), int(left + _AROUND * spread), int(top + _AROUND * spread))
    )
