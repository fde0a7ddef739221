"""Calibration figures where the truth is known: Gaussians that are right, too sure and not sure enough."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.calibration import (
    JointStdCalibration,
    fit_joint_std,
    region_coverage,
    region_ece,
    region_quantiles,
    reliability,
    write_calibration,
)
from hf_handdiff.evaluation.uncertainty import coverage, energy_score, quantile_ece, truth_ranks
from hf_handdiff.pipelines.aggregation import region_radius, spread


def gaussian_sampler(sampler_std, num_samples=3000, num_hypotheses=50, num_joints=5, seed=0):
    """Truth and hypotheses around the same hidden centre; the truth with standard deviation 1 (cm)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_samples, num_joints, 3)
    center = torch.randn(shape, generator=generator)
    truth = center + torch.randn(shape, generator=generator)
    noise = torch.randn(num_samples, num_hypotheses, num_joints, 3, generator=generator)
    return (center.unsqueeze(1) + sampler_std * noise) / 100, truth / 100


@pytest.mark.parametrize("num_hypotheses", [5, 20, 50])
def test_a_calibrated_gaussian_scores_nothing(num_hypotheses):
    hypotheses, truth = gaussian_sampler(1.0, num_hypotheses=num_hypotheses)
    ranks = truth_ranks(hypotheses, truth, center="pooled").reshape(-1, 1)
    assert quantile_ece(ranks, num_hypotheses).item() < 0.01
    levels = [0.5, 0.8, 0.9]
    torch.testing.assert_close(coverage(ranks, num_hypotheses, levels)[:, 0], torch.tensor(levels), atol=0.015, rtol=0)


def test_the_published_definition_agrees_with_many_hypotheses():
    hypotheses, truth = gaussian_sampler(1.0, num_samples=2000, num_hypotheses=300, num_joints=3)
    ranks = truth_ranks(hypotheses, truth).reshape(-1, 1)
    assert quantile_ece(ranks, 300).item() < 0.01


@pytest.mark.parametrize("center", ["median", "pooled"])
def test_over_and_under_confidence_are_told_apart(center):
    covered = {}
    for name, std in (("over-confident", 0.5), ("under-confident", 2.0)):
        hypotheses, truth = gaussian_sampler(std)
        ranks = truth_ranks(hypotheses, truth, center=center).reshape(-1, 1)
        assert quantile_ece(ranks, 50).item() > 0.1
        covered[name] = coverage(ranks, 50, [0.5]).item()
    assert covered["over-confident"] < 0.25 and covered["under-confident"] > 0.75


def test_energy_score_is_best_for_the_true_distribution():
    scores = {std: energy_score(*gaussian_sampler(std)).mean().item() for std in (0.5, 1.0, 2.0)}
    assert scores[1.0] < scores[0.5] and scores[1.0] < scores[2.0]


def known_noise(scale, floor, num_samples=4000, seed=0):
    """Spreads of 1 to 11 mm, and the distances of truths whose RMS is sqrt((scale * spread)^2 + floor^2)."""
    generator = torch.Generator().manual_seed(seed)
    spreads = 0.001 + 0.01 * torch.rand(num_samples, 21, generator=generator)
    rms = ((scale * spreads).square() + floor**2).sqrt()
    offsets = torch.randn(num_samples, 21, 3, generator=generator) * rms.unsqueeze(-1) / math.sqrt(3)
    return spreads, offsets.norm(dim=-1)


def test_the_fit_finds_scale_and_floor():
    fitted = fit_joint_std(*known_noise(scale=1.7, floor=0.004))
    assert (fitted.scale - 1.7).abs().max() < 0.1
    assert (fitted.floor - 0.004).abs().max() < 0.0005
    spreads, errors = known_noise(scale=1.7, floor=0.004, seed=1)
    before = reliability(spreads, errors)
    after = reliability(fitted.apply(spreads), errors)
    assert after.ence < 0.03 < before.ence
    assert after.mean_square_ratio == pytest.approx(1, abs=0.05)
    assert before.mean_square_ratio > 2  # over-confident


def test_the_fit_on_its_borders():
    spreads, errors = known_noise(scale=0.0, floor=0.003)
    only_floor = fit_joint_std(spreads, errors)
    assert (only_floor.apply(spreads) - 0.003).abs().max() < 0.0005
    only_scale = fit_joint_std(spreads, 2 * spreads)
    torch.testing.assert_close(only_scale.scale, torch.full((21,), 2.0))
    assert only_scale.floor.max() == 0


