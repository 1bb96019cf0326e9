"""When a key frame is made: on request, up to a maximum rate. Pure.

A key frame costs as much as many frames. A viewer that loses packets requests one again and again,
and several viewers of one encoder request the same one.
"""

from __future__ import annotations

APART_S = 0.4


class KeyFrames:
    """Requests in, decisions out. A request that comes too early is kept until it may be met."""

    def __init__(self, apart_s: float = APART_S) -> None:
        self._apart_s = apart_s
        self._asked = True  # the first picture is one
        self._made_s = float("-inf")

    def request(self) -> None:
        """A viewer needs a key frame."""
        self._asked = True

    def take(self, now_s: float) -> bool:
        """Whether the picture that is made now shall be one."""
        if not self._asked or now_s - self._made_s < self._apart_s:
            return False
        self._asked, self._made_s = False, now_s
        return True

    def made(self, now_s: float) -> None:
        """The encoder has made one of itself, after its size or its rate changed."""
        self._asked, self._made_s = False, now_s
