"""Covariances of 2D points, as they are given and as they are told."""

import numpy as np
import pytest
import torch

import hf_handdiff
from hf_handdiff import CascadedHandPipeline
from hf_handdiff.camera import fit_translation, project
from hf_handdiff.errors import InputError

INTRINSICS = np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])
ONE = np.broadcast_to(np.eye(2), (1, 21, 2, 2))


@pytest.fixture(scope="module")
def points(hand_layer):
    """(1, 21, 2) px of an open hand."""
    joints = hand_layer.pose_joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))
    return project(joints + torch.tensor([0.05, 0.0, 0.5]), torch.from_numpy(INTRINSICS).float()[None]).numpy()


@pytest.fixture
def ask(tiny_pipeline, points):
    def call(pipe=tiny_pipeline, points=points, **given):
        return pipe(keypoints_2d=points, intrinsics=INTRINSICS, num_hypotheses=2, generator=0, **given)

    return call


def misses_px(out, points):
    """How far the answer is seen from the points, placed as well as can be."""
    joints, camera = torch.from_numpy(out.mean_joints), torch.from_numpy(INTRINSICS).float()[None]
    target = torch.from_numpy(points)
    place = fit_translation(joints, target, camera, torch.ones(1, 21))
    return (project(joints + place[:, None], camera) - target).norm(dim=-1).mean().item()


@pytest.fixture(scope="module")
def bundled():
    pipe = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_answer_follows_sure_points_more(ask, bundled, points):
    bent = points + np.float32([0.0, 6.0]) * (np.arange(21) == 12)[:, None]  # where no fingertip is
    bent = bent.astype(np.float32)
    missed = [misses_px(ask(bundled, bent, keypoint_cov=size * ONE), bent) for size in (0.01, 100.0, 10_000.0)]
    assert missed[0] < 2 and 2 * missed[0] < missed[1] < missed[2]


def test_what_was_given_is_told(ask, points):
    covariance = np.tile(np.array([[9.0, 4.0], [4.0, 5.0]]), (1, 21, 1, 1))
    covariance[0, 4] = np.nan
    hidden = points.copy()
    hidden[0, 4] = np.nan
    out = ask(points=hidden, keypoint_cov=covariance)
    assert np.isnan(out.keypoint_cov[0, 4]).all() and out.keypoint_scores[0, 4] == 0
    seen = np.delete(out.keypoint_cov[0], 4, axis=0)
    np.testing.assert_allclose(seen, np.tile(np.sqrt(29.0) * np.eye(2), (20, 1, 1)), rtol=1e-4, atol=1e-4)
    single = ask(points=hidden[0], keypoint_cov=covariance[0])  # one hand without the first axis
    np.testing.assert_array_equal(single.joints, out.joints)


def test_scores_say_how_exact_points_are(ask, points):
    assert np.abs(ask().keypoint_cov).max() < 1e-6  # without scores they are exact
    scores = np.full((1, 21), 0.5)
    scores[0, 20] = 0.1
    told = ask(keypoint_scores=scores).keypoint_cov[0]
    size = np.ptp(points[0], axis=0).max()
    deviation = np.linalg.det(told) ** 0.25
    np.testing.assert_allclose(deviation[:20], size / 40, rtol=0.1)
    assert deviation[20] == pytest.approx(3 * size / 40, rel=0.1)


def test_what_the_encoder_believes_is_told_in_pixels(distribution_pipeline, photo):
    whole = distribution_pipeline(photo, num_hypotheses=1, generator=0).keypoint_cov
    assert whole.shape == (1, 21, 2, 2) and (np.linalg.eigvalsh(whole) > 0).all()
    encoded = distribution_pipeline.image_encoder(
        distribution_pipeline.image_processor.crop([photo], torch.tensor([[100.0, 75.0, 200.0]]))
    )
    expected = 200.0**2 * encoded.distribution.covariance()
    np.testing.assert_allclose(whole, expected.detach(), rtol=1e-3, atol=1e-3)


WRONG = [
    ({"keypoint_cov": np.eye(2)}, r"expected an array of shape \(1, 21, 2, 2\), got shape \(2, 2\)"),
    ({"keypoint_cov": "wide"}, r"expected an array of shape \(1, 21, 2, 2\), got something that is not an array"),
    ({"keypoint_cov": 0 * ONE}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": -ONE}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": ONE + 2 * ONE[..., ::-1]}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": ONE + [[0, 0.5], [-0.5, 0]]}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": np.nan * ONE}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": np.inf * np.ones((1, 21, 2, 2))}, "expected symmetric positive definite matrices"),
    ({"keypoint_cov": ONE, "keypoint_scores": np.ones((1, 21))}, "expected only together with keypoints_2d and"),
]


@pytest.mark.parametrize("given, sentence", WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_no_covariance_is_one_sentence(ask, given, sentence):
    with pytest.raises(InputError, match=f"^keypoint_cov: {sentence}"):
        ask(**given)


def test_covariances_want_points(tiny_pipeline, photo):
    with pytest.raises(InputError, match="^keypoint_cov: expected only together with keypoints_2d"):
        tiny_pipeline(photo, keypoint_cov=ONE)