def test_a_joint_that_is_the_origin_keeps_no_uncertainty():
    spreads, errors = known_noise(scale=1.0, floor=0.002)
    spreads[:, 0], errors[:, 0] = 0, 0
    fitted = fit_joint_std(spreads, errors)
    assert fitted.scale[0] == 1 and fitted.floor[0] == 0
    assert torch.isfinite(fitted.scale).all() and torch.isfinite(fitted.floor).all()
    assert reliability(fitted.apply(spreads), errors).mean_square_ratio == pytest.approx(1, abs=0.05)


def test_the_fit_of_a_sampler_end_to_end():
    hypotheses, truth = gaussian_sampler(0.5, num_hypotheses=20, num_joints=21)
    mean = hypotheses.mean(dim=1)
    fitted = fit_joint_std(spread(hypotheses), (truth - mean).norm(dim=-1))
    expected = math.sqrt(3 * (1 + 0.25 / 20)) / 100  # three axes; the mean of 20 is itself uncertain
    radius = fitted.apply(spread(hypotheses)).square().mean().sqrt().item()
    assert radius == pytest.approx(expected, rel=0.03)


def test_rows_that_are_not_finite_are_left_out_and_too_few_are_refused():
    spreads, errors = known_noise(scale=1.0, floor=0.002, num_samples=200)
    clean = fit_joint_std(spreads[10:], errors[10:])
    spreads[:10] = math.nan
    dirty = fit_joint_std(spreads, errors)
    assert torch.equal(clean.scale, dirty.scale) and torch.equal(clean.floor, dirty.floor)
    with pytest.raises(InputError, match="10 finite samples"):
        fit_joint_std(spreads[:12], errors[:12])
    with pytest.raises(InputError, match=r"\(S, joints\)"):
        fit_joint_std(spreads, errors[:, :20])


def test_what_one_hypothesis_is_off_by():
    hypotheses, truth = gaussian_sampler(1.0, num_samples=500, num_hypotheses=20, num_joints=21)
    fitted = fit_joint_std(spread(hypotheses), (truth - hypotheses.mean(dim=1)).norm(dim=-1))
    plain = (hypotheses - truth.unsqueeze(1)).norm(dim=-1).square().mean(dim=(0, 1)).sqrt()
    torch.testing.assert_close(fitted.single, plain)


def test_a_calibration_is_kept_in_a_checkpoint(tmp_path):
    fitted = fit_joint_std(*known_noise(scale=1.2, floor=0.001, num_samples=50))
    with pytest.raises(InputError, match="model_index.json"):
        write_calibration(tmp_path, fitted)
    (tmp_path / "model_index.json").write_text('{"num_inference_steps": 8, "joint_std_calibration": null}')
    config = json.loads(write_calibration(tmp_path, fitted).read_text())
    assert config["num_inference_steps"] == 8
    again = JointStdCalibration.from_dict(config["joint_std_calibration"])
    for name in ("scale", "floor", "single"):
        torch.testing.assert_close(getattr(again, name), getattr(fitted, name), atol=1e-6, rtol=0)


def test_reliability_of_nothing():
    empty = reliability(torch.zeros(4, 21), torch.zeros(4, 21))
    assert math.isnan(empty.ence) and len(empty.predicted_rms) == 0


def test_region_quantiles_are_those_of_chi():
    radius = torch.tensor([0.002, 0.01, 0.01, 0.03])
    error = torch.tensor([0.001, 0.0, 0.01, 0.2])
    expected = stats.chi(3).cdf(math.sqrt(3) * error.double().numpy() / radius.double().numpy())
    np.testing.assert_allclose(region_quantiles(radius, error).numpy(), expected, atol=1e-12)


def test_regions_that_promise_nothing_are_left_out():
    radius = torch.tensor([[0.01, 0.0], [0.01, 0.0], [math.nan, 0.0]])
    error = torch.tensor([[0.001, 0.0], [math.inf, 0.01], [0.001, 0.0]])
    quantiles = region_quantiles(radius, error)
    assert torch.isfinite(quantiles).tolist() == [[True, False], [False, False], [False, False]]
    covered = region_coverage(quantiles, [0.0, 0.9])
    assert covered[:, 0].tolist() == [0, 1] and torch.isnan(covered[:, 1]).all()
    assert torch.isnan(region_ece(quantiles)[1])


def gaussian_errors(claimed_over_true, num_samples=20_000, seed=0):
    """Radii of 2 to 20 mm that are claimed, and distances of truths whose real radius is another."""
    generator = torch.Generator().manual_seed(seed)
    true_radius = 0.002 + 0.018 * torch.rand(num_samples, generator=generator)
    offsets = torch.randn(num_samples, 3, generator=generator) * true_radius.unsqueeze(-1) / math.sqrt(3)
    return claimed_over_true * true_radius, offsets.norm(dim=-1)


