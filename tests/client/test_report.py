"""Figures are what was put into a trace, whatever noise is around them."""

from __future__ import annotations

import numpy as np
import pytest

from client import budgets, onsets, report, voice
from client.receive import SenderClock, Sound
from client.trace import GRID, Seen, Trace
from server.media.frame_marker import SOURCE, FrameMarker
from tests.client.conftest import RATE, babble

NTP = 2_208_988_800
EMPTY = np.zeros((GRID, GRID), np.float32)


def seen(
    index: int, delay_s: float, mark: FrameMarker | None = None, cells: np.ndarray | None = None
) -> Seen:
    """Frame ``index`` of a stream whose microphone began at second 100."""
    at = 100 + index / 25 + delay_s
    sample = index * 1920
    drawn = np.zeros((GRID, GRID), np.float32) if cells is None else cells
    mark = mark or FrameMarker(index * 640, sample, SOURCE)
    return Seen(index * 3600, at - 0.004, at, 6000, mark, sample, drawn)


def test_latency_is_from_a_frames_first_sample_to_its_decoding() -> None:
    frames = [seen(i, 0.2 + 0.1 * (i % 10 == 0)) for i in range(100)]
    _, late = report.latencies(frames, 100.0)
    spread = report.spread(late)
    assert spread is not None
    assert spread["p50"] == pytest.approx(200, abs=0.5)
    assert spread["p99"] == pytest.approx(300, abs=0.5)
    assert spread["count"] == 100


def test_a_repeated_frame_is_counted_as_a_repeat_not_as_a_late_one() -> None:
    frames = [seen(i, 0.2) for i in range(50)]
    frames.insert(20, seen(20, 0.2, frames[19].mark))
    _, late = report.latencies(frames, 100.0)
    assert len(late) == 50
    assert report.smoothness(frames)["repeats"] == 1


def test_a_jump_is_counted_in_frames_and_a_long_gap_is_a_freeze() -> None:
    frames = [seen(i, 0.2) for i in range(50) if not 20 <= i < 35]
    figures = report.smoothness(frames)
    assert figures["skips"] == 15 and figures["freezes"] == 1
    assert figures["frozen_s"] == pytest.approx(0.64, abs=0.01)


def test_frames_are_counted_at_the_models_own_rate() -> None:
    frames = [
        Seen(i * 5625, 100 + i / 16, 100 + i / 16, 6000, FrameMarker(i * 1000, 0, SOURCE), 0, EMPTY)
        for i in range(64)
        if not 20 <= i < 25
    ]
    assert (
        report.frame_rate([(0.0, {"type": "quality"}), (0.1, {"type": "ready", "fps": 16})]) == 16
    )
    assert report.smoothness(frames, 16.0)["skips"] == 5
    line = next(b for b in budgets.check({"frame_rate": 16.0, "smoothness": {"fps": 15.8}})
                if b.budget.more_is_better)  # fmt: skip
    assert (line.budget.must, line.verdict) == (pytest.approx(15.68), "met")


def test_bitrate_is_of_the_second_before() -> None:
    frames = [seen(i, 0.2) for i in range(25 * 6)]
    assert report.bitrates(frames) == {"1_s": 1200.0, "5_s": 1200.0, "20_s": None}


def test_drift_is_the_slope_not_the_noise() -> None:
    at = np.arange(0, 60, 0.04)
    noise = np.random.default_rng(0).normal(0, 3, len(at))
    drift = report.drift_per_hour(at, 10 + at / 3600 * 600 + noise)
    assert drift is not None and abs(drift - 600) < 60
    assert report.drift_per_hour(at[:100], noise[:100]) is None


