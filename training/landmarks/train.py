"""``python -m training.landmarks.train``: makes pictures of strangers, and trains the detector on
them.

Pictures are kept as the two crops that the networks look at, with room around them, so that every
epoch sees them moved, turned, lit and spoilt anew. ``make`` writes shards of them, ``train`` goes
on where it stopped, ``score`` measures on strangers that training never saw.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.mini.enrolment.crops import (
    BODY_POINTS,
    BODY_SIDE,
    FACE_POINTS,
    FACE_SIDE,
    SIDE,
    Crop,
    body_crop,
    face_crop,
    frame,
)
from pipeline.models.mini.enrolment.landmark_network import WEIGHTS, Answer, PointNet
from training.landmarks.spoil import move, spoil
from training.landmarks.strangers import SIZE, Stranger

F32 = NDArray[np.float32]
ROOM: Final = 1.4  # how much wider than its crop a picture is kept
KEPT: Final = 179  # px of their side
EACH: Final = 8  # pictures of one stranger
SHARD: Final = 320  # pictures


def make(folder: Path, first: int, count: int, heldout: bool = False) -> None:
    """Writes ``count`` shards, from number ``first`` on; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        path = folder / f"{'held' if heldout else 'seen'}-{number:03d}.npz"
        if not path.exists():
            shard = _shard(np.random.default_rng([number, 9 if heldout else 5]))
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez(file, **shard)  # type: ignore[arg-type]
            part.rename(path)


