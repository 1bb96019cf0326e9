"""Fixtures of the Wan tests: one thread, a consent registry, a grant in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.consent import ConsentGate, ConsentGrant, Kind, Registry, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.registry import new_record
from tests.pipeline.models.wan.whole import SHA


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "consent.db")
    yield registry
    registry.close()


@pytest.fixture
def grant(registry: Registry) -> ConsentGrant:
    record = new_record(
        subject="a test picture",
        kind=Kind.SYNTHETIC,
        statement="not a person",
        image_sha256=SHA,
        adult=True,
        fingerprint=PLAIN,
    )
    registry.add(record)
    return ConsentGate(registry).grant(
        avatar="test", image_sha256=SHA, scope=Scope.LIVE, consent_id=record.id
    )
