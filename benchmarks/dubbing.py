"""How good dubbing is, on footage whose truth is known.

``python -m benchmarks.dubbing [--people NAME ...] [--seconds S] [--sheets FOLDER] [--json]``:
bundled avatars speak held-out sentences with turning heads before a hand-held camera; the truth is
the same footage with the new sentence's mouth, as the director has it. Each is dubbed twice: by the
generator, and by the true mouth units, which leaves the drawing alone to be measured. Needs
espeak-ng.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image

from benchmarks.heldout import performances
from benchmarks.motion import lip_sync
from pipeline.avatars import find_avatar
from pipeline.dubbing import geometry
from pipeline.dubbing.dubber import Dubber
from pipeline.dubbing.painter import Painted
from pipeline.dubbing.speech import Loudness, MouthMotion, mouth_motion
from pipeline.dubbing.standin_teeth import standin
from pipeline.dubbing.survey import survey
from pipeline.dubbing.video_in import Shot, frames, open_video, parts
from pipeline.landmarkers import faces
from pipeline.models.mini.enrolment.identity_anchor import build_anchor
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.pipeline import AvatarPipeline
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.state import INDEX, SLICES
from training.director.director import direct
from training.director.styles import STYLES

U8 = NDArray[np.uint8]
SIZE = (1280, 720)
GRAIN = 1.6  # standard deviation, of 255


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip, what it should become, and the new words."""

    path: Path
    truth: list[U8]
    speech: NDArray[np.float32]
    states: NDArray[np.float32]  # of the truth


def footage(name: str, seconds: float, seed: int, folder: Path) -> Footage:
    """One avatar, turned up to 20 degrees either way, shaken and grainy, at 720p."""
    avatar = find_avatar(name)
    picture = np.asarray(Image.open(avatar.reference).convert("RGB"))
    fit = Fit.from_json(avatar.fit.read_text("utf-8"))
    painter = FrameRenderer(build_anchor(picture, fit, 1080, 1080, alpha=avatar.mask()))
    style = STYLES["default"]
    old, new = performances(2, seed, style)
    rng = np.random.default_rng(seed)
    mouths = direct(new.clip, style, old.performer, rng)
    count = min(len(old.states), len(mouths), round(25 * seconds))
    grain = [rng.normal(0, GRAIN, (SIZE[1], SIZE[0], 1)).astype(np.float32) for _ in range(9)]
    before, truth = [], []
    for k in range(count):
        state, t = old.states[k].copy(), k / 25
        state[INDEX["head_yaw"]] += 0.3 * np.sin(1.3 * t)
        spoken = state.copy()
        spoken[SLICES["mouth"]] = mouths[k][SLICES["mouth"]]
        for shown, into in ((state, before), (spoken, truth)):
            into.append(_filmed(painter.paint(shown), t, grain[k % 9]))
    path = folder / f"{name}.mp4"
    _write(path, before)
    speech = np.asarray(new.clip.audio, np.float32)[: 640 * count]
    return Footage(path, truth, speech, mouths[:count])


def _filmed(picture: U8, t: float, grain: NDArray[np.float32]) -> U8:
    way = cv2.getRotationMatrix2D((540, 400), float(np.degrees(0.01 * np.sin(3 * t))), 1.5)
    way[:, 2] += 100 + 8 * np.sin(5.1 * t), -150 + 5 * np.sin(6.7 * t + 1)
    seen = cv2.warpAffine(picture, way, SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(seen + grain, 0, 255), np.uint8)


def _write(path: Path, pictures: list[U8]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "14", "preset": "veryfast"})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.codec_context.colorspace = "yuv420p", Colorspace.ITU709
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709
            )
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


class Gaps:
    """Mouth openings and boxes of consecutive pictures, by the face mesh."""

    def __init__(self) -> None:
        self._square = None
        self.opened: list[float] = []
        self.boxes: list[tuple[slice, slice]] = []

    def see(self, picture: U8) -> None:
        square = self._square or faces.square_of(faces.detect_faces(picture)[0])
        face = faces.look(picture, square)
        self._square = faces.square_around(face.points)
        self.opened.append(geometry.gap(geometry.upright(face.points)))
        lips = face.points[geometry.RINGS.ravel(), :2]
        low, high = lips.min(0).astype(int) - 15, lips.max(0).astype(int) + 25
        self.boxes.append((slice(low[1], high[1]), slice(low[0], high[0])))


