"""One Ray cluster on this machine, with room for three workers, for tests marked ``cluster``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import Settings

ROOT = Path(__file__).parents[3]
WORKERS, SLOTS = 3, 4


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Workers are the fake model's; nothing leaves loopback."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT), RAY_DEDUP_LOGS="0")
    pytest.importorskip("ray")
    import ray

    from server.cluster.actors import NAMESPACE

    ray.init(
        "local",
        num_cpus=2 * WORKERS,
        object_store_memory=80_000_000,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        namespace=NAMESPACE,
    )
    yield
    ray.shutdown()


@pytest.fixture
def cluster_settings(ray_cluster: None, tmp_path: Path) -> Settings:
    """Three workers of four slots."""
    keys = str(tmp_path / "keys.sqlite")
    return Settings(cluster="auto", slots=SLOTS, cores=2, keys=keys, drain_s=5.0, grace_s=3.0)
