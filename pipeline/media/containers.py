"""Video files by their name's ending: container, codecs, and whether they carry a matte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.errors import BackgroundInvalid

# Measured on two cores at 512x512 (docs/LOG.md): with a short look ahead and more B-frames,
# superfast costs 30 to 40 % less than veryfast, for 0.1 dB and a tenth more bytes; bare, it
# writes three times the bytes.
_X264: Final = {
    "preset": "superfast", "crf": "19.4", "bf": "5", "mbtree": "1", "rc-lookahead": "10",
    "b_strategy": "0", "weightp": "none",
}  # fmt: skip
_VP9: Final = {"deadline": "realtime", "cpu-used": "6", "crf": "24", "b": "0", "auto-alt-ref": "0"}
_PRORES: Final = {"profile": "4444", "alpha_bits": "8", "vendor": "apl0"}


@dataclass(frozen=True, slots=True)
class Container:
    """How one kind of file is written. ``matte`` is the pixel format with alpha, or None."""

    format: str  # FFmpeg's name
    mime: str
    codec: str
    options: Mapping[str, str]
    pixels: str
    matte: str | None
    sound: str
    bit_rate: int = 128_000
    sound_options: Mapping[str, str] = field(default_factory=dict)
    muxer: Mapping[str, str] = field(default_factory=dict)
    manifest_inside: bool = True  # C2PA: otherwise in a file of its own beside it


MP4: Final = Container(
    "mp4", "video/mp4", "libx264", _X264, "yuv420p", None, "aac",
    sound_options={"aac_coder": "fast"},  # at this rate also the closer one (docs/LOG.md)
    muxer={"movflags": "+faststart"},
)  # fmt: skip
WEBM: Final = Container(
    "webm",
    "video/webm",
    "libvpx-vp9",
    _VP9,
    "yuv420p",
    "yuva420p",
    "libopus",
    manifest_inside=False,
)
MOV: Final = Container(
    "mov", "video/quicktime", "prores_ks", _PRORES, "yuv444p10le", "yuva444p10le", "pcm_s16le",
    bit_rate=0, muxer={"movflags": "+faststart"},
)  # fmt: skip
_BY_ENDING: Final = {".webm": WEBM, ".mov": MOV}


def container_of(path: Path, transparent: bool = False) -> Container:
    """The container that a file's name asks for; MP4 unless it ends in ``.webm`` or ``.mov``.

    Raises ``BackgroundInvalid`` for a transparent video in a container without a matte.
    """
    found = _BY_ENDING.get(path.suffix.lower(), MP4)
    if transparent and found.matte is None:
        raise BackgroundInvalid(
            f"{path.name} cannot be transparent, since H.264 carries no matte: write"
            f" {path.stem}.webm (VP9) or {path.stem}.mov (ProRes 4444), or choose a colour"
        )
    return found
