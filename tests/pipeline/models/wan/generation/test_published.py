"""What was published of each checkpoint, fact by fact, with the file of its authors that says so.

Sources, as "repository: file": the values there are facts; nothing else is taken from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.consent import ConsentGrant
from pipeline.diffusion.sampling import latent_noise
from pipeline.models.wan.generation.chunked import ChunkPerformance, GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.recipes import perform
from pipeline.models.wan.model_cards import Schedule, card
from pipeline.models.wan.network.audio_conditioning import latent_steps
from pipeline.models.wan.network.condition import Reference, beside_b, encode_frames, latents_of
from pipeline.models.wan.pipeline import NEGATIVE, WanPipeline
from pipeline.models.wan.run_options import RunOptions, manner_of
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score
from tests.pipeline.models.wan.whole import model, render


def shifted(raw: Sequence[float] | np.ndarray, shift: float) -> list[float]:
    """A published list of 1000 ... after the published shift, and the 0 behind it."""
    t = np.asarray(raw, np.float64) / 1000
    return [*(shift * t / (1 + (shift - 1) * t)), 0.0]


GRIDS = {
    # MeiGen-AI/MultiTalk: wan/multitalk.py, and --sample_shift of generate_multitalk.py
    "multitalk-14b": shifted(np.linspace(1000, 1, 40), 7),
    # MeiGen-AI/InfiniteTalk: wan/multitalk.py, and --sample_shift of generate_infinitetalk.py
    "infinitetalk-14b": shifted(np.linspace(1000, 1, 40), 7),
    # Omni-Avatar/OmniAvatar: schedulers/flow_match.py (sigma_min 0, one extra step), num_steps 50
    "omniavatar-1.3b": shifted(np.linspace(1000, 0, 51)[:-1], 5),
    "omniavatar-14b": shifted(np.linspace(1000, 0, 51)[:-1], 5),
    # Soul-AILab/SoulX-FlashTalk: flash_talk/src/pipeline/flash_talk_pipeline.py, four steps
    "flashtalk-14b": shifted([1000, 750, 500, 250], 5),
    # GAIR-NLP/LiveTalk: configs/causal_inference.yaml, scripts/inference_example.py
    "livetalk-1.3b": shifted([1000, 750, 500, 250], 5),
    # cuiliyuan121/AvatarForcing: configs/avatarforcing.yaml (places in a grid of 1000)
    "avatarforcing-1.3b": shifted([1000, 800, 400, 200], 5),
    # Soul-AILab/SoulX-LiveAct: generate.py
    "liveact-18b": [1.0, 0.9375, 0.83333333, 0.0],
}


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_noise_levels_are_the_published_grid(name: str) -> None:
    assert card(name).schedule.levels == pytest.approx(GRIDS[name], abs=1e-7)


SCALES = {
    # generate_multitalk.py, generate_infinitetalk.py: --sample_text_guide_scale and ..._audio_...
    "multitalk-14b": (5.0, 4.0),
    "infinitetalk-14b": (5.0, 4.0),
    # configs/inference.yaml and inference_1.3B.yaml: guidance_scale, and audio_scale left empty
    "omniavatar-1.3b": (4.5, 4.5),
    "omniavatar-14b": (4.5, 4.5),
    # one branch: no guidance in the published programs
    "flashtalk-14b": (1.0, 1.0),
    "livetalk-1.3b": (1.0, 1.0),
    "avatarforcing-1.3b": (1.0, 1.0),
    "liveact-18b": (1.0, 1.0),
}


@pytest.mark.parametrize("name", sorted(SCALES))
def test_guidance_scales_are_the_published_ones(name: str) -> None:
    guidance = card(name).guidance
    assert (guidance.text, guidance.audio, guidance.rescale) == (*SCALES[name], 0.0)


@pytest.mark.parametrize(
    ("name", "frames", "motion", "latents"),
    [
        ("multitalk-14b", 81, 25, 7),  # generate_multitalk.py: --frame_num, --motion_frame
        ("infinitetalk-14b", 81, 9, 3),  # generate_infinitetalk.py: the same
        ("flashtalk-14b", 33, 5, 2),  # flash_talk/configs/infer_params.yaml
    ],
)
def test_chunks_and_the_frames_that_go_on_are_as_long_as_published(
    name: str, frames: int, motion: int, latents: int
) -> None:
    recipe = card(name).recipe
    assert (recipe.frames_at(448, 768), recipe.overlap) == (frames, motion)
    assert latents_of(recipe.overlap) == latents


@pytest.mark.parametrize("name", ["omniavatar-1.3b", "omniavatar-14b"])
@pytest.mark.parametrize(
    ("width", "height", "frames"), [(720, 400, 105), (400, 720, 105), (720, 720, 57)]
)
def test_an_omniavatar_chunk_is_as_long_as_its_tokens_permit(
    name: str, width: int, height: int, frames: int
) -> None:
    """Omni-Avatar/OmniAvatar: max_tokens 30000 of configs/inference*.yaml, scripts/inference.py."""
    recipe = card(name).recipe
    assert (recipe.kind, recipe.overlap) == ("overlap", 13)
    assert recipe.frames_at(width, height) == frames


@pytest.mark.parametrize(
    ("name", "rate"),
    [("multitalk-14b", 25), ("infinitetalk-14b", 25), ("omniavatar-14b", 25),
     ("omniavatar-1.3b", 25), ("flashtalk-14b", 25), ("avatarforcing-1.3b", 25),
     ("livetalk-1.3b", 16)],
)  # fmt: skip
def test_frame_rates_are_the_published_ones(name: str, rate: int) -> None:
    assert card(name).frame_rate == rate


def test_negative_prompts_are_the_authors_own() -> None:
    """Omni-Avatar/OmniAvatar: configs/inference.yaml and inference_1.3B.yaml; MeiGen-AI/MultiTalk
    and InfiniteTalk: wan/configs/shared_config.py, sample_neg_prompt."""
    for name in ("omniavatar-1.3b", "omniavatar-14b"):
        words = card(name).negative_prompt
        assert words.startswith("Vivid color tones, background/camera moving quickly, screen swit")
        assert words.endswith("crowded background with many people, walking backward")
        assert len(words) == 500
    for name in ("multitalk-14b", "infinitetalk-14b"):
        words = card(name).negative_prompt
        assert words.startswith("色调艳丽，过曝，静态") and words.endswith("背景人很多，倒着走")
        assert len(words) == 137


def test_the_published_recipe_leads_away_from_the_authors_negative_prompt() -> None:
    asked: list[str] = []

    def prompt(text: str) -> Tensor:
        asked.append(text)
        return torch.zeros(1, 2, 20)

    theirs = card("omniavatar-14b").negative_prompt
    parts = replace(model("omniavatar-1.3b"), prompt=prompt)
    WanPipeline(parts, manner_of("published")).prompts("calm")
    WanPipeline(parts, manner_of("continuum")).prompts("calm")
    assert asked == ["calm", theirs, "calm", NEGATIVE]
    mute = WanPipeline(replace(parts, card=replace(parts.card, negative_prompt="")),
                       manner_of("published"))  # fmt: skip
    assert mute.negative == NEGATIVE


# -- MultiTalk goes on from conditioning video -------------------------------------------------

TWO = Schedule(2, 7.0, "euler", "float32", last=0.001)
LENGTH, MOTION = 6, 2


def talking() -> GenerationSetup:
    run = score(layout="B", schedule=TWO)
    torch.manual_seed(9)
    clip, tokens = torch.randn(1, 16, LENGTH, 4, 4), torch.randn(1, 257, 18)
    return replace(run, reference=Reference(run.reference.latent, clip, tokens))


def chunks(run: GenerationSetup, again: Reference | None, count: int) -> list[Tensor]:
    torch.manual_seed(2)
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    performance = ChunkPerformance(run, prompts, LENGTH, MOTION, video=True,
                                   recode=(lambda: again) if again else None)  # type: ignore[arg-type]  # fmt: skip
    features, out = torch.randn(80, 12), []
    for _ in range(count):
        span = performance.span()
        fresh = performance.advance(features[span.start : span.stop])
        out.append(fresh.latents)
        assert (fresh.lead is not None) == (again is not None and len(out) > 1)
    return out


def written_out(run: GenerationSetup, past: Reference, start: int, motion: int) -> Tensor:
    """MeiGen-AI/MultiTalk: wan/multitalk.py, generate(): the loop over timesteps of one clip."""
    torch.manual_seed(2)
    words, _ = torch.randn(1, 5, 20), torch.zeros(1, 1, 20)
    heard = torch.randn(80, 12)
    centres = torch.arange(4 * start, 4 * start + 4 * LENGTH - 3)[:, None]
    known_to = 4 * start + 4 * LENGTH - 3
    windows = heard[(centres + torch.arange(-2, 3)).clamp(0, known_to - 1)]
    told = run.dit.encode(words, past.tokens, latent_steps(windows[None]))
    assert past.video is not None
    mask = torch.zeros(1, 4, LENGTH, 4, 4)
    mask[:, :, : motion or 1] = 1
    x = latent_noise(5, start, (16, LENGTH, 4, 4), 0)[None]
    for step, (level, after) in enumerate(zip(TWO.levels, TWO.levels[1:], strict=False)):
        t = torch.tensor([1000 * level])
        v = run.dit(torch.cat([x, mask, past.video], dim=1), t, told)
        x = x - (level - after) * v
        if motion:
            fresh = latent_noise(5, start, (16, motion, 4, 4), step + 1)[None]
            x[:, :, :motion] = (1 - after) * past.latent + after * fresh
    return x


def test_nothing_is_written_into_the_first_chunk_of_multitalk() -> None:
    assert card("multitalk-14b").recipe.kind == "video"
    run = talking()
    (first,) = chunks(run, None, 1)
    assert first.shape[2] == LENGTH
    assert small.relative(first, written_out(run, run.reference, 0, 0)) < 1e-5
    assert small.relative(first[:, :, :1], run.reference.latent) > 0.1


def test_multitalk_goes_on_as_its_published_loop() -> None:
    """The last frames are conditioning video and picture, the mask gives their latents, and these
    are written in noised to the level of each step."""
    run = talking()
    torch.manual_seed(11)
    video = torch.randn(1, 16, LENGTH, 4, 4)
    again = Reference(video[:, :, :MOTION], video, torch.randn(1, 257, 18))
    outs = chunks(run, again, 2)
    theirs = written_out(run, again, LENGTH - MOTION, MOTION)
    assert small.relative(outs[1], theirs[:, :, MOTION:]) < 1e-5
    assert torch.equal(theirs[:, :, :MOTION], again.latent)


def test_carried_latents_stand_in_for_the_frames_of_a_conditioning_video() -> None:
    """Ours: the latents as they are, then the reference's own emptiness; the picture stays."""
    run = talking()
    outs = chunks(run, None, 2)
    tail, clip = outs[0][:, :, -MOTION:], run.reference.video
    assert clip is not None
    past = replace(run.reference, latent=tail, video=torch.cat([tail, clip[:, :, MOTION:]], dim=2))
    theirs = written_out(run, past, LENGTH - MOTION, MOTION)
    assert small.relative(outs[1], theirs[:, :, MOTION:]) < 1e-5


