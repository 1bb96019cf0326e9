"""Playout: which frame and which samples are due, and how the delay follows lateness."""

import numpy as np
import pytest

from server.media.clock import SessionClock
from server.media.deadline_monitor import FrameTiming
from server.media.playout import (
    BLOCK,
    RATIO_48K_16K,
    SLEW,
    AudioRing,
    Delay,
    DelayLimits,
    FinishedFrame,
    Playout,
    ms,
)
from server.media.timing import StreamTiming

FRAME = StreamTiming().frame


def shot(index: int) -> FinishedFrame:
    at = index * FRAME
    return FinishedFrame(index, FrameTiming(at, at, at), f"picture {index}")


def ramp(start: int, size: int) -> np.ndarray:
    return (np.arange(start, start + size) % 20_000).astype(np.int16)


def playing(delay_ms: int = 200) -> Playout:
    limits = DelayLimits(start=ms(delay_ms), least=ms(delay_ms), most=ms(delay_ms))
    return Playout(limits)


def test_a_frame_and_the_audio_of_its_media_time_are_due_together() -> None:
    playout = playing()
    playout.voice.write(0, ramp(0, 48_000))
    due = playout.due(5)
    assert playout.index_at(due) == 5 and playout.index_at(due - 1) == 4
    assert np.array_equal(
        playout.audio(due), ramp(5 * FRAME * RATIO_48K_16K, BLOCK * RATIO_48K_16K)
    )


def test_the_newest_frame_that_is_due_is_shown_and_repeated_when_the_next_is_late() -> None:
    playout = playing()
    for index in range(3):
        playout.add(shot(index))
    assert playout.frame(1) == (shot(1), True)
    assert playout.frame(1) == (shot(1), False)
    assert playout.frame(9) == (shot(2), True)
    assert playout.frame(10) == (shot(2), False)


def test_a_frame_older_than_what_was_shown_is_refused() -> None:
    playout = playing()
    playout.add(shot(7))
    playout.frame(7)
    assert not playout.add(shot(6)) and playout.frame(8) == (shot(7), False)


def test_nothing_is_shown_before_the_first_frame() -> None:
    assert playing().frame(3) == (None, False)


def test_audio_never_waits_for_frames() -> None:
    playout = playing()
    playout.voice.write(0, ramp(0, 48_000))
    heard = [playout.audio(ms(200) + n * BLOCK) for n in range(40)]
    assert np.array_equal(np.concatenate(heard), ramp(0, 40 * BLOCK * RATIO_48K_16K))


def test_an_interrupt_leaves_silence_and_no_frame() -> None:
    playout = playing()
    playout.voice.write(0, np.full(48_000, 9000, np.int16))
    for index in range(8):
        playout.add(shot(index))
    now = playout.due(4)
    playout.clear(playout.playing(now))
    assert playout.frame(7) == (None, False)
    assert not playout.audio(now + ms(5)).any()
    assert 0 < np.abs(np.diff(playout.audio(now).astype(int))).max() < 100, "the cut must not click"


def test_voice_forgets_what_is_older_than_its_capacity() -> None:
    voice = AudioRing(capacity_s=1.0)
    voice.write(0, ramp(1, 96_000))
    assert not voice.read(0, 100).any()
    assert np.array_equal(voice.read(95_000, 1000), ramp(95_001, 1000))
    assert not voice.read(96_000, 10).any() and not voice.read(-50, 10).any()


def test_what_was_never_written_is_silence() -> None:
    voice = AudioRing()
    voice.write(0, ramp(1, 100))
    voice.write(200, ramp(1, 100))
    assert not voice.read(100, 100).any() and voice.read(200, 100).any()


def following(start_ms: int = 230) -> Delay:
    return Delay(DelayLimits(start=ms(start_ms), least=ms(140), most=ms(450), margin=ms(10)))


def test_the_delay_stays_until_enough_frames_were_seen() -> None:
    delay = following()
    delay.observe(ms(20))
    delay.reckon()
    assert delay.move(speaking=False) == 0


def test_a_fast_model_shortens_the_delay_at_once_in_silence() -> None:
    delay = following()
    for _ in range(100):
        delay.observe(ms(40))
    delay.reckon()
    assert delay.move(speaking=True) == 0, "speech is shortened where it is like itself"
    while delay.move(speaking=False):
        pass
    assert abs(delay.samples - ms(170)) < ms(6)


