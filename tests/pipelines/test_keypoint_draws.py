"""Each hypothesis draws its own 2D points from what the encoder believes, and shows stage 2 the image where it is."""

import numpy as np
import pytest
import torch
from scipy import stats

from hf_handdiff import camera
from hf_handdiff.models.keypoint_distribution import DEGREES_OF_FREEDOM, KeypointDistribution
from hf_handdiff.pipelines.image_encoding import projections, stage2_conditions
from hf_handdiff.pipelines.inputs import check_request
from hf_handdiff.pipelines.sampling import (
    draw_keypoints,
    draw_noise,
    hypothesis_generators,
    sample_joints,
    sample_meshes,
)

INTRINSICS = np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])


def some_distribution(batch=2):
    factors = 0.1 * torch.randn(batch, 21, 2, 3, generator=torch.Generator().manual_seed(0))
    return KeypointDistribution(factors, torch.full((batch, 21), 0.02))


def check_draws(offsets, factors):
    """Offsets (N, 42) are factors (42, R) times draws of a t distribution, pairs of them being opposite."""
    draws = torch.linalg.lstsq(factors, offsets.T).solution.T[::2]  # (N / 2, R)
    torch.testing.assert_close(draws @ factors.T, offsets[::2], atol=1e-4, rtol=1e-3)
    count, rank = draws.shape
    squares = draws.square().sum(-1)
    fit = stats.kstest((squares / rank).numpy(), stats.f(rank, DEGREES_OF_FREEDOM).cdf)
    assert fit.statistic < 1.7 / count**0.5  # passed by all but one in a hundred; the seed is fixed
    directions = draws / squares.sqrt()[:, None]
    covariance = rank * directions.T @ directions / count
    torch.testing.assert_close(covariance, torch.eye(rank), atol=4 / count**0.5, rtol=0)


def test_draws_are_of_a_t_distribution_with_these_factors():
    distribution = some_distribution(1)
    drawn = draw_keypoints(torch.ones(1, 21, 2), distribution, hypothesis_generators([3], 4000, 0))
    check_draws(drawn[0].flatten(1) - 1, distribution.factors[0].flatten(0, 1))


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_pairs_are_opposite_and_no_draw_depends_on_their_number(count):
    points, distribution = torch.rand(2, 21, 2), some_distribution()
    drawn = draw_keypoints(points, distribution, hypothesis_generators([3, 4], count, 0))
    most = draw_keypoints(points, distribution, hypothesis_generators([3, 4], 9, 0))
    torch.testing.assert_close(drawn, most[:, :count], atol=1e-6, rtol=0)
    second = drawn[:, 1::2]
    torch.testing.assert_close(drawn[:, : 2 * second.shape[1] : 2] + second, 2 * points[:, None].expand_as(second))
    assert (most[:, 0] - most[:, 2]).abs().amax((1, 2)).min() > 1e-3
    assert (most[0] - points[0] - most[1] + points[1]).abs().max() > 1e-3


def test_nothing_is_drawn_where_points_err_by_themselves():
    points = torch.rand(2, 21, 2)
    drawn = draw_keypoints(
        points, KeypointDistribution.independent(torch.ones(2, 21)), hypothesis_generators([1, 2], 3, 0)
    )
    assert torch.equal(drawn, points[:, None].expand(-1, 3, -1, -1))


def test_hypotheses_are_sampled_with_their_own_points(distribution_pipeline):
    network, scheduler = distribution_pipeline.joint_denoiser, distribution_pipeline.joint_scheduler
    points = torch.rand(2, 3, 21, 2, generator=torch.Generator().manual_seed(0))
    noise = draw_noise(hypothesis_generators([1, 2], 3, 1), 2, (21, 3))
    known = (torch.ones(2, 21), torch.tensor([0.2, 0.1]), 3)
    middle = torch.tensor([[0.01, 0.0], [0.0, 0.02]])
    together = sample_joints(network, scheduler, noise, points, *known, view_middle=middle)
    for k in range(3):
        alone = sample_joints(network, scheduler, noise[:, k : k + 1], points[:, k], *known, view_middle=middle)
        torch.testing.assert_close(together[:, k], alone[:, 0], atol=1e-5, rtol=0)
    shared = sample_joints(network, scheduler, noise, points[:, 0], *known, view_middle=middle)
    torch.testing.assert_close(shared[:, 0], together[:, 0], atol=1e-5, rtol=0)
    assert (shared[:, 1] - together[:, 1]).abs().max() > 1e-4


