"""The measuring strip: which audio a frame shows, encoded in its pixels.

Three rows of 32 square blocks along the bottom edge (docs/protocol.md, section 7). Pure. Drawn in
RGB and read from luma; client and tests use this one definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = 32
ROWS = 3
MIN_BLOCK = 8
MARKER = 0xC5
SOURCE, SPEECH, MUTED = 1, 2, 4


@dataclass(frozen=True, slots=True)
class FrameMarker:
    """What one frame's strip says."""

    media_time: int
    rtp_timestamp: int
    flags: int


def can_mark(width: int, height: int) -> bool:
    """Whether frames of this size have room for the strip."""
    return width // BITS >= MIN_BLOCK and height >= ROWS * (width // BITS)


def draw(image: NDArray[np.uint8], mark: FrameMarker) -> None:
    """Draws ``mark`` into ``image`` (H, W, 3), in place."""
    block = image.shape[1] // BITS
    if not can_mark(image.shape[1], image.shape[0]):
        raise ValueError(f"a strip needs {BITS * MIN_BLOCK} pixels of width, not {image.shape[1]}")
    cells = np.kron(_cells(mark), np.ones((block, block), np.uint8))
    image[image.shape[0] - ROWS * block :, : BITS * block] = cells[..., None]


def read(luma: NDArray[np.uint8]) -> FrameMarker | None:
    """The mark in a luma plane (H, W), or None when there is none or it is damaged."""
    height, width = luma.shape
    block = width // BITS
    if not can_mark(width, height):
        return None
    strip = luma[height - ROWS * block :, : BITS * block].reshape(ROWS, block, BITS, block)
    middle = slice(block // 4, block - block // 4)
    bits = strip[:, middle, :, middle].mean(axis=(1, 3)) > 128
    media, rtp, tail = (int.from_bytes(np.packbits(row).tobytes(), "big") for row in bits)
    mark = FrameMarker(media, rtp, (tail >> 16) & 0xFF)
    return mark if tail == _tail(mark) else None


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _tail(mark: FrameMarker) -> int:
    body = b"".join(_word(value) for value in (mark.media_time, mark.rtp_timestamp))
    return MARKER << 24 | mark.flags << 16 | crc16(body + bytes([mark.flags]))


def _cells(mark: FrameMarker) -> NDArray[np.uint8]:
    rows = b"".join(_word(v) for v in (mark.media_time, mark.rtp_timestamp, _tail(mark)))
    bits = np.unpackbits(np.frombuffer(rows, np.uint8)).reshape(ROWS, BITS)
    return (bits * 255).astype(np.uint8)


def _word(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "big")
