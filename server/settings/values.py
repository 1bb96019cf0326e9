"""The types that settings have, and how text and TOML values become them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from server.settings.checks import SettingsError

TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def cast(name: str, value: Any, kind: Any) -> Any:
    """``value`` as a setting of type ``kind``. Raises ``SettingsError``."""
    convert, wanted = CASTS[kind]
    try:
        return convert(value)
    except (LookupError, TypeError, ValueError) as failure:
        raise SettingsError(f"{name} must be {wanted}, not {value!r}") from failure


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _truth(value: Any) -> bool:
    return TRUTHS[str(value).lower()]


def _strings(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(text for part in parts if (text := _text(part).strip()))


CASTS: Final[dict[Any, tuple[Callable[[Any], Any], str]]] = {
    str: (_text, "text"),
    int: (_whole, "a whole number"),
    float: (_number, "a number"),
    bool: (_truth, "true or false"),
    tuple[str, ...]: (_strings, "a list, separated by commas"),
}
