"""The render benchmark measures what it says: every stage, each second once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.render import STAGES, Clocks, Row, table, write_speech
from pipeline.media.audio_file import open_audio, speech


class Ticks:
    """A clock that work moves by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_inside_an_inner_stage_is_not_counted_twice() -> None:
    ticks = Ticks()
    clocks = Clocks(ticks)

    def pose() -> None:
        ticks.now += 2.0

    def draw() -> None:
        ticks.now += 1.0
        clocks.around("pose", pose)()
        clocks.around("pose", pose)()
        ticks.now += 3.0

    for _ in range(2):
        clocks.around("draw", draw)()
    assert clocks.seconds == {"pose": 8.0, "draw": 8.0}


def test_every_stage_has_a_place_in_the_pipeline_and_is_left_as_it_was() -> None:
    from pipeline.models.mini.painter import FrameRenderer

    paint = FrameRenderer.paint
    clocks = Clocks()
    with clocks.wound():
        assert FrameRenderer.paint is not paint
    assert FrameRenderer.paint is paint


def test_made_up_speech_is_loud_and_pauses(tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav", 8.0)
    sound = np.concatenate(list(speech(open_audio(path))))
    assert len(sound) == 8 * 16_000
    loud = np.abs(sound).reshape(-1, 160).max(axis=1)
    assert loud.max() > 0.2 and (loud < 0.02).mean() > 0.2


def test_the_table_shows_every_stage_of_every_size() -> None:
    times = dict.fromkeys(STAGES, 1.5)
    rows = [Row(s, "parallel", 30.0, 1.25, 2.0, 1.0, times, {"render": 600.0}) for s in (256, 512)]
    lines = table(rows).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert all(stage in lines[0] for stage in STAGES)
