"""Weight files: what is in them, before and without reading it all.

A *source* lists its tensors from headers alone and reads one at a time. Sources are single
safetensors files, sharded folders with or without an index, and ``.pt`` files (weights-only:
nothing in them is ever run); ``pipeline/weights/lora.py`` merges an adapter into any of them.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import ModelDamaged, ModelMismatch, ModelUnknown, ModelUnsafe

Rename = Callable[[str], str]
PICKLES: Final = (".pt", ".pth", ".bin", ".ckpt")
HEADER_LIMIT: Final = 100_000_000
SAFETENSORS_TYPES: Final = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as described by a header."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class Source(Protocol):
    """Tensors by name, read one at a time."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str) -> Tensor: ...


def gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / 2**30:.2f} GiB"


class SafetensorsSource:
    """One ``.safetensors`` file, its header checked against its length."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.infos = _safetensors_header(path)
        self._file: Any = None

    def read(self, name: str) -> Tensor:
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        try:
            return self._file.get_tensor(name)  # type: ignore[no-any-return]
        except SafetensorError as error:
            raise ModelDamaged(f"{self.path.name}: cannot read {name}: {error}") from error


def _safetensors_header(path: Path) -> dict[str, TensorInfo]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= HEADER_LIMIT:
            raise ModelDamaged(f"{path.name} is no safetensors file (its header claims {length} "
                               f"bytes, the file has {size})")  # fmt: skip
        if 8 + length > size:
            raise ModelDamaged(f"{path.name} is truncated: the header alone needs {8 + length} "
                               f"bytes and the file has {size}; download it again")  # fmt: skip
        raw = file.read(length)
    try:
        header = json.loads(raw)
        entries = {name: _entry(value, path) for name, value in header.items()
                   if name != "__metadata__"}  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path.name}: its header is unreadable ({error})") from error
    end = 8 + length + max((stop for _, stop in entries.values()), default=0)
    if end != size:
        raise ModelDamaged(
            f"{path.name} is {'truncated' if size < end else 'too long'}: its tensors end at byte "
            f"{end} and the file has {size}; download it again"
        )
    return {name: info for name, (info, _) in entries.items()}


def _entry(value: dict[str, Any], path: Path) -> tuple[TensorInfo, int]:
    dtype = SAFETENSORS_TYPES[value["dtype"]]
    info = TensorInfo(tuple(int(n) for n in value["shape"]), dtype, path)
    start, stop = value["data_offsets"]
    if stop - start != info.numel * dtype.itemsize:
        raise ValueError(f"{stop - start} bytes for shape {info.shape} of {value['dtype']}")
    return info, stop


class PickleSource:
    """A ``.pt`` file, opened in weights-only mode and mapped into memory, never run."""

    def __init__(self, path: Path, nests: Iterable[str] = ()) -> None:
        self.path = path
        loaded = _load_pickle(path)
        for nest in nests:
            if isinstance(loaded, dict) and isinstance(loaded.get(nest), dict):
                loaded = loaded[nest]
                break
        tensors = loaded if isinstance(loaded, dict) else {}
        odd = [str(k) for k, v in tensors.items() if not isinstance(v, Tensor)]
        if not tensors or odd:
            what = f"also holds {', '.join(odd[:5])}" if odd else "holds no tensors by name"
            raise ModelMismatch(f"{path.name} is no state dict: it {what}")
        self._tensors: dict[str, Tensor] = tensors
        self.infos = {k: TensorInfo(tuple(v.shape), v.dtype, path) for k, v in tensors.items()}

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


def _load_pickle(path: Path) -> object:
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        cut = not zipped and file.read(2) == b"PK"
    if cut:
        raise ModelDamaged(
            f"{path.name} is truncated: it begins as an archive and its {path.stat().st_size} "
            "bytes have no end; download it again"
        )
    try:
        return torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnsafe(
            f"{path.name} is refused: its pickle asks for more than tensors "
            f"({_asked(str(error))}), which would run code of its author. Ask for safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError) as error:
        raise ModelDamaged(f"{path.name} cannot be read as weights: {str(error)[:200]}") from error


def _asked(message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"Unsupported \w+ ?\w*", message)
    return found[0] if found else "an unsupported instruction"


class JoinedSource:
    """Several sources as one; a tensor in two of them is refused."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._owner: dict[str, Source] = {}
        infos: dict[str, TensorInfo] = {}
        for source in sources:
            twice = infos.keys() & source.infos.keys()
            if twice:
                name = min(twice)
                raise ModelDamaged(f"{name} is both in {infos[name].file.name} and in "
                                   f"{source.infos[name].file.name}")  # fmt: skip
            infos.update(source.infos)
            self._owner.update(dict.fromkeys(source.infos, source))
        self.infos = infos

    def read(self, name: str) -> Tensor:
        return self._owner[name].read(name)


