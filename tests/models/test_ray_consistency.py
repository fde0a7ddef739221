"""Stage 1 moves its joints towards the rays of sure 2D points."""

import pytest
import torch

from hf_handdiff.camera import solve_translation
from hf_handdiff.models.joint_denoiser import RayConsistency, noise_of_score, score_of_noise


@pytest.fixture
def moves_all_the_way():
    layer = RayConsistency(4)
    torch.nn.init.constant_(layer.share[-1].bias, 40.0)
    return layer


def some_hands(count=4):
    generator = torch.Generator().manual_seed(0)
    joints = 0.05 * torch.randn(count, 21, 3, generator=generator)
    joints = joints - joints[:, :1]
    seen = joints + 0.005 * torch.randn(count, 21, 3, generator=generator) + torch.tensor([0.01, -0.02, 0.6])
    return joints, seen[..., :2] / seen[..., 2:]


@torch.no_grad()
def test_joints_land_on_their_rays(moves_all_the_way):
    joints, rays = some_hands()
    scores, times = torch.ones(4, 21), torch.zeros(4)
    moved = moves_all_the_way(joints, rays, scores, times)
    assert (moved[:, 0] == 0).all()
    torch.testing.assert_close(moved[..., 2], joints[..., 2])
    place = solve_translation(rays, joints, scores)  # where the hand stood when it was moved
    depth = joints[..., 2:] + place[:, None, 2:]
    on_rays = rays * depth
    torch.testing.assert_close(moved[..., :2], (on_rays - on_rays[:, :1])[..., :2], atol=1e-6, rtol=0)


@torch.no_grad()
def test_joints_whose_points_are_not_seen_stay(moves_all_the_way):
    joints, rays = some_hands()
    scores = torch.ones(4, 21)
    scores[:, [0, 7]] = 0
    moved = moves_all_the_way(joints, rays, scores, torch.zeros(4))
    torch.testing.assert_close(moved[:, 7], joints[:, 7], atol=1e-6, rtol=0)  # the wrist stayed too
    assert (moved[:, 8] - joints[:, 8]).norm(dim=-1).min() > 1e-3
    nothing = moves_all_the_way(joints, rays, torch.zeros(4, 21), torch.zeros(4))
    assert torch.equal(nothing, joints)


@torch.no_grad()
def test_the_middle_of_the_view_counts(distribution_pipeline):
    network, batch = distribution_pipeline.joint_denoiser, 2
    generator = torch.Generator().manual_seed(0)
    sample, points = torch.randn(batch, 21, 3, generator=generator), torch.rand(batch, 21, 2, generator=generator)
    given = (sample, torch.full((batch,), 300), points, torch.ones(batch, 21), torch.full((batch,), 0.2))
    at_0, by_default = (network(*given, view_middle=middle) for middle in (torch.zeros(batch, 2), None))
    assert torch.equal(at_0, by_default)
    assert (network(*given, view_middle=torch.full((batch, 2), 0.1)) - at_0).abs().max() > 1e-4
    ignored = torch.zeros(batch, dtype=torch.bool)
    unconditional = [
        network(*given, condition_mask=ignored, view_middle=middle) for middle in (None, torch.ones(batch, 2))
    ]
    assert torch.equal(*unconditional)


def test_scores_and_noise_are_inverse():
    noise = torch.tensor([0.0, 0.01, 0.05, 0.3])
    torch.testing.assert_close(noise_of_score(score_of_noise(noise)), noise, atol=1e-5, rtol=1e-3)
    assert score_of_noise(torch.tensor(0.05)) == 0.5 and torch.isfinite(noise_of_score(torch.zeros(1))).all()
