"""Wan checkpoints end to end on tiny random weights: speech and a picture in, frames out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.io import wavfile
from torch import Tensor

from pipeline.choose import load_pipeline
from pipeline.consent import ConsentGate, ConsentGrant, Kind, Registry, Scope
from pipeline.consent.registry import new_record
from pipeline.errors import (
    AudioNotFinite,
    ConsentMismatch,
    ConsentRevoked,
    ModelMismatch,
    ModelUnknown,
    StreamClosed,
    StreamOverrun,
)
from pipeline.models.wan.cards import Card, Guidance, Recipe, Schedule, card
from pipeline.models.wan.condition import (
    Reference,
    beside,
    encode_reference,
    frames_of,
    latents_of,
)
from pipeline.models.wan.config import AddedAudio, AttendedAudio
from pipeline.models.wan.denoise import Prompts, branches, denoise, timestep
from pipeline.models.wan.files import find_files
from pipeline.models.wan.hearing import frame_windows, group_frames, latent_steps
from pipeline.models.wan.performance import ChunkPerformance, RingPerformance, Score
from pipeline.models.wan.pipeline import Manner, WanModel, WanPipeline, fit_picture
from pipeline.models.wan.ring import KvRing
from pipeline.models.wan.speech import SpeechEncoder
from pipeline.models.wan.tiny import TinyDecoder, TinyStream
from pipeline.picture import Picture
from pipeline.render import main as render_command
from pipeline.sampler import latent_noise
from tests import wan_small as small

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SIZE = (32, 16)
SHA = "ab" * 32


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "consent.db")
    yield registry
    registry.close()


@pytest.fixture
def grant(registry: Registry) -> ConsentGrant:
    record = new_record(
        subject="a test picture", kind=Kind.SYNTHETIC, statement="not a person", image_sha256=SHA
    )
    registry.add(record)
    return ConsentGate(registry).grant(
        avatar="test", image_sha256=SHA, scope=Scope.LIVE, consent_id=record.id
    )


def picture(width: int = 60, height: int = 60) -> Picture:
    pixels = np.random.default_rng(4).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Picture(pixels, SHA)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(int(16_000 * seconds))
    return (0.1 * noise).astype(np.float32)


def prompt(text: str) -> Tensor:
    generator = torch.Generator().manual_seed(len(text))
    return torch.randn(1, 5, 20, generator=generator)


def listener(layout: str) -> SpeechEncoder:
    torch.manual_seed(7)
    config = transformers.Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return SpeechEncoder(transformers.Wav2Vec2Model(config), layout)


def small_card(name: str, **changes: object) -> Card:
    recipes = {
        "livetalk-1.3b": Recipe("ring", block=2, window=5, sink=2),
        "omniavatar-1.3b": Recipe("overlap", frames=21, overlap=5),
        "flashtalk-14b": Recipe("motion", frames=21, overlap=5),
    }
    values: dict[str, object] = {"sizes": (SIZE,), "recipe": recipes[name]}
    return replace(card(name), **(values | changes))  # type: ignore[arg-type]


def model(name: str, **changes: object) -> WanModel:
    chosen = small_card(name, **changes)
    if chosen.layout == "A":
        dit = small.dit("A", audio=AddedAudio(96, 8, 2))
        sight = None
    else:
        dit = small.dit("B", audio=AttendedAudio(48, 5, 10, 3, 6, True))

        def sight(pixels: Tensor) -> Tensor:
            return pixels.mean((2, 3)).repeat(1, 6).expand(1, 257, 18)

    return WanModel(chosen, dit, small.vae(4, 16), listener(chosen.layout), prompt, sight)


def render(pipeline: WanPipeline, grant: ConsentGrant, seconds: float, **options: object):  # type: ignore[no-untyped-def]
    avatar = pipeline.enrol(picture(), grant, size=SIZE)
    pieces = np.array_split(speech(seconds), 7)
    return list(pipeline.render(avatar, grant, pieces, "calm", seed=3, **options))


# -- end to end -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rate"), [("livetalk-1.3b", 16), ("flashtalk-14b", 25), ("omniavatar-1.3b", 25)]
)
def test_a_recording_gets_its_frames_at_the_models_own_rate(
    grant: ConsentGrant, name: str, rate: int
) -> None:
    schedule = Schedule(2, 5.0, card(name).schedule.sampler, "bfloat16")
    pipeline = WanPipeline(model(name, schedule=schedule))
    frames = render(pipeline, grant, 1.43)
    assert pipeline.frame_rate == rate
    assert len(frames) == -(-int(1.43 * 16_000) * rate // 16_000)
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.media_time == f.index * (16_000 // rate) for f in frames)
    images = np.stack([f.image for f in frames])
    assert images.shape[1:] == (16, 32, 3) and images.dtype == np.uint8
    assert images.std() > 5 and np.abs(np.diff(images.astype(int), axis=0)).mean() > 0.5


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


def test_a_live_call_shows_what_a_rendering_shows(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("flashtalk-14b"))
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


def test_frames_carried_as_published_follow_another_path_but_count_the_same(
    grant: ConsentGrant,
) -> None:
    parts = model("flashtalk-14b")
    ours = render(WanPipeline(parts), grant, 1.3)
    theirs = render(WanPipeline(parts, Manner(carry="frames")), grant, 1.3)
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
    together = render(WanPipeline(parts, Manner(window=2)), grant, 1.3)
    one_by_one = render(WanPipeline(parts), grant, 1.3)
    assert len(together) == len(one_by_one) == 33
    assert not np.array_equal(together[-1].image, one_by_one[-1].image)


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


def test_a_size_that_was_not_trained_is_refused_unless_forced(grant: ConsentGrant) -> None:
    parts = model("livetalk-1.3b")
    with pytest.raises(ModelMismatch, match="64x32 is not one of its sizes"):
        WanPipeline(parts).enrol(picture(), grant, size=(64, 32))
    forced = WanPipeline(parts, Manner(force=True))
    assert forced.enrol(picture(), grant, size=(64, 32)).reference.latent.shape[3:] == (4, 8)
    assert "64x32 is not one of its sizes" in forced.notices[0]


def test_render_writes_a_file_at_the_models_own_rate(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(4).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    record = new_record(
        subject="a test picture", kind=Kind.SYNTHETIC, statement="not a person",
        image_sha256=hashlib.sha256((tmp_path / "face.png").read_bytes()).hexdigest(),
    )  # fmt: skip
    registry.add(record)
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


def test_a_model_that_is_neither_bundled_nor_a_path_is_refused() -> None:
    with pytest.raises(ModelUnknown, match="neither a bundled model .*mini.* nor a path"):
        load_pipeline("sora")


def test_streams_are_stepped_together(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("livetalk-1.3b"))
    avatar = pipeline.enrol(picture(), grant)
    busy, idle = pipeline.open(avatar, grant), pipeline.open(avatar, grant)
    busy.push(speech(0.5))
    made = pipeline.engine.step([busy, idle])
    assert [len(frames) for frames in made] == [5, 0]


def test_the_licence_is_told(grant: ConsentGrant) -> None:
    assert "CONFLICT" in WanPipeline(model("livetalk-1.3b")).license


def save_everything(root: Path, parts: WanModel) -> Path:
    """A checkpoint as it lies on a disk: weights, VAE, and the folders of its encoders."""
    (root / "live").mkdir()
    save_file(dict(parts.dit.state_dict()), root / "live" / "model.safetensors")
    (root / "live" / "config.json").write_text('{"num_heads": 2, "text_len": 7}')
    base = root / "Wan2.1-T2V-1.3B"
    base.mkdir()
    torch.save(dict(parts.vae.state_dict()), base / "Wan2.1_VAE.pth")
    words = transformers.UMT5Config(vocab_size=12, d_model=20, d_kv=8, d_ff=32, num_layers=2,
                                    num_heads=2, feed_forward_proj="gated-gelu")  # fmt: skip
    transformers.UMT5EncoderModel(words).save_pretrained(base / "models_t5_umt5-xxl-enc-bf16.pth")
    vocabulary = {"<unk>": 0, "calm": 1, "friendly": 2}
    split = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    split.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=split).save_pretrained(base / "umt5-xxl")
    ears = parts.speech._model
    ears.feature_extractor = ears.feature_extractor.inner
    ears.save_pretrained(root / "wav2vec2-base-960h")
    return root / "live"


def test_a_checkpoint_runs_from_its_files(tmp_path: Path, grant: ConsentGrant) -> None:
    parts = model("livetalk-1.3b")
    count = sum(p.numel() for p in parts.dit.parameters())
    small_one = replace(parts.card, parameters=count)
    path = save_everything(tmp_path, parts)
    with pytest.raises(ModelMismatch, match="has layout A and 1,421,187,232 parameters, these"):
        WanPipeline.load(path, "livetalk-1.3b", dtype=torch.float32)
    pipeline = WanPipeline.load(path, small_one, dtype=torch.float32)
    avatar = pipeline.enrol(picture(), grant)
    frames = list(pipeline.render(avatar, grant, [speech(0.5)], "calm friendly"))
    assert len(frames) == 8
    assert "livetalk" in pipeline.reason.lower() and "CC BY-NC-SA" in pipeline.reason
    assert isinstance(load_pipeline(str(path), small_one), WanPipeline)
    expected = WanPipeline(replace(parts, speech=listener("A"), prompt=pipeline.model.prompt))
    again = expected.render(avatar, grant, [speech(0.5)], "calm friendly")
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))


# -- parts ------------------------------------------------------------------------------------


def test_frames_and_latents_count_each_other() -> None:
    assert [frames_of(n) for n in range(4)] == [0, 1, 5, 9]
    assert [latents_of(n) for n in (0, 1, 2, 5, 6, 33)] == [0, 1, 2, 2, 3, 9]


def test_layout_a_marks_given_latents_with_zero() -> None:
    reference = Reference(torch.full((1, 16, 1, 2, 3), 5.0))
    side = beside(small.config("A"), reference, torch.tensor([True, False, False]))
    assert side.shape == (1, 17, 3, 2, 3)
    assert (side[:, :16] == 5).all()
    assert side[0, 16, :, 0, 0].tolist() == [0.0, 1.0, 1.0]


def test_layout_b_marks_the_given_frame_with_one() -> None:
    reference = Reference(torch.zeros(1), torch.full((1, 16, 3, 2, 3), 5.0))
    side = beside(small.config("B"), reference, torch.tensor([True, True, False]))
    assert side.shape == (1, 20, 3, 2, 3)
    assert side[0, :4, :, 0, 0].tolist() == [[1.0, 0.0, 0.0]] * 4
    assert (side[:, 4:] == 5).all()
    with pytest.raises(ValueError, match="encoded for 3 latents a chunk, not 2"):
        beside(small.config("B"), reference, torch.tensor([True, False]))


def test_layout_bs_video_is_the_picture_and_then_nothing() -> None:
    vae, still = small.vae(4, 16), torch.rand(1, 3, 16, 16) * 2 - 1
    got = encode_reference(vae, small.config("B"), still, 9)
    assert got.video is not None
    clip = torch.cat([still[:, :, None], torch.zeros(1, 3, 8, 16, 16)], dim=2)
    assert torch.equal(got.video, vae.encode(clip))
    assert torch.equal(got.latent, vae.encode(still[:, :, None]))


def test_a_network_is_told_rounded_times_as_published() -> None:
    live = card("livetalk-1.3b").schedule
    told = [float(timestep(level, live, torch.zeros(1), (1,))) for level in live.levels]
    assert told == [1000.0, 936.0, 832.0, 624.0, 0.0]
    exact = [float(timestep(x, card("flashtalk-14b").schedule, torch.zeros(1), (1,)))
             for x in live.levels]  # fmt: skip
    assert exact == pytest.approx([1000.0, 937.5, 833.3333, 625.0, 0.0])


def test_denoising_steps_are_the_published_ones() -> None:
    schedule = Schedule(3, 5.0, "renoise", "float32")
    noises = [torch.randn(1, 2, 3, 1, 1) for _ in range(3)]
    known, seen = torch.full((1, 2, 1, 1, 1), 9.0), []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, float(t[0, 0])))
        return 0.5 * x + 1

    got = denoise(velocity, schedule, lambda draw: noises[draw], known)
    x = noises[0].clone()
    for i, (sigma, after) in enumerate([(1.0, 10 / 11), (10 / 11, 5 / 7), (5 / 7, 0.0)]):
        x[:, :, :1] = 9.0
        assert torch.allclose(seen[i][0], x, atol=1e-5) and seen[i][1] == pytest.approx(
            1000 * sigma
        )
        x0 = x - sigma * (0.5 * x + 1)
        x = (1 - after) * x0 + after * (noises[i + 1] if after else 0)
    x[:, :, :1] = 9.0
    assert torch.allclose(got, x, atol=1e-5)


def guided(layout: str, text: float, audio: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The mixed field, and the fields it is made of: prompt and audio wanted (w) or not (u)."""
    torch.manual_seed(0)
    dit = small.dit(layout)
    x, t = torch.randn(1, dit.config.in_channels, 2, 4, 4), torch.tensor([500.0])
    features = torch.randn(1, 5, 14 if layout == "A" else 12)
    image = torch.randn(1, 257, 18) if layout == "B" else None

    def steps(f: Tensor):  # type: ignore[no-untyped-def]
        return group_frames(f) if layout == "A" else latent_steps(frame_windows(f, 5))

    prompts = Prompts(torch.randn(1, 5, 20), torch.randn(1, 3, 20))
    fields = {
        a + b: dit(x, t, dit.encode(p, image, steps(f)))
        for a, p in (("w", prompts.wanted), ("u", prompts.unwanted))
        for b, f in (("w", features), ("u", features * 0))
    }
    lot = branches(dit, Guidance(text, audio), prompts, image, steps(features))
    return lot.mix([dit(x, t, told) for told in lot.told]), fields


