"""What stands behind the person: painted walls and rooms out of focus, as sRGB pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.portraits.skin import Rgb

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A kind of background with its wall colour (sRGB 0..1); ``seed`` places its shapes."""

    kind: str  # plain, window, shelves, floor
    wall: Rgb
    seed: int = 0

    def paint(self, size: int) -> NDArray[np.uint8]:
        """The picture (size, size, 3)."""
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
        glow = 1.12 - 0.55 * np.hypot((x - 0.36) * 0.9, y - 0.30) - 0.10 * (y > 2)
        canvas = np.clip(np.asarray(self.wall, np.float32) * glow[..., None], 0, 1)
        if self.kind == "window":
            canvas = self._window(canvas, size)
        elif self.kind == "shelves":
            canvas = self._shelves(canvas, size)
        elif self.kind == "floor":
            canvas = self._floor(canvas, size)
        elif self.kind != "plain":
            raise ValueError(f"backdrop {self.kind!r} is not plain, window, shelves or floor")
        edge = 1 - 0.16 * np.clip(np.hypot(x - 0.5, y - 0.45) - 0.35, 0, 1) ** 1.2
        grain = np.random.default_rng(self.seed).normal(0, 0.003, (size, size, 1))
        out = canvas * edge[..., None] + grain
        return (np.clip(out, 0, 1) * 255 + 0.5).astype(np.uint8)

    def _window(self, canvas: Floats, size: int) -> Floats:
        """Daylight through a tall window on the right, a plant on the left."""
        rng = np.random.default_rng(self.seed)
        light = self._layer(size, (1.0, 0.985, 0.95), [
            [(0.70, -0.1), (0.83, -0.1), (0.83, 0.30), (0.70, 0.30)],
            [(0.86, -0.1), (1.1, -0.1), (1.1, 0.30), (0.86, 0.30)],
            [(0.70, 0.33), (0.83, 0.33), (0.83, 0.74), (0.70, 0.74)],
            [(0.86, 0.33), (1.1, 0.33), (1.1, 0.74), (0.86, 0.74)],
        ], 0.035)  # fmt: skip
        leaves = []
        for _ in range(26):
            a, r = rng.uniform(-2.6, -0.4), rng.uniform(0.10, 0.30)
            cx, cy = 0.06 + 0.7 * r * np.cos(a), 0.74 + r * np.sin(a)
            w, h, t = 0.022, 0.075, a + rng.normal(0, 0.4)
            ring = np.linspace(0, 2 * np.pi, 12)
            px, py = h * np.cos(ring), w * np.sin(ring)
            leaves.append(
                [
                    (cx + u * np.cos(t) - v * np.sin(t), cy + u * np.sin(t) + v * np.cos(t))
                    for u, v in zip(px, py, strict=True)
                ]
            )
        green = self._layer(size, (0.24, 0.36, 0.25), leaves, 0.024)
        pot = self._layer(
            size,
            (0.72, 0.66, 0.58),
            [[(0.0, 0.74), (0.12, 0.74), (0.105, 0.90), (0.015, 0.90)]],
            0.024,
        )
        for layer, amount in ((light, 0.75), (green, 0.8), (pot, 0.9)):
            share = layer[..., 3:] * amount
            canvas = canvas * (1 - share) + layer[..., :3] * share
        return canvas

    def _floor(self, canvas: Floats, size: int) -> Floats:
        """A wall that curves into the floor, and the soft shadow of somebody standing there."""
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
        ground = np.clip((y - 0.80) / 0.10, 0, 1)[..., None]
        canvas = canvas * (1 - ground) + (canvas * 1.10 + 0.05) * ground
        shadow = np.zeros_like(x)
        for at, wide, dark in ((0.452, 0.045, 0.42), (0.548, 0.045, 0.42), (0.52, 0.17, 0.22)):
            shadow += dark * np.exp(
                -(((x - at) / wide) ** 2) - ((y - 0.936) / (0.20 * wide + 0.004)) ** 2
            )
        return canvas * (1 - np.clip(shadow, 0, 0.7))[..., None]

    def _shelves(self, canvas: Floats, size: int) -> Floats:
        """A bookcase far out of focus."""
        rng = np.random.default_rng(self.seed)
        for row in np.arange(0.06, 1.0, 0.235):
            books: dict[Rgb, list[list[tuple[float, float]]]] = {}
            x = -0.02
            while x < 1.02:
                w, h = rng.uniform(0.012, 0.04), rng.uniform(0.11, 0.18)
                base = np.array([0.55, 0.47, 0.40]) * rng.uniform(0.45, 1.25) + rng.normal(
                    0, 0.05, 3
                )
                tone = tuple(np.clip(base, 0.1, 0.9).round(1))
                if rng.random() < 0.86:
                    low = row + 0.2
                    books.setdefault(tone, []).append(
                        [(x, low - h), (x + w, low - h), (x + w, low), (x, low)]
                    )
                x += w + (0.002 if rng.random() < 0.9 else 0.07)
            for tone, shapes in books.items():
                layer = self._layer(size, tone, shapes, 0.022)
                canvas = (
                    canvas * (1 - 0.62 * layer[..., 3:]) + layer[..., :3] * 0.62 * layer[..., 3:]
                )
            board = self._layer(
                size,
                (0.62, 0.52, 0.42),
                [[(-0.1, row + 0.2), (1.1, row + 0.2), (1.1, row + 0.218), (-0.1, row + 0.218)]],
                0.018,
            )
            canvas = canvas * (1 - 0.7 * board[..., 3:]) + board[..., :3] * 0.7 * board[..., 3:]
        return canvas

    @staticmethod
    def _layer(
        size: int, colour: Rgb, shapes: list[list[tuple[float, float]]], blur: float
    ) -> Floats:
        """Filled polygons (0..1 coordinates) of one colour, blurred, as RGBA 0..1."""
        alpha = Image.new("L", (size, size), 0)
        draw = ImageDraw.Draw(alpha)
        for shape in shapes:
            draw.polygon([(x * size, y * size) for x, y in shape], fill=255)
        soft = np.asarray(alpha.filter(ImageFilter.GaussianBlur(blur * size)), np.float32) / 255
        rgb = np.broadcast_to(np.asarray(colour, np.float32), (size, size, 3))
        return np.concatenate([rgb, soft[..., None]], 2)
