"""The id of the request that caused a log line, also in another process."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

trace: ContextVar[str] = ContextVar("trace", default="")
_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def begin(parent: str = "") -> str:
    """A new id, or that of the ``traceparent`` header (W3C Trace Context, section 3.2)."""
    found = _PARENT.fullmatch(parent)
    name = found[1] if found else secrets.token_hex(16)
    trace.set(name)
    return name
