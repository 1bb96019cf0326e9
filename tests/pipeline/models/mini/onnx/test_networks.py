"""The networks on ONNX Runtime: the same numbers as the modules, at every shape, and really run."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from pipeline.models.mini.audio import AudioEncoder, AudioStream, feature_dim
from pipeline.models.mini.chunk_plan import causal_plan, parallel_plan
from pipeline.models.mini.config import load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.dit import Condition
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.guided_velocity import GuidedVelocity
from pipeline.models.mini.offline import trace_for
from pipeline.models.mini.onnx.builder import Graph, Session
from pipeline.models.mini.onnx.networks import OnnxDecoder, OnnxDit, OnnxSpeechEncoder
from pipeline.models.mini.onnx.runtime import accelerate, difference
from pipeline.models.mini.vae import MotionDecoder

CONFIG = load_config("mini")
CHUNKS, CHANNELS, REFERENCE = CONFIG.chunks, CONFIG.vae.channels, 17
LIVE, LONG = CHUNKS.live_hop + CHUNKS.live_tail, CHUNKS.length


@cache
def model() -> Generator:
    """The bundled sizes with random weights, no layer of them silent."""
    torch.manual_seed(4)
    made = Generator(CONFIG, REFERENCE).eval().requires_grad_(False)
    for parameter in made.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.vae.latent_mean.normal_()
    made.vae.latent_std.uniform_(0.5, 2.0)
    made.vae.state_mean.normal_()
    made.vae.state_std.uniform_(0.5, 2.0)
    return made


def condition(batch: int, length: int) -> Condition:
    past = CHUNKS.context
    return Condition(
        torch.randn(batch, REFERENCE), torch.randn(batch, CONFIG.text.tokens, CONFIG.dit.dim),
        torch.randn(batch, CHANNELS, past, 1, 5), torch.rand(batch, past) > 0.4,
        torch.randn(batch, past + length, CONFIG.audio.embed_dim),
        torch.rand(batch, past + length) > 0.3,
    )  # fmt: skip


def fast_dit(**options) -> OnnxDit:
    return OnnxDit(model().dit, CHUNKS.context, (LIVE, LONG), CONFIG.text.tokens, **options)


@pytest.mark.parametrize(("batch", "length"), [(1, LIVE), (3, LIVE), (2, LONG)])
def test_the_transformer_gives_what_its_module_gives(batch: int, length: int):
    torch.manual_seed(batch)
    c, fast, plain = condition(batch, length), fast_dit(), model().dit
    told, cache = fast.condition(c), plain.condition(c)
    for level in (1.0, 0.9, 0.6):
        x = torch.randn(batch, CHANNELS, length, 1, 5)
        expected = plain.velocity(x, level, cache)
        torch.testing.assert_close(fast.velocity(x, level, told), expected, atol=1e-4, rtol=1e-3)


def test_a_step_may_reuse_what_attention_gave_before():
    torch.manual_seed(0)
    c, fast, plain = condition(2, LIVE), fast_dit(keep=True), model().dit
    told, cache = fast.condition(c), plain.condition(c)
    first, second = torch.randn(2, 2, CHANNELS, LIVE, 1, 5)
    fast.velocity(first, 1.0, told)
    plain.velocity(first, 1.0, cache)
    reused = fast.velocity(second, 0.8, told, {1, 2})
    expected = plain.velocity(second, 0.8, cache, {1, 2})
    torch.testing.assert_close(reused, expected, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(reused, fast.velocity(second, 0.8, told), atol=1e-3)


def test_int8_is_near_but_not_the_same():
    torch.manual_seed(0)
    c, x = condition(1, LIVE), torch.randn(1, CHANNELS, LIVE, 1, 5)
    exact, rough = fast_dit(), fast_dit(precision="int8")
    error = difference(
        [rough.velocity(x, 0.9, rough.condition(c))], [exact.velocity(x, 0.9, exact.condition(c))]
    )
    assert 1e-4 < error < 0.1


def test_lengths_that_were_not_announced_are_refused():
    with pytest.raises(ValueError, match=f"{LONG + 1} latents after {CHUNKS.context}"):
        fast_dit().condition(condition(1, LONG + 1))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="not 'int4'"):
        Graph("int4")


@pytest.mark.parametrize("latents", [1, 7])
def test_the_audio_encoder_gives_what_its_module_gives(latents: int):
    torch.manual_seed(latents)
    plain = model().audio
    features = torch.randn(1, 8 * latents, feature_dim(CONFIG.audio.mel_bands))
    memory = [torch.randn_like(past) for past in plain.nothing()]
    heard, kept = plain.hear(features, memory)
    fast, fast_kept = OnnxSpeechEncoder(plain).hear(features, memory)
    for a, b in zip([fast, *fast_kept], [heard, *kept], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_stream_hears_the_same_through_either_and_in_any_pieces():
    sound = (0.1 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)
    bands = CONFIG.audio.mel_bands
    whole = AudioStream(model().audio, bands).push(sound)
    stream = AudioStream(OnnxSpeechEncoder(model().audio), bands)
    pieces = torch.cat([stream.push(piece) for piece in np.array_split(sound, 33)])
    torch.testing.assert_close(pieces, whole, atol=1e-3, rtol=1e-3)


def test_remembering_layers_replaces_hearing_their_past_again():
    torch.manual_seed(1)
    encoder, reach = model().audio, AudioEncoder.REACH
    features = torch.randn(1, 8 * (reach + 6) + encoder.look_ahead, encoder.inputs.in_features)
    window = encoder(features)[:, reach:]
    memory = encoder.hear(features[:, encoder.look_ahead :][:, : 8 * reach], encoder.nothing())[1]
    for latent in range(6):
        start = encoder.look_ahead + 8 * (reach + latent)
        heard, memory = encoder.hear(features[:, start : start + 8], memory)
        torch.testing.assert_close(heard[0, 0], window[0, latent], atol=1e-5, rtol=1e-4)


def test_the_decoder_gives_what_its_module_gives():
    torch.manual_seed(2)
    latents, fast = torch.randn(CHANNELS, 9, 1, 5), MotionDecoder(OnnxDecoder(model().vae))
    states = torch.cat([fast.push(piece) for piece in latents.split([1, 3, 5], dim=1)])
    torch.testing.assert_close(states, model().vae.decode(latents[None])[0], atol=1e-5, rtol=1e-4)


def performance(number: int, schedule: str) -> GenerationState:
    torch.manual_seed(number)
    prompt = torch.randn(CONFIG.text.tokens, CONFIG.dit.dim)
    p = GenerationState(CONFIG, torch.randn(REFERENCE), prompt, number, trace_for(CONFIG, schedule))
    p.audio.append(torch.randn(150, CONFIG.audio.embed_dim))
    return p


def latents(runtime: str, schedule: str, speakers: int) -> list[torch.Tensor]:
    """A few ticks of some speakers in one batch."""
    config = replace(CONFIG, acceleration=replace(CONFIG.acceleration, runtime=runtime))
    denoiser = Denoiser(
        GuidedVelocity(accelerate(model(), config).dit, config, model().text([""])[0])
    )
    people = [performance(i, schedule) for i in range(speakers)]
    made: list[torch.Tensor] = []
    for _ in range(4 if schedule == "causal" else 1):
        plans = [
            causal_plan(config, p.position) if schedule == "causal"
            else parallel_plan(config, p.position, 40)
            for p in people
        ]  # fmt: skip
        made += denoiser.advance(people, plans)
    return made


@pytest.mark.parametrize(("schedule", "speakers"), [("causal", 1), ("causal", 3), ("parallel", 1)])
def test_performances_do_not_depend_on_the_runtime(schedule: str, speakers: int):
    fast, plain = (latents(runtime, schedule, speakers) for runtime in ("onnx", "torch"))
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_a_tick_runs_one_condition_and_three_steps_on_onnx_runtime(monkeypatch: pytest.MonkeyPatch):
    config = replace(CONFIG, acceleration=replace(CONFIG.acceleration, runtime="onnx"))
    networks, runs, real = accelerate(model(), config), Counter[str](), Session.__call__

    def counting(session: Session, feed):
        out = real(session, feed)
        runs[next(iter(out))] += 1
        return out

    monkeypatch.setattr(Session, "__call__", counting)
    for name in ("condition", "velocity"):
        monkeypatch.setattr(type(model().dit), name, lambda *_, **__: pytest.fail("ran on torch"))
    stream = AudioStream(networks.audio, config.audio.mel_bands)
    decoder, person = MotionDecoder(networks.vae), performance(0, "causal")
    runs.clear()
    person.audio.append(stream.push(np.zeros(2 * config.samples_per_latent, np.float32)))
    denoiser = Denoiser(GuidedVelocity(networks.dit, config, model().text([""])[0]))
    decoder.push(denoiser.advance([person], [causal_plan(config, 0)])[0])
    assert runs == {"embeddings": 1, "kv0": 1, "velocity": 3, "states": 1}
