"""The subjects, in the order in which they run, and how many rounds of each are one batch."""

from __future__ import annotations

from typing import Final

BATCH: Final = {
    "handles": 200,
    "joins": 25,
    "interrupts": 20,
    "replies": 10,
    "files": 20,
    "registry": 1,
    "hostile": 1,
    "signals": 1,
}
