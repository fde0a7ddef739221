"""Distributions over the keypoints of a hand, against samples and scipy, and the head that tells them."""

import json

import pytest
import torch
from scipy.stats import multivariate_t
from untrained import randomize_zero_layers

from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder, HandImageEncoderConfig
from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.models.keypoint_distribution import DEGREES_OF_FREEDOM, KeypointDistribution, KeypointDistributionHead


def some_distribution(batch=2, rank=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    factors = 0.05 * torch.randn(batch, 21, 2, rank, generator=generator)
    return KeypointDistribution(factors, 0.01 + 0.03 * torch.rand(batch, 21, generator=generator))


def samples_of(distribution, count=40_000, seed=1):
    """(B, count, 21, 2), as the docstring of the class says they are drawn, of hands whose s is 1."""
    generator = torch.Generator().manual_seed(seed)
    batch, joints, _, rank = distribution.factors.shape
    z = torch.randn(batch, count, rank, generator=generator)
    own = torch.randn(batch, count, joints, 2, generator=generator)
    return torch.einsum("bkcr,bnr->bnkc", distribution.factors, z) + distribution.noise[:, None, :, None] * own


def covariance_of(samples):
    """(B, n, D) -> (B, D, D)."""
    centred = samples - samples.mean(1, keepdim=True)
    return centred.mT @ centred / samples.shape[1]


def test_covariances_are_those_of_samples():
    distribution = some_distribution()
    measured = covariance_of(samples_of(distribution).flatten(2))
    full = distribution.full_covariance()
    largest = full.diagonal(dim1=1, dim2=2).max()
    torch.testing.assert_close(measured, full, atol=0.03 * largest, rtol=0)
    blocks = full.view(2, 21, 2, 21, 2).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    torch.testing.assert_close(distribution.covariance(), blocks)


@pytest.mark.parametrize("each", [False, True], ids=["one matrix a hand", "one a point"])
def test_mapped_is_the_distribution_of_mapped_points(each):
    distribution = some_distribution()
    generator = torch.Generator().manual_seed(2)
    turns = torch.linalg.qr(torch.randn(2, 21, 2, 2, generator=generator))[0]
    similar = turns * torch.linspace(0.5, 2, 21)[:, None, None]  # noise stays round under these alone
    matrix = similar if each else similar[:, 0]
    moved = torch.einsum("bkij,bnkj->bnki", matrix if each else matrix[:, None], samples_of(distribution))
    found = distribution.mapped(matrix).full_covariance()
    largest = found.diagonal(dim1=1, dim2=2).max()
    torch.testing.assert_close(covariance_of(moved.flatten(2)), found, atol=0.03 * largest, rtol=0)


def test_noise_keeps_its_area_where_axes_are_stretched():
    noise = KeypointDistribution.independent(torch.full((1, 21), 0.1))
    stretched = noise.mapped(torch.diag(torch.tensor([4.0, 1.0]))[None])
    assert stretched.factors.shape == (1, 21, 2, 0)
    torch.testing.assert_close(stretched.noise, torch.full((1, 21), 0.2))


def test_scaled_is_mapped_by_a_multiple_of_one():
    distribution, scale = some_distribution(), torch.tensor([0.5, 3.0])
    mapped = distribution.mapped(scale[:, None, None] * torch.eye(2))
    scaled = distribution.scaled(scale)
    torch.testing.assert_close(scaled.factors, mapped.factors)
    torch.testing.assert_close(scaled.noise, mapped.noise)


def test_of_marginals_keeps_their_area():
    covariance = some_distribution().covariance()
    kept = KeypointDistribution.of_marginals(covariance)
    areas = [torch.linalg.det(values) for values in (kept.covariance(), covariance)]
    torch.testing.assert_close(areas[0], areas[1])
    covariance[0, 3] = torch.nan
    assert torch.isnan(KeypointDistribution.of_marginals(covariance).noise).nonzero().tolist() == [[0, 3]]


def test_log_likelihood_is_that_of_a_t_distribution_up_to_a_constant():
    distribution = some_distribution(batch=6)
    errors = 0.1 * torch.randn(6, 21, 2, generator=torch.Generator().manual_seed(3))
    expected = torch.tensor(
        [
            multivariate_t(shape=covariance.numpy(), df=DEGREES_OF_FREEDOM).logpdf(error.flatten().numpy())
            for covariance, error in zip(distribution.full_covariance().double(), errors.double(), strict=True)
        ]
    )
    constant = distribution.log_likelihood(errors) - expected
    torch.testing.assert_close(constant, constant[0].expand(6), atol=2e-3, rtol=0)
    assert expected.std() > 1


def test_the_head_normalises_by_statistics_that_it_keeps():
    torch.manual_seed(0)
    head = randomize_zero_layers(KeypointDistributionHead(10, 2, 8))
    inputs = 3 + 5 * torch.randn(200, 10)
    head.set_input_statistics(inputs)
    torch.testing.assert_close(head.state_dict()["input_mean"], inputs.mean(0))
    plain = KeypointDistributionHead(10, 2, 8).eval()
    plain.load_state_dict({**head.state_dict(), "input_mean": torch.zeros(10), "input_std": torch.ones(10)})
    answers = head(inputs), plain((inputs - inputs.mean(0)) / (inputs.std(0) + 1e-3))
    torch.testing.assert_close(answers[0].factors, answers[1].factors)
    assert answers[0].factors.shape == (200, 21, 2, 2) and answers[0].noise.shape == (200, 21)
    wild = head(torch.full((1, 10), 1e9))
    assert torch.isfinite(wild.factors).all() and (wild.noise > 0).all()


@pytest.fixture(scope="module")
def encoder(distribution_pipeline):
    return distribution_pipeline.image_encoder


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_factors_turn_with_the_square(encoder, images):
    def look(angle, side):
        frame = HandFrame(torch.full((2, 2), 0.4), torch.full((2,), side), torch.tensor(angle))
        return encoder._encode_square(images, frame)

    plain, turned = look([0.0, 0.0], 1.0), look([0.7, -2.0], 0.5)
    move = torch.randn(3, generator=torch.Generator().manual_seed(0))
    for encoded, side in ((plain, 1.0), (turned, 0.5)):
        scale = encoder.config.distribution_scale
        square = encoder.distribution_head(encoded.keypoint_descriptors)
        at = encoded.frame.to_square(encoded.keypoints)
        moved = encoded.frame.from_square(at + scale * square.factors @ move)
        torch.testing.assert_close(encoded.keypoints + encoded.distribution.factors @ move, moved, atol=1e-5, rtol=0)
        torch.testing.assert_close(encoded.keypoint_noise, scale * side * square.noise)
    assert (plain.keypoint_factors - 2 * turned.keypoint_factors).abs().max() > 1e-3


@torch.no_grad()
def test_an_encoder_with_factors_comes_back_whole(encoder, images, tmp_path):
    encoder.save_pretrained(tmp_path)
    again = HandImageEncoder.from_pretrained(tmp_path).eval()
    assert again.config.keypoint_factors == 3 and again.config.distribution_scale == 1.25
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    before, after = encoder(images), again(images)
    for name in ("keypoint_factors", "keypoint_noise", "keypoint_descriptors", "keypoints"):
        assert torch.equal(before[name], after[name]), name


@torch.no_grad()
def test_an_encoder_without_them_loads_as_before(tiny_pipeline, images, tmp_path):
    tiny_pipeline.image_encoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kept = {name: value for name, value in config.items() if "factors" not in name and "distribution" not in name}
    (tmp_path / "config.json").write_text(json.dumps(kept))  # as earlier versions wrote it
    again = HandImageEncoder.from_pretrained(tmp_path).eval()
    assert again.distribution_head is None
    encoded = again(images)
    assert encoded.distribution is None and encoded.keypoint_factors is None
    assert torch.equal(encoded.keypoints, tiny_pipeline.image_encoder(images).keypoints)


def test_factors_are_counted_from_1():
    with pytest.raises(InputError, match="^keypoint_factors must be 1 or more"):
        HandImageEncoderConfig(keypoint_factors=0)


def test_likelihood_is_the_same_under_autocast():
    """Small noise beside factors a hundred times as large, as of a hand whose place alone is unknown."""
    generator = torch.Generator().manual_seed(0)
    factors = 0.3 * torch.randn(4, 21, 2, 6, generator=generator)
    distribution = KeypointDistribution(factors, torch.full((4, 21), 0.003))
    error = 0.1 * torch.randn(4, 21, 2, generator=generator)
    expected = distribution.log_likelihood(error)
    with torch.autocast("cpu", torch.bfloat16):
        found = distribution.log_likelihood(error)
    assert torch.isfinite(expected).all() and torch.equal(found, expected)
