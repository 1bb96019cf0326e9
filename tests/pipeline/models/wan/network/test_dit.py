"""The Wan transformer against diffusers' and against a plain re-derivation of both layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig
from pipeline.models.wan.network.audio_conditioning import frame_windows, group_frames, latent_steps
from pipeline.models.wan.network.block import Causal
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.network.kv_ring import KvRing
from pipeline.models.wan.network.layers import axis_dims, rotary_grid, time_sinusoid
from pipeline.models.wan.network.speakers import regions
from tests.pipeline.models.wan import plain, small


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def diffusers_twin(model: WanDiT):  # type: ignore[no-untyped-def]
    diffusers = pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    c = model.config
    twin = diffusers.WanTransformer3DModel(
        patch_size=c.patch, num_attention_heads=c.heads, attention_head_dim=c.head_dim,
        in_channels=c.in_channels, out_channels=16, text_dim=c.text_dim, freq_dim=c.freq_dim,
        ffn_dim=c.ffn_dim, num_layers=c.depth, image_dim=c.image_dim,
        added_kv_proj_dim=c.dim if c.image_dim else None,
    )  # fmt: skip
    renamed = convert_wan_transformer_to_diffusers(
        {name: value.clone() for name, value in model.state_dict().items()}
    )
    twin.load_state_dict(renamed, strict=True)
    return twin.eval().requires_grad_(False)


@pytest.mark.parametrize("image_dim", [None, 18])
def test_base_model_equals_diffusers(image_dim: int | None) -> None:
    tokens = 512 if image_dim else 7  # diffusers counts image tokens as all but 512
    model = small.dit(image_dim=image_dim, text_tokens=tokens, freq_dim=256)
    twin = diffusers_twin(model)
    # diffusers takes the sinusoid in float32, which alone moves the output by about 1e-5
    twin.condition_embedder.timesteps_proj.forward = lambda t: time_sinusoid(t, 256)
    x, text = torch.randn(2, 16, 3, 8, 6), torch.randn(2, tokens, 20)
    image = torch.randn(2, 257, image_dim) if image_dim else None
    told = model.encode(text, image)
    for t in (torch.tensor([937.5, 625.0]), torch.tensor([[1000.0, 833.3, 0.0]] * 2)):
        each = t.repeat_interleave(12, dim=1) if t.ndim == 2 else t
        theirs = twin(x, each, text, image, return_dict=False)[0]
        assert small.relative(model(x, t, told), theirs) < 1e-6


def test_base_model_equals_untouched_diffusers_at_usual_weights() -> None:
    model = WanDiT(small.config(freq_dim=256))
    small.randomise(model, std=0.06)
    x, text, t = torch.randn(1, 16, 3, 8, 6), torch.randn(1, 7, 20), torch.tensor([937.5])
    theirs = diffusers_twin(model)(x, t, text, return_dict=False)[0]
    assert small.relative(model(x, t, model.encode(text)), theirs) < 1e-5


def test_layout_a_equals_its_plain_re_derivation() -> None:
    model = small.dit("A")
    x, text, speech = torch.randn(33, 3, 4, 6), torch.randn(5, 20), torch.randn(9, 14)
    levels = [1000.0, 833.3, 0.0]
    told = model.encode(text[None], audio=group_frames(speech[None]))
    ours = model(x[None], torch.tensor([levels]), told)[0]
    s = {k: v.double() for k, v in model.state_dict().items()}
    audio = plain.audio_vectors_a(s, speech.double())
    theirs = plain.transformer(s, x, levels, text, heads=2, text_tokens=7, audio_a=audio)
    assert small.relative(ours, theirs) < 1e-5


def test_layout_b_equals_its_plain_re_derivation() -> None:
    model = small.dit("B")
    x, text, speech = torch.randn(36, 3, 4, 6), torch.randn(5, 20), torch.randn(9, 12)
    image = torch.randn(257, 18)
    steps = latent_steps(frame_windows(speech[None], 5))
    told = model.encode(text[None], image[None], steps)
    ours = model(x[None], torch.tensor([937.5]), told)[0]
    s = {k: v.double() for k, v in model.state_dict().items()}
    audio = plain.audio_tokens_b(s, speech.double(), 3)
    theirs = plain.transformer(s, x, [937.5] * 3, text, heads=2, text_tokens=7, image=image,
                               audio_b=audio)  # fmt: skip
    assert small.relative(ours, theirs) < 1e-5


def test_two_speakers_equal_their_plain_re_derivation() -> None:
    model = small.dit("B")
    x, text, image = torch.randn(36, 3, 4, 8), torch.randn(5, 20), torch.randn(257, 18)
    voices = torch.randn(2, 9, 12)
    steps = [latent_steps(frame_windows(voice[None], 5)) for voice in voices]
    both = (torch.stack([a for a, _ in steps], 1), torch.stack([b for _, b in steps], 1))
    shown = regions(((0, 0, 0.3, 1), (0.6, 0, 1, 0.5)), 2, 4)
    told = model.encode(text[None], image[None], both, shown[None])
    ours = model(x[None], torch.tensor([937.5]), told)[0]
    s = {k: v.double() for k, v in model.state_dict().items()}
    audio = torch.cat([plain.audio_tokens_b(s, voice.double(), 3) for voice in voices], 1)
    theirs = plain.transformer(s, x, [937.5] * 3, text, heads=2, text_tokens=7, image=image,
                               audio_b=audio, who=[0, 0, 2, 1, 0, 0, 2, 2])  # fmt: skip
    assert small.relative(ours, theirs) < 1e-5
    swapped = model(x[None], torch.tensor([937.5]),
                    model.encode(text[None], image[None], tuple(p.flip(1) for p in both),
                                 shown[None]))[0]  # fmt: skip
    assert small.relative(swapped, theirs) > 1e-3, "it does not matter who says what"


def test_block_causal_attention_equals_its_plain_re_derivation() -> None:
    model = small.dit("A")
    x, text, speech = torch.randn(33, 5, 2, 4), torch.randn(5, 20), torch.randn(17, 14)
    told = model.encode(text[None], audio=group_frames(speech[None]))
    rule = Causal(block=2, window=4, sink=1)
    ours = model(x[None], torch.tensor([[500.0] * 5]), told, causal=rule)[0]
    s = {k: v.double() for k, v in model.state_dict().items()}
    seen = [[0, 1], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 3, 4]]
    audio = plain.audio_vectors_a(s, speech.double())
    theirs = plain.transformer(s, x, [500.0] * 5, text, heads=2, text_tokens=7, audio_a=audio,
                               seen=seen)  # fmt: skip
    assert small.relative(ours, theirs) < 1e-5


def ring_run(model: WanDiT, ring: KvRing, x: Tensor, told_for, block: int) -> Tensor:  # type: ignore[no-untyped-def]
    out = []
    for start in range(0, x.shape[2], block):
        part = x[:, :, start : start + block]
        t = torch.full((1, part.shape[2]), 500.0)
        out.append(model(part, t, told_for(start, block), start=start, ring=ring, keep=True))
    return torch.cat(out, dim=2)


@pytest.mark.parametrize("relative", [True, False])
def test_a_ring_that_is_not_full_equals_the_block_causal_pass(relative: bool) -> None:
    model = small.dit("A")
    x, text, speech = torch.randn(1, 33, 6, 2, 4), torch.randn(1, 5, 20), torch.randn(1, 21, 14)
    grouped = group_frames(speech)
    whole = model(x, torch.full((1, 6), 500.0), model.encode(text, audio=grouped),
                  causal=Causal(block=2))  # fmt: skip

    def told_for(at: int, count: int) -> object:
        return model.encode(text, audio=grouped[:, at : at + count])

    parts = ring_run(model, KvRing(6, 2, relative), x, told_for, 2)
    assert small.relative(parts, whole) < 1e-5


def test_a_full_ring_keeps_the_sink_and_the_newest() -> None:
    ring = KvRing(window=5, sink=2)
    for start in range(0, 8, 1):
        value = torch.full((1, 1, 3, 1), float(start))
        ring.keep(start, 1, [(value, value)])
    assert ring.times == [0, 1, 5, 6, 7]
    assert ring.blocks[0][0].flatten().tolist() == [t for t in (0, 1, 5, 6, 7) for _ in range(3)]
    assert ring.places(8, 1).tolist() == [0, 1, 2, 3, 4]
    ring.relative = False
    assert ring.places(8, 1).tolist() == [0, 1, 6, 7, 8]


def test_a_ring_refuses_what_cannot_fit() -> None:
    with pytest.raises(ValueError, match="4 latents do not fit into 5 beside a sink of 2"):
        KvRing(5, 2).visible(4)
    with pytest.raises(ValueError, match="sink 5 must be less than the window 5"):
        KvRing(5, 5)


def test_a_relative_ring_gives_the_same_after_an_hour_as_after_a_minute() -> None:
    model = small.dit("A")
    text, speech, x = torch.randn(1, 5, 20), torch.randn(1, 8, 14), torch.randn(1, 33, 2, 2, 4)
    told = model.encode(text, audio=group_frames(speech, opening=False))
    outs = []
    for start in (300, 20_000):
        ring = KvRing(5, 2)
        for at in range(start - 8, start, 2):
            generator = torch.Generator().manual_seed(at - start + 100)
            past = torch.randn(1, 33, 2, 2, 4, generator=generator)
            model(past, torch.zeros(1, 2), told, start=at, ring=ring, keep=True)
        outs.append(model(x, torch.tensor([500.0]), told, start=start, ring=ring))
    assert torch.equal(*outs)


def test_a_common_offset_of_all_positions_changes_nothing() -> None:
    model = small.dit()
    x, told, t = (
        torch.randn(1, 16, 3, 4, 4),
        model.encode(torch.randn(1, 7, 20)),
        torch.tensor([9.0]),
    )
    assert small.relative(model(x, t, told, start=5000), model(x, t, told)) < 1e-5


def test_one_level_for_all_equals_the_same_level_per_latent() -> None:
    model = small.dit()
    x, told = torch.randn(2, 16, 3, 4, 4), model.encode(torch.randn(2, 7, 20))
    each = model(x, torch.tensor([[800.0] * 3, [30.0] * 3]), told)
    assert small.relative(model(x, torch.tensor([800.0, 30.0]), told), each) < 1e-6


def test_padded_text_rows_matter() -> None:
    model = small.dit()
    x, t, text = torch.randn(1, 16, 1, 4, 4), torch.tensor([500.0]), torch.randn(1, 4, 20)
    same = model.encode(torch.cat([text, torch.zeros(1, 3, 20)], dim=1))
    shorter = WanDiT(small.config(text_tokens=4))
    shorter.load_state_dict(model.state_dict())
    shorter.requires_grad_(False)
    assert torch.equal(model(x, t, model.encode(text)), model(x, t, same))
    assert small.relative(shorter(x, t, shorter.encode(text)), model(x, t, same)) > 1e-3


def test_silence_is_not_the_audio_branch_switched_off() -> None:
    model = small.dit("B")
    steps = latent_steps(torch.zeros(1, 5, 5, 12))
    told = model.encode(torch.randn(1, 5, 20), torch.randn(1, 257, 18), steps)
    assert all(hint.audio is not None and hint.audio[0].abs().sum() > 0 for hint in told)


def test_audio_enters_layout_a_from_the_third_block_to_the_middle() -> None:
    model = small.dit("A")
    told = model.encode(torch.randn(1, 5, 20), audio=torch.randn(1, 3, 56))
    assert [hint.added is not None for hint in told] == [False, False, True, True, False, False]


def test_the_first_frame_counts_four_times_only_at_the_opening() -> None:
    frames = torch.arange(5.0).view(1, 5, 1)
    assert group_frames(frames).tolist() == [[[0, 0, 0, 0], [1, 2, 3, 4]]]
    assert group_frames(frames[:, 1:], opening=False).tolist() == [[[1, 2, 3, 4]]]
    with pytest.raises(ValueError, match="7 frames do not group by 4"):
        group_frames(frames[:, 1:])


def test_a_latent_hears_eight_steps_of_its_four_frames() -> None:
    first, later = latent_steps(frame_windows(torch.arange(9.0).view(1, 9, 1), 5))
    assert first.flatten().tolist() == [0, 0, 0, 1, 2]
    assert later[0, :, :, 0].tolist() == [[0, 0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 8, 8]]


def test_a_head_splits_over_time_height_and_width_as_published() -> None:
    assert axis_dims(128) == (44, 42, 42)
    cos, _ = rotary_grid(torch.tensor([10**6]), 2, 3, 128, 1e4)
    assert cos.shape == (6, 64) and cos.dtype == torch.float64


def test_the_sinusoid_has_cosines_first() -> None:
    wave = time_sinusoid(torch.tensor([1000.0]), 256)[0].double()
    angles = 1000.0 * 10_000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    assert torch.allclose(wave, torch.cat([angles.cos(), angles.sin()]), atol=1e-7)


@pytest.mark.parametrize(
    ("sizes", "audio", "image", "tensors", "parameters"),
    [
        ((1536, 8960, 30, 12, 33), AddedAudio(10752, 32, 14), None, 857, 1_421_187_232),
        ((5120, 13824, 40, 40, 33), AddedAudio(10752, 32, 19), None, 1137, 14_293_426_336),
        ((5120, 13824, 40, 40, 36), AttendedAudio(9216, 5, 512, 32, 768, True), 1280, 1633,
         18_882_046_784),
    ],
    ids=["A-1.3B", "A-14B", "B-14B"],
)  # fmt: skip
def test_full_size_models_have_the_published_counts(
    sizes: tuple[int, int, int, int, int],
    audio: AddedAudio | AttendedAudio,
    image: int | None,
    tensors: int,
    parameters: int,
) -> None:
    published = WanConfig(*sizes, 16, 4096, 512, 256, (1, 2, 2), 1e-6, image, audio)
    with torch.device("meta"):
        model = WanDiT(published)
    assert len(model.state_dict()) == tensors
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_model_in_half_precision_stays_near_itself() -> None:
    from pipeline.models.wan.network.dit import keep_float32

    model = small.dit("A")
    x, text, audio = torch.randn(1, 33, 2, 4, 4), torch.randn(1, 5, 20), torch.randn(1, 2, 56)
    exact = model(x, torch.tensor([700.0]), model.encode(text, audio=audio))
    for name, value in model.named_parameters():
        value.data = value.data if keep_float32(name) else value.data.bfloat16()
    rough = model(x, torch.tensor([700.0]), model.encode(text, audio=audio))
    assert rough.dtype == torch.float32
    assert small.relative(rough, exact) < 0.05


@pytest.mark.parametrize(
    ("layout", "given", "message"),
    [
        ("A", {}, "audio is missing"),
        ("base", {"audio": torch.zeros(1, 1, 56)}, "audio is given"),
        ("B", {"audio": torch.zeros(1, 1, 56)}, "image is missing"),
    ],
)
def test_missing_or_needless_conditions_are_refused(
    layout: str, given: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small.dit(layout).encode(torch.zeros(1, 3, 20), **given)


def test_too_much_text_is_refused() -> None:
    with pytest.raises(ValueError, match="8 text tokens, at most 7 fit"):
        small.dit().encode(torch.zeros(1, 8, 20))


def test_a_full_ring_of_absolute_positions_equals_the_windowed_block_causal_pass() -> None:
    model = small.dit("A")
    x, text, speech = torch.randn(1, 33, 8, 2, 4), torch.randn(1, 5, 20), torch.randn(1, 29, 14)
    grouped = group_frames(speech)
    t = torch.full((1, 8), 500.0)
    rule = Causal(block=2, window=5, sink=1)
    whole = model(x, t, model.encode(text, audio=grouped), causal=rule)

    def told_for(at: int, count: int) -> object:
        return model.encode(text, audio=grouped[:, at : at + count])

    parts = ring_run(model, KvRing(5, 1, relative=False), x, told_for, 2)
    assert small.relative(parts, whole) < 1e-5


def test_the_work_per_frame_is_the_published_budget() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    audio = AddedAudio(10752, 32, 14)
    sizes = WanConfig(1536, 8960, 30, 12, 33, 16, 4096, 512, 256, (1, 2, 2), 1e-6, None, audio)
    with torch.device("meta"):
        model = WanDiT(sizes).requires_grad_(False)
        told = model.encode(torch.zeros(1, 512, 4096), audio=torch.zeros(1, 9, 43008))
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 33, 9, 64, 64), torch.zeros(1, 9), told)
    tflop_per_frame = 3 * counter.get_total_flops() / 28 / 1e12  # three steps, 28 new frames
    assert tflop_per_frame == pytest.approx(4.2, abs=0.1)
