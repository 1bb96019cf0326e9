"""How long a frame takes to draw, by stage: ``python -m benchmarks.draw [--json]``.

One thread, the bundled body at half length and as a head, a picture of noise. Times are of the
drawing thread's own CPU clock, because a wall clock measures the neighbours too; the median and the
best of many frames are shown, since neighbours also share caches and execution units.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.renderer import layer_warp, texture_sampling
from pipeline.models.mini.renderer.rasterizer import Buffer, rasterise
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import state

FRAMINGS: Final[Mapping[str, Camera]] = {
    "half": Camera(focal=2.6, distance=2.6, look_y=1.3),
    "head": Camera(focal=4.6, distance=2.6, look_y=1.48),
}


def anchor(camera: Camera, size: int) -> IdentityAnchor:
    """A person in front of noise; what the picture shows does not change what drawing costs."""
    noise = np.random.default_rng(1).integers(90, 160, (size, size, 3)).astype(np.uint8)
    shape = bundled_body().shape()
    fit = Fit(shape, state(left_elbow=1.2), camera, frozenset({"top_long", "bottom"}))
    near = np.abs(np.linspace(-1, 1, size)) < 0.8
    return build_anchor(noise, fit, size, size, alpha=np.outer(near, near).astype(np.uint8) * 255)


def states(count: int) -> list[NDArray[np.float32]]:
    """Talk with hands: no two states alike."""
    phase = np.linspace(0, 4 * np.pi, count)
    return [
        state(
            jawOpen=0.3 + 0.3 * np.sin(3 * p), head_yaw=0.2 * np.sin(p), right_flex=0.4,
            right_elbow=1.8 + 0.3 * np.cos(p), right_twist=0.5, left_elbow=1.2 + 0.4 * np.sin(p),
        )
        for p in phase
    ]  # fmt: skip


def milliseconds(work: Callable[[NDArray[np.float32]], object], count: int) -> tuple[float, float]:
    """Median and best CPU time of ``work`` over ``count`` states."""
    taken = []
    for each in states(count):
        start = time.thread_time()
        work(each)
        taken.append(time.thread_time() - start)
    return 1e3 * float(np.median(taken)), 1e3 * min(taken)


def _sheets(subject: IdentityAnchor, out: NDArray[np.uint8]) -> None:
    nothing, tables = np.zeros(out.shape[:2], np.bool_), texture_sampling.tables()
    for each in subject.sheets:
        moved = np.empty_like(each.nodes)
        layer_warp.move(each, subject.vertices, moved)
        layer_warp.draw(each, moved, nothing, tables, out)


def measure(camera: Camera, size: int, count: int) -> dict[str, tuple[float, float]]:
    """Stage -> (median, best) milliseconds a frame."""
    subject = anchor(camera, size)
    painter = FrameRenderer(subject)
    painter.paint(states(1)[0])
    person = Person(bundled_body(), subject.fit.shape, subject.fit.wear)
    surface, vertices = subject.surface, subject.vertices
    buffer, out = Buffer(size, size), np.empty((size, size, 3), np.uint8)
    return {
        "pose and normals": milliseconds(lambda s: person.normals(person.pose(s)), count),
        "sheets": milliseconds(lambda _: _sheets(subject, out), count),
        "z-buffer": milliseconds(
            lambda _: rasterise(vertices, surface.faces, surface.two_sided, buffer),
            count,
        ),
        "whole frame": milliseconds(lambda s: painter.paint(s, out), count),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one line for machines instead")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=120)
    arguments = parser.parse_args()
    found = {n: measure(c, arguments.size, arguments.frames) for n, c in FRAMINGS.items()}
    if arguments.json:
        numbers = {n: {k: [round(x, 3) for x in v] for k, v in t.items()} for n, t in found.items()}
        print(json.dumps({"benchmark": "draw", "size": arguments.size, "ms": numbers}))
        return
    print(f"{arguments.size} x {arguments.size}, {arguments.frames} frames, {platform.machine()}")
    print(f"{'framing':8} {'stage':18} {'median ms':>10} {'best ms':>9}")
    for name, stages in found.items():
        for stage, (median, best) in stages.items():
            print(f"{name:8} {stage:18} {median:10.2f} {best:9.2f}")


if __name__ == "__main__":
    main()