def measure(
    shot: Footage, pipeline: AvatarPipeline, driven: str, sheet: Path | None
) -> dict[str, float]:
    """Figures of one clip, ``driven`` by the generator or by the truth."""
    video = open_video(shot.path)
    start = time.perf_counter()
    someone = survey(video).people[0]
    looked = time.perf_counter() - start
    motion = mouth_motion(pipeline, iter([shot.speech]), 0, lambda: None)
    if driven == "truth":
        loudness = Loudness(iter([shot.speech]))
        list(loudness.pieces())
        motion = MouthMotion(iter(shot.states), loudness, motion.usual)
    mattes: list[Painted | None] = []
    inside = someone.inside or standin(someone.light)
    dubber = Dubber(someone, inside, motion, (0, 1e9), lambda _, painted: mattes.append(painted))
    start = time.perf_counter()
    dubbed = [s for s in dubber.run(parts(video)) if isinstance(s, Shot)]
    drawn = time.perf_counter() - start
    return _compared(shot, dubbed, mattes, sheet) | {
        "x_real_time_without_encoding": len(dubbed) / 25 / (looked + drawn),
        "redrawn_s": dubber.kept.redrawn_s,
    }


def _compared(
    shot: Footage, dubbed: list[Shot], mattes: list[Painted | None], sheet: Path | None
) -> dict[str, float]:
    truth, before, after = Gaps(), Gaps(), Gaps()
    errors, outside, cells, flicker = [], 0, [], ([], [])
    last: tuple[U8, U8] | None = None
    for k, (old, new, painted) in enumerate(
        zip(frames(open_video(shot.path)), dubbed, mattes, strict=True)
    ):
        was, now, true = old.rgb()[0], _rgb(new), shot.truth[k]
        for gaps, picture in ((truth, true), (before, was), (after, now)):
            gaps.see(picture)
        box = truth.boxes[-1]
        errors.append([_error(true[box], picture[box]) for picture in (now, was)])
        outside += _outside(old, new, painted)
        if last is not None:
            for into, pair in zip(flicker, ((was, last[0]), (now, last[1])), strict=True):
                into.append(float(np.abs(pair[0][box].astype(float) - pair[1][box]).mean()))
        last = was, now
        step = max(1, len(dubbed) // 8)
        if k % step == step // 2:
            rows, columns = (slice(max(0, s.start - 60), s.stop + 40) for s in box)
            cells.append([cv2.resize(p[rows, columns], (220, 180)) for p in (was, now, true)])
    if sheet and cells:
        picture = np.concatenate([np.concatenate(cell) for cell in cells], 1)
        Image.fromarray(picture).save(sheet)
    made, source = np.mean(errors, 0)
    return {
        "lips_r": lip_sync(np.array(truth.opened), np.array(after.opened)).r,
        "lips_r_original": lip_sync(np.array(truth.opened), np.array(before.opened)).r,
        "mouth_psnr": 10 * float(np.log10(255**2 / made)),
        "mouth_psnr_gain": 10 * float(np.log10(source / made)),
        "samples_changed_outside": float(outside),
        "temporal_difference": float(np.mean(flicker[1]) / np.mean(flicker[0])),
    }


def _rgb(shot: Shot) -> U8:
    return np.asarray(shot.frame.reformat(format="rgb24").to_ndarray(), np.uint8)


def _error(a: U8, b: U8) -> float:
    return float(np.square(a.astype(np.float64) - b).mean())


def _outside(old: Shot, new: Shot, painted: Painted | None) -> int:
    changed = old.planes[0] != new.planes[0]
    if painted is not None:
        high, wide = painted.matte.shape
        box = changed[painted.top : painted.top + high, painted.left : painted.left + wide]
        box[painted.matte > 0] = False
    return int(changed.sum())


def rows(
    people: list[str], seconds: float, sheets: Path | None
) -> Iterator[tuple[str, dict[str, float]]]:
    """Each person, driven by the generator and by the truth."""
    pipeline = AvatarPipeline.load()
    with tempfile.TemporaryDirectory() as scratch:
        for seed, name in enumerate(people, 5):
            shot = footage(name, seconds, seed, Path(scratch))
            for driven in ("generator", "truth"):
                sheet = sheets / f"{name}-{driven}.png" if sheets else None
                yield f"{name} by {driven}", measure(shot, pipeline, driven, sheet)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", nargs="+", default=["lucia", "jonas", "amara"])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--sheets", type=Path, help="folder for sheets: original, dubbed, truth")
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    args = parser.parse_args(argv)
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
    found = dict(rows(args.people, args.seconds, args.sheets))
    if not args.json:
        for name, row in found.items():
            print(f"{name:20s}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    print(json.dumps({"benchmark": "dubbing", **found}))


if __name__ == "__main__":
    main()