def test_the_conditioning_video_is_the_last_frames_and_then_nothing() -> None:
    """MeiGen-AI/MultiTalk: wan/multitalk.py: frames of 0, and CLIP of the last frame."""
    vae, seen = small.vae(4, 16), []
    frames = torch.rand(1, 3, 5, 16, 16) * 2 - 1

    def see(picture: Tensor) -> Tensor:
        seen.append(picture)
        return torch.ones(1, 257, 18)

    made = encode_frames(vae, frames, 17, see)
    padded = torch.cat([frames, torch.zeros(1, 3, 12, 16, 16)], dim=2)
    assert made.video is not None and torch.equal(made.video, vae.encode(padded))
    assert torch.equal(made.latent, vae.encode(frames))
    assert torch.equal(seen[0], frames[:, :, -1])
    assert beside_b(made.video, 2)[0, :4, :, 0, 0].sum(0).tolist() == [4, 4, 0, 0, 0]


def test_infinitetalk_goes_on_with_clean_latents_beside_the_picture() -> None:
    """MeiGen-AI/InfiniteTalk: wan/multitalk.py: one masked frame, the latents overwritten clean."""
    run = talking()
    torch.manual_seed(2)
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    chosen = card("infinitetalk-14b")
    chosen = replace(chosen, recipe=replace(chosen.recipe, frames=21, overlap=5))
    performance = perform(run, prompts, chosen)
    features, seen = torch.randn(80, 12), []
    for _ in range(2):
        span = performance.span()
        turn = performance.turn(features[span.start : span.stop])
        with torch.no_grad():
            ask = next(turn)
            while True:
                seen.append(ask.x)
                try:
                    ask = turn.send(ask.dit(ask.x, ask.mod, ask.conditions, table=ask.table))
                except StopIteration as end:
                    out = end.value.latents
                    break
        if len(seen) == 2:
            tail = out[:, :, -2:]
    for x in seen[2:]:
        assert torch.equal(x[:, :16, :2], tail)
        assert x[0, 16:20, :, 0, 0].sum(0).tolist() == [4] + [0] * (LENGTH - 1)
        assert torch.equal(x[:, 20:], run.reference.video)


