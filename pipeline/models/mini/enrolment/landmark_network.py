"""The networks that find named points in a crop: one for faces, one for bodies.

A small convolutional network sees a crop (``pipeline.models.mini.enrolment.crops``) and answers
with a map of likelihood for every point, whose mean place is the point (integral regression, Sun et
al. 2018), how sure it is that the crop shows what it looks for, how far the face is turned, and
which points are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.mini.enrolment.crops import BODY_POINTS, FACE_POINTS

WEIGHTS: Final = Path(__file__).parents[1] / "landmarks.safetensors"
MAP: Final = 4  # px of a crop that one cell of a map spans
_WIDTHS: Final = (16, 32, 64, 96)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network says of B crops. Places are px of the crop."""

    points: Tensor  # (B, L, 2)
    spread: Tensor  # (B, L) px: how far the likelihood of a point reaches
    seen: Tensor  # (B, L) logits: whether the crop shows it
    present: Tensor  # (B,) logit: whether there is a face or body at all
    turn: Tensor  # (B, 2) radians to the person's left, and upwards


class _Block(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        inside = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(inside)))


class PointNet(nn.Module):
    """Crops (B, 4, S, S) in 0..1 to ``Answer``; S is a multiple of 32."""

    def __init__(self, points: int) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.stem = _down(4, a, 5)
        self.fine = nn.Sequential(_down(a, b), _Block(b))  # 1/4
        self.middle = nn.Sequential(_down(b, c), _Block(c), _Block(c))  # 1/8
        self.coarse = nn.Sequential(_down(c, d), _Block(d), _Block(d))  # 1/16
        self.whole = nn.Sequential(_down(d, d), _Block(d))  # 1/32
        self.up = nn.ModuleList([nn.Conv2d(d, d, 1), nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1)])
        self.mix = nn.ModuleList([_mixed(d), _mixed(c), _mixed(b)])
        self.maps = nn.Conv2d(b, points, 1)
        self.facts = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, points + 3))
        self.points = points

    def forward(self, crops: Tensor) -> Answer:
        fine = self.fine(self.stem(crops - 0.5))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        x = self.whole(coarse)
        facts = self.facts(x.mean((2, 3)))
        for up, mix, skip in zip(self.up, self.mix, (coarse, middle, fine), strict=True):
            x = mix(F.interpolate(up(x), scale_factor=2.0, mode="nearest") + skip)
        points, spread = _expected(self.maps(x))
        present, turn = facts[:, self.points], facts[:, self.points + 1 :]
        return Answer(points, spread, facts[:, : self.points], present, turn)


def _down(before: int, after: int, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, stride=2, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _mixed(width: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _expected(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean places (B, L, 2) and spreads (B, L) in px of maps (B, L, H, W)."""
    high, wide = maps.shape[2:]
    share = maps.float().flatten(2).softmax(2).view_as(maps)
    x = (torch.arange(wide, dtype=torch.float32) + 0.5) * MAP
    y = (torch.arange(high, dtype=torch.float32) + 0.5) * MAP
    across, down = share.sum(2), share.sum(3)  # (B, L, W), (B, L, H)
    places = torch.stack([across @ x, down @ y], 2)
    square = across @ (x * x) + down @ (y * y) - places.square().sum(2)
    return places, square.clamp_min(1e-4).sqrt()


def load_networks(path: Path = WEIGHTS) -> tuple[PointNet, PointNet]:
    """The networks for faces and for bodies, ready to be asked."""
    weights = load_file(path)
    nets = []
    for name, points in (("face", FACE_POINTS), ("body", BODY_POINTS)):
        net = PointNet(len(points))
        mine = {k.removeprefix(f"{name}."): v.float() for k, v in weights.items()
                if k.startswith(f"{name}.")}  # fmt: skip
        net.load_state_dict(mine, strict=False)
        nets.append(net.eval())
    return nets[0], nets[1]
