"""The governor: what is shed when frames come late, and when it is given back.

``Machine`` is a model of one: a step takes so long, depending on the scale, and what is not done in
time is late. Its seconds are counted, not waited for.
"""

from __future__ import annotations

from collections.abc import Callable

from server.media.clock import RATE
from server.media.deadline_monitor import DeadlineMonitor, FrameTiming
from server.media.timing import StreamTiming
from server.sessions.governor import MOST_S, PATIENCE_S, Governor
from tests.server.conftest import Served

BEAT = StreamTiming()
Cost = Callable[[float, int], float]  # of a scale in a second of the run


class Machine:
    """An engine that makes one step after another, each at the earliest when its audio is there."""

    def __init__(self, cost: Cost, delay_s: float = 0.25) -> None:
        self.governor = Governor()
        self.levels: list[int] = []
        self.lost = 0
        self._cost, self._delay = cost, round(delay_s * RATE)
        self._lateness = DeadlineMonitor()
        self._free = self._start = self._skipped = 0

    def run(self, seconds: int) -> list[int]:
        """The level at the end of each second."""
        for second in range(len(self.levels), len(self.levels) + seconds):
            while self._start + BEAT.chunk <= (second + 1) * RATE:
                self._step(second)
            late = self._lateness.take() + self._skipped
            self.lost += late
            self._skipped = 0
            self.governor.second(late / 25)
            self.levels.append(self.governor.level)
        return self.levels[-seconds:]

    def _step(self, second: int) -> None:
        start, needs = self._start, self._start + BEAT.chunk
        self._start += BEAT.step
        self._lateness.heard(needs, needs)
        begin = max(self._free, needs)
        if begin > start + BEAT.step + self._delay:
            self._skipped += 2
            return
        self._free = begin + round(self._cost(self.governor.scale, second) * RATE)
        for media_time in (start, start + BEAT.frame):
            self._lateness.observe(FrameTiming(media_time, start, needs), self._free, self._delay)


def test_a_machine_that_is_busy_all_the_time_but_in_time_keeps_full_quality() -> None:
    machine = Machine(lambda scale, second: 0.94 * BEAT.step_s)
    assert set(machine.run(120)) == {0} and machine.lost == 0


def test_a_machine_that_is_too_slow_sheds_size_step_by_step() -> None:
    costs = {1.0: 0.10, 0.75: 0.09, 0.5: 0.075}
    machine = Machine(lambda scale, second: costs[scale])
    levels = machine.run(14)
    assert levels[-1] == 2 and sorted(set(levels)) == [0, 1, 2]


def test_it_sheds_no_more_than_is_needed() -> None:
    machine = Machine(lambda scale, second: 0.10 if scale == 1.0 else 0.06)
    assert machine.run(15)[-1] == 1


def test_one_held_up_second_changes_nothing() -> None:
    machine = Machine(lambda scale, second: 1.5 if second == 10 else 0.04)
    assert set(machine.run(30)) == {0} and machine.lost > 0


def test_full_quality_comes_back_after_the_load_has_gone() -> None:
    machine = Machine(lambda scale, second: 0.12 if second < 20 else 0.04)
    assert machine.run(20)[-1] == 2
    levels = machine.run(3 * PATIENCE_S + 5)
    assert levels[-1] == 0
    assert levels[PATIENCE_S - 3] == 2, "but not at once"


def test_a_load_that_just_fits_the_lower_level_swings_less_and_less() -> None:
    machine = Machine(lambda scale, second: 0.09 if scale == 1.0 else 0.06)
    levels = machine.run(1200)
    returns = [i for i, (a, b) in enumerate(zip(levels, levels[1:])) if (a, b) == (1, 0)]
    waits = [b - a for a, b in zip(returns, returns[1:])]
    assert waits == sorted(waits) and waits[-1] >= MOST_S
    assert len(returns) < 10 and machine.lost / (1200 * 25) < 0.02


def test_frames_that_wait_for_a_late_packet_are_not_the_models_fault() -> None:
    lateness, held_up, delay = DeadlineMonitor(), RATE // 4, RATE // 4
    lateness.heard(BEAT.chunk, BEAT.chunk + held_up)
    ready = BEAT.chunk + held_up + RATE // 50
    assert ready > delay, "it is late"
    lateness.observe(FrameTiming(0, 0, BEAT.chunk), ready, delay)
    assert lateness.take() == 0
    lateness.observe(FrameTiming(0, 0, BEAT.chunk), ready + delay, delay)
    assert lateness.take() == 1 and lateness.take() == 0


def test_lateness_is_counted_from_when_the_audio_was_there() -> None:
    lateness = DeadlineMonitor()
    for end in range(320, 4000, 320):
        lateness.heard(end, end + 100)
    assert lateness.complete(1920) == 2020 and lateness.complete(1921) == 2340
    assert lateness.complete(9000) is None
    assert lateness.observe(FrameTiming(640, 0, 1920), 2720, 4000) == (2020, 60)


def test_whoever_comes_after_everybody_has_gone_gets_everything() -> None:
    machine = Machine(lambda scale, second: 0.12)
    assert machine.run(20)[-1] == 2
    assert machine.governor.rest() and machine.governor.scale == 1.0
    assert not machine.governor.rest(), "it has moved once"
    assert machine.run(1) == [0], "nothing of the load before counts"


async def test_the_next_caller_gets_full_pictures(served: Served) -> None:
    manager = served.manager
    manager.load.governor.level = 2
    await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    assert manager.sessions[0].level == 0
    manager.load.governor.level = 2  # somebody is here: the machine is what it is
    await (await served.http.post("/v1/sessions", json={"avatar": "tomo"})).json()
    assert manager.sessions[1].level == 2