def _shard(rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    rows: dict[str, list[NDArray[np.generic]]] = {}
    for _ in range(SHARD // EACH):
        stranger = Stranger(rng)
        for _ in range(EACH):
            for name, value in _example(stranger, rng).items():
                rows.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in rows.items()}


def _example(stranger: Stranger, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """One portrait as crops (KEPT, KEPT, 4), with points in px of them, and what is seen."""
    portrait = stranger.portrait()
    at = dict(zip(stranger.names, portrait.points, strict=True))
    middle, eyes, roll = frame({name: (float(x), float(y)) for name, (x, y) in at.items()})
    out: dict[str, NDArray[np.generic]] = {"turn": portrait.turn}
    crops = {"face": face_crop(middle, eyes, roll), "body": body_crop(middle, eyes)}
    for name, crop in crops.items():
        wide = Crop(crop.x, crop.y, crop.side * ROOM, crop.angle)
        wanted = FACE_POINTS if name == "face" else BODY_POINTS
        index = [stranger.names.index(point) for point in wanted]
        out[name] = wide.cut(portrait.picture, KEPT)
        out[f"{name}_points"] = wide.to_crop(portrait.points[index], KEPT)
        out[f"{name}_seen"] = portrait.seen[index]
    other = rng.uniform(0, SIZE, 2)  # a square without a face, for the networks to say so
    away = Crop(float(other[0]), float(other[1]), float(rng.uniform(0.6, 3)) * eyes, 0.0)
    out["other"] = away.cut(portrait.picture)
    nearest = np.abs(away.to_crop(middle[None]) - SIDE / 2).max()
    out["empty"] = np.array(nearest > 0.45 * SIDE)
    return out


# -- training ----------------------------------------------------------------------------------

BATCH: Final = 32
_BODY_EVERY: Final = 4  # steps of which one is for the network of bodies
_NAMES: Final = {"face": FACE_POINTS, "body": BODY_POINTS}
_SIDES: Final = {"face": FACE_SIDE, "body": BODY_SIDE}


@dataclass(frozen=True, slots=True)
class Batch:
    """Spoilt crops (B, 4, S, S) in 0..1 and the truth of them."""

    crops: Tensor
    points: Tensor  # (B, L, 2) px
    weight: Tensor  # (B, L): 1 shown, less where hidden, 0 where there is no person
    seen: Tensor  # (B, L)
    present: Tensor  # (B,); negative where nobody can say
    turn: Tensor  # (B, 2)


class Pool:
    """Shards in memory; new ones are taken up as they appear."""

    def __init__(self, folder: Path, heldout: bool = False) -> None:
        self._folder, self._pattern = folder, "held-*.npz" if heldout else "seen-*.npz"
        self._read: set[Path] = set()
        self._shards: list[dict[str, NDArray[Any]]] = []
        self.refresh()

    def refresh(self) -> None:
        for path in sorted(self._folder.glob(self._pattern)):
            if path not in self._read:
                self._read.add(path)
                with np.load(path) as file:
                    self._shards.append({name: file[name] for name in file.files})

    @property
    def pictures(self) -> int:
        return sum(len(shard["turn"]) for shard in self._shards)

    def batch(self, rng: np.random.Generator, what: str, size: int, count: int = BATCH) -> Batch:
        """Crops of faces or bodies, an eighth of them of neither."""
        rows = [self._row(rng, what, size, empty=i % 8 == 7) for i in range(count)]
        crops, points, weight, seen, present, turn = map(np.stack, zip(*rows, strict=True))
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        facts = (torch.from_numpy(x.astype(np.float32)) for x in (points, weight, seen))
        return Batch(
            images, *facts, torch.from_numpy(present).float(), torch.from_numpy(turn).float()
        )

    def _row(self, rng: np.random.Generator, what: str, size: int, empty: bool) -> tuple[Any, ...]:
        shard = self._shards[rng.integers(len(self._shards))]
        i, names = rng.integers(len(shard["turn"])), _NAMES[what]
        if empty:
            crop = _resized(shard["other"][i], size)
            blank = np.zeros(len(names), np.float32)
            present = 0.0 if shard["empty"][i] else -1.0
            return spoil(rng, crop), np.zeros((len(names), 2)), blank, blank, present, np.zeros(2)
        mirror = bool(rng.random() < 0.5)
        crop, points, _ = move(rng, shard[what][i], shard[f"{what}_points"][i], ROOM, size, mirror)
        seen, turn = shard[f"{what}_seen"][i], shard["turn"][i].copy()
        if mirror:
            swap = [names.index(_other_side(name)) for name in names]
            points, seen, turn[0] = points[swap], seen[swap], -turn[0]
        inside = ((points >= 0) & (points < size)).all(1)
        weight = np.where(seen, 1.0, 0.3 if what == "face" else 0.15) * inside
        return spoil(rng, crop), points, weight, seen & inside, 1.0, turn


def _resized(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _other_side(name: str) -> str:
    if name.endswith("_left"):
        return name.removesuffix("_left") + "_right"
    return name.removesuffix("_right") + "_left" if name.endswith("_right") else name


def loss_of(answer: Answer, truth: Batch, eyes_px: float) -> Tensor:
    """Places in *eyes* (smooth at a tenth), narrow maps, what is seen, presence and turn."""
    real = (truth.present > 0).float()
    weight = truth.weight * real[:, None]
    off = (answer.points - truth.points).norm(dim=2) / eyes_px
    places = (weight * F.huber_loss(off, torch.zeros_like(off), reduction="none", delta=0.1)).sum()
    narrow = (weight * (answer.spread / eyes_px - 0.06).clamp_min(0)).sum()
    total = weight.sum().clamp_min(1)
    seen = F.binary_cross_entropy_with_logits(answer.seen, truth.seen, reduction="none")
    known = (truth.present >= 0).float()
    there = F.binary_cross_entropy_with_logits(
        answer.present, truth.present.clamp_min(0), reduction="none"
    )
    turn = (answer.turn - truth.turn).square().mean(1)
    return (
        20 * places / total + 0.5 * narrow / total + 0.5 * (seen.mean(1) * real).mean()
        + 0.5 * (there * known).mean() + (turn * real).mean()
    )  # fmt: skip


def train(data: Path, state: Path, out: Path, minutes: float) -> None:
    """Trains for so many minutes in all, going on from ``state``; writes the weights to ``out``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nets = {name: PointNet(len(points)) for name, points in _NAMES.items()}
    both = torch.nn.ModuleDict(nets).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    means = torch.optim.swa_utils.AveragedModel(
        both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimiser = torch.optim.AdamW(both.parameters(), lr=2e-3, weight_decay=1e-3)
    step, spent = 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        both.load_state_dict(saved["both"])
        means.load_state_dict(saved["means"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["spent"]
    pool, rng, begun, losses = Pool(data), np.random.default_rng([step, 3]), time.monotonic(), []
    while (now := (spent + time.monotonic() - begun) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = (
                2e-3 * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * math.cos(now * math.pi / 2))
            )
        what = "body" if step % _BODY_EVERY == _BODY_EVERY - 1 else "face"
        batch = pool.batch(rng, what, SIDE)
        crops = batch.crops.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            answer = nets[what](crops)
        loss = loss_of(_float(answer), batch, SIDE / _SIDES[what])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 5.0)
        optimiser.step()
        means.update_parameters(both)
        losses.append(float(loss.detach()))
        step += 1
        if step % 100 == 0:
            done = spent + time.monotonic() - begun
            _save(state, out, both, means, optimiser, step, done)
            pool.refresh()
            print(f"step {step}, {done / 60:.1f} min, {pool.pictures} pictures, "
                  f"loss {np.mean(losses):.3f}", flush=True)  # fmt: skip
            losses.clear()
    _save(state, out, both, means, optimiser, step, spent + time.monotonic() - begun)


def _float(answer: Answer) -> Answer:
    return Answer(
        answer.points.float(), answer.spread.float(), answer.seen.float(),
        answer.present.float(), answer.turn.float(),
    )  # fmt: skip


def _save(
    state: Path, out: Path, both: Any, means: Any, optimiser: Any, step: int, spent: float
) -> None:
    saved = {"both": both.state_dict(), "means": means.state_dict(), "step": step, "spent": spent,
             "optimiser": optimiser.state_dict()}  # fmt: skip
    part = state.with_suffix(".part")
    torch.save(saved, part)
    part.rename(state)
    weights = {
        k: v.half() if v.is_floating_point() else v
        for k, v in means.module.state_dict().items()
        if not k.endswith("tracked")
    }
    save_file({k: v.contiguous() for k, v in weights.items()}, out)


def score(data: Path, weights: Path, spoilt: bool = True) -> dict[str, float]:
    """Median and 90th percentile of errors on held-out strangers, in *eyes*, by group of points."""
    from pipeline.models.mini.enrolment.landmark_network import load_networks

    pool, rng = Pool(data, heldout=True), np.random.default_rng(1)
    out: dict[str, float] = {}
    for what, net in zip(("face", "body"), load_networks(weights), strict=True):
        errors, seen, present = [], [], []
        for _ in range(10):
            batch = pool.batch(rng, what, SIDE)
            with torch.inference_mode():
                answer = net(batch.crops)
            real = batch.present > 0
            off = (answer.points - batch.points).norm(dim=2) / (SIDE / _SIDES[what])
            off[batch.weight < 1] = torch.nan
            errors.append(off[real])
            seen.append(((answer.seen[real] > 0) == (batch.seen[real] > 0.5)).float().mean())
            known = batch.present >= 0
            present.append(((answer.present > 0) == (batch.present > 0))[known].float().mean())
        off = torch.cat(errors)
        out[f"{what} seen right"] = float(torch.stack(seen).mean())
        out[f"{what} present right"] = float(torch.stack(present).mean())
        for group in sorted({name.split("_")[0] for name in _NAMES[what]}):
            mine = off[:, [n.split("_")[0] == group for n in _NAMES[what]]].flatten()
            mine = mine[~mine.isnan()]
            out[f"{what} {group}"] = float(mine.median()) if len(mine) else float("nan")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.landmarks.train", description=__doc__)
    parser.add_argument("what", choices=("make", "train", "score"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--count", type=int, default=10, help="shards to make")
    parser.add_argument("--heldout", action="store_true", help="strangers that training never sees")
    parser.add_argument("--minutes", type=float, default=25.0, help="of training, in all")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    data = arguments.data
    if arguments.what == "make":
        make(data, arguments.first, arguments.count, arguments.heldout)
    elif arguments.what == "train":
        train(data, data / "training.pt", arguments.weights, arguments.minutes)
    else:
        for name, value in score(data, arguments.weights).items():
            print(f"{name:24} {value:.3f}")


if __name__ == "__main__":
    main()
