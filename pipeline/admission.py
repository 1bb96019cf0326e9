"""In front of every performance of every model: who may be performed, and by which schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.consent import ConsentGrant

SCHEDULES: Final = ("parallel", "causal")


def admit(grant: ConsentGrant, image_sha256: str, schedule: str = "causal") -> None:
    """Raises a ``ConsentError`` unless the grant holds for this picture, and ``ValueError`` for a
    schedule that there is not."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    grant.check(image_sha256=image_sha256)
