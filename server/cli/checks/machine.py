"""Checks of the machine: packages, processor, encoders, disk, clock."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from server.cli.checks.finding import Finding, fail, note, ok
from server.media.encoders import h264_encoder
from server.sessions.capacity import cores
from server.settings import Settings

SHOWN: Final = ("torch", "numba", "av", "aiortc", "aiohttp")
RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")  # one import name
GB: Final = 1e9
SCARCE_GB: Final = 2.0
TIME_ERROR: Final = 5  # adjtimex(2): nobody sets this clock


def packages(settings: Settings) -> Iterator[Finding]:
    """Which versions run here, and builds that overwrite each other."""
    both = [name for name in RUNTIMES if version(name)]
    listed = ", ".join(f"{name} {version(name) or 'missing'}" for name in (*SHOWN, *both))
    yield ok("packages", f"Python {platform.python_version()}, {listed}")
    if not both:
        yield fail("packages", "ONNX Runtime is missing", "pip install onnxruntime")
    elif len(both) > 1:
        advice = "pip uninstall " + " ".join(both) + "; then pip install onnxruntime"
        yield note("packages", "two builds of ONNX Runtime overwrite each other", advice)


def version(package: str) -> str:
    """Its version, or nothing where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def processor(settings: Settings) -> Iterator[Finding]:
    """Cores that this process may use, and what else uses them."""
    usable, load = cores(), os.getloadavg()[0]
    text = f"{usable} cores, load {load:.1f}"
    if usable < 2:
        yield note("processor", text, "one live avatar needs two cores")
    elif load > usable:
        yield note("processor", text, "other programs use the cores: calls will be degraded")
    else:
        yield ok("processor", text)


def gpu(settings: Settings) -> Iterator[Finding]:
    """Whether the device that the settings ask for can be there."""
    build, driver = version("torch"), shutil.which("nvidia-smi")
    if settings.device == "cpu":
        yield ok("gpu", "not used (device = cpu)" + (", though there is one" if driver else ""))
    elif not driver:
        yield fail("gpu", "device = cuda, but there is no NVIDIA driver (nvidia-smi)")
    elif "+cpu" in build:
        yield fail("gpu", f"torch {build} has no CUDA", "make serve WHEELS=cuda")
    else:
        yield ok("gpu", f"NVIDIA driver and torch {build}")


def encoders(settings: Settings) -> Iterator[Finding]:
    """What encodes pictures."""
    name, why = h264_encoder()
    yield ok("encoders", f"VP8 by libvpx; H.264 by {name} ({why.partition(';')[0]})")


def disk(settings: Settings) -> Iterator[Finding]:
    """Room, and the right to write, where something is stored."""
    places = {"registry": local(settings.registry), "recordings": local(settings.recordings)}
    for name, path in places.items():
        if path is None:
            continue
        folder = nearest(path.parent if name == "registry" else path)
        free = shutil.disk_usage(folder).free / GB
        text = f"{name}: {free:.0f} GB free at {folder}"
        if not os.access(folder, os.W_OK):
            yield fail("disk", f"{name}: {folder} cannot be written by this account")
        elif free < SCARCE_GB:
            yield note("disk", text, "an hour of recording takes about half a GB")
        else:
            yield ok("disk", text)


def local(place: str) -> Path | None:
    """A path of this machine; None for a database elsewhere, or for nothing."""
    return Path(place).expanduser() if place and "://" not in place else None


def nearest(folder: Path) -> Path:
    """The folder, or the first one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def clock(settings: Settings) -> Iterator[Finding]:
    """Whether somebody sets the clock: tokens, consents and TURN passwords expire by it."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))
    except (AttributeError, OSError):  # another system than Linux
        yield note("clock", "this system does not say whether its clock is synchronised")
        return
    if state == TIME_ERROR:
        advice = "tokens, consents and TURN passwords expire by it: timedatectl set-ntp true"
        yield note("clock", "not synchronised, says the kernel", advice)
    else:
        yield ok("clock", "synchronised, says the kernel")
