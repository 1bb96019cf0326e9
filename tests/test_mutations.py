"""The list of breaks is in step with the code, and some of them are tried each time."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.mutations.__main__ import judge
from tests.mutations.breaks import ROOT, Break, Outcome, attempt, load

BREAKS = load()
CORE = {  # mechanisms of the design, each of which some breaks must take away
    "admission", "audit", "bounds", "caches", "clocks", "consent", "context", "guidance",
    "harmonising", "interrupt", "marks", "noise", "schedule", "self-checks",
}  # fmt: skip


@cache
def functions(path: str) -> frozenset[str]:
    """Names of a test file's functions; none if there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text("utf-8") if file.is_file() else "")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_break_finds_its_text_once_and_changes_it() -> None:
    astray = {b.name: b.found() for b in BREAKS if b.found() != 1 or b.old == b.new}
    assert not astray, "bring `old` of these in step with the code (times found)"


def test_every_break_names_a_test_that_is_there() -> None:
    astray = []
    for one in BREAKS:
        path, _, name = one.test.partition("::")
        there = functions(path)
        if not there or (name and name.split("[")[0] not in there):
            astray.append(f"{one.name}: {one.test}")
    assert not astray


def test_breaks_have_names_of_their_own() -> None:
    assert len({one.name for one in BREAKS}) == len(BREAKS)


def test_every_mechanism_of_the_design_is_broken_somewhere() -> None:
    broken = Counter(one.mechanism for one in BREAKS if one.mechanism)
    assert set(broken) == CORE and min(broken.values()) >= 3 and broken.total() >= 40


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dozen_breaks_are_caught() -> None:
    dozen = [one for one in BREAKS if one.fast]
    assert len(dozen) == 12
    missed = [
        (one.name, found.outcome, found.said)
        for one, found in zip(dozen, judge(dozen), strict=True)
        if found.outcome is not Outcome.CAUGHT
    ]
    assert not missed


def test_a_break_that_no_longer_fits_is_stale_not_caught(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("a = 1\na = 1\n")
    one = Break("twice", "code.py", "a = 1", "a = 2", "test_code.py")
    assert attempt(one, tmp_path).outcome is Outcome.STALE


@pytest.mark.parametrize(
    ("held", "outcome"),
    [
        ("subject.A == 1", Outcome.CAUGHT),
        ("subject.A", Outcome.SURVIVED),
        ("subject.A ==", Outcome.STALE),  # a test that cannot be read has noticed nothing
    ],
)
def test_a_break_is_caught_by_a_test_that_fails_and_is_taken_back(
    tmp_path: Path, held: str, outcome: Outcome
) -> None:
    code = tmp_path / "subject.py"
    code.write_text("A = 1\n")
    (tmp_path / "test_subject.py").write_text(
        f"import subject\n\n\ndef test_it():\n    assert {held}\n"
    )
    one = Break("another number", "subject.py", "A = 1", "A = 2", "test_subject.py")
    assert attempt(one, tmp_path).outcome is outcome
    assert code.read_text() == "A = 1\n"
