"""Workers in numbers: one page of Prometheus text for all of them, and a row of a table each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from server.cluster.room import Room


def row(room: Room) -> dict[str, object]:
    """A worker for ``continuum workers`` and ``/healthz``."""
    return {
        "worker": room.worker,
        "node": room.node,
        "pid": room.pid,
        "model": room.model,
        "door": room.door,
        "slots": room.total,
        "taken": room.taken,
        "free": room.free,
        "avatars": list(room.ready),
        "problem": room.problem,
    }


class _Joined(Collector):
    def __init__(self, texts: Mapping[str, bytes], rooms: Iterable[Room]) -> None:
        self._texts, self._rooms = texts, list(rooms)

    def collect(self) -> Iterator[Metric]:
        """Families of all workers, each sample with its worker's name."""
        families: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for found in text_string_to_metric_families(text.decode()):
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    labels = {**sample.labels, "worker": worker}
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()
        free = GaugeMetricFamily(
            "continuum_free_slots", "Sessions that a worker takes now", labels=["worker"]
        )
        for room in self._rooms:
            free.add_metric([room.worker], room.free)
        yield free


def joined(texts: Mapping[str, bytes], rooms: Iterable[Room]) -> bytes:
    """The pages of several workers as one."""
    registry = CollectorRegistry()
    registry.register(_Joined(texts, rooms))
    return generate_latest(registry)
