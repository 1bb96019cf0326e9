"""Ray: the cluster is joined here, and workers are its actors. Imports Ray when it is used.

Ray places actors by their resources, notices within milliseconds when one dies, and tells its
autoscaler of those that no machine has room for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final, cast

from server.cluster.room import Room
from server.cluster.signalling import Asked
from server.cluster.worker import OpenManager, Worker
from server.errors import ServerError
from server.observability import logs
from server.settings import Settings, SettingsError

log = logging.getLogger(__name__)

NAMESPACE: Final = "continuum"
AUTO: Final = "auto"
CORES: Final = 2  # of a worker, unless the settings say otherwise
AT_ONCE: Final = 1000  # requests that one worker answers at a time
SWITCH_S: Final = 0.001  # as in ``server.api.serve``


class WorkerActor:
    """A ``Worker`` in a process of its own, made in the actor's loop with its first request."""

    def __init__(
        self, name: str, settings: Settings, secret: str, open_manager: OpenManager
    ) -> None:
        logs.configure(settings.log_level, settings.log_json)
        sys.setswitchinterval(SWITCH_S)
        self._made = name, settings, secret, open_manager
        self._worker: Worker | None = None

    def _here(self) -> Worker:
        self._worker = self._worker or Worker(*self._made)
        return self._worker

    async def watch(self, seen: int) -> Room:
        """See ``Worker.watch``."""
        return await self._here().watch(seen)

    async def ask(self, method: str, *args: Any) -> tuple[Any, ServerError | None, Room]:
        """See ``Worker.ask``."""
        return await self._here().ask(method, *args)

    async def events(self, asked: Asked) -> AsyncGenerator[str | ServerError, None]:
        """See ``Worker.events``."""
        async for event in self._here().events(asked):
            yield event

    async def drain(self) -> None:
        """See ``Worker.drain``."""
        await self._here().drain()

    async def key(self) -> str:
        """What its resume tokens are signed with."""
        return self._here().secret


def join(address: str, may_start: bool = True) -> bool:
    """Joins a cluster; with ``auto``, the one of this machine, or one that is started for it.

    Whether it was started, and ends with this process. Raises ``ConnectionError``, and
    ``SettingsError`` where Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ModuleNotFoundError as missing:
        why = "cluster needs Ray: pip install 'continuum-avatar[cluster]'"
        raise SettingsError(why) from missing

    if ray.is_initialized():
        return False
    about: dict[str, Any] = {"namespace": NAMESPACE, "configure_logging": False}
    try:
        ray.init(address, **about)
        return False
    except ConnectionError:
        if address != AUTO or not may_start:
            raise
    ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1", **about)
    log.info("no Ray cluster runs on this machine: one was started, for this process")
    return True


def leave() -> None:
    """Leaves the cluster; ends it, if it was started here."""
    import ray

    ray.shutdown()


def start(name: str, settings: Settings, secret: str, open_manager: OpenManager) -> Any:
    """The worker of this name: that which runs, or a new one. Blocking, milliseconds."""
    import ray

    actor = ray.remote(WorkerActor).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=0,  # a death is told at once; fronts start another one
        max_concurrency=AT_ONCE,
        num_cpus=settings.cores or CORES,
        num_gpus=1 if settings.device == "cuda" else 0,
    )
    return actor.remote(name, settings, secret, open_manager)


def running() -> dict[str, Any]:
    """The actors of the cluster's workers by name. Blocking."""
    import ray

    found = {}
    for named in ray.util.list_named_actors(all_namespaces=True):
        if named["namespace"] == NAMESPACE:
            try:
                found[named["name"]] = ray.get_actor(named["name"], NAMESPACE)
            except ValueError:  # it has ended meanwhile
                continue
    return found


def wait(answer: Any, seconds: float | None = None) -> Any:
    """What an actor answers; blocking. Raises ``TimeoutError``."""
    import ray

    return ray.get(answer, timeout=seconds)


def kill(actor: Any) -> None:
    """Ends a worker's process at once."""
    import ray

    ray.kill(actor)


def fit(settings: Settings) -> int:
    """How many workers the living machines of the cluster have resources for. Blocking."""
    import ray

    nodes = cast(Any, ray).nodes()  # without annotations
    return fitting((node["Resources"] for node in nodes if node["Alive"]), settings)


def fitting(machines: Iterable[Mapping[str, float]], settings: Settings) -> int:
    """How many workers fit on machines with these resources."""
    cores, cuda = settings.cores or CORES, settings.device == "cuda"
    return sum(
        int(min(has.get("CPU", 0) // cores, has.get("GPU", 0) if cuda else float("inf")))
        for has in machines
    )


def has_died(failure: BaseException) -> bool:
    """Whether a request failed because its worker's process has ended, or cannot be reached."""
    import ray

    return isinstance(failure, ray.exceptions.RayActorError)


async def streamed(actor: Any, asked: Asked) -> AsyncGenerator[str | ServerError, None]:
    """The events of a session of this worker."""
    async for item in actor.events.options(num_returns="streaming").remote(asked):
        yield await asyncio.wrap_future(item.future())