@pytest.mark.parametrize("lag_ms", [80, 230, 400])
def test_the_returned_voice_is_found_to_a_tenth_of_a_millisecond(lag_ms: int) -> None:
    sent = babble(9)
    lag = lag_ms * RATE // 1000
    noise = np.random.default_rng(1).normal(0, 200, len(sent))
    back = np.concatenate([np.zeros(lag), sent])[: len(sent)] * 0.5 + noise
    heard = [
        Sound(5_000_000 + at, 100 + at / RATE, 100, back[at : at + 960].astype(np.int16))
        for at in range(0, len(sent), 960)
    ]
    found = voice.echoes(heard, sent, lambda at_s: int((at_s - 100) * RATE))
    assert len(found) >= 8
    assert max(abs(e.rtp - 5_000_000 - e.sample - lag) for e in found) <= RATE // 10_000


def test_silence_has_no_echo() -> None:
    heard = [Sound(i * 960, 100 + i / 50, 3, np.zeros(960, np.int16)) for i in range(200)]
    assert voice.echoes(heard, babble(4), lambda at_s: int((at_s - 100) * RATE)) == []


def test_the_offset_between_picture_and_sound_is_what_a_player_would_show() -> None:
    video, audio = SenderClock(90_000), SenderClock(48_000)
    video.report((NTP + 1000) << 32, 0)
    audio.report((NTP + 1000) << 32, 0)
    lag = 9600  # sound returns 200 ms late, its frames leave 230 ms late
    heard = [
        Sound(at, 100 + at / RATE, 100, np.zeros(960, np.int16)) for at in range(0, 480_000, 960)
    ]
    frames = [
        Seen(one.rtp + 20_700, one.arrived_s, one.decoded_s, 1, one.mark, one.sample, one.cells)
        for one in (seen(i, 0.234) for i in range(200))
    ]
    echoes = [voice.Echo(s, s + lag + voice.CODEC) for s in range(0, 400_000, 24_000)]
    apart = report.offsets(Trace(frames, heard), echoes, video, audio, 100.0)
    assert len(apart.by_clock) > 150
    assert np.abs(apart.by_clock - 30).max() < 0.1
    assert np.abs(apart.by_arrival - 30).max() < 20.1


def test_an_onset_is_seen_where_the_mouth_moves() -> None:
    pcm, rng = babble(15), np.random.default_rng(2)
    late_s = 0.22
    level = onsets.loudness(pcm)
    frames, mouth = [], 0.0
    for index in range(15 * 25):
        cells = rng.normal(100, 0.3, (GRID, GRID)).astype(np.float32)
        hop = int((index / 25) * 100)
        mouth = level[hop] / 400 * (1 if index % 2 else -1)
        cells[20:22, 14:18] += mouth
        frames.append(seen(index, late_s, cells=cells))
    found = onsets.delays(frames, pcm, 100.0, late_s)
    assert len(found) >= 4
    assert all(late_s - 0.01 <= delay <= late_s + 0.09 for delay in found)


def test_a_budget_that_could_not_be_measured_is_not_met() -> None:
    lines = budgets.check({"latency_ms": {"p50": 200.0, "p95": 500.0}, "smoothness": {"fps": 25.0}})
    verdicts = {line.budget.name: line.verdict for line in lines}
    assert verdicts["microphone to frame, p50, ms"] == "met"
    assert verdicts["microphone to frame, p95, ms"] == "missed"
    assert verdicts["frames a second"] == "met"
    assert verdicts["interrupt to idle, ms"] == "unknown"
    assert "missed" in budgets.table(lines)


def test_a_delay_that_moves_within_a_second_is_followed() -> None:
    sent, moves_at = babble(6.0), 110 * 960  # in the middle of a second that is correlated
    heard = [
        Sound(at, at / 48_000 + 0.5, 80, sent[at - late : at - late + 960])
        for at in range(24_000, 280_000, 960)
        for late in [14_400 if at < moves_at else 19_200]
    ]
    found = voice.echoes(heard, sent, lambda at_s: int((at_s - 0.5) * 48_000))
    apart = [echo for echo in found if abs(echo.rtp - moves_at) > 12_000]
    late = {echo.rtp - echo.sample - (14_400 if echo.rtp < moves_at else 19_200) for echo in apart}
    assert len(apart) >= 10 and max(map(abs, late)) <= voice.STEP
