"""``continuum model inspect PATH``: what a weight file is, without loading it.

Reads headers only: the kind of weights, completeness, memory, the published checkpoint it may be,
its licence, and the other files required.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models.wan.identify import Report, inspect
from pipeline.weights.files import gib
from pipeline.weights.loading import free_memory


def fits(report: Report, device: str = "cpu") -> dict[str, bool]:
    """By type, whether the weights alone fit into what ``device`` has free."""
    free = free_memory(device)
    return {name: size <= free for name, size in report.memory.items()}


def text(report: Report) -> str:
    """The report for people."""
    lines = [
        f"{report.path}",
        f"  is        {report.kind}" + (f", layout {report.layout}" if report.layout else ""),
        f"  holds     {report.tensors:,} tensors, {report.parameters:,} parameters, "
        f"{gib(report.file_bytes)} in files ({', '.join(report.types)})",
        f"  complete  {'yes' if report.complete else 'NO'}",
        *(f"  problem   {problem}" for problem in report.problems),
        *(f"  assumed   {what}: no config.json tells" for what in report.assumed),
    ]
    free, fitting = free_memory("cpu"), fits(report)
    for name, size in report.memory.items():
        room = "fits" if fitting[name] else "does not fit"
        lines.append(f"  needs     {gib(size)} in {name}, for the weights; {room} into the "
                     f"{gib(free)} that are free here")  # fmt: skip
    for name, license_text in report.licenses.items():
        lines.append(f"  may be    {name}: {license_text}")
    lines += [f"  bring     {what}: {name}" for what, name in report.bring.items()]
    lines += [f"  sha256    {digest}  {name}" for name, digest in report.sha256.items()]
    lines += [f"  published {name}: {words}" for name, words in report.published.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """``continuum model inspect PATH [--sha256] [--json]``; 0 complete, 1 not, 2 unreadable."""
    parser = argparse.ArgumentParser(prog="continuum model inspect", description=__doc__)
    parser.add_argument("path", type=Path, help="a weight file, or a folder of shards")
    parser.add_argument("--sha256", action="store_true", help="also read the files and hash them")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    try:
        report = inspect(options.path, options.sha256)
    except ModelError as error:
        sys.stderr.write(f"{options.path}: {error}\n")
        return 2
    told = json.dumps(asdict(report), default=str) if options.json else text(report)
    sys.stdout.write(told + "\n")
    return 0 if report.complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