@pytest.mark.parametrize("layout", ["A", "B"])
def test_guidance_mixes_its_branches_as_published(layout: str) -> None:
    mixed, f = guided(layout, 1.0, 1.0)
    assert small.relative(mixed, f["ww"]) < 1e-5
    mixed, f = guided(layout, 4.5, 4.5)
    assert small.relative(mixed, f["uu"] + 4.5 * (f["ww"] - f["uu"])) < 1e-5
    mixed, f = guided(layout, 5.0, 4.0)
    if layout == "A":
        wanted = f["uu"] + 5.0 * (f["wu"] - f["uu"]) + 4.0 * (f["ww"] - f["wu"])
    else:
        wanted = f["uu"] + 5.0 * (f["ww"] - f["uw"]) + 4.0 * (f["uw"] - f["uu"])
    assert small.relative(mixed, wanted) < 1e-5


def score(dit=None, layout: str = "A", schedule: Schedule | None = None) -> Score:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    reference = Reference(torch.randn(1, 16, 1, 4, 4))
    return Score(dit or small.dit(layout), schedule or Schedule(2, 5.0, "renoise", "float32"),
                 Guidance(1.0, 1.0), reference, seed=5)  # fmt: skip


def test_a_ring_run_equals_the_published_loop_written_out() -> None:
    """Two blocks, step by step, against the block-causal pass over all latents so far."""
    from pipeline.models.wan.block import Causal

    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    features = torch.randn(13, 14)
    performance = RingPerformance(run, prompts, 2, KvRing(8, 2, relative=False))
    ours = []
    for _ in range(2):
        span = performance.span()
        ours.append(performance.advance(features[span.start : span.stop]).latents)
    told = run.dit.encode(prompts.wanted, audio=group_frames(features[None]))
    side = beside(run.dit.config, run.reference, torch.tensor([True, False, False, False]))
    clean = torch.zeros(1, 16, 4, 4, 4)
    for start in (0, 2):
        x = latent_noise(5, start, (16, 2, 4, 4), 0)[None]
        for step, (level, after) in enumerate([(1.0, 5 / 6), (5 / 6, 0.0)]):
            if start == 0:
                x[:, :, :1] = run.reference.latent
            whole = torch.cat([clean[:, :, :start], x], dim=2)
            t = torch.tensor([[0.0] * start + [1000 * level] * 2])
            part = [h.__class__(h.text, h.image, None if h.added is None else
                                h.added[:, : start + 2], h.audio) for h in told]  # fmt: skip
            v = run.dit(torch.cat([whole, side[:, :, : start + 2]], dim=1), t, part,
                        causal=Causal(2))[:, :, start:]  # fmt: skip
            x0 = x - level * v
            fresh = latent_noise(5, start, (16, 2, 4, 4), step + 1)[None]
            x = x0 if after == 0 else (1 - after) * x0 + after * fresh
        if start == 0:
            x[:, :, :1] = run.reference.latent
        clean[:, :, start : start + 2] = x
    assert small.relative(torch.cat(ours, dim=2), clean) < 1e-4


