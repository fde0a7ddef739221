"""How keypoints err: the head's training, and the 2D points that the stages behind it learn from."""

import keypoint_distribution
import pytest
import torch
from handdiff_training.encoding import _as_if_drawn, conditions_of_batch, with_new_head
from handdiff_training.keypoint_noise import noisy_keypoints
from test_encoder_training import make_batch

from hf_handdiff.camera import crop_to_pixels
from hf_handdiff.models.joint_denoiser import noise_of_score, score_of_noise
from hf_handdiff.models.keypoint_distribution import KeypointDistribution


def some_distribution(batch=4000):
    generator = torch.Generator().manual_seed(0)
    factors = 0.03 * torch.randn(batch, 21, 2, 2, generator=generator)
    distribution = KeypointDistribution(factors, 0.01 + 0.02 * torch.rand(batch, 21, generator=generator))
    z = torch.randn(batch, 1, 2, 1, generator=generator)
    own = torch.randn(batch, 21, 2, generator=generator)
    return distribution, (factors @ z)[..., 0] + distribution.noise[..., None] * own


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_scale_of_known_gaussians_is_found(scale):
    distribution, errors = some_distribution()
    assert keypoint_distribution.calibrated_scale(distribution, scale * errors) == pytest.approx(scale, rel=0.03)


def test_regions_of_known_gaussians_hold_what_they_promise():
    distribution, errors = some_distribution()
    for share in (0.5, 0.8, 0.9):
        assert keypoint_distribution.region_share(distribution, errors, share) == pytest.approx(share, abs=0.02)
    assert keypoint_distribution.region_share(distribution, 2 * errors, 0.9) < 0.7


def test_a_new_head_leaves_the_rest_of_the_encoder(tiny_pipeline):
    before = tiny_pipeline.image_encoder
    after = with_new_head(before, keypoint_factors=4, distribution_hidden_size=8)
    assert after.config.keypoint_factors == 4 and before.config.keypoint_factors is None
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    pixels = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        first, second = before(pixels), after(pixels)
    assert torch.equal(first.keypoints, second.keypoints) and second.keypoint_factors.shape == (1, 21, 2, 4)


def a_batch():
    """Of crops that show the hands of `make_batch`, with meshes."""
    batch = make_batch(8)
    return {**batch, "vertices_m": torch.zeros(8, 778, 3)}


def test_stages_learn_from_points_that_hit_the_truth_but_for_their_noise(distribution_pipeline):
    encoder, batch = distribution_pipeline.image_encoder, a_batch()
    batch = {name: value[batch["has_hand"]] for name, value in batch.items()}
    crops = torch.tensor([112.0, 112.0, 224.0]).expand(len(batch["joints_m"]), 3)
    with torch.no_grad():
        encoded = encoder(batch["pixel_values"])
    generator = torch.Generator().manual_seed(0)
    truth, noise = crop_to_pixels(batch["keypoints"].float(), crops), 224 * encoded.keypoint_noise
    drawn = torch.stack([_as_if_drawn(truth, noise, generator) for _ in range(200)])
    off = drawn - truth
    torch.testing.assert_close(off.square().mean((0, 3)).sqrt() / noise, torch.ones_like(noise), atol=0.2, rtol=0)
    assert (off.mean(0).norm(dim=-1) / noise).max() < 0.35
    scores = conditions_of_batch(encoder, batch, generator).image.keypoint_scores
    half = (truth.amax(1) - truth.amin(1)).amax(1) / 2
    torch.testing.assert_close(noise_of_score(scores), noise / half[:, None], rtol=0.25, atol=1e-3)


def test_conditions_are_drawn_or_estimates(distribution_pipeline, tiny_pipeline):
    encoder, batch = distribution_pipeline.image_encoder, a_batch()
    first, again, other = (
        conditions_of_batch(encoder, batch, torch.Generator().manual_seed(seed)).image for seed in (0, 0, 1)
    )
    assert torch.equal(first.keypoints, again.keypoints) and not torch.equal(first.keypoints, other.keypoints)
    estimates = conditions_of_batch(encoder, batch, torch.Generator(), estimates=True).image
    without = conditions_of_batch(tiny_pipeline.image_encoder, batch, torch.Generator()).image
    torch.testing.assert_close(estimates.keypoints, without.keypoints, atol=1e-4, rtol=0)
    torch.testing.assert_close(estimates.view_middle, without.view_middle)
    assert not torch.allclose(estimates.keypoint_scores, without.keypoint_scores, atol=1e-3)
    assert first.view_middle.shape == (len(first.keypoints), 2) and (first.view_middle != 0).any()


def test_scores_of_synthetic_points_tell_their_noise():
    count = 4000
    points = torch.rand(count, 21, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noisy, scores = noisy_keypoints(points, torch.Generator().manual_seed(1))
    off = (noisy - points).square().mean(-1).sqrt()
    exact = ((scores == 1) | (scores == 0)).all(1)  # what is missing is 0 also of these
    assert 0.07 < exact.float().mean() < 0.13
    assert 0 < (scores == 0).float().mean() < 0.2
    unslipped = off[exact].amax(1) < 1e-6
    assert 0.7 < unslipped.float().mean() < 0.9  # of a fifth, fingers are off without a word
    seen = (scores > 0) & ~exact[:, None]
    ratio = (off / noise_of_score(scores))[seen]
    assert 0.6 < ratio.median() < 1.2  # the median of a Rayleigh over sqrt(2) is 0.83
    sure, unsure = scores > score_of_noise(torch.tensor(0.01)), (scores < score_of_noise(torch.tensor(0.1))) & seen
    assert 5 * off[sure].median() < off[unsure].median()
    repeated = noisy_keypoints(points, torch.Generator().manual_seed(1))
    assert torch.equal(repeated[0], noisy) and torch.equal(repeated[1], scores)
