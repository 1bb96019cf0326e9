"""Checks of settings: each names the setting that cannot be used and says what is expected."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what is expected."""


def within(name: str, value: float, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and not low <= value <= high:
        raise SettingsError(f"{name} must be between {low} and {high}, not {value}")


def in_order(**values: int) -> None:
    """Positive, and none smaller than the one before it."""
    ordered = list(values.values())
    if ordered[0] <= 0 or ordered != sorted(ordered):
        shown = " <= ".join(f"{name} {value}" for name, value in values.items())
        raise SettingsError(f"must be positive and in this order: {shown}")


def among(name: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    for value in given:
        if value not in allowed:
            raise SettingsError(f"{name} must be among {', '.join(allowed)}, not {value!r}")


def together(**values: str) -> None:
    """Two settings that are both given or both empty."""
    (one, first), (other, second) = values.items()
    if bool(first) != bool(second):
        missing = other if first else one
        raise SettingsError(f"{one} and {other} belong together: {missing} is missing")


def signing_secret(name: str, value: str) -> None:
    if 0 < len(value) < 32:
        why = f"needs 32 characters or more, not {len(value)}: openssl rand -hex 32"
        raise SettingsError(f"{name} {why}")


def networks(name: str, given: Sequence[str]) -> None:
    for network in given:
        try:
            ipaddress.ip_network(network)
        except ValueError as failure:
            raise SettingsError(f"{name} holds networks as 10.0.0.0/8: {failure}") from failure


def ice_urls(name: str, given: Sequence[str]) -> None:
    for url in given:
        if not url.startswith(("stun:", "turn:", "turns:")):
            raise SettingsError(f"{name} holds stun:, turn: and turns: URLs, not {url!r}")


def web_url(name: str, value: str, example: str) -> None:
    parts = urlsplit(value)
    complete = parts.scheme in ("http", "https") and parts.netloc
    if value and (not complete or parts.query or parts.fragment):
        raise SettingsError(f"{name} is a URL such as {example}, not {value!r}")


def port_range(name: str, value: str) -> tuple[int, int] | None:
    """First and last port of ``40000-40100``; None where nothing is given."""
    if not value:
        return None
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value)
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < first <= last < 65_536:
        raise SettingsError(
            f"{name} is the first and the last port, such as 40000-40100, not {value!r}"
        )
    return first, last


def addresses(name: str, given: Sequence[str]) -> None:
    for address in given:
        try:
            usable = not ipaddress.ip_address(address).is_unspecified
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError(f"{name} holds IP addresses one by one, not {address!r}")


def announced(bound: Sequence[str], told: Sequence[str]) -> None:
    """Each address that clients get is of an IP version that is listened on."""
    versions = {ipaddress.ip_address(address).version for address in bound}
    for address in told:
        version = ipaddress.ip_address(address).version
        if versions and version not in versions:
            raise SettingsError(
                f"udp_announced has {address}, but udp_bind has no IPv{version} address"
            )
