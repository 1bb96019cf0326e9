"""Wan checkpoints from speech to frames and to a file, on tiny random weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pipeline.attention.cache import Reuse
from pipeline.consent import ConsentGrant, Kind, Registry
from pipeline.consent.registry import new_record
from pipeline.errors import ModelMismatch
from pipeline.models.wan.accelerate import Applied
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.model_cards import Schedule, card
from pipeline.models.wan.network.speakers import HALVES
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.run_options import RunOptions
from pipeline.render import main as render_command
from tests.pipeline.models.wan.whole import model, picture, render, speech


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("livetalk-1.3b", 16),
        ("flashtalk-14b", 25),
        ("omniavatar-1.3b", 25),
        ("avatarforcing-1.3b", 25),
        ("liveact-18b", 25),
    ],
)
def test_a_recording_gets_its_frames_at_the_models_own_rate(
    grant: ConsentGrant, name: str, rate: int
) -> None:
    schedule = replace(card(name).schedule, steps=2, of=0, at=())
    pipeline = WanPipeline(model(name, schedule=schedule))
    frames = render(pipeline, grant, 1.43)
    assert pipeline.frame_rate == rate
    assert len(frames) == -(-int(1.43 * 16_000) * rate // 16_000)
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.media_time == f.index * (16_000 // rate) for f in frames)
    images = np.stack([f.image for f in frames])
    assert images.shape[1:] == (16, 32, 3) and images.dtype == np.uint8
    assert images.std() > 5 and np.abs(np.diff(images.astype(int), axis=0)).mean() > 0.5


def test_frames_carried_as_published_follow_another_path_but_count_the_same(
    grant: ConsentGrant,
) -> None:
    parts = model("flashtalk-14b")
    ours = render(WanPipeline(parts), grant, 1.3)
    theirs = render(WanPipeline(parts, RunOptions(carry="frames")), grant, 1.3)
    assert len(ours) == len(theirs) == 33
    same = [np.array_equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True)]
    assert all(same[:21]) and not any(same[21:])


def test_latents_are_carried_without_encoding_anything_again(
    grant: ConsentGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = WanPipeline(model("omniavatar-1.3b", schedule=Schedule(2, 5.0, "euler", "float32")))
    avatar = pipeline.enrol(picture(), grant)
    monkeypatch.setattr(pipeline.model.vae, "encode_step", lambda *_: pytest.fail("encoded again"))
    assert len(list(pipeline.render(avatar, grant, [speech(1.2)]))) == 30


def test_harmonised_chunks_agree_and_cover_the_same_frames(grant: ConsentGrant) -> None:
    parts = model("flashtalk-14b")
    together = render(WanPipeline(parts, RunOptions(window=2)), grant, 1.3)
    one_by_one = render(WanPipeline(parts), grant, 1.3)
    assert len(together) == len(one_by_one) == 33
    assert not np.array_equal(together[-1].image, one_by_one[-1].image)


@pytest.mark.parametrize("name", ["infinitetalk-14b", "multitalk-14b"])
@pytest.mark.parametrize("window", [1, 2])
def test_two_people_in_one_picture_speak_each_with_its_own_voice(
    grant: ConsentGrant, name: str, window: int
) -> None:
    schedule = replace(card(name).schedule, steps=2)
    size = (64, 32)  # four places across: one begins in each half
    parts = model(name, schedule=schedule, sizes=(size,))
    pipeline = WanPipeline(parts, RunOptions(window=window, boxes=HALVES))
    avatar = pipeline.enrol(picture(), grant, size=size)
    voices = np.stack([speech(1.3), speech(1.3, seed=1)], 1)

    def images(both: np.ndarray) -> np.ndarray:
        pieces = [both[:9999], both[9999:]]
        return np.stack([f.image for f in pipeline.render(avatar, grant, pieces, "calm", seed=3)])

    first = images(voices)
    assert len(first) == 33 and np.array_equal(first, images(voices))
    for person in (0, 1):
        muted = voices.copy()
        muted[:, person] = 0
        assert not np.array_equal(first, images(muted)), f"person {person + 1} is not heard"


def test_who_takes_two_speakers_is_said_before_anything_is_rendered() -> None:
    with pytest.raises(ModelMismatch, match="one speaker: InfiniteTalk 14B and MultiTalk 14B"):
        WanPipeline(model("flashtalk-14b"), RunOptions(boxes=HALVES))
    for boxes in (HALVES[:1], ((0, 0, 0.5, 1), (0.5, 0, 1.2, 1)), ((0, 0, 0, 1), (0.5, 0, 1, 1))):
        with pytest.raises(ValueError, match="two boxes within the picture.*left:top:right:bottom"):
            RunOptions(boxes=boxes)
    reuse = AccelerationPlan(reuse=Reuse.of(2, 4))
    parts = model("multitalk-14b", schedule=Schedule(2, 5.0, "euler", "float32"))
    with pytest.raises(ModelMismatch, match="without reuse"):
        WanPipeline(parts, RunOptions(boxes=HALVES), Applied(reuse))


def test_render_writes_a_file_at_the_models_own_rate(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(4).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    record = new_record(
        subject="a test picture", kind=Kind.SYNTHETIC, statement="not a person",
        image_sha256=hashlib.sha256((tmp_path / "face.png").read_bytes()).hexdigest(),
        adult=True,
    )  # fmt: skip
    registry.add(record, picture=(tmp_path / "face.png").read_bytes())
    wavfile.write(tmp_path / "in.wav", 16_000, speech(1.0))
    pipeline = WanPipeline(model("livetalk-1.3b", sizes=((64, 64),)))
    status = render_command(
        ["--model", str(tmp_path), "--avatar", "face", "--image", str(tmp_path / "face.png"),
         "--consent", record.id, "--audio", str(tmp_path / "in.wav"), "--width", "64",
         "--height", "64", "--out", str(tmp_path / "out.mp4"), "--registry", str(registry.path),
         "--json"],
        lambda: pipeline,
    )  # fmt: skip
    told = capsys.readouterr()
    assert status == 0, told.err
    assert json.loads(told.out)["frames"] == 16 and json.loads(told.out)["seconds"] == 1.0
    with av.open(str(tmp_path / "out.mp4")) as made:
        video, sound = made.streams.video[0], made.streams.audio[0]
        assert (video.average_rate, video.frames) == (16, 16)
        assert float(video.duration * video.time_base) == pytest.approx(1.0)
        assert float(sound.duration * sound.time_base) == pytest.approx(1.0, abs=0.03)