@pytest.mark.parametrize("manner", [RunOptions(), manner_of("published")])
def test_multitalk_renders_its_frames_either_way(grant: ConsentGrant, manner: RunOptions) -> None:
    recipe = replace(card("multitalk-14b").recipe, frames=21, overlap=5)
    chosen = replace(card("multitalk-14b"), sizes=((32, 16),), recipe=recipe,
                     schedule=replace(card("multitalk-14b").schedule, steps=2))  # fmt: skip
    parts = replace(model("flashtalk-14b"), card=chosen)
    frames = render(WanPipeline(parts, manner), grant, 1.3)
    assert [frame.index for frame in frames] == list(range(33))


# -- speech across chunk edges, layout B -----------------------------------------------------------


def heard(speech_ahead: bool, window: int = 1) -> list[list[list[int]]]:
    """Of each chunk, which frame every place of every frame's window hears."""
    run, said = talking(), []
    performance = ChunkPerformance(run, Prompts(torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)),
                                   LENGTH, MOTION, window, speech_ahead=speech_ahead)  # fmt: skip
    numbers = torch.arange(200.0)[:, None].expand(-1, 12)

    def note(first: Tensor, later: Tensor) -> Tensor:
        said.append([[int(v) for v in x[:, 0]] for row in (first[0], later[0]) for x in row])
        return plain(first, later)

    plain = run.dit.audio_proj.forward
    run.dit.audio_proj.forward = note  # type: ignore[method-assign]
    for _ in range(2):
        span = performance.span()
        performance.advance(numbers[span.start : span.stop])
    return said


