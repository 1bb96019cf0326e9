"""A short share of the stress of files, decoders and detectors across threads."""

from __future__ import annotations

import pytest

from benchmarks.stress import files


@pytest.mark.timeout(240)
def test_files_read_rendered_and_called_off_by_many_threads_leave_nothing_behind() -> None:
    counts = files.run(60, seed=11)
    assert sum(counts.values()) == 60 and len(counts) == len(files._WORKS) + 1
