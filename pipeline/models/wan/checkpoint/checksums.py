"""Sizes and checksums of files as their authors publish them, where they are known."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).with_name("checksums.toml")


@dataclass(frozen=True, slots=True)
class Published:
    """One file."""

    bytes: int
    sha256: str


@cache
def published_files() -> Mapping[str, Published]:
    """By the end of a path."""
    return {name: Published(**told) for name, told in tomllib.loads(TABLE.read_text()).items()}


def published(path: Path) -> Published | None:
    """What is known of the file that ``path`` seems to be."""
    whole = f"/{path.absolute().as_posix().lstrip('/')}"
    return next((told for name, told in published_files().items() if whole.endswith(f"/{name}")),
                None)  # fmt: skip


def sha256_of(path: Path) -> str:
    """The checksum of a file, which is read for it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def compared(path: Path, digest: str = "") -> tuple[str, bool]:
    """What a file is beside the published one, in words, and whether that is a fault. Without a
    ``digest`` its size alone is compared; another size may be another, well-made copy."""
    told = published(path)
    if told is None:
        return "no published checksum is known", False
    size = path.stat().st_size
    if size != told.bytes:
        return f"{size} bytes; the published file has {told.bytes}: another copy", False
    if not digest:
        return "as large as the published file", False
    if digest != told.sha256:
        return f"as large as the published file and not the same: that is {told.sha256}", True
    return "the published file", False