def test_a_chunk_begins_with_the_last_latents_of_the_one_before() -> None:
    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    performance = ChunkPerformance(run, prompts, 4, 2)
    features = torch.randn(40, 14)
    spans, outs = [], []
    for _ in range(3):
        span = performance.span()
        spans.append((span.start, span.stop))
        outs.append(performance.advance(features[span.start : span.stop]).latents)
    assert spans == [(0, 13), (8, 21), (16, 29)]
    assert [out.shape[2] for out in outs] == [4, 2, 2]
    assert torch.equal(outs[0][:, :, :1], run.reference.latent)
    x = latent_noise(5, 2, (16, 4, 4, 4), 0)[None]
    side = beside(run.dit.config, run.reference, torch.tensor([True, True, False, False]))
    told = run.dit.encode(prompts.wanted, audio=group_frames(features[None, 8:21]))
    for step, (level, after) in enumerate([(1.0, 5 / 6), (5 / 6, 0.0)]):
        x[:, :, :2] = outs[0][:, :, -2:]
        v = run.dit(torch.cat([x, side], dim=1), torch.tensor([1000 * level]), told)
        x0 = x - level * v
        fresh = latent_noise(5, 2, (16, 4, 4, 4), step + 1)[None]
        x = x0 if after == 0 else (1 - after) * x0 + after * fresh
    assert small.relative(outs[1], x[:, :, 2:]) < 1e-5


