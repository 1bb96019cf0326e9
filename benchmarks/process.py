"""What a process uses, read from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory that is the process's own, threads, and open files and sockets."""

    memory_mb: float
    threads: int
    files: int


def footprint(pid: int) -> Footprint:
    """Now."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    resident_kb = int(fields["VmRSS"].split()[0])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Footprint(round(resident_kb / 1024, 1), int(fields["Threads"]), files)


def cpu_s(pid: int) -> float:
    """Processor seconds spent so far, in user and system mode, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_name() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"