def test_regions_of_a_calibrated_gaussian_hold_what_they_promise():
    quantiles = region_quantiles(*gaussian_errors(1.0)).reshape(-1, 1)
    assert region_ece(quantiles).item() < 0.01
    levels = [0.5, 0.8, 0.9]
    expected = torch.tensor(levels, dtype=torch.float64)
    torch.testing.assert_close(region_coverage(quantiles, levels)[:, 0], expected, atol=0.01, rtol=0)


def test_over_and_under_confident_regions_are_told_apart():
    covered = {}
    for name, claimed_over_true in (("over-confident", 0.5), ("under-confident", 2.0)):
        quantiles = region_quantiles(*gaussian_errors(claimed_over_true)).reshape(-1, 1)
        assert region_ece(quantiles).item() > 0.1
        covered[name] = region_coverage(quantiles, [0.5]).item()
    # exactly: the chance that chi of three axes is below half, or twice, its median
    median = stats.chi(3).median()
    assert covered["over-confident"] == pytest.approx(stats.chi(3).cdf(0.5 * median), abs=0.01)
    assert covered["under-confident"] == pytest.approx(stats.chi(3).cdf(2 * median), abs=0.01)


def test_region_coverage_equals_a_plain_count():
    quantiles = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = np.linspace(0, 1, 101)
    counted = np.stack([(quantiles.numpy() <= level).mean(axis=0) for level in levels])
    np.testing.assert_allclose(region_coverage(quantiles, torch.from_numpy(levels)).numpy(), counted, atol=1e-12)
    expected = np.abs(counted - levels[:, None]).mean(axis=0)
    np.testing.assert_allclose(region_ece(quantiles).numpy(), expected, atol=1e-12)


def test_reliability_equals_a_plain_loop():
    spreads, errors = known_noise(scale=1.5, floor=0.002, num_samples=30)
    checked = reliability(spreads, errors, num_bins=7)
    radius, distance = spreads.flatten().double().numpy(), errors.flatten().double().numpy()
    bins = np.array_split(np.argsort(radius, kind="stable"), 7)
    predicted = np.array([np.sqrt(np.mean(radius[rows] ** 2)) for rows in bins])
    observed = np.array([np.sqrt(np.mean(distance[rows] ** 2)) for rows in bins])
    np.testing.assert_allclose(checked.predicted_rms.numpy(), predicted)
    np.testing.assert_allclose(checked.observed_rms.numpy(), observed)
    assert checked.ence == pytest.approx(np.mean(np.abs(predicted - observed) / predicted))
    assert checked.mean_square_ratio == pytest.approx(np.mean((distance / radius) ** 2))


def heavy_tails(seed, num_samples=4000):
    """Radii that tell the RMS error, and errors whose tails are heavier than a Gaussian's (Student, 5 degrees)."""
    generator = torch.Generator().manual_seed(seed)
    spreads = 0.002 + 0.01 * torch.rand(num_samples, 21, generator=generator)
    chi_square = torch.randn(num_samples, 21, 5, generator=generator).square().sum(-1) / 3  # mean 5/3 = 5 / (5 - 2)
    offsets = torch.randn(num_samples, 21, 3, generator=generator) / math.sqrt(3) / chi_square[..., None].sqrt()
    return spreads, spreads * offsets.norm(dim=-1)


def test_regions_are_right_where_errors_have_heavy_tails():
    fitted = fit_joint_std(*heavy_tails(seed=0))
    spreads, errors = heavy_tails(seed=1)
    radius = fitted.apply(spreads)
    measured = region_quantiles(radius, errors, fitted.regions)
    gaussian = region_quantiles(radius, errors)
    assert region_ece(measured.reshape(-1, 1)).item() < 0.01 < 0.05 < region_ece(gaussian.reshape(-1, 1)).item()
    for share in (0.5, 0.9):
        inside = errors <= region_radius(radius, share, fitted.regions.tolist())
        assert inside.double().mean().item() == pytest.approx(share, abs=0.01)


def test_region_radius_without_a_table_is_a_gaussians():
    radius, error = gaussian_errors(1.0)
    for share in (0.5, 0.9):
        assert (error <= region_radius(radius, share)).double().mean().item() == pytest.approx(share, abs=0.01)
    with pytest.raises(ValueError, match="share"):
        region_radius(radius, 1.0, [0.0] * 41)


def test_a_calibration_comes_back_from_its_numbers():
    fitted = fit_joint_std(*heavy_tails(seed=0, num_samples=100))
    again = JointStdCalibration.from_dict(fitted.to_dict())
    torch.testing.assert_close(again.regions, fitted.regions.float(), atol=1e-6, rtol=0)
    without = {name: numbers for name, numbers in fitted.to_dict().items() if name != "regions"}
    assert JointStdCalibration.from_dict(without).regions is None
