"""Photographs that speak: do hands move, and is it still a photograph?

``python -m benchmarks.photographs PICTURE... --audio SPEECH.wav [--sheets FOLDER] [--json]``

Every picture is enrolled as a user's would be and performs the same speech. Frames are judged by
the landmark networks: how far each hand travels, whether it still passes for a hand; and against
the layers: the background away from the person against the plate, flicker at the edges of arms
against flicker inside them, drawing time. Give pictures of people who agreed, or who do not exist.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.generate import Motion
from pipeline.consent import ConsentGate, ConsentRecord, Registry, Scope
from pipeline.consent.records import Kind
from pipeline.landmarkers import Tracker
from pipeline.media.audio_file import BLOCK, SPEECH_RATE, open_audio, speech
from pipeline.media.image_file import hash_picture
from pipeline.models.mini.enrolment.enrolment import enrolment
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.pipeline import AvatarPipeline

Frames = list[NDArray[np.uint8]]
Row = dict[str, float]

LONGEST_S: Final = 20
SHOWN: Final = 12  # frames of a contact sheet
STEP: Final = 5  # every so many frames are looked at by the networks
_NEAR: Final = 0.04  # of the height around whatever moves: no background
_SURE: Final = 0.9  # of the picture's own presence


def enrolled(path: Path, folder: Path, model: AvatarPipeline) -> IdentityAnchor:
    """The anchor of a picture file, through a gate of its own."""
    file, registry = hash_picture(path), Registry(folder / f"{path.stem}.sqlite")
    record = ConsentRecord(
        f"c-{path.stem}", path.stem, Kind.SYNTHETIC, "for a measurement", file.sha256,
        frozenset({Scope.RECORDING}), "benchmark", time.time(), adult=True,
    )  # fmt: skip
    registry.add(record, picture=path.read_bytes())
    grant = ConsentGate(registry).grant(
        avatar=path.stem, image_sha256=file.sha256, scope=Scope.RECORDING, consent_id=record.id
    )
    found = enrolment(file)
    avatar = model.enrol(found.picture, grant, landmarks=found.points)
    registry.close()
    return avatar.anchor


def measured(anchor: IdentityAnchor, states: NDArray[np.float32]) -> tuple[Row, Frames]:
    """Figures of a performance, and its frames."""
    painter, taken, frames = FrameRenderer(anchor), [], []
    for state in states:
        start = time.thread_time()
        frames.append(painter.paint(state).copy())
        taken.append(time.thread_time() - start)
    still = painter.paint(anchor.rest_state)
    row = {"drawing_ms": 1e3 * float(np.median(taken))}
    row |= _hands(still, frames, anchor) | _background(anchor, frames) | _flicker(frames)
    return row, frames


def _hands(still: NDArray[np.uint8], frames: Frames, anchor: IdentityAnchor) -> Row:
    """Travel (p95, share of the height) and presence of each hand that the picture shows."""
    home, tracker = Tracker().track(still), Tracker()
    if not home:
        return {}
    seen = [people[0] if (people := tracker.track(f)) else None for f in frames[::STEP]]
    row: Row = {}
    for side in (arm.side for arm in anchor.arms):
        own = home[0].hands.get(side)
        if own is None:
            continue
        found = [None if person is None else person.hands.get(side) for person in seen]
        far = [np.linalg.norm(h.points[:, :2] - own.points[:, :2], axis=1).mean()
               for h in found if h is not None]  # fmt: skip
        row[f"{side}_travel_p95"] = float(np.percentile(far, 95)) / len(still) if far else 0.0
        sure = [h is not None and h.presence >= _SURE * own.presence for h in found]
        row[f"{side}_passes"] = float(np.mean(sure))
    return row


def _background(anchor: IdentityAnchor, frames: Frames) -> Row:
    """PSNR (dB) of the worst frame against the plate, where nothing ever moves near."""
    stack = np.stack(frames[::STEP]).astype(np.int16)
    near = (np.abs(stack - anchor.plate).max(3) > 6).any(0)
    away = ~ndimage.binary_dilation(
        ndimage.binary_opening(near, iterations=2), iterations=round(_NEAR * anchor.height)
    )
    if not away.any():
        return {}
    error = np.square((stack - anchor.plate)[:, away].astype(np.float64)).mean((1, 2)).max()
    return {"background_db": min(99.0, 10 * float(np.log10(255**2 / max(error, 1e-9))))}


def _flicker(frames: Frames) -> Row:
    """Change of motion in time, as a share of the picture's own slope: edges over inside."""
    grey = np.stack([f.astype(np.float32).mean(2) for f in frames])
    bend = np.abs(grey[2:] - 2 * grey[1:-1] + grey[:-2])
    moving = np.abs(grey[2:] - grey[:-2]) > 8
    slope = np.stack([np.hypot(*np.gradient(g)) for g in grey[1:-1]])
    share = bend / (slope + 4)
    edge, inside = moving & (slope > 12), moving & (slope <= 12)
    if not edge.any() or not inside.any():
        return {}
    return {"flicker": float(share[edge].mean() / share[inside].mean())}


def sheet(frames: Frames, path: Path) -> None:
    """Frames of a performance, four in a row."""
    at = np.linspace(len(frames) // 8, len(frames) - 1, SHOWN).astype(int)
    rows = [np.concatenate([frames[i] for i in at[k : k + 4]], 1) for k in range(0, SHOWN, 4)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--audio", type=Path, required=True, help="lively speech")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    arguments = parser.parse_args(argv)
    model, motion = AvatarPipeline.load("mini"), Motion()
    blocks = islice(speech(open_audio(arguments.audio)), LONGEST_S * SPEECH_RATE // BLOCK)
    heard = np.concatenate(list(blocks))
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in arguments.pictures:
            start = time.perf_counter()
            anchor = enrolled(path, Path(scratch), model)
            took = time.perf_counter() - start
            row, frames = measured(anchor, motion.perform(heard, anchor.reference, seed=1))
            rows[path.stem] = {"enrolment_s": took, **row}
            if arguments.sheets:
                sheet(frames, arguments.sheets / f"{path.stem}.png")
            if not arguments.json:
                print(f"{path.stem:12s}" + "; ".join(anchor.notes))
                print(" " * 12 + "  ".join(f"{n} {v:.3f}" for n, v in rows[path.stem].items()))
    print(json.dumps({"benchmark": "photographs", "pictures": rows}))


if __name__ == "__main__":
    main()
