"""Attention reused across steps: the table, the memory, and the search for a table."""

from __future__ import annotations

import pytest
import torch

from pipeline.attention.cache import AttentionCache, Reuse, propose


def test_a_table_names_every_block_of_every_step() -> None:
    table = Reuse.of(3, 4, [(1, 2), (2, 2), (2, 3)])
    assert table.steps == ("FFFF", "FFRF", "FFRR")
    assert (table.blocks, table.reused) == (4, 3)
    assert Reuse.of(2, 3) == Reuse(("FFF", "FFF"))


@pytest.mark.parametrize("steps", [(), ("FR", "FF"), ("FF", "FX"), ("FF", "FRF")])
def test_tables_that_make_no_sense_are_refused(steps: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="reuse must be words|not equally many"):
        Reuse(steps)


def test_an_output_is_given_back_until_it_is_computed_again() -> None:
    cache = AttentionCache(Reuse(("F", "R", "R", "F", "R")))
    first, second = torch.ones(1), torch.zeros(1)
    assert cache.recall(0, 0) is None
    cache.keep(0, 0, first)
    assert cache.recall(1, 0) is first and cache.recall(2, 0) is first
    assert cache.recall(3, 0) is None
    cache.keep(3, 0, second)
    assert cache.recall(4, 0) is second
    assert cache.hits == 3


def test_nothing_is_held_that_will_not_be_asked_for() -> None:
    cache = AttentionCache(Reuse(("FF", "FR", "FF")))
    for block in range(2):
        cache.keep(0, block, torch.zeros(1))
    assert list(cache._kept) == [1]
    cache.keep(2, 1, torch.zeros(1))
    assert not cache._kept


def test_the_search_reuses_all_it_can_within_the_budget() -> None:
    """Each place costs its own amount and costs add: the best table is the cheapest places."""
    cost = {(i, b): 0.01 * (b + 1) * i for i in (1, 2) for b in range(4)}
    runs = []

    def error(table: Reuse) -> float:
        runs.append(table)
        return sum(c for (i, b), c in cost.items() if table.steps[i][b] == "R")

    found = propose(error, steps=3, blocks=4, budget=0.08)
    assert error(found) <= 0.08
    assert found.reused == 4  # 0.01 + 0.02 + 0.02 + 0.03
    assert len(runs) <= 8 + 4 + 1


def test_the_search_reuses_nothing_where_everything_costs_too_much() -> None:
    assert propose(lambda table: float(table.reused), 3, 5, 0.5) == Reuse.of(3, 5)
