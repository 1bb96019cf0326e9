"""Handles of the consent registry, closed by one thread while others are inside.

A round opens a handle, lets threads use it without pause, and closes it at a moment that the seed
chooses. Every use must end with an answer or with ``RegistryUnavailable``; anything else, a crash
above all, is a fault. Most rounds are of the smallest handle, the one that each step of generation
asks; the others are of whole databases, with writers and readers.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from pipeline.consent.changes import FileChanges
from pipeline.consent.database import Database
from pipeline.errors import RegistryUnavailable

USERS: Final = 3
WHOLE: Final = 50  # of so many rounds one is of a whole database
_MOST_SPINS: Final = 400
_SWITCH_S: Final = 1e-5  # how long a thread runs before another may: closes fall into uses


class Closing(Protocol):
    """What is closed."""

    def close(self) -> None: ...


def run(rounds: int, seed: int) -> dict[str, int]:
    """Counts of rounds, answers and refusals. Raises ``AssertionError`` with what went wrong."""
    rng, counts = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, _restless():
        path = Path(folder) / "registry.sqlite"
        Database(path).close()
        for number in range(rounds):
            if number % WHOLE:
                changes = FileChanges(path)
                _round(changes, [changes.revision] * USERS, rng, counts)
            else:
                database = Database(path)
                _round(database, _uses(database), rng, counts)
    counts["rounds"] = rounds
    return dict(counts)


def _uses(database: Database) -> list[Callable[[], object]]:
    def write() -> None:
        with database.write(durable=False) as connection:
            database.bump(connection)

    return [database.revision, database.changes, write]


def _round(
    handle: Closing, uses: list[Callable[[], object]], rng: random.Random, counts: Counter[str]
) -> None:
    """Threads use the handle; it is closed under them, at their start or amid their uses, twice;
    then nobody is inside."""
    closed, faults = threading.Event(), list[BaseException]()
    ready = threading.Barrier(len(uses) + 1)
    answers = [0] * len(uses)

    def work(number: int, use: Callable[[], object]) -> None:
        ready.wait()
        try:
            while True:
                last = closed.is_set()  # what begins after the closing has ended must be refused
                use()
                answers[number] += 1
                assert not last, "a closed handle answered"
        except RegistryUnavailable:
            return
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=each) for each in enumerate(uses)]
    for thread in threads:
        thread.start()
    ready.wait()
    spins, amid = rng.randrange(_MOST_SPINS), rng.random() < 0.5
    while amid and not any(answers) and not faults:  # in half of the rounds uses are under way
        pass
    for _ in range(spins):
        pass
    handle.close()
    closed.set()
    handle.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread stayed inside a closed handle"
    if faults:
        raise AssertionError(f"a use ended with {faults[0]!r}") from faults[0]
    counts["answers"] += sum(answers)
    counts["refused"] += len(uses)


@contextmanager
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
