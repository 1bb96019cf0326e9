"""Errors in work that several streams share: each error belongs to its own stream.

A ``Failed`` takes the place of a result and raises its error when it is iterated. Pure: knows no
stream and no tensor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Failed:
    """Stands for what was to be made; going through it raises the error."""

    error: Exception

    def __iter__(self) -> Iterator[Any]:
        raise self.error


def attempt(work: Callable[[], T]) -> T | Failed:
    """What ``work`` returns, or the exception that it raises."""
    try:
        return work()
    except Exception as error:
        return Failed(error)


def then(outcome: T | Failed, work: Callable[[T], U]) -> U | Failed:
    """What ``work`` makes of an outcome; a failure stays what it is."""
    return outcome if isinstance(outcome, Failed) else attempt(lambda: work(outcome))


def of_all(
    work: Callable[[list[T]], Sequence[U | Failed]], items: Sequence[T | Failed]
) -> list[U | Failed]:
    """What ``work`` makes of all that have not failed; it answers with an outcome for each."""
    well = [item for item in items if not isinstance(item, Failed)]
    made = iter(work(well) if well else ())
    return [item if isinstance(item, Failed) else next(made) for item in items]


def batched(
    work: Callable[[list[T]], Sequence[U]], items: Sequence[T | Failed]
) -> list[U | Failed]:
    """What ``work`` makes of all that have not failed, at once; if that raises, of each alone.

    ``work`` returns one result for each, and must leave nothing behind when it raises.
    """
    return of_all(partial(_together_or_apart, work), items)


def _together_or_apart(work: Callable[[list[T]], Sequence[U]], items: list[T]) -> list[U | Failed]:
    try:
        return list(work(items))
    except Exception as error:
        if len(items) == 1:
            return [Failed(error)]
        log.warning("a batch of %d failed, each goes alone: %r", len(items), error)
    return [attempt(partial(_alone, work, item)) for item in items]


def _alone(work: Callable[[list[T]], Sequence[U]], item: T) -> U:
    (made,) = work([item])
    return made
