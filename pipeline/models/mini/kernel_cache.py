"""The cache of compiled kernels: beside the code, in the user's cache, or in a private folder.

Numba refuses to import a module whose kernels it cannot cache, which happens wherever neither the
code nor a home folder is writable: in containers and packages. Kernels are pickles, so a folder
that others can write to is not used.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

SWITCH: Final = "NUMBA_CACHE_DIR"  # read by Numba when it is imported first


def prepare(code: Path) -> None:
    """Names a folder for kernels of the modules below ``code`` if Numba would find none."""
    if _beside(code):
        return
    from numba.core import config

    settings: dict[str, Any] = vars(config)
    if settings["CACHE_DIR"] or _usable(_users()):
        return
    folder = _ours()
    os.environ.setdefault(SWITCH, str(folder))  # for processes that this one starts
    settings["CACHE_DIR"] = str(folder)  # read when a kernel is met
    log.warning(
        "neither %s nor a cache folder can be written: kernels are kept in %s, and compiled anew"
        " where that is emptied (%s names another folder)", code, folder, SWITCH,
    )  # fmt: skip


def _beside(code: Path) -> bool:
    folders = {path.parent for path in code.rglob("*.py")}
    return all(_usable(folder / "__pycache__") for folder in folders)


def _users() -> Path:
    """The folder that Numba would take itself."""
    from numba.misc.appdirs import AppDirs

    folders: Any = AppDirs
    return Path(folders(appname="numba", appauthor=False).user_cache_dir)


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _ours() -> Path:
    """The same folder at each start, if it is owned by this user."""
    folder = Path(tempfile.gettempdir()) / f"continuum-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="continuum-kernels-"))
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if private and found.st_uid == os.getuid() and _usable(folder):
        return folder
    return Path(tempfile.mkdtemp(prefix="continuum-kernels-"))
