"""Live streams of Wan checkpoints: what is heard, shown, refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.consent import ConsentGrant, Registry
from pipeline.errors import (
    AudioNotFinite,
    ConsentMismatch,
    ConsentRevoked,
    StreamClosed,
    StreamOverrun,
)
from pipeline.models.wan.pipeline import WanPipeline
from tests.pipeline.models.wan.whole import model, picture, render, speech


def test_the_same_seed_gives_the_same_frames_however_the_speech_is_cut(
    grant: ConsentGrant,
) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    avatar = pipeline.enrol(picture(), grant)
    sound = speech(1.3)

    def live(piece: int, seed: int) -> np.ndarray:
        stream = pipeline.open(avatar, grant, "calm", seed)
        images = []
        for start in range(0, len(sound), piece):
            stream.push(sound[start : start + piece])
            images += [frame.image for frame in stream.step()]
        return np.stack(images)

    first, second = live(320, 1), live(7777, 1)
    assert np.array_equal(first[: len(second)], second[: len(first)]) and len(first) >= 13
    assert not np.array_equal(first[1:9], live(320, 2)[1:9])


@pytest.mark.parametrize(
    "name", ["livetalk-1.3b", "flashtalk-14b", "avatarforcing-1.3b", "liveact-18b"]
)
def test_a_stream_says_to_the_sample_what_its_next_step_needs(
    grant: ConsentGrant, name: str
) -> None:
    pipeline = WanPipeline(model(name))
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant)
    ends = []
    for _ in range(3):
        lacking = stream.needs - stream.samples_pushed
        stream.push(speech(lacking / 16_000)[: lacking - 1])
        assert not stream.ready
        stream.push(np.zeros(1, np.float32))
        assert stream.ready
        ends.append(stream.needs)
        frames = list(stream.step())
        assert frames[-1].media_time + stream.samples_per_frame == stream.media_time
        assert stream.media_time == ends[-1] - stream.look_ahead
    assert set(np.diff(ends)) == {stream.samples_per_step}
    assert stream.skip(10**6) % stream.samples_per_frame == 0


@pytest.mark.parametrize("name", ["flashtalk-14b", "avatarforcing-1.3b", "liveact-18b"])
def test_a_live_call_shows_what_a_rendering_shows(grant: ConsentGrant, name: str) -> None:
    pipeline = WanPipeline(model(name))
    rendered = render(pipeline, grant, 1.8, schedule="causal")
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant, "calm", 3)
    live = []
    for piece in np.array_split(speech(1.8), 90):
        stream.push(piece)
        assert stream.backlog == stream.samples_pushed - stream.media_time
        live += list(stream.step())
    assert 0 < len(live) <= len(rendered)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(live, rendered, strict=False))
    assert stream.metrics()["frames"] == len(live)


def test_speech_changes_the_frames_and_an_interrupt_drops_what_waits(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    avatar = pipeline.enrol(picture(), grant)
    shown = []
    for seed in (1, 2):
        stream = pipeline.open(avatar, grant, "calm", 0)
        stream.push(speech(1.0, seed))
        shown.append(next(frame.image for frame in stream.step() if frame.index == 3))
    assert not np.array_equal(*shown)
    waiting = stream.backlog
    assert waiting > 4000
    stream.interrupt()
    assert stream.backlog < stream.samples_per_frame
    stream.push(speech(2.0))
    after = list(stream.step())
    assert after[0].media_time >= waiting - stream.samples_per_frame + 5 * 1000


def test_dropped_speech_moves_the_frames_behind_it_and_not_those_that_were_heard_already(
    grant: ConsentGrant,
) -> None:
    pipeline = WanPipeline(model("avatarforcing-1.3b"))
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant)
    stream.push(speech(5.0))
    frames = list(stream.step())
    heard = frames[-1].index + 1 + stream.look_ahead // stream.samples_per_frame
    assert stream.skip(10 * 640) == 10 * 640
    while stream.ready:
        frames += stream.step()
    indices = [frame.index for frame in frames]
    assert indices[:heard] == list(range(heard))
    assert indices[heard:] == list(range(heard + 10, heard + 10 + len(indices) - heard))
    assert stream.media_time == frames[-1].media_time + 640


def test_an_interrupt_silences_what_was_heard_ahead_too(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("avatarforcing-1.3b"))
    avatar, runs = pipeline.enrol(picture(), grant), []
    for interrupted in (False, True):
        stream = pipeline.open(avatar, grant)
        stream.push(speech(2.0))
        before = [frame.image for frame in stream.step()]
        if interrupted:
            stream.interrupt()
            kept = stream._parts.speech._kept
            assert kept[: len(before) * 640].any() and not kept[len(before) * 640 :].any()
        stream.push(np.zeros(16_000, np.float32))
        runs.append((before, [frame.image for frame in stream.step()]))
    assert all(map(np.array_equal, runs[0][0], runs[1][0]))
    assert not any(map(np.array_equal, runs[0][1], runs[1][1]))


def test_a_new_prompt_counts_from_the_next_chunk(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    avatar = pipeline.enrol(picture(), grant)
    runs = []
    for change in (False, True):
        stream = pipeline.open(avatar, grant, "calm", 0)
        stream.push(speech(1.5))
        images = [frame.image for frame in stream.step()]
        if change:
            stream.set_prompt("angry and loud")
        runs.append((images, [frame.image for frame in stream.step()]))
    assert all(map(np.array_equal, runs[0][0], runs[1][0]))
    assert not any(map(np.array_equal, runs[0][1], runs[1][1]))


def test_nothing_is_generated_without_consent(registry: Registry, grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    with pytest.raises(ConsentMismatch):
        pipeline.enrol(replace(picture(), sha256="cd" * 32), grant)
    avatar = pipeline.enrol(picture(), grant)
    stream = pipeline.open(avatar, grant)
    stream.push(speech(2.0))
    list(stream.step())
    registry.revoke(grant.consent_id)
    with pytest.raises(ConsentRevoked):
        list(stream.step())
    with pytest.raises(ConsentRevoked):
        pipeline.open(avatar, grant)


def test_a_stream_refuses_too_much_bad_and_late_speech(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant)
    with pytest.raises(StreamOverrun, match="exceed 30 s"):
        stream.push(np.zeros(31 * 16_000, np.float32))
    with pytest.raises(AudioNotFinite):
        stream.push(np.array([np.nan], np.float32))
    stream.close()
    with pytest.raises(StreamClosed):
        stream.push(speech(0.1))
    assert list(stream.step()) == []


def test_streams_are_stepped_together(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    avatar = pipeline.enrol(picture(), grant)
    busy, idle = pipeline.open(avatar, grant), pipeline.open(avatar, grant)
    busy.push(speech(0.5))
    made = pipeline.engine.step([busy, idle])
    assert [len(list(frames)) for frames in made] == [5, 0]
