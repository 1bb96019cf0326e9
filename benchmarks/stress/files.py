"""Files under threads: decoders that are closed while others read, renders that are called off,
faces that are looked for at once, networks that several threads ask.

Each round takes one of these, at a moment that the seed chooses. What comes out must be what comes
out alone, and neither a thread nor half a file may be left.
"""

from __future__ import annotations

import random
import tempfile
import threading
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PictureError
from pipeline.interface import AvatarFrame
from pipeline.landmarkers import hands
from pipeline.landmarkers.crops import whole
from pipeline.media.audio_file import AudioFile, Samples, open_audio, speech
from pipeline.media.image_file import Bounds, hashed
from pipeline.media.image_sandbox import load_picture
from pipeline.media.prefetch import prefetch
from pipeline.media.render_file import Stages, record
from pipeline.models.mini.onnx.builder import Graph, Session

SIZE: Final = (64, 64)
APART: Final = 20  # of so many rounds one starts a process
BLOCK: Final = 400


class CalledOff(Exception):
    """A performance that ends in the middle."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """What rounds work on, and what is right."""

    folder: Path
    audio: AudioFile
    whole: Samples
    grey: NDArray[np.uint8]
    hand: NDArray[np.float32]
    doubled: Session


def run(rounds: int, seed: int) -> dict[str, int]:
    """Counts of what was done. Raises ``AssertionError`` with what went wrong."""
    rng, counts = random.Random(seed), Counter[str]()
    before = threading.active_count()
    with tempfile.TemporaryDirectory() as folder:
        stage = _stage(Path(folder))
        for number in range(rounds):
            work = _spoilt_picture if number % APART == APART - 1 else rng.choice(_WORKS)
            work(stage, rng)
            counts[work.__name__.strip("_")] += 1
            assert threading.active_count() == before, "a thread was left"
            left = [path.name for path in Path(folder).iterdir() if "part" in path.name]
            assert not left, f"half a file was left: {left}"
    return dict(counts)


def _stage(folder: Path) -> _Stage:
    path = folder / "speech.wav"
    rng = np.random.default_rng(1)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(rng.integers(-9_000, 9_000, 2 * 44_100, dtype="<i2").tobytes())
    audio = open_audio(path)
    grey = rng.integers(0, 255, (120, 120), dtype=np.uint8)
    graph = Graph()
    x = graph.input("x", "n", 4)
    graph.output("y", graph.op("Add", x, x), "n", 4)
    heard = np.concatenate(list(speech(audio, BLOCK)))
    return _Stage(folder, audio, heard, grey, _hand(grey), graph.session())


def _cut_reading(stage: _Stage, rng: random.Random) -> None:
    """A reader that works ahead is closed after some blocks."""
    wanted = rng.randrange(1, len(stage.whole) // BLOCK)
    with closing(prefetch(speech(stage.audio, BLOCK), rng.randrange(1, 9))) as blocks:  # type: ignore[type-var]
        found = [next(blocks) for _ in range(wanted)]
    assert np.array_equal(np.concatenate(found), stage.whole[: wanted * BLOCK])


def _several_readers(stage: _Stage, rng: random.Random) -> None:
    """Threads read one file, each to an end of its own."""

    def read(count: int) -> None:
        with closing(speech(stage.audio, BLOCK)) as blocks:
            found = [block for block, _ in zip(blocks, range(count), strict=False)]
        assert np.array_equal(np.concatenate(found), stage.whole[: count * BLOCK])

    _together([partial(read, rng.randrange(1, 41)) for _ in range(3)])


def _render_called_off(stage: _Stage, rng: random.Random) -> None:
    """A performance raises in the middle: no file, and its sound is closed."""
    out, last = stage.folder / "out.mp4", rng.randrange(1, 20)

    def perform(sound: Iterator[Samples]) -> Iterator[AvatarFrame]:
        for number, _ in enumerate(sound):
            if number >= last:
                break
            yield AvatarFrame(np.zeros((*SIZE, 3), np.uint8), number, 640 * number)
        raise CalledOff

    try:
        record(stage.audio, perform, out, SIZE, Stages())
    except CalledOff:
        assert not out.exists()
    else:
        raise AssertionError("the error of a performance was swallowed")


def _faces_at_once(stage: _Stage, rng: random.Random) -> None:
    """Landmark networks are shared; each look has its own answer."""
    wide = rng.randrange(60, 200)
    other = np.resize(stage.grey, (wide, wide))
    looks = [partial(_hand, grey) for grey in (stage.grey, other, stage.grey)]
    found = _together(looks)
    assert np.array_equal(found[0], stage.hand) and np.array_equal(found[2], stage.hand)


def _hand(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The points that the hand's network sees in a picture, whatever it shows."""
    picture = np.repeat(grey[:, :, None], 3, 2)
    return hands.look(picture, whole(picture)).points


def _network_asked_at_once(stage: _Stage, rng: random.Random) -> None:
    """One session answers several threads, each its own question."""

    def ask(value: float) -> None:
        x = np.full((3, 4), value, np.float32)
        assert np.array_equal(stage.doubled({"x": x})["y"], x + x)

    _together([partial(ask, rng.random()) for _ in range(4)])


def _spoilt_picture(stage: _Stage, rng: random.Random) -> None:
    """A process apart is given garbage, and next to no time."""
    data = b"\x89PNG\r\n\x1a\n" + rng.randbytes(300)
    try:
        load_picture(hashed(data, "garbage", Bounds(seconds=rng.choice([1.0, 5.0]))))
    except PictureError:
        return
    raise AssertionError("garbage became a picture")


def _together(works: list[Callable[[], object]]) -> list[object]:
    """All at the same moment; raises what any of them does."""
    barrier = threading.Barrier(len(works))

    def work(one: Callable[[], object]) -> object:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result() for done in [pool.submit(work, one) for one in works]]


_WORKS: Final = (
    _cut_reading, _several_readers, _render_called_off, _faces_at_once, _network_asked_at_once,
)  # fmt: skip
