"""Logs: one line for each event, as text or JSON, with the id of its session."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

from server.observability.trace import trace

# Nothing logs a secret on purpose; a library's debug line, or a request in a traceback, might.
_SECRETS: Final = re.compile(
    r"(ck_[0-9a-f]{12}_)[\w-]{20,}|(\bc_)[\w-]{20,}|(\beyJ)[\w-]+\.[\w-]+\.[\w-]+"
)


def blotted(text: str) -> str:
    """The text without what looks like an API key or a token."""
    return _SECRETS.sub(lambda found: (found[1] or found[2] or found[3]) + "[secret]", text)


class People(logging.Formatter):
    """``12:30:01.204 info server.sessions.session_manager: ready [s-4f1c]``."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        session = getattr(record, "session", None)
        line = f"{at}.{int(record.msecs):03d} {record.levelname.lower()} {record.name}: "
        line += record.getMessage() + (f" [{session}]" if session else "")
        line += f" trace={caused}" if (caused := trace.get()) else ""
        line += "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return blotted(line)


class Machines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if session := getattr(record, "session", None):
            entry["session"] = session
        if caused := trace.get():
            entry["trace"] = caused
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return blotted(json.dumps(entry, ensure_ascii=False))


class Malformed(logging.Filter):
    """Drops the traceback that aiohttp logs for every request that is not HTTP.

    Such requests are answered with 400; a page of log for each would let clients fill the disk.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def configure(level: str, as_json: bool) -> None:
    """Sends every log to stderr; libraries are kept to warnings unless debugging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Machines() if as_json else People())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(Malformed())
    for name in ("aiortc", "aioice", "libav", "aiohttp.access", "alembic"):
        logging.getLogger(name).setLevel("INFO" if level == "debug" else "WARNING")
