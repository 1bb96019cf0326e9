"""A caller whose network is away may come back; meanwhile the slot is for whoever asks."""

from __future__ import annotations

import pytest

from server.errors import NoSlot
from server.sessions.admission import Slots


def full() -> Slots:
    slots = Slots()
    slots.open(2)
    assert slots.take("a") is None and slots.take("b") is None
    return slots


def test_a_parked_session_holds_no_slot_and_goes_only_when_it_is_needed() -> None:
    slots = full()
    slots.park("a")
    assert slots.taken == 1
    assert slots.take("c") == "a" and slots.taken == 2
    with pytest.raises(NoSlot):
        slots.take("d")


def test_one_that_comes_back_in_time_holds_its_slot_again() -> None:
    slots = full()
    slots.park("a")
    slots.resume("a")
    assert slots.taken == 2
    with pytest.raises(NoSlot):
        slots.take("c")


def test_there_is_room_beside_a_parked_session_while_there_is_room() -> None:
    slots = Slots()
    slots.open(2)
    slots.take("a")
    slots.park("a")
    assert slots.take("b") is None and slots.taken == 1


def test_one_that_ends_while_parked_leaves_nothing() -> None:
    slots = full()
    slots.park("a")
    slots.give_back("a")
    slots.park("a")
    assert slots.taken == 1 and slots.take("c") is None
