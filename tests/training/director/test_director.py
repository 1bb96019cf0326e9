"""The director's motion: lips that follow sounds, gestures on the beat, life in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.limits import ARM_HIGH
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import ARM, INDEX, SLICES, STATE_DIM
from training.director.director import LIMITS, MAX_STEP, Performer, direct
from training.director.gaze import contact_share, plan, room_track
from training.director.gestures import GESTURES
from training.director.performer import REST_ARMS, rest_state
from training.director.prosody import hear
from training.director.reach import hand_points, make_room, trunk_front
from training.director.score import read_score
from training.director.strokes import plan_strokes
from training.director.styles import STYLES, mix, prompt
from training.voices.clips import SAMPLE_RATE, Clip, Phone
from training.voices.phonetics import CLOSE, JAW, PLACES, PUCKER, SPREAD, VOWELS, is_vowel, segments
from training.voices.unlabelled_clip import unlabelled_clip

F32 = NDArray[np.float32]

# (ipa, milliseconds, stress) of each word; "|" is a pause
WORDS: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("p", 80, 0), ("a", 150, 1), ("p", 80, 0), ("a", 130, 0)),
    (("m", 80, 0), ("uː", 160, 1), ("v", 80, 0), ("z", 80, 0)),
    (("ð", 60, 0), ("ə", 60, 0)),
    (("b", 70, 0), ("ɑː", 190, 1), ("θ", 90, 0)),
    (("|", 350, 0),),
    (("h", 60, 0), ("iː", 150, 1)),
    (("f", 80, 0), ("aɪ", 190, 1), ("n", 70, 0), ("d", 60, 0), ("z", 80, 0)),
    (("ʃ", 100, 0), ("uː", 150, 1), ("z", 80, 0)),
    (("|", 500, 0),),
)

RANGES = {"flat": 0.5, "plain": 7.0, "emphatic": 14.0}  # semitones


def sentence(
    rounds: int = 3, rate: float = 1.0, delivery: str = "plain", emphasis: Sequence[int] = (),
    text: str = "",
) -> Clip:  # fmt: skip
    """Tones with known phones: vowels loud, consonants soft, pauses silent. How much it is meant is
    in the sound: in the range of the pitch, and in how loud and high leaned words are."""
    phones, sound, at, word = [Phone(0, 8000, "")], [np.zeros(8000)], 8000, 0
    for spoken in WORDS * rounds:
        leaned = word in emphasis
        for ipa, length_ms, stress in spoken:
            count = int(length_ms * SAMPLE_RATE / 1000 / rate)
            silent = ipa == "|"
            level = 0.0 if silent else (0.3 if is_vowel(ipa) else 0.05) * (1.8 if leaned else 1.0)
            octaves = RANGES[delivery] / 12 * (0.5 * np.sin(1.7 * word) + 0.5 * leaned)
            step = 2 * np.pi * 150 * 2**octaves / SAMPLE_RATE
            sound.append(level * np.sin(step * np.arange(count)))
            known = ("", 0, -1, False) if silent else (ipa, stress, word, leaned)
            phones.append(Phone(at, at + count, *known))
            at += count
        word += spoken[0][0] != "|"
    audio = np.concatenate(sound).astype(np.float32)
    return Clip(audio, tuple(phones), "test/tone", "en", delivery, text)


def quiet(seconds: float = 40.0) -> Clip:
    count = int(seconds * SAMPLE_RATE)
    silent = (Phone(0, count, ""),)
    return Clip(np.zeros(count, np.float32), silent, "test/none", "en", "silence", "")


def motion(clip: Clip, style: str = "default", seed: int = 0, **performer: object) -> F32:
    return direct(clip, STYLES[style], Performer(**performer), np.random.default_rng(seed))  # type: ignore[arg-type]


@cache
def person() -> Person:
    body = Body.load()
    return Person(body, body.shape())


def lip_gaps_mm(states: F32) -> NDArray[np.float64]:
    return np.array([1000.0 * person().lip_gap(person().pose(state)) for state in states])


def during(clip: Clip, sounds: str) -> list[slice]:
    """The frames that overlap each phone that starts with one of ``sounds``."""
    return [
        slice(phone.start // 640, -(-phone.end // 640))
        for phone in clip.phones
        if phone.ipa and phone.ipa[0] in sounds
    ]


def unit(states: F32, name: str) -> F32:
    return states[:, INDEX[name]]


def arm_energy(states: F32) -> float:
    arms = states[:, SLICES["left_arm"].start :]
    return float(np.abs(np.diff(arms, axis=0)).mean())


def test_makes_one_state_per_whole_frame_of_sound() -> None:
    for extra in (0, 1, 639):
        clip = quiet(1.0)
        longer = Clip(np.zeros(16_000 + extra, np.float32), (Phone(0, 16_000 + extra, ""),),
                      clip.voice, "en", "silence", "")  # fmt: skip
        states = motion(longer)
        assert states.shape == (25, STATE_DIM) and states.dtype == np.float32


def test_refuses_a_clip_shorter_than_a_frame() -> None:
    clip = Clip(np.zeros(639, np.float32), (Phone(0, 639, ""),), "test/none", "en", "silence", "")
    with pytest.raises(ValueError, match="640 samples, got 639"):
        motion(clip)


def test_equal_generators_make_equal_motion_and_others_do_not() -> None:
    clip = sentence()
    assert np.array_equal(motion(clip, seed=5), motion(clip, seed=5))
    assert not np.array_equal(motion(clip, seed=5), motion(clip, seed=6))


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_keeps_limits_and_never_jumps(style: str) -> None:
    rng = np.random.default_rng(sorted(STYLES).index(style))
    performer = Performer.random(rng)
    clip = sentence(delivery="emphatic", emphasis=(0, 4, 9), rate=1.3)
    states = direct(clip, STYLES[style], performer, rng)
    assert np.isfinite(states).all()
    assert (states >= LIMITS[:, 0]).all() and (states <= LIMITS[:, 1]).all()
    assert (np.abs(np.diff(states, axis=0)) <= MAX_STEP).all()


@pytest.mark.parametrize("rate", [0.8, 1.0, 1.8])
def test_bilabials_close_the_lips_and_open_vowels_part_them(rate: float) -> None:
    clip = sentence(1, rate=rate)
    gaps = lip_gaps_mm(motion(clip))
    assert all(gaps[frames].min() < 0.8 for frames in during(clip, "pbm"))
    assert all(gaps[frames].max() > 6.0 for frames in during(clip, "ɑ"))


def test_lips_round_stretch_and_tuck_with_their_sounds() -> None:
    clip = sentence()
    states = motion(clip)

    def peak(name: str, sounds: str) -> float:
        return float(np.mean([unit(states, name)[s].max() for s in during(clip, sounds)]))

    assert peak("mouthPucker", "u") > 3.0 * peak("mouthPucker", "i")
    assert peak("mouthStretchLeft", "i") > 3.0 * peak("mouthStretchLeft", "u")
    assert peak("mouthRollLower", "fv") > 2.0 * peak("mouthRollLower", "ɑ")
    assert peak("mouthFunnel", "ʃ") > 3.0 * peak("mouthFunnel", "i")
    assert peak("tongueOut", "θð") > 3.0 * peak("tongueOut", "h")


def test_lips_get_ready_before_a_rounded_vowel() -> None:
    clip = sentence()
    pucker = unit(motion(clip), "mouthPucker")
    starts = [phone.start // 640 for phone in clip.phones if phone.ipa == "uː"]
    assert all(pucker[at - 2] > 0.1 for at in starts)


def test_the_mouth_follows_the_sound_and_not_the_dice() -> None:
    clip = sentence()
    first, second = motion(clip, seed=1), motion(clip, seed=2)
    jaw, other = unit(first, "jawOpen"), unit(second, "jawOpen")
    assert np.corrcoef(jaw, other)[0, 1] > 0.98


def test_silence_is_alive_and_its_mouth_is_quiet() -> None:
    speech, states = motion(sentence()), motion(quiet())
    lids = unit(states, "eyeBlinkLeft") > 0.5
    blinks = int(np.sum(lids[1:] & ~lids[:-1]))
    assert 6 <= blinks <= 24  # in 40 seconds
    mouth = SLICES["mouth"]
    assert np.abs(np.diff(states[:, mouth], axis=0)).mean() < 0.1 * (
        np.abs(np.diff(speech[:, mouth], axis=0)).mean()
    )
    assert unit(states, "jawOpen").max() < 0.12
    for start in range(0, len(states) - 50, 25):
        window = states[start : start + 50]
        for name in ("breath", "head_yaw", "head_pitch", "spine_roll", "left_flex"):
            assert np.ptp(unit(window, name)) > 1e-4, (start, name)


def test_breath_comes_twelve_to_twenty_times_a_minute() -> None:
    breath = unit(motion(quiet(60.0)), "breath")
    up = (breath[1:] > 0.4) & (breath[:-1] <= 0.4)
    assert 10 <= int(up.sum()) <= 20


def test_emphatic_speech_gestures_more_than_flat_speech_of_the_same_text() -> None:
    def energy(delivery: str, emphasis: Sequence[int]) -> float:
        clip = sentence(delivery=delivery, emphasis=emphasis)
        return float(np.mean([arm_energy(motion(clip, seed=seed)) for seed in range(8)]))

    assert energy("emphatic", (0, 3, 6, 9, 12)) > 1.5 * energy("flat", ())


def test_speech_moves_the_arms_more_than_silence() -> None:
    speech = np.mean([arm_energy(motion(sentence(), seed=seed)) for seed in range(6)])
    assert speech > 3.0 * arm_energy(motion(quiet()))


def test_strokes_land_on_the_loudest_places_of_vowels() -> None:
    clip = sentence(6, delivery="emphatic", emphasis=(0, 3, 6, 9))
    score = read_score(clip)
    peaks = np.array([beat.peak for beat in score.beats])
    strokes = plan_strokes(score, STYLES["energetic"], Performer(), np.random.default_rng(3))
    away = np.array([np.abs(peaks - stroke.time).min() for stroke in strokes])
    assert len(strokes) > 5 and away.max() < 0.06  # of the loudest place of a vowel, in seconds


def test_hands_arrive_when_their_stroke_lands() -> None:
    clip = sentence(6, delivery="emphatic", emphasis=(0, 3, 6, 9))
    style, before, after = STYLES["energetic"], [], []
    for seed in range(4):
        states = direct(clip, style, Performer(), np.random.default_rng(seed))
        chance = np.random.default_rng(seed).spawn(9)[6]
        elbow = np.stack([unit(states, "left_elbow"), unit(states, "right_elbow")], axis=1)
        speed = np.abs(np.diff(elbow, axis=0)).max(axis=1)
        for stroke in plan_strokes(read_score(clip), style, Performer(), chance):
            at = int(stroke.time * 25)
            before.append(speed[at - 4 : at - 1].max())
            after.append(speed[at + 1])
    assert np.mean(before) > 2.0 * np.mean(after)


def test_still_hands_stay_at_rest_in_every_mixture() -> None:
    clip = sentence(delivery="emphatic", emphasis=(0, 4))
    rest = rest_state("folded")
    for style in (STYLES["hands_still"], mix(STYLES["energetic"], STYLES["hands_still"], 0.3)):
        states = direct(clip, style, Performer(rest=rest), np.random.default_rng(0))
        shift = np.abs(states - rest)[:, SLICES["left_arm"].start :]
        assert 0.0 < shift.max() < 0.08


def test_people_whose_hands_are_out_of_frame_gesture_less() -> None:
    clip = sentence()
    seen = np.mean([arm_energy(motion(clip, seed=s)) for s in range(8)])
    hidden = np.mean([arm_energy(motion(clip, seed=s, hands_visible=False)) for s in range(8)])
    assert hidden < 0.6 * seen


def test_clips_start_with_the_arms_at_rest() -> None:
    rest = rest_state("sides")
    states = motion(sentence(delivery="emphatic"), "expressive", rest=rest)
    assert np.abs(states[0] - rest)[SLICES["left_arm"].start :].max() < 0.1
    assert np.abs(np.diff(states[:3, SLICES["left_arm"].start :], axis=0)).max() < 0.06


def test_eyes_keep_to_the_viewer_while_the_head_moves() -> None:
    clip = sentence(8)
    score = read_score(clip)
    for name, low, high in (("default", 0.68, 0.92), ("shy", 0.4, 0.8)):
        shares = [
            contact_share(
                room_track(score, plan(score, STYLES[name], np.random.default_rng(seed))), score
            )
            for seed in range(12)
        ]
        assert low < np.mean(shares) < high
    states = motion(clip, "energetic")
    turned = unit(states, "head_yaw") + unit(states, "spine_yaw")
    looks = turned + unit(states, "gaze_yaw")
    assert np.median(np.abs(looks)) < 0.05


def test_questions_raise_the_brows() -> None:
    text = "Papa moves the bath? He finds shoes."
    asked, told = (
        np.mean([unit(motion(sentence(1, text=t), seed=s), "browInnerUp")[15:50].mean()
                 for s in range(4)])
        for t in (text, text.replace("?", "."))
    )  # fmt: skip
    assert asked > told + 0.1


def test_a_smile_comes_with_its_style() -> None:
    smiles = {n: unit(motion(sentence(), n), "mouthSmileLeft").mean() for n in STYLES}
    assert smiles["cheerful"] > smiles["friendly"] > smiles["default"] > smiles["serious"]


def test_every_gesture_keeps_out_of_the_trunk_and_off_the_face() -> None:
    poses = np.array([p for g in GESTURES.values() for p in (g.prep, *g.strokes)])
    assert len(GESTURES) >= 12
    for margin in (-0.06, 0.06):
        roomy = make_room(1.3 * poses - 0.3 * poses.mean(axis=0), np.full(len(poses), margin))
        _, palm, tip = hand_points(roomy)
        assert (palm[:, 2] > trunk_front(palm[:, 0]) - 0.02).all()
        assert (np.minimum(palm[:, 0], tip[:, 0]) > margin - 0.02).all()
        assert (palm[:, 1] < 0.02).all()


def test_no_two_performances_are_alike_and_the_arms_differ() -> None:
    clip = sentence(6, delivery="emphatic")
    first, second = motion(clip, "expressive", 1), motion(clip, "expressive", 2)
    left, right = first[:, SLICES["left_arm"]], first[:, SLICES["right_arm"]]
    assert np.abs(first - second)[:, SLICES["left_arm"]].max() > 0.3
    assert np.abs(left - right).mean() > 0.05


def test_sounds_of_any_language_have_segments_whose_shares_add_up() -> None:
    letters = [*VOWELS, *(letter for place in PLACES.values() for letter in place)]
    for ipa in (*letters, "aʊ̯", "tʃ", "ã", "kʷ", "nʲ", "ɓː", "l̩", "t͡s", "ç"):
        parts = segments(ipa)
        assert parts and sum(part.share for part in parts) == pytest.approx(1.0)
    assert segments("") == () and segments("ˈ") == ()


def test_features_tell_sounds_apart() -> None:
    def target(ipa: str, channel: int) -> float:
        return float(segments(ipa)[0].target[channel])

    assert target("ɑ", JAW) > target("ɛ", JAW) > target("i", JAW)
    assert target("y", PUCKER) > 0.5 > target("i", PUCKER)
    assert target("i", SPREAD) > 0.5 > target("u", SPREAD)
    assert all(target(ipa, CLOSE) == 1.0 for ipa in "pbmɓ")
    assert target("kʷ", PUCKER) > target("k", PUCKER)
    assert len(segments("tʃ")) == 1 and len(segments("aɪ")) == 2


def test_prompts_are_many_and_name_their_style() -> None:
    rng = np.random.default_rng(0)
    for name, style in STYLES.items():
        said = {prompt(style, rng) for _ in range(200)}
        assert len(said) >= (8 if name == "default" else 30)
        assert ("" in said) == (name == "default")
    assert prompt(mix(STYLES["calm"], STYLES["friendly"]), rng)


def test_mixing_lies_between_and_refuses_a_share_out_of_range() -> None:
    half = mix(STYLES["calm"], STYLES["energetic"])
    assert STYLES["calm"].nod < half.nod < STYLES["energetic"].nod
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        mix(STYLES["calm"], STYLES["energetic"], 1.5)


def test_rest_poses_are_inside_the_limits() -> None:
    for left, right in REST_ARMS.values():
        assert len(left) == len(right) == len(ARM)
        assert (left <= ARM_HIGH).all() and (right <= ARM_HIGH).all()


def test_a_performers_reference_is_shape_then_rest_then_framing() -> None:
    performer = Performer.random(np.random.default_rng(4))
    reference = performer.reference()
    count = len(performer.shape)
    assert len(reference) == count + STATE_DIM + 6
    assert np.array_equal(reference[count : count + STATE_DIM], performer.rest)


def raised_at(beats: Sequence[float], seconds: float = 16.0) -> Clip:
    """A recorded voice that is raised, louder and higher, at ``beats`` (s)."""
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hills = sum(np.exp(-np.square((at - beat) / 0.1)) for beat in beats)
    syllables = 0.4 + 0.6 * np.square(np.sin(np.pi * 4 * at))
    phase = np.cumsum(2 * np.pi * 130 * 2 ** (0.4 * hills) / SAMPLE_RATE)
    sound = (0.04 + 0.3 * hills) * syllables * np.sin(phase)
    return unlabelled_clip(sound.astype(np.float32), "raised")


def arm_speed(states: F32) -> NDArray[np.float64]:
    return np.linalg.norm(np.diff(states[:, SLICES["left_arm"].start :], axis=0), axis=1)


def test_arms_are_fastest_on_the_way_to_where_the_voice_is_raised() -> None:
    beats = np.arange(1.6, 15.0, 1.27)
    clip, ratios = raised_at(beats.tolist()), []
    for seed in range(4):
        speed = arm_speed(motion(clip, seed=seed))
        spans = [speed[int(beat * 25) - 6 : int(beat * 25) + 1].mean() for beat in beats]
        ratios.append(np.mean(spans) / speed[25:].mean())
    assert np.mean(ratios) > 1.4


def test_a_loud_passage_moves_the_arms_more_than_a_quiet_one_of_the_same_words() -> None:
    clip = sentence(6, emphasis=())
    half = len(clip.audio) // 2
    rising = np.where(np.arange(len(clip.audio)) < half, 0.15, 1.0) * clip.audio
    louder = replace(clip, audio=rising.astype(np.float32))
    quiet_, loud = (
        np.mean([arm_speed(motion(louder, seed=seed))[part].mean() for seed in range(6)])
        for part in (slice(25, half // 640 - 12), slice(half // 640 + 25, None))
    )
    assert loud > 1.6 * quiet_


def test_delivery_is_heard_and_not_read_from_its_label() -> None:
    clip = sentence(delivery="emphatic", emphasis=(0, 4, 9))
    relabelled = replace(clip, delivery="flat", phones=tuple(
        replace(phone, stress=0, emphasis=False) for phone in clip.phones
    ))  # fmt: skip
    arm = slice(SLICES["left_arm"].start, None)
    assert np.array_equal(motion(clip)[:, arm], motion(relabelled)[:, arm])


def test_prosody_knows_a_monotone_from_a_meant_reading() -> None:
    meant = [hear(sentence(delivery=d).audio, 200).meant() for d in ("flat", "plain", "emphatic")]
    assert meant == sorted(meant) and meant[2] > 2.0 * meant[0]
