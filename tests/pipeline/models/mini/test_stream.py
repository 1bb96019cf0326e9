"""Streams and renders of a small random model: time, gates, interruption, both schedules."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline import AvatarPipeline
from pipeline.consent import ConsentGate, ConsentGrant, ConsentRecord, Kind, Registry, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.errors import (
    AudioNotFinite,
    BackgroundInvalid,
    ConsentMismatch,
    ConsentRevoked,
    LandmarksInvalid,
    LandmarksMissing,
    StreamClosed,
    StreamOverrun,
)
from pipeline.media.background import GREEN, Background
from pipeline.media.image_file import Picture
from pipeline.models.mini import engine as engine_module
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.chunk_plan import causal_plan
from pipeline.models.mini.config import load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.enrolment.identity_anchor import build_anchor
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.fit import REF_DIM, Fit
from pipeline.models.mini.rig.state import state
from pipeline.models.mini.vae import MotionDecoder

SIZE = 64
CONFIG = load_config("mini")
LATENT = CONFIG.samples_per_latent
TICK = CONFIG.chunks.live_hop * LATENT
FRAMES = TICK // 640


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    torch.manual_seed(0)
    config = load_config("mini")
    model = Generator(config, REF_DIM).eval()
    torch.nn.init.normal_(model.dit.head.weight, std=0.05)
    return AvatarPipeline(config, model, "cpu", "a test")


@pytest.fixture(scope="module")
def anchor():
    picture = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    fit = Fit(bundled_body().shape(), state(), Camera(), frozenset({"top_long"}))
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    alpha[8:, 16:48] = 255
    return build_anchor(picture, fit, SIZE, SIZE, alpha=alpha)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with_records = Registry(tmp_path / "consent.db")
    yield with_records
    with_records.close()


@pytest.fixture
def grant(registry: Registry) -> ConsentGrant:
    registry.add(
        ConsentRecord(
            id="c1",
            subject="nobody",
            kind=Kind.SYNTHETIC,
            statement="does not exist",
            image_sha256="ab" * 32,
            scopes=frozenset(Scope),
            verified_by="a test",
            created_at=registry.clock(),
            adult=True,
            fingerprint=PLAIN,
        )
    )
    return ConsentGate(registry).grant(
        avatar="test", image_sha256="ab" * 32, scope=Scope.LIVE, consent_id="c1"
    )


@pytest.fixture
def avatar(anchor) -> Avatar:
    return Avatar("test", "ab" * 32, anchor)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(int(16_000 * seconds)) * 0.1).astype(np.float32)


def test_a_tick_gives_its_frames_once_its_look_ahead_has_arrived(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    assert (stream.needs, stream.samples_per_step, stream.look_ahead) == (TICK + 640, TICK, 640)
    stream.push(speech(1.0)[: TICK + 639])
    assert not stream.ready and list(stream.step()) == []
    stream.push(np.zeros(1, np.float32))
    frames = list(stream.step())
    assert [f.index for f in frames] == list(range(FRAMES))
    assert [f.media_time for f in frames] == [640 * k for k in range(FRAMES)]
    assert frames[0].image.shape == (SIZE, SIZE, 3) and stream.media_time == TICK


def test_speech_that_waits_and_speech_that_trickles_in_give_as_many_frames(pipeline, avatar, grant):
    audio = speech(1.0)
    results = []
    for pieces in (np.array_split(audio, 3), np.array_split(audio, 40)):
        stream = pipeline.open(avatar, grant, seed=3)
        images = []
        for piece in pieces:
            stream.push(piece)
            if len(pieces) == 40:
                images += [f.image for f in stream.step()]
        while stream.ready:
            images += [f.image for f in stream.step()]
        results.append(images)
    heard_ahead, live = results
    assert len(heard_ahead) == len(live) == 24


def test_skipped_speech_makes_frame_numbers_jump(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(1.0)[: TICK + 640])
    list(stream.step())
    stream.push(speech(1.0))
    dropped = stream.skip(8000)
    assert dropped == 8000 // LATENT * LATENT
    assert next(iter(stream.step())).media_time == TICK + dropped


def test_interrupt_empties_what_waits_and_the_stream_goes_on(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(2.0))
    list(stream.step())
    stream.interrupt()
    assert stream.backlog < TICK + pipeline.config.look_ahead_samples + 5 * TICK
    before = stream.media_time
    stream.push(speech(1.0))
    assert next(iter(stream.step())).media_time >= before


def test_flush_gives_every_sample_its_frame(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(0.5))
    stream.flush()
    indexes = []
    while stream.ready:
        indexes += [f.index for f in stream.step()]
    assert indexes[:13] == list(range(13))


def test_a_backlog_has_a_bound_and_refuses_whole(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(np.zeros(16_000 * 30, np.float32))
    with pytest.raises(StreamOverrun, match="skip"):
        stream.push(np.zeros(1, np.float32))
    assert stream.samples_pushed == 16_000 * 30


def test_speech_that_is_not_finite_is_refused(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    with pytest.raises(AudioNotFinite):
        stream.push(np.array([0.0, np.nan], np.float32))
    assert stream.samples_pushed == 0


def test_a_closed_stream_takes_and_gives_nothing(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(1.0))
    stream.close()
    assert list(stream.step()) == []
    with pytest.raises(StreamClosed):
        stream.push(speech(0.1))


def test_revoking_consent_stops_a_running_stream(pipeline, avatar, grant, registry):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(1.0))
    assert len(list(stream.step())) == FRAMES
    registry.revoke("c1")
    with pytest.raises(ConsentRevoked):
        list(stream.step())


def test_revoking_consent_stops_a_running_render(pipeline, avatar, grant, registry):
    frames = pipeline.render(avatar, grant, iter([speech(30.0)]))
    next(frames)
    registry.revoke("c1")
    with pytest.raises(ConsentRevoked):
        for _ in frames:
            pass


@pytest.mark.parametrize("schedule", ["parallel", "causal"])
@pytest.mark.parametrize("samples", [1, 640, 641, 1280, 20_000])
def test_a_render_covers_the_last_sample(pipeline, avatar, grant, schedule, samples):
    frames = list(pipeline.render(avatar, grant, [speech(2.0)[:samples]], schedule=schedule))
    assert [f.index for f in frames] == list(range(-(-samples // 640)))


def test_a_render_of_nothing_has_no_frames(pipeline, avatar, grant):
    assert list(pipeline.render(avatar, grant, [])) == []


def test_renders_repeat_to_the_bit_and_follow_their_seed(pipeline, avatar, grant):
    audio = speech(1.0)

    def render(seed: int) -> np.ndarray:
        return np.stack([f.image for f in pipeline.render(avatar, grant, [audio], seed=seed)])

    assert np.array_equal(render(1), render(1))
    assert not np.array_equal(render(1), render(2))


def test_streams_stepped_together_give_what_each_gives_alone(pipeline, avatar, grant):
    pair = [pipeline.open(avatar, grant, seed=s) for s in (1, 2)]
    alone = pipeline.open(avatar, grant, seed=2)
    for stream in (*pair, alone):
        stream.push(speech(0.5))
    for _ in range(3):
        together = pipeline.engine.step(pair)[1]
        for a, b in zip(together, alone.step(), strict=True):
            assert np.abs(a.image.astype(int) - b.image).max() <= 1


class Broken(RuntimeError):
    """What a test breaks."""


def _fail(*_: object, **__: object) -> None:
    raise Broken


def _break(stage, stream, patch):
    """Makes one stream fail at a stage of its tick."""
    if stage == "consent":
        patch.setattr(stream, "grant", SimpleNamespace(check=_fail))
    elif stage == "hear":
        patch.setattr(stream._audio, "push", _fail)
    elif stage == "plan":
        turns = itertools.count()
        patch.setattr(
            engine_module,
            "causal_plan",
            lambda *a: _fail() if next(turns) % 3 == 1 else causal_plan(*a),
        )
    elif stage == "denoise":
        patch.setattr(stream.performance.latents, "read", _fail)
    elif stage == "commit":
        patch.setattr(stream.performance.latents, "append", _fail)
    elif stage == "decode":
        patch.setattr(stream._decoder, "push", _fail)
    elif stage == "paint":
        patch.setattr(stream._painter, "paint", _fail)
    else:
        patch.setattr(stream, "_label", SimpleNamespace(stamp=_fail))


@pytest.mark.parametrize(
    "stage", ["consent", "hear", "plan", "denoise", "commit", "decode", "paint", "label"]
)
def test_a_stream_that_fails_at_any_stage_fails_alone(pipeline, avatar, grant, stage, monkeypatch):
    trio = [pipeline.open(avatar, grant, seed=s) for s in (1, 2, 3)]
    alone = [pipeline.open(avatar, grant, seed=s) for s in (1, 2, 3)]
    for stream in (*trio, *alone):
        stream.push(speech(1.0))
    for stream in trio:
        list(stream.step())
    exact = [[*s.step(), *s.step(), *s.step()] for s in alone]
    _break(stage, trio[1], monkeypatch)
    for tick in (1, 2):
        made = pipeline.engine.step(trio)
        with pytest.raises(Broken):
            list(made[1])
        for i in (0, 2):
            due = exact[i][tick * FRAMES : (tick + 1) * FRAMES]
            for ours, plain in zip(made[i], due, strict=True):
                assert ours.index == plain.index, "nobody loses a tick, nor gets one twice"
                assert np.abs(ours.image.astype(int) - plain.image).max() <= 1


def test_a_batch_that_fails_goes_one_by_one_and_nobody_notices(
    pipeline, avatar, grant, monkeypatch
):
    pair = [pipeline.open(avatar, grant, seed=s) for s in (1, 2)]
    alone = [pipeline.open(avatar, grant, seed=s) for s in (1, 2)]
    for stream in (*pair, *alone):
        stream.push(speech(1.0))
    denoise = Denoiser.denoise

    def only_one(self, performances, plans):
        if len(performances) > 1:
            raise MemoryError
        return denoise(self, performances, plans)

    exact = [list(stream.step()) for stream in alone]
    monkeypatch.setattr(Denoiser, "denoise", only_one)
    for ours, plain in zip(pipeline.engine.step(pair), exact, strict=True):
        for a, b in zip(ours, plain, strict=True):
            assert a.index == b.index and np.abs(a.image.astype(int) - b.image).max() <= 1


def test_what_was_committed_is_never_committed_again(pipeline, avatar, grant):
    stream = pipeline.open(avatar, grant)
    stream.push(speech(1.0))
    (due,) = [pipeline.engine._hear(stream)]
    (made,) = pipeline.engine._denoise([due])
    assert stream.media_time == 0, "denoising changes nothing"
    stream.performance.commit(made)
    with pytest.raises(ValueError, match="cannot follow"):
        stream.performance.commit(made)
    assert stream.media_time == TICK


def test_frames_that_nobody_takes_cost_the_stream_nothing(pipeline, avatar, grant):
    lazy, keen = (pipeline.open(avatar, grant, seed=4) for _ in range(2))
    for stream in (lazy, keen):
        stream.push(speech(1.0))
    pipeline.engine.step([lazy])
    list(keen.step())
    for ours, plain in zip(lazy.step(), keen.step(), strict=True):
        assert ours.index == plain.index and np.array_equal(ours.image, plain.image)


def test_an_interrupt_leaves_nothing_of_what_was_heard(pipeline, avatar, grant):
    """Neither ahead of what was made, nor less than a latent, nor in the encoder."""
    loud, quiet = (pipeline.open(avatar, grant, seed=4) for _ in range(2))
    loud.push(speech(1.0)[: TICK + 640 + 3 * LATENT + 333])
    quiet.push(speech(1.0)[: TICK + 640])
    for stream in (loud, quiet):
        list(stream.step())
        stream.interrupt()
    assert loud.media_time == quiet.media_time + 3 * LATENT
    loud.push(np.zeros(TICK, np.float32))
    quiet.push(np.zeros(TICK + 333, np.float32))
    for ours, plain in zip(loud.step(), quiet.step(), strict=True):
        assert ours.media_time == plain.media_time + 3 * LATENT
        assert np.array_equal(ours.image, plain.image)


def test_an_interrupt_forgets_what_was_speculated_and_heard_for_it(avatar, grant):
    chunks, fast = (
        replace(CONFIG.chunks, live_tail=2),
        replace(CONFIG.acceleration, runtime="torch"),
    )
    config = replace(CONFIG, chunks=chunks, acceleration=fast)
    pipeline = AvatarPipeline(config, Generator(config, REF_DIM).eval(), "cpu", "a test")
    stream = pipeline.open(avatar, grant)
    stream.push(speech(2.0))
    list(stream.step())
    performance = stream.performance
    heard, known = performance.audio.read(performance.position, 2)
    assert performance.trace._left and known.all()
    stream.interrupt()
    silent, known = performance.audio.read(performance.position, 2)
    assert performance.trace._left == [] and known.all()
    fresh = pipeline.open(avatar, grant)
    fresh._audio.reset()
    still = fresh._audio.push(np.zeros(2 * LATENT + 640, np.float32))
    torch.testing.assert_close(silent, still)
    assert not torch.allclose(heard, silent)
    assert stream.samples_pushed - stream.media_time < 3 * LATENT + 640


def test_landmarks_that_show_no_face_are_refused_before_anything_is_fitted(pipeline, grant):
    picture = Picture(np.zeros((256, 256, 3), np.uint8), "ab" * 32)
    points = {name: (120.0 + i, 120.0) for i, name in enumerate(REQUIRED)}
    points["eye_outer_left"], points["eye_outer_right"] = (124.0, 120.0), (121.0, 120.0)
    with pytest.raises(LandmarksInvalid, match="too small"):
        pipeline.enrol(picture, grant, landmarks=points)


def test_a_picture_of_ones_own_without_landmarks_says_what_is_missing(pipeline, grant):
    picture = Picture(np.zeros((256, 256, 3), np.uint8), "ab" * 32)
    with pytest.raises(LandmarksMissing, match=r"docs/avatars\.md"):
        pipeline.enrol(picture, grant)


def test_a_picture_that_is_not_the_grants_is_refused_first(pipeline, grant):
    picture = Picture(np.zeros((256, 256, 3), np.uint8), "cd" * 32)
    with pytest.raises(ConsentMismatch):
        pipeline.enrol(picture, grant)


def test_an_unknown_schedule_is_named(pipeline, avatar, grant):
    with pytest.raises(ValueError, match="sideways"):
        pipeline.render(avatar, grant, [], schedule="sideways")


def test_every_frame_that_leaves_is_marked_and_painting_is_not(pipeline, avatar, grant):
    left, upper, right, lower = pipeline.label.box(avatar.anchor.width, avatar.anchor.height)
    stream = pipeline.open(avatar, grant)
    stream.push(speech(0.5))
    live = next(iter(stream.step())).image
    rendered = next(pipeline.render(avatar, grant, [speech(0.2)])).image
    bare = FrameRenderer(avatar.anchor).paint(avatar.anchor.fit.state).astype(int)
    for frame in (live, rendered):
        mark = frame[upper:lower, left:right]
        assert np.abs(mark - bare[upper:lower, left:right]).mean() > 15


@pytest.mark.parametrize("schedule", ["parallel", "causal"])
def test_people_move_as_the_models_motion_says(pipeline, avatar, grant, schedule, monkeypatch):
    motion = pipeline.config.motion
    spreads, eases = [], []
    denoise, decoder = Denoiser.denoise, MotionDecoder.__init__

    def denoising(self, performances, plans):
        spreads.extend(tuple(p.spread.tolist()) for p in performances)
        return denoise(self, performances, plans)

    def decoding(self, networks, ease=()):
        eases.append(ease)
        decoder(self, networks, ease)

    monkeypatch.setattr(Denoiser, "denoise", denoising)
    monkeypatch.setattr(MotionDecoder, "__init__", decoding)
    if schedule == "parallel":
        assert list(pipeline.render(avatar, grant, [speech(0.3)]))
    stream = pipeline.open(avatar, grant)
    if schedule == "causal":
        stream.push(speech(1.0))
        assert list(stream.step())
    assert set(eases) == {motion.ease}
    assert set(spreads) == {tuple(torch.tensor(motion.spread(schedule)).tolist())}


def test_a_transparent_frame_over_a_colour_is_the_frame_before_that_colour(pipeline, avatar, grant):
    def render(background: Background):
        return list(pipeline.render(avatar.before(background), grant, [speech(0.5)], seed=1))

    clear, green = render(Background()), render(Background(GREEN))
    for cut, whole in zip(clear, green, strict=True):
        assert cut.matte is not None and whole.matte is None
        share = cut.matte[..., None] / 255
        assert np.abs(cut.image * share + np.array(GREEN) * (1 - share) - whole.image).max() <= 3
    assert (cut.matte == 0).mean() > 0.1 and (cut.matte == 255).mean() > 0.03
    assert (whole.image[cut.matte == 0] == GREEN).all()


def test_a_live_stream_has_the_background_too(pipeline, avatar, grant):
    stream = pipeline.open(avatar.before(Background()), grant)
    stream.push(speech(3.0))
    assert all(frame.matte is not None for frame in stream.step())


def test_nobody_is_cut_out_of_a_picture_without_an_outline(avatar):
    whole = replace(avatar, anchor=replace(avatar.anchor, outlined=False))
    with pytest.raises(BackgroundInvalid, match="no person's outline"):
        whole.before(Background())
