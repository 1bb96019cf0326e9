"""Schedule, sampler, guidance: the published numbers and the algebra."""

import pytest
import torch

from pipeline.diffusion.guidance import guide
from pipeline.diffusion.sampling import euler, latent_noise, levels, predict_x0, renoise


def test_shift_five_gives_the_published_levels():
    assert levels(4, 5.0)[:3] == pytest.approx((1.0, 0.9375, 0.8333333))
    assert levels(2, 5.0) == pytest.approx((1.0, 0.8333333, 0.0))


def test_levels_fall_from_noise_to_data():
    path = levels(3, 2.0)
    assert path[0] == 1.0 and path[-1] == 0.0 and all(a > b for a, b in zip(path, path[1:]))


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (3, 0.0)])
def test_a_schedule_that_cannot_be_is_refused(steps, shift):
    with pytest.raises(ValueError, match=str(steps)):
        levels(steps, shift)


def test_noise_belongs_to_the_latent_not_to_the_chunk():
    long = latent_noise(7, 100, (4, 30, 1, 5))
    assert torch.equal(latent_noise(7, 110, (4, 8, 1, 5)), long[:, 10:18])


def test_noise_differs_by_seed_draw_and_latent_and_is_standard():
    a = latent_noise(1, 0, (4, 400, 1, 5))
    assert not torch.equal(a, latent_noise(2, 0, (4, 400, 1, 5)))
    assert not torch.equal(a, latent_noise(1, 0, (4, 400, 1, 5), draw=1))
    assert abs(a.mean()) < 0.05 and abs(a.std() - 1) < 0.05


def test_one_euler_step_on_the_true_velocity_is_exact():
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    x = 0.2 * x0 + 0.8 * noise
    assert torch.allclose(predict_x0(x, noise - x0, 0.8), x0, atol=1e-6)
    assert torch.allclose(euler(x, x0, 0.8, 0.5), 0.5 * x0 + 0.5 * noise, atol=1e-6)
    assert torch.allclose(renoise(x0, noise, 0.5), 0.5 * x0 + 0.5 * noise)


def test_guidance_at_scale_one_is_the_conditional_branch():
    c, u = torch.randn(2, 3, 4, 1, 5), torch.randn(2, 3, 4, 1, 5)
    torch.testing.assert_close(guide(c, u, 1.0, 0.0), c)


def test_rescale_restores_the_conditional_spread():
    c, u = torch.randn(2, 3, 4, 1, 5), torch.randn(2, 3, 4, 1, 5)
    out = guide(c, u, 6.0, 1.0)
    torch.testing.assert_close(out.std((1, 2, 3, 4)), c.std((1, 2, 3, 4)))
