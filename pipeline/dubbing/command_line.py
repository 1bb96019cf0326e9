"""The options of ``python -m pipeline.dub``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from pipeline.consent.options import add_registry_option
from pipeline.media.label import Place, Style


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"dub: {message} (--help shows the options)\n")


def parser() -> argparse.ArgumentParser:
    """Of ``python -m pipeline.dub``."""
    out = _Parser(
        prog="python -m pipeline.dub", description="Somebody in a video speaks other words."
    )
    add = out.add_argument
    add("--video", required=True, type=Path, metavar="IN", help="the footage, any container")
    add("--audio", required=True, type=Path, metavar="IN", help="the new speech, any format")
    add("--consent", required=True, metavar="ID", help="a record with scope dubbing")
    add("--image", type=Path, metavar="REF.png",
        help="the consent's picture, where the registry does not keep it")  # fmt: skip
    add(
        "--same-person", default="", metavar="WHY",
        help="without a face model: who vouches that this is the person of the consent (logged)",
    )  # fmt: skip
    add("--out", required=True, type=Path, metavar="OUT.mp4", help="H.264 + AAC")
    add("--start", type=float, metavar="S", help="dub from here (default: the beginning)")
    add("--end", type=float, metavar="S", help="dub up to here (default: the end)")
    add("--person", type=int, metavar="N", help="whom, by time shown (default: by the consent)")
    add("--preview", type=Path, metavar="SHEET.png", help="also write mouths, before over after")
    add("--model", default="mini", metavar="NAME", help="a bundled model")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same video (default 0)")
    add("--label-place", type=Place, choices=list(Place), default=Place.TOP_RIGHT)
    add("--label-style", type=Style, choices=list(Style), default=Style.DARK)
    add("--remove-label", default="", metavar="WHY", help="no mark, on your audited declaration")
    add("--c2pa-cert", type=Path, metavar="PEM", help="certificate chain that signs")
    add("--c2pa-key", type=Path, metavar="PEM", help="its private key")
    add("--json", action="store_true", help="print the result as one JSON line")
    add_registry_option(out)
    return out
