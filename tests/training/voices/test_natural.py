"""Natural voices: labels laid over the sound, readings as asked for, and who is held out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.voices import kokoro, kokoro_files, natural
from training.voices.generate import plan
from training.voices.kokoro import FRAME, Lean, Reading
from training.voices.kokoro_text import Token, tokens_of
from training.voices.spoken import starred
from training.voices.timbre import Timbre

SPEAKER = natural.Speaker("af_heart", Timbre(), 1.0, 0.0)
TOKENS = [
    Token(0, "pause"),
    Token(1, "phone", "t", 0, 0), Token(2, "lead"), Token(3, "phone", "oʊ", 1, 0),
    Token(4, "gap"),
    Token(5, "phone", "m", 0, 1, True), Token(6, "phone", "i", 2, 1, True), Token(7, "tail"),
    Token(8, "pause"), Token(9, "gap"),
    Token(5, "phone", "z", 0, 2),
    Token(0, "pause"),
]  # fmt: skip
FRAMES = np.array([10, 2, 1, 5, 2, 3, 4, 2, 10, 2, 6, 10])


def tone() -> np.ndarray:  # type: ignore[type-arg]
    """Loud where the tokens have sounds, silent elsewhere, as early as the labels are late."""
    loud = np.zeros(FRAMES.sum() * FRAME, np.float32)
    ends = (np.cumsum(FRAMES) - kokoro.LAG) * FRAME
    for first, last in ((1, 7), (10, 10)):
        loud[ends[first - 1] : ends[last]] = 0.5
    return loud * np.sin(0.3 * np.arange(len(loud))).astype(np.float32)


def test_labels_cover_the_sound_and_merge_marks_into_their_vowels() -> None:
    spoken = kokoro._labelled(tone(), TOKENS, FRAMES)
    assert spoken.phones[-1].end == len(spoken.audio)
    assert all(a.end == b.start for a, b in zip(spoken.phones, spoken.phones[1:]))
    said = [p for p in spoken.phones if p.ipa]
    assert [p.ipa for p in said] == ["t", "oʊ", "m", "i", "z"]
    assert [p.stress for p in said] == [0, 1, 0, 2, 0]
    assert [p.emphasis for p in said] == [False, False, True, True, False]
    assert said[1].start == (12 - kokoro.LAG) * FRAME  # from the mark of its stress on
    assert said[3].end == pytest.approx((29 - kokoro.LAG) * FRAME, abs=FRAME)  # with its length


def test_a_pause_is_silence_and_a_gap_between_words_is_not() -> None:
    phones = kokoro._labelled(tone(), TOKENS, FRAMES).phones
    assert [p.ipa for p in phones] == ["", "t", "oʊ", "m", "i", "", "z", ""]
    vowel, consonant = phones[2], phones[3]
    assert vowel.end == consonant.start == (19 - kokoro.LAG) * FRAME


def test_leaned_words_last_longer_and_rise() -> None:
    reading = Reading(range=1.0, leans={1: Lean(1.5, 4.0, 1.0, 6.0)})
    planned = FRAMES.astype(np.float32)
    frames = kokoro._stretched(planned, TOKENS, reading)
    assert frames[5:7].tolist() == [4, 6] and frames[1] == 2
    flat = np.full((1, 2 * FRAMES.sum()), 120.0, np.float32)
    sung = kokoro._sung(flat, TOKENS, FRAMES, reading)[0]
    at = 2 * int(FRAMES[:6].sum()) + 2
    assert 12 * np.log2(sung[at] / 120.0) > 1.5
    assert sung[4] == pytest.approx(120.0, rel=1e-3)


@pytest.mark.parametrize("factor", [0.3, 2.0])
def test_pitch_range_is_scaled_about_the_mean_and_silence_keeps_none(factor: float) -> None:
    octaves = 7.0 + 0.25 * np.sin(np.arange(2 * FRAMES.sum()) / 9.0)
    hz = (2.0**octaves).astype(np.float32)[None]
    hz[0, :8] = 0.0
    sung = kokoro._sung(hz, TOKENS, FRAMES, Reading(range=factor))
    spread = np.log2(sung[0, 8:]).std() / np.log2(hz[0, 8:]).std()
    assert spread == pytest.approx(factor, rel=0.02)
    assert not sung[0, :8].any()


def test_a_word_is_raised_by_its_gain() -> None:
    spoken = kokoro._labelled(tone(), TOKENS, FRAMES)
    louder = kokoro._louder(spoken.audio, spoken.phones, Reading(leans={1: Lean(gain_db=6.0)}))
    vowel = next(p for p in spoken.phones if p.ipa == "i")
    middle = slice((vowel.start + vowel.end) // 2 - 200, (vowel.start + vowel.end) // 2 + 200)
    gain = np.abs(louder[middle]).max() / np.abs(spoken.audio[middle]).max()
    assert 20 * np.log10(gain) == pytest.approx(6.0, abs=1.0)


def test_readings_grow_with_intensity() -> None:
    def at(intensity: float) -> Reading:
        rng = np.random.default_rng(0)
        return natural.reading_of("This is *really* it.", SPEAKER, intensity, rng)

    flat, plain, meant = at(0.05), at(0.6), at(1.4)
    assert flat.range < 0.5 < plain.range < meant.range
    assert flat.energy < plain.energy < meant.energy
    assert flat.leans[2].gain_db < plain.leans[2].gain_db < meant.leans[2].gain_db
    assert natural.level_db(0.0) < natural.level_db(0.6) == 0.0 < natural.level_db(1.5)


def test_flat_sentences_lean_on_nothing_and_meant_ones_on_some_words() -> None:
    text = "We *finally* painted the enormous bridge behind the church yesterday evening."
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    assert not any(starred(natural.lean_on(text, 0.1, rng)) for rng in rngs)
    leaned = [len(starred(natural.lean_on(text, 1.3, rng))) for rng in rngs]
    assert 0.8 < np.mean(leaned) < 4.0
    plain = text.replace("*", "")
    assert natural.lean_on(text, 1.3, rngs[0]).replace("*", "") == plain


def test_nobody_trains_on_voices_that_are_kept_or_held_out() -> None:
    trained = {*natural.VOICES, *natural.ACCENTS}
    assert not trained & {*natural.KEPT, *natural.HELD_OUT}
    assert not set(natural.KEPT) & set(natural.HELD_OUT)
    for heldout in (False, True):
        for seed in range(200):
            voice = natural.cast(np.random.default_rng(seed), heldout=heldout).voice
            assert set(voice.split("~")) <= (set(natural.HELD_OUT) if heldout else trained)


def test_natural_shards_lie_beside_the_others(tmp_path: Path) -> None:
    both = plan(tmp_path, 1.0, 1) + plan(tmp_path, 0.5, 1, natural=True)
    assert len({shard.path for shard in both}) == len(both)
    mine = [shard for shard in both if shard.natural]
    assert {shard.path.name[:9] for shard in mine if not shard.heldout} == {"train-n00"}
    assert sum(s.seconds for s in mine if not s.heldout) == pytest.approx(1800, abs=180)
    assert plan(tmp_path, 0.0, 1) == []


def test_another_file_than_the_one_expected_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part.whl").write_bytes(b"something else")
    with pytest.raises(OSError, match=r"part\.whl has SHA-256 .* fetch it again"):
        kokoro_files.checked(tmp_path / "part.whl", "00")


@pytest.mark.parametrize("make", [lambda: Reading(speed=3.0), lambda: Reading(range=4.0)])
def test_readings_out_of_range_are_refused(make: Callable[[], Reading]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        make()


def test_text_becomes_tokens_that_know_their_words() -> None:
    pytest.importorskip("hibari")
    tokens = tokens_of("I *told* you, it works!")
    said = [t for t in tokens if t.kind == "phone"]
    assert {t.word for t in said} == {0, 1, 2, 3, 4}
    assert {t.word for t in said if t.emphasis} == {1}
    assert [t.ipa for t in said if t.word == 1] == ["t", "oʊ", "l", "d"]
    assert sum(t.kind == "pause" for t in tokens) == 4  # both ends, comma, exclamation mark
    with pytest.raises(ValueError, match="nothing to speak"):
        tokens_of("...")