def open_file(path: Path, nests: Iterable[str] = ()) -> Source:
    """One weight file by its ending. ``nests`` name dictionaries that may wrap a pickle's
    tensors, tried in order."""
    if not path.is_file():
        raise ModelUnknown(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return SafetensorsSource(path)
    if path.suffix in PICKLES:
        return PickleSource(path, nests)
    raise ModelUnknown(f"{path.name}: weights end in .safetensors or {', '.join(PICKLES)}")


def shard_files(folder: Path) -> list[Path]:
    """The weight files of a folder, complete, or ``ModelDamaged`` naming what is missing."""
    indexes = sorted(folder.glob("*.index.json"))
    if len(indexes) == 1:
        try:
            names = sorted(set(json.loads(indexes[0].read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelDamaged(f"{indexes[0].name} is unreadable: {error}") from error
        _demand(folder, names)
        return [folder / Path(name).name for name in names]
    files = sorted(folder.glob("*.safetensors")) or sorted(
        path for path in folder.iterdir() if path.suffix in PICKLES
    )
    numbered = [re.fullmatch(r"(.+)-(\d+)-of-(\d+)(\.\w+)", path.name) for path in files]
    series = [found for found in numbered if found]
    if series:
        stem, digits, total, ending = series[0].groups()
        _demand(folder, [f"{stem}-{i:0{len(digits)}d}-of-{total}{ending}"
                         for i in range(1, int(total) + 1)])  # fmt: skip
        return [folder / found[0] for found in series if found[1] == stem]
    if len(files) != 1:
        listed = ", ".join(path.name for path in files[:6]) or "none"
        raise ModelUnknown(f"{folder} holds {len(files)} weight files ({listed}): name one")
    return files


def _demand(folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / Path(name).name).is_file()]
    if missing:
        raise ModelDamaged(f"{folder.name} is incomplete: {len(missing)} of {len(names)} shards "
                           f"are missing: {', '.join(missing[:8])}")  # fmt: skip


def open_weights(path: Path, nests: Iterable[str] = ()) -> Source:
    """A weight file, or a folder of one or of shards."""
    if not path.is_dir():
        return open_file(path, nests)
    joined = JoinedSource(open_file(file, nests) for file in shard_files(path))
    for index in path.glob("*.index.json"):
        _check_index(index, joined.infos)
    return joined


def _check_index(index: Path, infos: Mapping[str, TensorInfo]) -> None:
    listed = json.loads(index.read_text())["weight_map"]
    absent = sorted(listed.keys() - infos.keys())
    if absent:
        raise ModelDamaged(f"{index.name} lists {len(absent)} tensors that its shards do not "
                           f"hold: {', '.join(absent[:5])}")  # fmt: skip


def stated_config(path: Path) -> dict[str, Any]:
    """``config.json`` in the folder, or beside the file; empty where there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        return {}
    try:
        stated = json.loads(file.read_text())
    except ValueError as error:
        raise ModelDamaged(f"{file} is unreadable: {error}") from error
    if not isinstance(stated, dict):
        raise ModelDamaged(f"{file} holds no settings")
    return stated


class RenamedSource:
    """A source under other names; two that become one are refused."""

    def __init__(self, source: Source, rename: Rename) -> None:
        self._source = source
        self._raw: dict[str, str] = {}
        for raw in source.infos:
            name = rename(raw)
            if name in self._raw:
                raise ModelDamaged(f"{raw} and {self._raw[name]} are both {name}")
            self._raw[name] = raw
        self.infos = {name: source.infos[raw] for name, raw in self._raw.items()}

    def read(self, name: str) -> Tensor:
        return self._source.read(self._raw[name])


class Hollow:
    """A source whose tensors are shapes alone, on the meta device: nothing is read."""

    def __init__(self, source: Source) -> None:
        self.infos = source.infos

    def read(self, name: str) -> Tensor:
        info = self.infos[name]
        return torch.empty(info.shape, dtype=info.dtype, device="meta")


class Part:
    """Some tensors of a source, the others unread."""

    def __init__(self, source: Source, wanted: Callable[[str], bool]) -> None:
        self._source = source
        self.infos = {k: v for k, v in source.infos.items() if wanted(k)}

    def read(self, name: str) -> Tensor:
        return self._source.read(name)
