"""Speech that waits: of as many persons as the stream has, and of no other number."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.streaming.speech_backlog import SpeechBacklog


@pytest.mark.parametrize(
    ("persons", "shape", "wanted"),
    [(2, (640,), r"\(N, 2\)"), (2, (640, 3), r"\(N, 2\)"), (1, (640, 2), r"\(N,\)"), (1, (), "N")],
)
def test_speech_of_another_number_of_persons_is_refused(
    persons: int, shape: tuple[int, ...], wanted: str
) -> None:
    backlog = SpeechBacklog(persons)
    with pytest.raises(ValueError, match=f"speech is .*{wanted}.* here, not"):
        backlog.push(np.zeros(shape, np.float32))
    assert len(backlog) == 0


def test_speech_of_two_persons_stays_in_rows() -> None:
    backlog = SpeechBacklog(2)
    both = np.arange(8, dtype=np.float32).reshape(4, 2) / 10
    backlog.push(both)
    backlog.pad(3)
    assert (backlog.take(4) == both).all() and len(backlog) == 3
