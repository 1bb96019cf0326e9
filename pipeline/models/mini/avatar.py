"""``Avatar``: a person whom the model ``mini`` can draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.errors import BackgroundInvalid
from pipeline.media.background import Background
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor


@dataclass(frozen=True, slots=True)
class Avatar:
    """An enrolled identity: what the generator attends to and the decoder draws from."""

    name: str
    image_sha256: str
    anchor: IdentityAnchor
    transparent: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self.anchor.width, self.anchor.height

    def before(self, background: Background) -> Avatar:
        """The same person before another background. Raises ``BackgroundInvalid``."""
        if not self.anchor.outlined:
            raise BackgroundInvalid(
                f"the background of {self.name} stays: no person's outline was found in the picture"
            )
        anchor = replace(self.anchor, plate=background.plate(*self.size))
        return replace(self, anchor=anchor, transparent=background.transparent)
