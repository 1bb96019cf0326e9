"""Records what a session's viewers see and hear, as fragmented MP4 that survives a crash.

The sender passes frames and sound without waiting. A thread of the recorder encodes and writes them
in fragments of half a second, each playable without the next. When the recording ends, it is
rewritten as a plain MP4 with signed provenance. A file left by a crash holds what is needed for
that in its own metadata; ``finish`` completes it later.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import av

from server.recordings.tape import Tape
from server.recordings.tape_writer import OpenTape, TapeWriter

log = logging.getLogger(__name__)

Seal = Callable[[dict[str, str], Path], None]
"""Signs a finished file in place, given how it came to be."""

PARTIAL: Final = ".part.mp4"
FRAGMENT_US: Final = 500_000
_FRAGMENTS: Final = {
    "movflags": "empty_moov+default_base_moof",
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",
}


class Recorder(TapeWriter):
    """Records into a file until it is closed. ``origin`` is written into it."""

    def __init__(
        self,
        path: Path,
        origin: dict[str, str],
        on_failed: Callable[[Exception], None] = lambda failure: None,
    ) -> None:
        self.path = path
        super().__init__(path.name, on_disk(path, origin), on_failed)


def on_disk(path: Path, origin: dict[str, str]) -> OpenTape:
    """A fragmented MP4, with ``origin`` in it."""

    def opened(width: int, height: int, at: int) -> Tape:
        comment = json.dumps(origin)
        return Tape(str(path), (width, height), at, "mp4", muxer=_FRAGMENTS, comment=comment)

    return opened


def finish(partial: Path, seal: Seal) -> Path | None:
    """Makes a plain, signed MP4 of a recording that has ended, by itself or by a crash.

    None when there is nothing in it to play; then it is removed. A file that cannot be signed stays
    as it is: it plays, and the log says why.
    """
    final = partial.with_name(partial.name.removesuffix(PARTIAL) + ".mp4")
    plain = partial.with_name("." + final.name)
    try:
        origin = _remux(partial, plain)
        if origin is None:
            log.warning("recording %s holds nothing: it is removed", partial.name)
            partial.unlink(missing_ok=True)
            return None
        seal(origin, plain)
        os.replace(plain, final)
        partial.unlink()
    except Exception:
        log.exception("recording %s could not be finished; it stays as it is", partial.name)
        return partial
    finally:
        plain.unlink(missing_ok=True)
    return final


def leftovers(folder: Path) -> list[Path]:
    """Partial files in the folder, in order; removes scratch files of killed processes.

    For a folder that no process is writing to.
    """
    for scratch in (*folder.glob(".*.mp4*"), *folder.glob(".*.tmp")):
        scratch.unlink(missing_ok=True)  # while it copied or signed: the part is there
    return sorted(folder.glob("*" + PARTIAL))


def _remux(source: Path, target: Path) -> dict[str, str] | None:
    """Copies the packets that are whole; the origin that the file names, or None when empty."""
    try:
        reading = av.open(str(source))
    except (av.FFmpegError, OSError):
        return None
    packets = 0
    with reading, av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in reading.streams}
        for packet in _whole(reading):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
            packets += 1
        comment = reading.metadata.get("comment", "")
    return _origin(comment) if packets else None


def _whole(reading: Any) -> Any:
    """Packets up to where the file was cut off."""
    try:
        for packet in reading.demux():
            if packet.dts is not None and packet.size:
                yield packet
    except av.FFmpegError as failure:
        log.info("a recording ends before its last fragment does: %s", failure)


def _origin(comment: str) -> dict[str, str]:
    try:
        said = json.loads(comment)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}
