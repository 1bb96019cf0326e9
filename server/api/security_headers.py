"""Security headers: what a browser may do with our files. Pure.

The page uses scripts, styles, pictures and connections of its own origin only: no inline script,
no other site, no framing. ``embed.html`` is the one file that may be framed, by the origins in the
settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HSTS: Final = "max-age=31536000"
_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
_PERMISSIONS: Final = (
    "microphone=(self), autoplay=(self), camera={camera}, geolocation=(), display-capture=(),"
    " usb=(), payment=()"
)


def headers(path: str, is_page: bool, origins: Sequence[str], tls: bool) -> dict[str, str]:
    """The headers of one answer; ``is_page`` for files that a browser shows."""
    always = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if tls:
        always["Strict-Transport-Security"] = HSTS
    if not is_page:
        return always | {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    return always | {
        "Content-Security-Policy": policy(path, origins),
        "Permissions-Policy": _PERMISSIONS.format(camera=_camera(path)),
    }


def _camera(path: str) -> str:
    """Photos and consent are recorded on one page."""
    return "(self)" if path == "/enrol.html" else "()"


def policy(path: str, origins: Sequence[str]) -> str:
    """The Content-Security-Policy of one file of the page."""
    framed = " ".join(["'self'", *origins]) if path == "/embed.html" else "'none'"
    rules = _POLICY | {"frame-ancestors": framed}
    return "; ".join(f"{name} {value}" for name, value in rules.items())
