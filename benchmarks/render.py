"""``python -m benchmarks.render``: speed and peak memory of a render, by stage and frame size.

Every row is a process of its own that does what ``pipeline.render`` does, with clocks around the
stages. Stages overlap in threads, so their times add up to more than the wall time. The last line
is JSON. ``--long`` compares the peak memory of a 30-minute render with a 2-minute one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from pipeline.avatars import catalogue, find_avatar
from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.media.audio_file import SPEECH_RATE, open_audio
from pipeline.media.render_file import Stages, record
from pipeline.media.video_file import FPS, VideoWriter

SIZES: Final = (256, 384, 512)
STAGES: Final = ("hear", "denoise", "decode", "pose", "draw", "encode", "sound")
WARM_UP_S: Final = 4.0


@dataclass
class Clocks:
    """Busy seconds of stages, added up over threads; an inner stage is taken out of its outer."""

    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _inner: threading.local = field(default_factory=threading.local)

    def around(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The same method with this stage's clock running inside."""

        def timed(*args: Any, **options: Any) -> Any:
            outer, self._inner.spent = getattr(self._inner, "spent", 0.0), 0.0
            start = self.clock()
            try:
                return method(*args, **options)
            finally:
                spent = self.clock() - start
                with self._lock:
                    own = spent - self._inner.spent
                    self.seconds[stage] = self.seconds.get(stage, 0.0) + own
                self._inner.spent = outer + spent

        return timed

    @contextmanager
    def wound(self) -> Iterator[None]:
        """Puts a clock around the methods that do each stage's work."""
        from pipeline.models.mini.audio import AudioStream
        from pipeline.models.mini.denoiser import Denoiser
        from pipeline.models.mini.painter import FrameRenderer
        from pipeline.models.mini.rig.person import Person
        from pipeline.models.mini.vae import MotionDecoder

        places: list[tuple[str, Any, str]] = [
            ("hear", AudioStream, "push"),
            ("denoise", Denoiser, "advance"),
            ("decode", MotionDecoder, "push"),
            ("pose", Person, "pose"),
            ("draw", FrameRenderer, "paint"),
            ("encode", VideoWriter, "video"),
            ("sound", VideoWriter, "audio"),
        ]
        kept = [(owner, name, getattr(owner, name)) for _, owner, name in places]
        for stage, owner, name in places:
            setattr(owner, name, self.around(stage, getattr(owner, name)))
        try:
            yield
        finally:
            for owner, name, method in kept:
                setattr(owner, name, method)


@dataclass(frozen=True)
class Row:
    """One render: sizes, speeds, and for each stage ms a frame and peak memory in MB."""

    size: int
    schedule: str
    seconds: float
    speed: float
    load_s: float
    enrol_s: float
    ms_per_frame: dict[str, float]
    peak_mb: dict[str, float]


def measure(size: int, audio: Path, avatar: str, schedule: str, warm: Path) -> Row:
    """Renders ``audio`` in this process, after a short render that compiles and warms up."""
    from pipeline.models.mini.pipeline import AvatarPipeline

    stages, clocks, peaks = Stages(), Clocks(), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "consents.sqlite")
        grant = ConsentGate(registry).grant_bundled(find_avatar(avatar), Scope.RECORDING)
        with stages.time("load"), _peak("load", peaks):
            pipeline = AvatarPipeline.load("mini")
        with stages.time("enrol"), _peak("enrol", peaks):
            enrolled = pipeline.bundled(avatar, grant, size=(size, size))

        def render(source: Path) -> Any:
            return record(
                open_audio(source),
                lambda speech: pipeline.render(enrolled, grant, speech, seed=1, schedule=schedule),
                Path(folder) / "out.mp4",
                (size, size),
                Stages(),
            )

        render(warm)
        with _peak("render", peaks), clocks.wound():
            result = render(audio)
        registry.close()
    per_frame = {s: round(1000 * t / result.frames, 3) for s, t in clocks.seconds.items()}
    return Row(
        size=size,
        schedule=schedule,
        seconds=result.seconds,
        speed=result.speed,
        load_s=round(stages.seconds["load"], 2),
        enrol_s=round(stages.seconds["enrol"], 2),
        ms_per_frame={stage: per_frame.get(stage, 0.0) for stage in STAGES},
        peak_mb=peaks,
    )


@contextmanager
def _peak(stage: str, peaks: dict[str, float]) -> Iterator[None]:
    """The most memory that the process held while the block ran (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    yield
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    peaks[stage] = round(int(line.split()[1]) / 1024, 1)


def apart(size: int, audio: Path, avatar: str, schedule: str, warm: Path) -> Row:
    """``measure`` in a fresh process, so that rows do not share memory or caches."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, size, audio, avatar, schedule, warm).result()


def write_speech(path: Path, seconds: float) -> Path:
    """Speech-like sound: voiced syllables at four a second, with pauses. Written piece by piece."""
    rng, t = np.random.default_rng(7), np.arange(SPEECH_RATE) / SPEECH_RATE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SPEECH_RATE, layout="mono")
        for _ in range(round(seconds)):
            pitch = 110 + 40 * rng.random()
            voice = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20))
            loud = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) * (rng.random() > 0.15)
            sound = (4000 * voice * loud + 50 * rng.standard_normal(SPEECH_RATE)).astype("<i2")
            frame = av.AudioFrame.from_ndarray(sound[None], "s16", "mono")
            frame.sample_rate = SPEECH_RATE
            container.mux(stream.encode(frame))
    return path


def table(rows: list[Row]) -> str:
    """The rows for people."""
    head = ["size", "x real time", *(f"{s} ms" for s in STAGES), "load s", "enrol s", "peak MB"]
    body = [
        [
            f"{row.size}",
            f"{row.speed:.2f}",
            *(f"{row.ms_per_frame[stage]:.2f}" for stage in STAGES),
            f"{row.load_s:.1f}",
            f"{row.enrol_s:.1f}",
            f"{row.peak_mb['render']:.0f}",
        ]
        for row in rows
    ]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("--avatar", default=next(iter(catalogue()), "none"), metavar="NAME")
    parser.add_argument("--audio", type=Path, help="speech to render (default: made up)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of made-up speech")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="PX")
    parser.add_argument("--schedule", choices=("parallel", "causal"), default="parallel")
    parser.add_argument("--long", action="store_true", help="memory of 30 minutes against 2")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = _report(arguments, Path(folder))
    print(json.dumps(report))


def _report(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    warm = write_speech(folder / "warm.wav", WARM_UP_S)
    how = (arguments.avatar, arguments.schedule, warm)
    audio = arguments.audio or write_speech(folder / "speech.wav", arguments.seconds)
    jobs = [(size, audio) for size in arguments.sizes]
    if arguments.long:
        jobs = [(512, write_speech(folder / f"{m}.wav", 60 * m)) for m in (2, 30)]
    rows = [apart(size, source, *how) for size, source in jobs]
    if not arguments.json:
        print(f"{arguments.avatar}, {arguments.schedule}, {FPS} fps, {_machine()}\n")
        print(table(rows) + "\n")
    report: dict[str, Any] = {"benchmark": "render", "machine": _machine()}
    report["rows"] = [asdict(row) for row in rows]
    if arguments.long:
        short, long = (row.peak_mb["render"] for row in rows)
        report["memory_30_to_2_minutes"] = round(long / short, 4)
    return report


def _machine() -> str:
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{len(os.sched_getaffinity(0))} x {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
