"""The workers of a cluster, asked from the command line."""

from __future__ import annotations

from typing import Any

from server.cluster import actors
from server.cluster.room import Room
from server.cluster.worker_metrics import row
from server.settings import SettingsError


def rows(address: str) -> list[dict[str, object]]:
    """Every worker, by name; ``pending`` is one that waits for a machine. Blocking."""
    found = _join(address)
    return [row(_room(name, found[name])) for name in sorted(found)]


def drain(address: str, worker: str) -> None:
    """Returns when the worker has ended; blocking. Raises ``SettingsError`` if there is none."""
    found = _join(address)
    if worker not in found:
        known = ", ".join(sorted(found)) or "none"
        raise SettingsError(f"there is no worker {worker[:40]!r}; there are: {known}")
    actors.wait(found[worker].drain.remote())
    actors.kill(found[worker])


def _join(address: str) -> dict[str, Any]:
    try:
        actors.join(address, may_start=False)
    except ConnectionError as failure:
        raise SettingsError(f"cluster: no Ray cluster answers at {address!r}") from failure
    return actors.running()


def _room(name: str, actor: Any) -> Room:
    try:
        room: Room = actors.wait(actor.watch.remote(0), 5)
    except TimeoutError:
        return Room(name, door="pending")
    return room