def test_a_chunks_first_frames_hear_the_two_before_it() -> None:
    """MeiGen-AI/MultiTalk: wan/multitalk.py: windows are cut from the whole speech; Soul-AILab/
    SoulX-FlashTalk: flash_talk/inference.py: those of a stream end at its newest frame."""
    start, end = 4 * (LENGTH - MOTION), 4 * (LENGTH - MOTION) + 4 * LENGTH - 3
    live, file = heard(False), heard(True)
    assert live[0][0] == file[0][0] == [0, 0, 0, 1, 2]
    assert live[1][0] == file[1][0] == [start + k for k in range(-2, 3)]
    assert live[1][-1][-3:] == [end - 1] * 3
    assert file[1][-1][-3:] == [end - 1, end, end + 1]


def test_chunks_of_one_window_hear_across_their_edges() -> None:
    (first, *_), *_ = [heard(True, window=2)]
    assert first[0] == [0, 0, 0, 1, 2] and len(first) == LENGTH


def test_a_file_is_heard_two_frames_ahead_and_a_call_is_not(grant: ConsentGrant) -> None:
    pipeline = WanPipeline(model("flashtalk-14b"))
    assert len(render(pipeline, grant, 1.0)) == len(render(pipeline, grant, 1.0, schedule="causal"))
    make = partial(perform, prompts=Prompts(torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)),
                   card=replace(card("flashtalk-14b"), recipe=replace(
                       card("flashtalk-14b").recipe, frames=21)))  # fmt: skip
    assert make(talking(), speech_ahead=True).ahead == 2 and make(talking()).ahead == 0
