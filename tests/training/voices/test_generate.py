"""Speech with known phones: coverage, timing, stress, emphasis, shards, the held-out side."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.voices import espeak, festival, flite, speakers, texts
from training.voices.clips import SAMPLE_RATE, Clip, Phone, load_shard, save_shard
from training.voices.generate import Shard, make_clip, make_shard, plan, say
from training.voices.quiet import quiet_clip
from training.voices.spoken import is_vowel, split_ipa, starred
from training.voices.timbre import Timbre, retimbre

SENTENCE = "A papa bought *seventy* big apples. Stop!"


def _missing(engine: Callable[[], object]) -> str:
    try:
        engine()
    except OSError as error:
        return str(error)
    return ""


NO_ESPEAK = _missing(espeak.engine)
NO_FLITE = _missing(flite.engine)
NO_FESTIVAL = _missing(festival.engine)
needs_espeak = pytest.mark.skipif(bool(NO_ESPEAK), reason=f"espeak-ng is missing: {NO_ESPEAK}")
needs_flite = pytest.mark.skipif(bool(NO_FLITE), reason=f"flite is missing: {NO_FLITE}")
needs_festival = pytest.mark.skipif(bool(NO_FESTIVAL), reason=f"festival: {NO_FESTIVAL}")
needs_all = pytest.mark.skipif(
    bool(NO_ESPEAK or NO_FLITE or NO_FESTIVAL),
    reason=f"an engine is missing: {NO_ESPEAK} {NO_FLITE} {NO_FESTIVAL}",
)
ENGINES = [
    pytest.param("espeak/en-us", marks=needs_espeak),
    pytest.param("espeak/en-us+f2", marks=needs_espeak),
    pytest.param("espeak/en+klatt2", marks=needs_espeak),
    pytest.param("flite/slt", marks=needs_flite),
    pytest.param("flite/kal16", marks=needs_flite),
    pytest.param("festival/slt-hts", marks=needs_festival),
    pytest.param("festival/ked", marks=needs_festival),
]


def _levels(clip: Clip, wanted: Callable[[Phone], bool]) -> list[float]:
    """Levels in dB of the middles of phones."""
    levels = []
    for p in filter(wanted, clip.phones):
        quarter = (p.end - p.start) // 4
        middle = clip.audio[p.start + quarter : p.end - quarter]
        levels.append(10 * float(np.log10(np.square(middle).mean() + 1e-9)))
    return levels


@pytest.mark.parametrize("voice", ENGINES)
def test_phones_cover_the_audio_without_a_gap(voice: str) -> None:
    clip = say(SENTENCE, voice)
    ends = [0, *(phone.end for phone in clip.phones)]
    assert [phone.start for phone in clip.phones] == ends[:-1]
    assert ends[-1] == len(clip.audio)
    assert clip.audio.dtype == np.float32
    assert clip.phones[0].ipa == clip.phones[-1].ipa == ""


@pytest.mark.parametrize("voice", ENGINES)
def test_vowels_are_louder_than_pauses(voice: str) -> None:
    clip = say(SENTENCE, voice)
    vowels = _levels(clip, lambda phone: is_vowel(phone.ipa))
    pauses = _levels(clip, lambda phone: phone.ipa == "")
    assert len(vowels) >= 8
    assert min(vowels) > max(pauses) + 10


@pytest.mark.parametrize("voice", ENGINES)
def test_a_voiceless_closure_stands_at_the_start_of_its_stop(voice: str) -> None:
    clip = say("A papa, a puppet, a pepper, a copper cup.", voice)
    sound = np.square(clip.audio)
    power = np.convolve(sound, np.ones(80) / 80, "same")  # 5 ms
    offsets = []
    for before, stop in zip(clip.phones, clip.phones[1:], strict=False):
        if is_vowel(before.ipa) and stop.ipa in ("p", "k"):
            loud = np.median(power[before.start : before.end])
            middle = (before.start + before.end) // 2
            quiet = np.flatnonzero(power[middle : stop.end] < loud / 30)
            offsets.append((middle + int(quiet[0]) - stop.start) / 16 if len(quiet) else 99.0)
    assert len(offsets) >= 4
    assert abs(np.median(offsets)) < 20  # ms


@pytest.mark.parametrize("voice", ENGINES)
def test_stress_stands_on_vowels_and_words_are_counted(voice: str) -> None:
    clip = say("Seventy apples", voice)
    assert any(phone.stress == 1 for phone in clip.phones)
    assert all(is_vowel(phone.ipa) for phone in clip.phones if phone.stress)
    words = [phone.word for phone in clip.phones if phone.ipa]
    assert words == sorted(words)
    assert set(words) == {0, 1}
    assert [p.word for p in clip.phones if p.stress == 1 and p.word == 0][:1] == [0]


@pytest.mark.parametrize("voice", ENGINES)
def test_emphasis_marks_the_starred_word_alone_and_is_louder(voice: str) -> None:
    clip = say("They painted *seven* windows", voice, "emphatic")
    assert {phone.word for phone in clip.phones if phone.emphasis} == {2}
    assert not any(phone.emphasis for phone in say("They painted seven windows", voice).phones)


@needs_espeak
def test_a_flat_delivery_has_no_emphasis_and_less_movement_of_pitch() -> None:
    flat, lively = (say(SENTENCE, "espeak/en-us", d) for d in ("flat", "emphatic"))
    assert not any(phone.emphasis for phone in flat.phones)
    assert _pitch_spread(lively) > 1.5 * _pitch_spread(flat)


def _pitch_spread(clip: Clip) -> float:
    """Standard deviation of log pitch over the vowels, by autocorrelation."""
    pitches = []
    for phone in clip.phones:
        middle = (phone.start + phone.end) // 2
        piece = clip.audio[middle - 400 : middle + 400]
        if is_vowel(phone.ipa) and len(piece) == 800:
            match = np.correlate(piece, piece, "full")[799:]
            pitches.append(np.log(SAMPLE_RATE / (50 + int(np.argmax(match[50:300])))))
    return float(np.std(pitches))


@needs_espeak
@pytest.mark.parametrize(
    ("voice", "text", "ipa"),
    [
        ("espeak/de", "Guten Morgen", "ɡ"),
        ("espeak/fr", "Bonjour", "ʒ"),
        ("espeak/ru", "Доброе утро", "b"),
        ("espeak/tr", "Günaydın", "d"),
    ],
)
def test_other_languages_are_spoken(voice: str, text: str, ipa: str) -> None:
    clip = say(text, voice)
    assert clip.language == voice[-2:]
    assert ipa in [phone.ipa[:1] for phone in clip.phones]


@pytest.mark.parametrize(
    ("voice", "reason"), [("espeak/xx-nowhere", "no voice"), ("siren/one", "no engine")]
)
@needs_espeak
def test_an_unknown_voice_is_named(voice: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        say("Yes.", voice)


def test_compound_phones_are_split_where_vowels_meet_consonants() -> None:
    assert split_ipa("əl") == ["ə", "l"]
    assert split_ipa("aɪ") == ["aɪ"]
    assert split_ipa("tʃ") == ["tʃ"]
    assert split_ipa("ʲ") == split_ipa("-") == []


def test_stars_may_span_words() -> None:
    assert starred("a *b c* d *e*, f") == {1, 2, 4}


@pytest.mark.parametrize(
    "phones",
    [
        (Phone(0, 40, ""), Phone(50, 100, "a")),
        (Phone(0, 40, ""), Phone(40, 90, "a")),
    ],
)
def test_a_clip_with_a_gap_is_refused(phones: tuple[Phone, ...]) -> None:
    with pytest.raises(ValueError, match="not at 40|cover 90"):
        Clip(np.zeros(100, np.float32), phones, "a/b", "en", "plain", "")


def test_shards_give_back_what_was_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    spoken = Clip(
        rng.uniform(-1, 1, 900).astype(np.float32),
        (Phone(0, 300, ""), Phone(300, 500, "tʃ", 0, 0, True), Phone(500, 900, "iː", 1, 0, True)),
        "espeak/en+f2~1.00", "en", "emphatic", "Chee — “ё”",
    )  # fmt: skip
    clips = [spoken, quiet_clip("silence", 1.0, rng)]
    save_shard(tmp_path / "deep" / "train-000.npz", clips)
    loaded = load_shard(tmp_path / "deep" / "train-000.npz")
    for was, now in zip(clips, loaded, strict=True):
        assert np.abs(was.audio - now.audio).max() <= 0.51 / 32767
        assert replace(was, audio=now.audio) == now
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["train-000.npz"]


@pytest.mark.parametrize("delivery", ["silence", "noise"])
def test_nobody_speaks_in_silence_and_noise(delivery: str) -> None:
    for seed in range(4):
        clip = quiet_clip(delivery, 1.5, np.random.default_rng(seed))
        assert [phone.ipa for phone in clip.phones] == [""]
        assert len(clip.audio) == 24_000
        assert np.isfinite(clip.audio).all()
        assert np.abs(clip.audio).max() <= 1


@needs_espeak
def test_another_throat_moves_formants_and_no_time() -> None:
    clip = say(SENTENCE)
    rng = np.random.default_rng(0)
    same = retimbre(clip.audio, Timbre(), rng)
    assert np.abs(same - clip.audio).max() < 1e-3
    small, large = (retimbre(clip.audio, Timbre(size, 0, 0.3), rng) for size in (1.2, 0.85))
    assert _centroid(small, clip) > 1.1 * _centroid(large, clip)
    loudness = [np.convolve(np.abs(a), np.ones(160), "same") for a in (clip.audio, small)]
    lag = int(np.argmax(np.correlate(loudness[1], loudness[0][800:-800], "valid"))) - 800
    assert abs(lag) <= 32  # 2 ms


def _centroid(audio: NDArray[np.float32], clip: Clip) -> float:
    """Mean frequency bin of the clip's vowels."""
    vowels = [audio[p.start : p.end] for p in clip.phones if is_vowel(p.ipa)]
    level = np.abs(np.fft.rfft(np.concatenate(vowels)))
    return float((level * np.arange(len(level))).sum() / level.sum())


