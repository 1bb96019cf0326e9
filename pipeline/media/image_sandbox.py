"""Decodes uploaded pictures in a separate process with limited time and memory.

A decoder is native code that runs on untrusted input. If it hangs, grows or crashes, only that
process ends, and the picture is refused. The process gets the bytes on its standard input and
returns pixels; it can write no file, and opens none after its start.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pipeline import errors
from pipeline.errors import PictureError, PictureTooCostly, PictureUnreadable
from pipeline.media.image_decode import decode_picture
from pipeline.media.image_file import Bounds, Picture, PictureFile

_HEAD: Final = struct.Struct("<4sIIB")  # mark, width, height, whether there is transparency
_MARK: Final = b"RGBA"
_ROOT: Final = str(Path(__file__).resolve().parents[2])
_START_S: Final = 20.0  # what starting an interpreter may take on a busy machine
_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from pipeline.media.image_sandbox import main; main()"
)
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the other process ended."""

    status: int
    out: bytes


def load_picture(file: PictureFile) -> Picture:
    """The upright pixels of a file; one with ``bounds`` is decoded in a process of its own.

    Raises a ``PictureError``.
    """
    return decode_picture(file) if file.bounds is None else decode_apart(file, file.bounds)


def decode_apart(file: PictureFile, bounds: Bounds) -> Picture:
    """As ``decode_picture``, within ``bounds``; raises ``PictureTooCostly`` beyond them."""
    ended = _run(file, bounds)
    if ended.out.startswith(_MARK) and ended.status == 0:
        return _picture(ended.out, file)
    if ended.out.startswith(b"{"):
        raise _told(ended.out, file)
    if ended.status in (-9, -24, -25):  # killed: memory, time, or a file it tried to write
        raise _costly(file, bounds)
    raise PictureUnreadable(
        f"picture {file.name} made its decoder fail (status {ended.status}): export it again"
    )


def _run(file: PictureFile, bounds: Bounds) -> _Ended:
    numbers = [str(bounds.megabytes), str(bounds.seconds), str(bounds.pixels)]
    try:
        done = subprocess.run(
            [sys.executable, "-s", "-c", _CODE, _ROOT, *numbers, file.name[:200]],
            input=file.data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            timeout=bounds.seconds + _START_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _costly(file, bounds) from error
    return _Ended(done.returncode, done.stdout)


def _picture(out: bytes, file: PictureFile) -> Picture:
    _, width, height, clear = _HEAD.unpack_from(out)
    pixels = np.frombuffer(out, np.uint8, width * height * 3, _HEAD.size)
    alpha = None
    if clear:
        alpha = np.frombuffer(out, np.uint8, width * height, _HEAD.size + width * height * 3)
        alpha = alpha.reshape(height, width).copy()
    return Picture(pixels.reshape(height, width, 3).copy(), file.sha256, alpha)


def _told(out: bytes, file: PictureFile) -> PictureError:
    try:
        said = json.loads(out)
        kind = getattr(errors, str(said["error"]), PictureUnreadable)
        known = isinstance(kind, type) and issubclass(kind, PictureError)
        return (kind if known else PictureUnreadable)(str(said["message"])[:500])
    except (ValueError, KeyError, TypeError):
        return PictureUnreadable(f"picture {file.name} made its decoder fail: export it again")


def _costly(file: PictureFile, bounds: Bounds) -> PictureTooCostly:
    return PictureTooCostly(
        f"picture {file.name} takes more than {bounds.seconds:g} s or {bounds.megabytes} MB to"
        " decode: save it smaller, as PNG or JPEG"
    )


def main() -> None:
    """The other process: argv is root, megabytes, seconds, pixels, name."""
    megabytes, seconds, pixels, name = sys.argv[2:6]
    bounds = Bounds(float(seconds), int(megabytes), int(pixels))
    data = sys.stdin.buffer.read()
    Image.init()  # loads every plug-in while files can be opened
    _confine(bounds)
    try:
        found = decode_picture(PictureFile(name, data, "", limit=bounds.pixels))
        head = _HEAD.pack(_MARK, found.width, found.height, found.alpha is not None)
        alpha = b"" if found.alpha is None else found.alpha.tobytes()
        sys.stdout.buffer.write(head + found.pixels.tobytes() + alpha)
    except PictureError as error:
        _refuse(type(error).__name__, str(error))
    except MemoryError:
        _refuse("PictureTooCostly", f"picture {name} takes more than {megabytes} MB to decode")


def _refuse(kind: str, message: str) -> None:
    sys.stdout.write(json.dumps({"error": kind, "message": message}))


def _confine(bounds: Bounds) -> None:
    import resource  # not on every system; the parent never needs it

    memory = bounds.megabytes * 1024 * 1024
    whole = int(bounds.seconds) + 1
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (most, most))
