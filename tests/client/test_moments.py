"""Pictures and sound that left together are given out together, whatever comes late or never."""

from __future__ import annotations

import numpy as np
from av import VideoFrame

from client.moments import LATE_S, RATE, Moment, Moments

BLOCK = 960


def picture() -> VideoFrame:
    return VideoFrame(16, 16, "rgb24")


def block(value: int) -> np.ndarray:
    return np.full(BLOCK, value, np.int16)


def fed(moments: Moments, pictures: list[int], blocks: list[int]) -> list[Moment]:
    """Pictures by number (40 ms), blocks of sound by number (20 ms, value is the number)."""
    for index in pictures:
        moments.picture(100 + index * 0.04, picture())
    for index in blocks:
        moments.sound(100 + index * 0.02, block(index))
    return list(moments.ready())


def test_a_moment_is_a_picture_and_its_samples() -> None:
    moments = Moments()
    shown = [picture(), picture()]
    for index, frame in enumerate(shown):
        moments.picture(100 + index * 0.04, frame)
    assert fed(moments, [], [0, 1, 2]) and not fed(moments, [], [])
    (moment,) = fed(moments, [], [3])
    assert moment.picture is shown[1] and set(moment.pcm) == {2, 3}
    assert abs(moment.sent_at - 100.04) < 1e-6 and abs(moment.ends_at - 100.08) < 1e-6


def test_a_picture_that_is_late_is_waited_for_then_the_last_one_is_repeated() -> None:
    moments = Moments()
    (first,) = fed(moments, [0], [0, 1])
    assert not fed(moments, [], [2, 3, 4])
    (late,) = fed(moments, [], range(5, 5 + round(LATE_S / 0.02)))
    assert late.picture is first.picture and set(late.pcm) == {2, 3}


def test_sound_that_never_comes_is_silence() -> None:
    moments = Moments()
    assert len(fed(moments, [0], [0, 1])) == 1
    given = fed(moments, [1, 2, 3, 4, 5], [3])
    assert set(given[0].pcm[:BLOCK]) == {0} and set(given[0].pcm[BLOCK:]) == {3}


def test_a_hush_lasts_from_the_next_moment_to_where_new_speech_begins() -> None:
    moments = Moments()
    fed(moments, [0], [0, 1])
    assert abs(moments.hush() - 100.04) < 1e-6
    (faded,) = fed(moments, [1], [2, 3])
    assert set(faded.pcm[240:]) == {0}
    moments.speak_from(100 + 0.02 * 5)
    (half,) = fed(moments, [2], [4, 5])
    assert set(half.pcm[:BLOCK]) == {0} and set(half.pcm[BLOCK:]) == {5}
    moments.hush()
    assert moments.hush() == moments.hush()
    moments.speak_from(0.0)
    assert set(fed(moments, [3], [6, 7])[0].pcm) == {6, 7}


def test_another_timeline_begins_anew() -> None:
    moments = Moments()
    assert len(fed(moments, [0], [0, 1])) == 1
    assert len(fed(moments, [1000], [2000, 2001])) == 1
    moments.sound(900.0, block(1))
    assert len(fed(moments, [0], [0, 1])) == 1
    assert RATE // 25 == 2 * BLOCK
