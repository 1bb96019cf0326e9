"""Which files a checkpoint is made of, and where they lie around the path that a user names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import ModelUnknown
from pipeline.models.wan.model_cards import Card

TOKENIZER: Final = "umt5-xxl"
TINY: Final = ("taew2_1.safetensors", "taew2_1.pth")
WHAT: Final = {
    "base": "the base transformer", "transformer": "the transformer", "adapter": "the adapter",
    "vae": "the autoencoder", "text": "the prompt encoder", "speech": "the speech encoder",
    "image": "the picture encoder", "tokenizer": "the prompt encoder's tokenizer",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WanFiles:
    """Paths of one checkpoint, all of them there."""

    transformer: Path
    vae: Path
    text: Path
    tokenizer: Path
    speech: Path
    adapter: Path | None = None
    image: Path | None = None
    tiny: Path | None = None


def find_files(
    path: Path, card: Card, given: Mapping[str, Path] | None = None, decoder: str = "full"
) -> WanFiles:
    """Look for what ``card`` needs in ``path``, and beside it; ``given`` paths come first.

    ``path`` is the folder of the weights, or one that holds several such folders, or the
    transformer (the adapter, where the card has one) itself. ``decoder`` is "full", "tiny" (looked
    for like the rest), or the path of a small decoder. Raises ``ModelUnknown`` listing all that is
    missing and where it was looked for.
    """
    folder = path if path.is_dir() else path.parent
    places = [folder, *_folders(folder), folder.parent, *_folders(folder.parent)]
    found: dict[str, Path] = dict(given or {})
    wanted = {**card.files, "tokenizer": TOKENIZER}
    own = "adapter" if "adapter" in wanted else "transformer"
    if path.is_file():
        found.setdefault(own, path)
    for what, name in wanted.items():
        if what not in found and (hit := _find(places, name)) is not None:
            found[what] = hit
    missing = [f"{WHAT.get(what, what)} ({wanted[what]})" for what in wanted if what not in found]
    if decoder != "full" and "tiny" not in found:
        missing += _seek_tiny(decoder, places, found)
    if missing:
        raise ModelUnknown(f"{card.title} also needs {', '.join(missing)}; looked in {folder} and "
                           f"the folders in and beside it")  # fmt: skip
    return WanFiles(
        transformer=found.get("base") or found["transformer"],
        vae=found["vae"], text=found["text"], tokenizer=found["tokenizer"],
        speech=found["speech"], adapter=found.get("adapter"), image=found.get("image"),
        tiny=found.get("tiny"),
    )  # fmt: skip


def _seek_tiny(decoder: str, places: list[Path], found: dict[str, Path]) -> list[str]:
    """Adds the small decoder to what was ``found``, or returns that it is missing."""
    if decoder != "tiny":
        named = Path(decoder).expanduser()
        if not named.is_file():
            return [f"the small decoder ({decoder})"]
        found["tiny"] = named
        return []
    hits = [hit for name in TINY if (hit := _find(places, name)) is not None]
    if not hits:
        return [f"the small decoder ({' or '.join(TINY)})"]
    found["tiny"] = hits[0]
    return []


def _folders(parent: Path) -> list[Path]:
    inner = _inside(parent)
    return [*inner, *(path for folder in inner for path in _inside(folder))]


def _inside(folder: Path) -> list[Path]:
    """Folders in a folder; none of one that may not be looked into."""
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError:
        return []


def _find(places: list[Path], name: str) -> Path | None:
    """A file, or a folder of shards, called ``name``; patterns mean their folder."""
    for place in places:
        if "*" in name:
            if any(place.glob(name)):
                return place
        elif (place / name).exists():
            return place / name
    return None