def test_no_sentence_is_both_trained_on_and_held_out() -> None:
    rng = np.random.default_rng(0)
    train = {texts.sentence("en", rng) for _ in range(400)}
    held = {texts.sentence("en", rng, heldout=True) for _ in range(60)}
    assert not {t.replace("*", "") for t in train} & {t.replace("*", "") for t in held}
    assert len(train) > 300
    with pytest.raises(ValueError, match="no training sentence in 'sv'"):
        texts.sentence("sv", rng)


def test_every_language_has_sentences_on_its_sides() -> None:
    rng = np.random.default_rng(0)
    for language in ("en", *speakers.OTHERS):
        assert texts.sentence(language, rng)
    for language in ("en", *speakers.OTHERS_HELD_OUT):
        assert texts.sentence(language, rng, heldout=True)


def test_no_voice_is_both_trained_on_and_held_out() -> None:
    def cast_of(heldout: bool) -> set[tuple[str, str]]:
        rng = np.random.default_rng(1)
        roles = [speakers.cast(rng, heldout=heldout) for _ in range(600)]
        return {(role.engine, role.name.split("+")[-1]) for role in roles}

    train, held = cast_of(False), cast_of(True)
    assert not train & held
    assert len(train) > 50
    assert len(held) > 5


@needs_all
def test_drawn_clips_hold_what_they_promise() -> None:
    rng = np.random.default_rng(7)
    clips = [make_clip(rng) for _ in range(12)]
    assert all(3.5 <= clip.seconds <= 30 for clip in clips)
    assert len({clip.voice for clip in clips}) > 6
    for clip in clips:
        emphasised = any(phone.emphasis for phone in clip.phones)
        assert emphasised or clip.delivery != "emphatic"
        assert not emphasised or clip.delivery in ("plain", "emphatic")


@needs_all
def test_a_shard_depends_on_its_number_alone_and_is_made_once(tmp_path: Path) -> None:
    shards = [
        Shard(tmp_path / f"{name}.npz", 5, 2, heldout=False, seconds=12) for name in ("a", "b")
    ]
    first, second = (load_shard(make_shard(shard)) for shard in shards)
    said, again = ([(c.text, c.voice, c.delivery) for c in clips] for clips in (first, second))
    assert said[:3] == again[:3]
    stamp = shards[0].path.stat().st_mtime_ns
    make_shard(shards[0])
    assert shards[0].path.stat().st_mtime_ns == stamp


def test_a_longer_corpus_begins_with_the_shorter_one() -> None:
    short, long = plan(Path("x"), 1, 1), plan(Path("x"), 6, 1)
    assert set(short) < set(long)
    assert sum(shard.heldout for shard in long) == 3
    assert sum(not shard.heldout for shard in long) == 36
