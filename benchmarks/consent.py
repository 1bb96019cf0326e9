"""What consent costs: ``python -m benchmarks.consent [--json] [--copies N]``.

The gate at the start of a session, the question that every step asks while it runs, the walk
along the audit log, and how well pictures are known again. Times are of the CPU clock, and of
the wall as the best tenth sees it, because neighbours take what they can get.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from pipeline.avatars import catalogue, find_avatar
from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.consent.image_fingerprint import SAME, fingerprint, likeness

ENTRIES: Final = 10_000


def main() -> None:
    """Prints a table for people and one JSON line for machines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=6, help="changed copies per person and kind")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = timing(Path(folder)) | recognition(arguments.copies)
    if not arguments.json:
        for name, value in result.items():
            print(f"{name:<44} {value:.4g}")
    print(json.dumps({"machine": platform.processor() or platform.machine(), **result}))


def timing(folder: Path) -> dict[str, float]:
    """Milliseconds and microseconds of the gate, a running check, and the audit log."""
    registry = Registry(folder / "consents.sqlite")
    gate, mira = ConsentGate(registry), find_avatar("mira")
    grant = gate.grant_bundled(mira, Scope.LIVE)
    asking, best = spent(lambda: gate.grant_bundled(mira, Scope.LIVE), 300)
    checking, least = spent(grant.check, 20_000)
    anew, soonest = after_changes(registry, lambda: gate.grant_bundled(mira, Scope.LIVE), 100)
    with registry.database.write() as connection:
        while registry.log.append(connection, "test", actor="benchmark").seq < ENTRIES:
            pass
    began = time.thread_time()
    registry.log.verify()
    walked = time.thread_time() - began
    registry.close()
    return {
        "gate at a session's start, CPU ms": asking * 1e3,
        "gate at a session's start, best tenth, ms": best * 1e3,
        "gate, first after a change, CPU ms": anew * 1e3,
        "gate, first after a change, best tenth, ms": soonest * 1e3,
        "check while it runs, CPU us": checking * 1e6,
        "check while it runs, best tenth, us": least * 1e6,
        "check, share of a step of 80 ms, percent": checking / 0.08 * 100,
        "audit verify of 10,000 entries, CPU s": walked,
    }


def spent(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Mean CPU seconds of one call, and the tenth percentile of the wall's."""
    walls = []
    began = time.thread_time()
    for _ in range(count):
        at = time.perf_counter()
        work()
        walls.append(time.perf_counter() - at)
    return (time.thread_time() - began) / count, float(np.quantile(walls, 0.1))


def after_changes(
    registry: Registry, work: Callable[[], object], count: int
) -> tuple[float, float]:
    """As ``spent``, each time after somebody changed what the gate judges by."""
    costs, walls = [], []
    for _ in range(count):
        with registry.database.write() as connection:
            registry.database.bump(connection)
        cpu, best = spent(work, 1)
        costs.append(cpu)
        walls.append(best)
    return float(np.mean(costs)), float(np.quantile(walls, 0.1))


def recognition(copies: int) -> dict[str, float]:
    """Copies that were not known again, and strangers that were taken for one another."""
    people = {n: Image.open(a.reference).convert("RGB") for n, a in catalogue().items()}
    prints = {name: fingerprint(image) for name, image in people.items()}
    rng = np.random.default_rng(2026)
    own, strange = [], [likeness(a, b) for a, b in itertools.combinations(prints.values(), 2)]
    for name, image in people.items():
        for changed in changes(image, copies, rng):
            marks = fingerprint(changed)
            own.append(likeness(marks, prints[name]))
            other = rng.choice([n for n in people if n != name])
            strange.append(likeness(marks, prints[str(other)]))
    return {
        "copies": float(len(own)),
        "copies missed, percent": 100 * float(np.mean(np.array(own) < SAME)),
        "least likeness of a copy": min(own),
        "strangers": float(len(strange)),
        "strangers taken for one another, percent": 100 * float(np.mean(np.array(strange) >= SAME)),
        "greatest likeness of strangers": max(strange),
    }


def changes(image: Image.Image, copies: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """What happens to pictures on their way: saved anew, scaled, cropped, mirrored, turned..."""
    w, h = image.size
    yield saved(image, 30)
    yield saved(image, 10)
    yield image.resize((160, 160 * h // w))
    yield image.resize((w, int(0.85 * h)))
    yield ImageOps.mirror(image)
    yield ImageOps.grayscale(image)
    yield ImageEnhance.Brightness(image).enhance(1.3)
    yield ImageEnhance.Contrast(image).enhance(0.7)
    yield ImageOps.expand(image, w // 12, (255, 255, 255))
    yield image.rotate(4, Image.Resampling.BICUBIC)
    yield image.rotate(-8, Image.Resampling.BICUBIC)
    slant = (1, 0.03, 0, 0.02, 1, 0, 0.00004, 0.00003)
    yield image.transform(image.size, Image.Transform.PERSPECTIVE, slant)
    for turn in range(copies):
        kept = rng.uniform(0.6, 1.0, 2) * (w, h)
        left, top = rng.uniform(0, 1, 2) * ((w, h) - kept)
        part = image.crop((int(left), int(top), int(left + kept[0]), int(top + kept[1])))
        yield saved(ImageOps.mirror(part) if turn % 2 else part, 60)


def saved(image: Image.Image, quality: int) -> Image.Image:
    """The picture as JPEG makes it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


if __name__ == "__main__":
    main()
