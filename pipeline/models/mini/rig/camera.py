"""The camera that a portrait was taken with: a pinhole in front of the body.

It stands on the z axis ``distance`` metres before the origin at the height ``look_y``, looks
along -z and tilts by ``pitch`` (positive looks up). World x is to the person's left, which is
to the right in the picture; picture y points down.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Camera:
    """Six numbers of framing, in units of the picture's height, metres and radians."""

    focal: float = 2.0  # focal length / picture height
    center_x: float = 0.5  # where the optical axis pierces the picture, of its width
    center_y: float = 0.5  # ... and of its height
    distance: float = 2.5  # metres from the body's vertical axis
    look_y: float = 1.4  # metres above the floor
    pitch: float = 0.0  # radians, positive looks up

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in astuple(self)):
            raise ValueError(f"camera numbers must be finite, got {astuple(self)}")
        if self.focal <= 0 or self.distance <= 0:
            raise ValueError(
                f"focal and distance must be > 0, got {self.focal} and {self.distance}"
            )

    def project(
        self, vertices: NDArray[np.float32], width: int, height: int
    ) -> NDArray[np.float32]:
        """World points (N, 3) -> (N, 3): x px, y px, depth in metres along the view."""
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices must be (N, 3), got {vertices.shape}")
        cos, sin = math.cos(self.pitch), math.sin(self.pitch)
        up = vertices[:, 1] - self.look_y
        ahead = self.distance - vertices[:, 2]
        depth = cos * ahead + sin * up
        scale = self.focal * height / depth
        out = np.empty((len(vertices), 3), np.float32)
        out[:, 0] = self.center_x * width + scale * vertices[:, 0]
        out[:, 1] = self.center_y * height - scale * (cos * up - sin * ahead)
        out[:, 2] = depth
        return out

    def vector(self) -> NDArray[np.float32]:
        """The six numbers in the order of the fields."""
        return np.array(astuple(self), np.float32)

    @classmethod
    def from_vector(cls, vector: NDArray[np.floating]) -> Camera:
        """The camera of six numbers; ValueError for any other count."""
        if np.shape(vector) != (len(fields(cls)),):
            raise ValueError(f"a camera has {len(fields(cls))} numbers, got {np.shape(vector)}")
        return cls(*(float(value) for value in vector))