def test_a_slow_model_lengthens_it_at_once_in_silence_and_gently_in_speech() -> None:
    delay = following(170)
    for _ in range(100):
        delay.observe(ms(120))
    delay.reckon()
    assert delay.move(speaking=True) == SLEW
    assert delay.move(speaking=False) > ms(50)


def test_the_delay_has_an_upper_bound_whatever_happens() -> None:
    delay = following()
    for _ in range(200):
        delay.observe(ms(5000))
    delay.reckon()
    delay.move(speaking=False)
    assert delay.samples == ms(450)


def test_late_packets_lengthen_the_delay() -> None:
    delay = following()
    for _ in range(100):
        delay.observe(ms(40))
    delay.jitter = ms(100)
    delay.reckon()
    delay.move(speaking=False)
    assert delay.samples == ms(270)


def buzz(seconds: float) -> np.ndarray:
    """Voiced speech: a pitch of 125 Hz with overtones, and syllables."""
    at = np.arange(int(seconds * 48_000)) / 48_000
    wave = sum(np.sin(2 * np.pi * 125 * n * at + n * n) / n for n in range(1, 20))
    return (3000 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at))).astype(np.int16)


def after_a_storm(wave: np.ndarray) -> Playout:
    """The delay is 200 ms longer than what frames need by now."""
    playout = Playout(DelayLimits(start=ms(400), least=ms(150), most=ms(450)))
    playout.voice.write(0, wave)
    for took in [ms(250)] * 100 + [ms(40)] * 40:
        playout.delay.observe(took)
    playout.delay.reckon()
    return playout


def test_what_frames_no_longer_need_is_given_back_soon_after_the_last_that_did() -> None:
    playout = after_a_storm(buzz(1))
    assert playout.delay.excess > ms(190)


def test_the_delay_comes_down_within_speech_and_nobody_hears_it() -> None:
    wave = buzz(4)
    playout, now, heard = after_a_storm(wave), ms(500), []
    for _ in range(int(1.5 / 0.02)):
        grew = playout.move(now, speaking=True)
        assert -ms(10) <= grew <= 0
        heard.append(playout.audio(now, grew))
        now += BLOCK
    assert playout.delay.excess <= ms(40)
    steps = np.abs(np.diff(np.concatenate(heard).astype(int)))
    assert steps.max() <= np.abs(np.diff(wave.astype(int))).max() * 1.1 + 5


def test_what_is_nowhere_like_itself_is_left_as_it_is() -> None:
    noise = (np.random.default_rng(0).standard_normal(96_000) * 4000).astype(np.int16)
    playout = after_a_storm(noise)
    assert [playout.move(ms(500) + n * BLOCK, speaking=True) for n in range(20)] == [0] * 20


def test_a_pause_within_speech_is_shortened_first() -> None:
    playout = after_a_storm(np.zeros(96_000, np.int16))
    assert playout.move(ms(500), speaking=True) == -ms(10)


@pytest.mark.parametrize("step", [SLEW])
def test_speech_is_stretched_without_a_seam_while_the_delay_moves(step: int) -> None:
    playout = Playout(DelayLimits(start=ms(200), least=ms(150), most=ms(400)))
    wave = (8000 * np.sin(2 * np.pi * 200 * np.arange(96_000) / 48_000)).astype(np.int16)
    playout.voice.write(0, wave)
    heard, now = [], ms(400)
    for _ in range(20):
        playout.delay.samples += step
        heard.append(playout.audio(now, step))
        now += BLOCK
    steps = np.abs(np.diff(np.concatenate(heard).astype(int)))
    assert steps.max() <= np.abs(np.diff(wave.astype(int))).max() * 1.05 + 5


def test_limits_out_of_order_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="300.*200"):
        Delay(DelayLimits(start=200, least=300, most=400))


def test_both_media_share_one_clock() -> None:
    now = [100.0]
    clock = SessionClock(lambda: now[0], lambda: 1_000_000.0)
    now[0] += 2.5
    assert clock.now() == 40_000 and clock.until(48_000) == pytest.approx(0.5)
    assert clock.ntp(2.5) - clock.ntp(1.5) == 1 << 32