def test_stage_2_takes_conditions_of_each_hypothesis(distribution_pipeline, photo):
    pipe = distribution_pipeline
    encoding = pipe.encode_image(check_request([photo, photo[::-1].copy()]))
    noise = draw_noise(hypothesis_generators([1, 2], 3, 2), 2, pipe.mesh_autoencoder.latent_shape)
    joints = 0.05 * torch.randn(2, 3, 21, 3, generator=torch.Generator().manual_seed(0))
    each = stage2_conditions(pipe.image_encoder, encoding, joints - joints[:, :, :1])
    assert each.keypoints.shape == (6, 21, 2) and each.point_features.shape[:2] == (6, 21)
    parts = (pipe.mesh_latent_denoiser, pipe.mesh_autoencoder, pipe.mesh_scheduler)
    together = sample_meshes(*parts, noise, joints, each, 3)[0]
    rows = type(each)(**{name: value[1::3] for name, value in vars(each).items()})
    alone = sample_meshes(*parts, noise[:, 1:2], joints[:, 1:2], rows, 3)[0]
    torch.testing.assert_close(together[:, 1], alone[:, 0], atol=1e-5, rtol=0)


def placed_hands(hand_layer):
    """Joints (2, 21, 3) m at the wrist, where they stand, and what cameras see of them."""
    generator = torch.Generator().manual_seed(0)
    joints = hand_layer.pose_joints(
        0.3 * torch.randn(2, 16, 3, generator=generator), torch.randn(2, 10, generator=generator)
    )
    joints = joints - joints[:, :1]
    cameras = torch.from_numpy(INTRINSICS).float().expand(2, 3, 3)
    placed = joints + torch.tensor([[[0.05, 0.02, 0.6]], [[-0.1, 0.06, 0.9]]])
    return joints, camera.project(placed, cameras), cameras


def test_projections_of_true_joints_are_the_2d_points(hand_layer):
    joints, points, cameras = placed_hands(hand_layer)
    view = camera.view_from_keypoints(points, torch.ones(2, 21), cameras)
    in_view = (joints @ view.rotation.transpose(1, 2))[:, None].expand(-1, 2, -1, -1).clone()
    in_view[:, 1] *= 1.3  # a larger hand, farther away
    seen = projections(in_view, view)
    torch.testing.assert_close(seen, view.points[:, None].expand_as(seen), atol=2e-3, rtol=0)


def test_image_features_are_those_under_the_projections(distribution_pipeline, photo, hand_layer):
    joints, points, _ = placed_hands(hand_layer)
    request = check_request([photo, photo], keypoints_2d=points, intrinsics=np.stack([INTRINSICS] * 2))
    encoding = distribution_pipeline.encode_image(request)
    encoder = distribution_pipeline.image_encoder
    in_view = (joints @ encoding.view.rotation.transpose(1, 2))[:, None]
    assert stage2_conditions(encoder, encoding, in_view) is encoding.conditions  # the caller's points err alone
    encoding.view_distribution = some_distribution()
    each = stage2_conditions(encoder, encoding, in_view)
    torch.testing.assert_close(each.keypoints, encoding.view.points, atol=2e-3, rtol=0)
    torch.testing.assert_close(each.point_features, encoding.conditions.point_features, atol=2e-2, rtol=0)
    turned = stage2_conditions(encoder, encoding, -in_view)
    assert (turned.point_features - each.point_features).abs().max() > 0.1
    assert stage2_conditions(encoder, encoding, None) is encoding.conditions
    assert stage2_conditions(encoder, None, in_view) is None


def test_same_seed_same_hypothesis_with_a_distribution(distribution_pipeline, photo):
    alone = distribution_pipeline(photo, num_hypotheses=3, generator=5)
    more = distribution_pipeline([photo[::-1].copy(), photo], num_hypotheses=6, generator=5)
    for name in ("joints", "vertices", "joint_hypotheses"):
        np.testing.assert_allclose(getattr(more, name)[1, :3], getattr(alone, name)[0], atol=5e-5, err_msg=name)
    other = distribution_pipeline(photo, num_hypotheses=3, generator=6)
    assert np.abs(other.joint_hypotheses - alone.joint_hypotheses).max() > 1e-3


def test_draws_are_those_of_the_encoder(distribution_pipeline, photo):
    """Stage 1 is given points that err together as the encoder says; each point's own noise is left to it."""
    given = []
    handle = distribution_pipeline.joint_denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["keypoints"]), with_kwargs=True
    )
    try:
        distribution_pipeline(photo, num_hypotheses=400, num_inference_steps=1, num_mesh_inference_steps=1, generator=1)
    finally:
        handle.remove()
    encoding = distribution_pipeline.encode_image(check_request(photo))
    check_draws((given[0] - encoding.view.points).flatten(1), encoding.view_distribution.factors[0].flatten(0, 1))
