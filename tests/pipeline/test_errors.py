"""The exception tree: what a caller may rely on without reading messages."""

from __future__ import annotations

from collections.abc import Iterator

import pipeline.errors as errors
from pipeline.errors import ContinuumError


def tree(root: type[ContinuumError] = ContinuumError) -> Iterator[type[ContinuumError]]:
    for child in (c for c in root.__subclasses__() if c.__module__ == errors.__name__):
        yield child
        yield from tree(child)


def test_every_error_has_its_own_stable_code() -> None:
    codes = [error.__dict__["code"] for error in tree()]
    assert len(codes) == len(set(codes)) > 20
    assert all(code == code.lower() and " " not in code for code in codes)


def test_every_error_is_drawn_in_the_module_docstring() -> None:
    assert errors.__doc__ is not None
    missing = [error.__name__ for error in tree() if error.__name__ not in errors.__doc__]
    assert not missing


def test_leaves_of_one_branch_are_caught_by_the_branch() -> None:
    assert issubclass(errors.ConsentRevoked, errors.ConsentError)
    assert issubclass(errors.OutputFull, errors.OutputError)
    assert not issubclass(errors.OutputFull, errors.ConsentError)


def test_only_conditions_that_pass_by_themselves_are_retryable() -> None:
    retryable = {error.code for error in tree() if error.retryable}
    assert retryable == {"grant_expired", "registry_unavailable", "stream_overrun", "output_full"}
