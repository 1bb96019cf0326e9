"""Makes an environment small enough for a container image: ``python tools/image.py .venv``.

Removes what serving never reads: tests and headers of packages, pip, debug symbols. For images
alone: ``torch.compile`` needs the headers, development needs pip.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNUSED: Final = ("torch/include", "pip", "pip-*", "onnx/backend/test", "**/tests", "**/*.pxd")
# Wheels whose libraries were moved by patchelf do not survive `strip`; these were not.
STRIPPED: Final = ("torch/lib/*.so", "llvmlite/binding/*.so")


def slim(environment: Path) -> None:
    """Removes and strips in place; needs ``strip`` of binutils."""
    for site in environment.glob("lib/python*/site-packages"):
        for path in unused(site):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for pattern in STRIPPED:
            for library in site.glob(pattern):
                subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)


def unused(site: Path) -> Iterator[Path]:
    """Files and folders to remove, each once."""
    for pattern in UNUSED:
        yield from [path for path in site.glob(pattern) if not path.is_symlink()]


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
