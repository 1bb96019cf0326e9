"""Registries, pictures and people of the consent tests."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.consent import (
    ConsentGate,
    ConsentGrant,
    ConsentRecord,
    Kind,
    Registry,
    RegistryOverrides,
    Scope,
)
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.records import new_record, sha256_of


class Clock:
    """Wall-clock seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Office:
    """A registry with shorthand for what operators do."""

    registry: Registry
    clock: Clock

    def write(self, picture: bytes = b"a picture", **changes: object) -> ConsentRecord:
        """A good record of an adult's own picture, changed as asked."""
        record = new_record(
            subject="Ada Example",
            kind=Kind.SELF,
            statement="I agree to be rendered.",
            image_sha256=sha256_of(picture),
            now=self.registry.clock(),
            adult=True,
            fingerprint=PLAIN,
        )
        return self.registry.add(replace(record, **changes))  # type: ignore[arg-type]

    def verified(self, **changes: object) -> ConsentRecord:
        """A record with challenge and evidence whose checks have passed."""
        code = self.registry.challenges.issue("Ada Example", actor="test").code
        record = replace(
            self.draft(),
            challenge=code,
            **changes,  # type: ignore[arg-type]
        )
        added = self.registry.add(record, evidence=b"a recording")
        passed = dict.fromkeys(("transcript", "face", "voice"), "passed")
        return self.registry.verify(added.id, passed, "a test")  # type: ignore[arg-type]

    def draft(self) -> ConsentRecord:
        """A good record, not written."""
        return new_record(
            subject="Ada Example",
            kind=Kind.SELF,
            statement="I agree.",
            image_sha256=sha256_of(b"a picture"),
            now=self.registry.clock(),
            adult=True,
            fingerprint=PLAIN,
        )

    def ask(self, record: ConsentRecord, **changes: object) -> ConsentGrant:
        """Asks the gate for a record's own picture."""
        request = {
            "avatar": "ada",
            "image_sha256": record.image_sha256,
            "scope": Scope.LIVE,
            "consent_id": record.id,
        }
        return ConsentGate(self.registry).grant(**(request | changes))  # type: ignore[arg-type]

    def actions(self) -> list[str]:
        """What the audit log tells, without what every registry begins with."""
        return [e.action for e in self.registry.log.entries() if e.action != "denial.seeded"]


Opened = Callable[..., Office]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A place for a fresh registry: a file, and a database of a server of our own."""
    if request.param == "sqlite":
        return tmp_path / "consents.sqlite"
    return str(request.getfixturevalue("postgres")(tmp_path.name))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    clock = Clock()
    registry = Registry(tmp_path / "consents.sqlite", clock)
    yield Office(registry, clock)
    registry.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens registries that are set up in another way."""
    made: list[Registry] = []

    def open_office(where: Path | str = tmp_path / "consents.sqlite", **setup: object) -> Office:
        clock = Clock()
        setup.setdefault("vault", tmp_path / "vault")
        made.append(Registry(where, clock, RegistryOverrides(**setup)))  # type: ignore[arg-type]
        return Office(made[-1], clock)

    yield open_office
    for registry in made:
        registry.close()


def photo(seed: int, size: int = 320) -> Image.Image:
    """A picture with enough corners to be known again: blots of many sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 120.0)
    y, x = np.mgrid[:size, :size]
    for _ in range(90):
        cx, cy = rng.uniform(0, size, 2)
        half = rng.uniform(4, 40)
        inside = (abs(x - cx) < half) & (abs(y - cy) < half * rng.uniform(0.5, 2))
        image[inside] = rng.uniform(0, 255, 3)
    return Image.fromarray(image.astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server for the tests alone, on a socket of its own; makes databases."""
    tools = _postgres_tools()
    if tools is None:
        pytest.skip("no PostgreSQL server is installed (package postgresql)")
    pytest.importorskip("psycopg", reason="no PostgreSQL driver is installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 bytes
    account = _account(folder)
    data = folder / "data"
    run = [*account, str(tools / "initdb"), "-D", str(data), "-U", "continuum", "-A", "trust"]
    subprocess.run([*run, "--no-sync"], check=True, capture_output=True)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    control = [*account, str(tools / "pg_ctl"), "-D", str(data), "-w"]
    log = folder / "log"
    subprocess.run(
        [*control, "-o", options, "-l", str(log), "start"], check=True, capture_output=True
    )

    def database(name: str) -> str:
        import psycopg

        clean = "t_" + "".join(c if c.isalnum() else "_" for c in name.lower())
        address = f"host={folder} user=continuum dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{clean}"'.encode())
        return f"postgresql://continuum@/{clean}?host={folder}"

    yield database
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    shutil.rmtree(folder)


def _postgres_tools() -> Path | None:
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    return next(iter(packaged), Path(found).parent if found else None)


def _account(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root; then it runs as the account that its package makes."""
    if os.getuid() != 0:
        return []
    if shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    shutil.chown(folder, "postgres")
    return ["runuser", "-u", "postgres", "--"]