def test_a_window_of_chunks_agrees_where_they_overlap_and_goes_on() -> None:
    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    performance = ChunkPerformance(run, prompts, 6, 2, window=3)
    span = performance.span()
    assert (span.start, span.stop) == (0, frames_of(14))
    first = performance.advance(torch.randn(span.stop - span.start, 14)).latents
    assert first.shape[2] == 14
    span = performance.span()
    assert span.start == 48 and span.stop == 48 + frames_of(14)
    second = performance.advance(torch.randn(span.stop - span.start, 14)).latents
    assert second.shape[2] == 12


def test_a_ring_refuses_guidance() -> None:
    run = replace(score(), guidance=Guidance(4.5, 4.5))
    performance = RingPerformance(run, Prompts(torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)), 2,
                                  KvRing(5, 2))  # fmt: skip
    with pytest.raises(ValueError, match="guidance must be 1"):
        performance.advance(torch.zeros(5, 14))


def test_the_small_decoder_streams_and_gives_the_right_frames() -> None:
    torch.manual_seed(0)
    decoder = TinyDecoder(16, (8, 6, 4, 4))
    small.randomise(decoder, std=0.3)
    latents = torch.randn(1, 16, 5, 2, 3)
    whole = TinyStream(decoder).push(latents)
    assert whole.shape == (1, 3, 17, 16, 24) and whole.abs().max() <= 1
    stream = TinyStream(decoder)
    pieces = [stream.push(part) for part in latents.split([1, 3, 1], dim=2)]
    assert small.relative(torch.cat(pieces, dim=2), whole) < 1e-5


