"""Everything that one call let its caller see and hear, small enough to keep for an hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.caller import Caller
from client.receive import Picture, Sound
from server.media import frame_marker
from server.media.frame_marker import FrameMarker

GRID: Final = 32


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture. ``sample`` is the microphone's, behind the picture's first moment."""

    rtp: int
    arrived_s: float
    decoded_s: float
    size: int
    mark: FrameMarker | None
    sample: int | None
    cells: NDArray[np.float32]  # (GRID, GRID) mean brightness
    size_px: int = 0  # of its width


@dataclass(slots=True)
class Trace:
    """What came, in the order it came."""

    seen: list[Seen] = field(default_factory=list)
    heard: list[Sound] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)


class Observer:
    """Fills a trace from a call."""

    def __init__(self, call: Caller) -> None:
        self.trace = Trace()
        self._call = call
        call.on_picture, call.on_sound = self._picture, self.trace.heard.append

    def _picture(self, picture: Picture) -> None:
        frame: Any = picture.frame
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
        luma = luma[:, : frame.width]
        mark = frame_marker.read(luma)
        known = mark is not None and bool(mark.flags & frame_marker.SOURCE)
        sample = self._call.sample_of(mark.rtp_timestamp) if mark and known else None
        self.trace.size = (frame.width, frame.height)
        self.trace.seen.append(
            Seen(
                picture.rtp,
                picture.arrived_s,
                picture.decoded_s,
                picture.size,
                mark,
                sample,
                shrink(luma),
                frame.width,
            )
        )


def shrink(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness on a grid, the edges that do not fill a cell left out."""
    height, width = (side // GRID for side in luma.shape)
    whole = luma[: height * GRID, : width * GRID].reshape(GRID, height, GRID, width)
    cells: NDArray[np.float32] = whole.mean(axis=(1, 3), dtype=np.float32)
    return cells
