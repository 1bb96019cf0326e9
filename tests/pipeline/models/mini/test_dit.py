"""The transformer: the condition cache is lossless, validity hides, positions are relative."""

from dataclasses import replace

import pytest
import torch

from pipeline.models.mini.config import DitConfig
from pipeline.models.mini.dit import Condition, DiT

B, C, M, L, P, A, R = 2, 4, 3, 5, 5, 12, 9


def make() -> DiT:
    torch.manual_seed(0)
    dit = DiT(DitConfig(32, 3, 2, 2, 100.0), C, P, A, R).eval()
    torch.nn.init.normal_(dit.head.weight, std=0.1)
    return dit


def condition() -> Condition:
    torch.manual_seed(1)
    return Condition(
        torch.randn(B, R), torch.randn(B, 2, 32), torch.randn(B, C, M, 1, P),
        torch.ones(B, M, dtype=torch.bool), torch.randn(B, M + L, A),
        torch.ones(B, M + L, dtype=torch.bool),
    )  # fmt: skip


def run(dit: DiT, c: Condition, t: float = 0.5) -> torch.Tensor:
    torch.manual_seed(2)
    x = torch.randn(B, C, L, 1, P)
    return dit(x, torch.full((B, L), t), dit.condition(c))


def test_velocity_has_the_shape_of_the_latents():
    assert run(make(), condition()).shape == (B, C, L, 1, P)


@pytest.mark.parametrize("name", ["reference", "prompt", "context", "audio"])
def test_every_condition_moves_the_velocity(name: str):
    dit, c = make(), condition()
    other = replace(c, **{name: -1.5 * getattr(c, name)})
    assert not torch.allclose(run(dit, c), run(dit, other), atol=1e-4)


def test_unknown_audio_is_not_heard():
    dit, c = make(), condition()
    known = c.audio_known.clone()
    known[:, -2:] = False
    louder = c.audio.clone()
    louder[:, -2:] += 5.0
    a = run(dit, replace(c, audio_known=known))
    b = run(dit, replace(c, audio_known=known, audio=louder))
    torch.testing.assert_close(a, b)


def test_invalid_context_is_not_seen():
    dit, c = make(), condition()
    valid = c.context_valid.clone()
    valid[:, 0] = False
    changed = c.context.clone()
    changed[:, :, 0] += 5.0
    a = run(dit, replace(c, context_valid=valid))
    b = run(dit, replace(c, context_valid=valid, context=changed))
    torch.testing.assert_close(a, b)


def test_a_batch_member_does_not_see_another():
    dit, c = make(), condition()
    alone = Condition(*(getattr(c, f)[:1] for f in c.__slots__))
    torch.manual_seed(2)
    x = torch.randn(B, C, L, 1, P)
    one = dit(x[:1], torch.full((1, L), 0.5), dit.condition(alone))
    torch.testing.assert_close(run(dit, c)[:1], one, atol=1e-5, rtol=1e-4)


def test_each_latent_may_have_its_own_timestep():
    dit, c = make(), condition()
    torch.manual_seed(2)
    x, cache = torch.randn(B, C, L, 1, P), dit.condition(c)
    t = torch.full((B, L), 0.5)
    mixed = t.clone()
    mixed[:, 0] = 0.9
    assert not torch.allclose(dit(x, t, cache)[:, :, 0], dit(x, mixed, cache)[:, :, 0])


def independent(dit: DiT) -> DiT:
    """Without attention every latent depends on itself and its own level alone."""
    for block in dit.stack:
        torch.nn.init.zeros_(block.out.weight)
        torch.nn.init.zeros_(block.out.bias)
    return dit


def test_each_latent_is_denoised_at_its_own_level():
    dit, c = independent(make()), condition()
    torch.manual_seed(2)
    x, cache = torch.randn(B, C, L, 1, P), dit.condition(c)
    levels = torch.linspace(0.1, 0.9, L)
    mixed = dit(x, levels.expand(B, L), cache)
    for k, level in enumerate(levels):
        alone = dit(x, torch.full((B, L), float(level)), cache)
        torch.testing.assert_close(mixed[:, :, k], alone[:, :, k])


def test_what_the_condition_says_is_clean():
    """Reference, prompt, past and audio enter at level 0, whatever is denoised beside them."""
    dit, c = make(), condition()
    told = []
    timestep = dit.timestep
    dit.timestep = lambda t: told.append(t) or timestep(t)  # type: ignore[method-assign]
    dit.condition(c)
    assert len(told) == 1 and not told[0].any()