def test_the_small_decoder_has_the_published_names() -> None:
    names = set(TinyDecoder().state_dict())
    assert {"decoder.1.weight", "decoder.3.conv.0.weight", "decoder.7.conv.weight",
            "decoder.8.weight", "decoder.13.conv.weight", "decoder.19.conv.weight",
            "decoder.22.bias"} <= names  # fmt: skip
    shapes = {k: tuple(v.shape) for k, v in TinyDecoder().state_dict().items()}
    assert shapes["decoder.1.weight"] == (256, 16, 3, 3)
    assert shapes["decoder.19.conv.weight"] == (128, 64, 1, 1)


def test_a_picture_is_scaled_to_cover_and_cut_evenly() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    fitted = fit_picture(pixels, 32, 32)
    assert fitted.shape == (32, 32, 3)
    assert fitted[:, :14].max() < 30 and fitted[:, 18:].min() > 225


def test_files_are_found_around_the_path_or_all_missing_ones_are_named(tmp_path: Path) -> None:
    live = card("livetalk-1.3b")
    weights = tmp_path / "LiveTalk" / "model.safetensors"
    weights.parent.mkdir()
    weights.touch()
    with pytest.raises(ModelUnknown) as refused:
        find_files(weights.parent, live)
    for name in ("Wan2.1_VAE.pth", "umt5-xxl", "wav2vec2-base-960h"):
        assert name in str(refused.value)
    base = tmp_path / "Wan2.1-T2V-1.3B"
    (base / "google" / "umt5-xxl").mkdir(parents=True)
    (base / "Wan2.1_VAE.pth").touch()
    (base / "models_t5_umt5-xxl-enc-bf16.pth").touch()
    (tmp_path / "wav2vec2-base-960h").mkdir()
    found = find_files(weights.parent, live)
    assert found.transformer == weights and found.tokenizer == base / "google" / "umt5-xxl"
    assert found.speech == tmp_path / "wav2vec2-base-960h"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"carry": "pixels"}, "carry must be one of"),
        ({"positions": "none"}, "positions must be"),
        ({"carry": "frames", "window": 2}, "window 2 must be 1"),
    ],
)
def test_a_manner_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manner(**changes)  # type: ignore[arg-type]
