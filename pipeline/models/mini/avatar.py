"""``Avatar``: a person whom the model ``mini`` can draw."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor


@dataclass(frozen=True, slots=True)
class Avatar:
    """An enrolled identity: what the generator attends to and the decoder draws from."""

    name: str
    image_sha256: str
    anchor: IdentityAnchor

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self.anchor.width, self.anchor.height
