"""The VAE of performance: shapes, causality and streaming equality."""

import torch

from pipeline.models.mini.config import load_config
from pipeline.models.mini.rig.state import INDEX, SLICES, STATE_DIM
from pipeline.models.mini.vae import MotionDecoder, MotionVae, carried_gaze

CONFIG = load_config("mini").vae


def make() -> MotionVae:
    torch.manual_seed(0)
    vae = MotionVae(CONFIG).eval()
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2.0)
    return vae


def test_two_frames_become_one_latent_of_five_parts():
    vae = make()
    states = torch.randn(2, 12, STATE_DIM)
    latents = vae.encode(states)
    assert latents.shape == (2, CONFIG.channels, 6, 1, 5)
    assert vae.decode(latents).shape == states.shape


def test_streaming_decode_equals_whole_clip_decode():
    vae = make()
    latents = torch.randn(CONFIG.channels, 11, 1, 5)
    decoder = MotionDecoder(vae)
    parts = torch.cat([decoder.push(piece) for piece in latents.split([1, 3, 1, 6], dim=1)])
    torch.testing.assert_close(parts, vae.decode(latents[None])[0], atol=1e-5, rtol=1e-5)


def test_eased_parts_follow_without_a_tremor_and_the_others_exactly():
    vae, latents = make(), torch.randn(CONFIG.channels, 60, 1, 5)
    plain, eased = MotionDecoder(vae), MotionDecoder(vae, (1.0, 1.0, 0.5, 0.5, 0.5))
    before = plain.push(latents)
    after = torch.cat([eased.push(piece) for piece in latents.split([1, 2, 50, 7], dim=1)])
    torso, arms = SLICES["torso"].start, SLICES["left_arm"].start
    looks = [states @ carried_gaze(1.0) for states in (before, after)]  # in the room
    torch.testing.assert_close(looks[1][:, :torso], looks[0][:, :torso], atol=1e-4, rtol=1e-5)
    tremor = [states.diff(n=3, dim=0)[:, arms:].square().mean() for states in (before, after)]
    assert tremor[1] < 0.2 * tremor[0]
    torch.testing.assert_close(after[0], before[0])  # nothing to come from
    eased.reset()
    torch.testing.assert_close(eased.push(latents)[:5], after[:5])


def test_a_frame_does_not_depend_on_later_latents():
    vae = make()
    latents = torch.randn(1, CONFIG.channels, 8, 1, 5)
    changed = latents.clone()
    changed[:, :, 5:] = 0.0
    a, b = vae.decode(latents), vae.decode(changed)
    torch.testing.assert_close(a[:, :10], b[:, :10])
    assert not torch.allclose(a[:, 10:], b[:, 10:])


def test_a_part_is_drawn_from_its_own_token_alone():
    vae = make()
    latents = torch.randn(1, CONFIG.channels, 4, 1, 5)
    changed = latents.clone()
    changed[..., 4] += 1.0
    difference = (vae.decode(latents) - vae.decode(changed)).abs().amax((0, 1))
    assert difference[:74].max() == 0.0 and difference[74:].max() > 0.0


def test_reset_makes_the_next_latent_the_first():
    decoder = MotionDecoder(make())
    latents = torch.randn(CONFIG.channels, 3, 1, 5)
    first = decoder.push(latents)
    decoder.push(torch.randn_like(latents))
    decoder.reset()
    torch.testing.assert_close(decoder.push(latents), first)


def test_latents_hold_the_look_in_the_room_whatever_the_head_does():
    vae = make()
    states = torch.zeros(1, 8, STATE_DIM)
    states[0, :, INDEX["head_yaw"]] = torch.linspace(-0.3, 0.3, 8)
    states[0, :, INDEX["gaze_yaw"]] = -states[0, :, INDEX["head_yaw"]]
    face = vae.encode(states)[0, :, :, 0, 1]
    torch.testing.assert_close(face, face[:, :1].expand_as(face))
    torch.testing.assert_close(states @ vae.to_room @ vae.from_room, states)
