"""Radii of mostly hidden hands, which err otherwise than their spread tells."""

import math

import numpy as np
import pytest
import torch

from hf_handdiff.evaluation.calibration import JointStdCalibration, fit_joint_std
from hf_handdiff.pipelines.aggregation import VISIBILITY_KNOTS, region_radius, visibility_weights


def hidden_hands_err_twice_as_much(seed, num_samples=4000):
    """Spreads, errors and scores; a third of the hands are hidden and err twice as much as their spread tells."""
    generator = torch.Generator().manual_seed(seed)
    spreads = 0.002 + 0.01 * torch.rand(num_samples, 21, generator=generator)
    offsets = torch.randn(num_samples, 21, 3, generator=generator) / math.sqrt(3)
    hidden = torch.rand(num_samples, generator=generator) < 1 / 3
    jitter = 0.05 * torch.rand(num_samples, 21, generator=generator)
    scores = torch.where(hidden[:, None], 0.1, 0.9) + jitter
    errors = spreads * offsets.norm(dim=-1) * torch.where(hidden, 2.0, 1.0)[:, None]
    return spreads, errors, scores, hidden


def held(calibration, spreads, errors, scores):
    radius = region_radius(calibration.apply(spreads, scores), 0.9, calibration.regions.tolist())
    return (errors <= radius).double().mean().item()


def test_regions_hold_what_they_promise_of_hidden_and_of_seen_hands():
    spreads, errors, scores, _ = hidden_hands_err_twice_as_much(0)
    fitted, blind = fit_joint_std(spreads, errors, scores), fit_joint_std(spreads, errors)
    spreads, errors, scores, hidden = hidden_hands_err_twice_as_much(1)
    for group in (hidden, ~hidden):
        assert held(fitted, spreads[group], errors[group], scores[group]) == pytest.approx(0.9, abs=0.02)
        assert abs(held(blind, spreads[group], errors[group], scores[group]) - 0.9) > 0.04
    factors = visibility_weights(scores) @ fitted.visibility
    assert (factors[hidden].mean() / factors[~hidden].mean()).item() == pytest.approx(2, rel=0.05)
    assert fitted.visibility[2] == 1  # no hand is there


def test_scores_that_tell_nothing_change_nothing():
    spreads, errors, _, hidden = hidden_hands_err_twice_as_much(0)
    errors[hidden] /= 2
    scores = torch.rand(len(spreads), 1, generator=torch.Generator().manual_seed(2)).expand(-1, 21)
    fitted = fit_joint_std(spreads, errors, scores)
    torch.testing.assert_close(fitted.visibility, torch.ones(5), atol=0.05, rtol=0)
    blind = fit_joint_std(spreads, errors)
    assert torch.equal(fitted.scale, blind.scale) and torch.equal(fitted.single, blind.single)
    assert blind.visibility is None and torch.equal(blind.apply(spreads, scores), blind.apply(spreads))


def test_a_calibration_with_visibility_comes_back_from_its_numbers():
    spreads, errors, scores, _ = hidden_hands_err_twice_as_much(0, num_samples=300)
    fitted = fit_joint_std(spreads, errors, scores)
    again = JointStdCalibration.from_dict(fitted.to_dict())
    torch.testing.assert_close(again.visibility, fitted.visibility, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.apply(spreads, scores), fitted.apply(spreads, scores), atol=1e-6, rtol=1e-3)
    old = {name: numbers for name, numbers in fitted.to_dict().items() if name not in ("visibility", "regions")}
    without = JointStdCalibration.from_dict(old)
    assert without.visibility is None and without.regions is None
    torch.testing.assert_close(without.apply(spreads, scores), again.apply(spreads))


def test_weights_interpolate_between_knots():
    means = torch.tensor([0.0, 0.1, 0.25, 0.6, 1.0])
    weights = visibility_weights(means[:, None].expand(-1, 21))
    values = torch.tensor([2.0, 1.0, 5.0, 3.0, 4.0])
    expected = np.interp(means.numpy(), VISIBILITY_KNOTS, values.numpy())
    np.testing.assert_allclose((weights @ values).numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5))


def test_pipelines_apply_it(tiny_pipeline, photo):
    spreads, errors, scores, _ = hidden_hands_err_twice_as_much(0, num_samples=300)
    fitted = fit_joint_std(spreads, errors, scores)
    old = {name: numbers for name, numbers in fitted.to_dict().items() if name != "visibility"}
    before, radii = tiny_pipeline.config.joint_std_calibration, {}
    points = np.random.default_rng(0).uniform(20, 130, (1, 21, 2))
    try:
        for name, calibration in (("new", fitted.to_dict()), ("old", old)):
            tiny_pipeline.register_to_config(joint_std_calibration={**calibration, "aggregation": "fitted"})
            for score in (0.1, 0.9):
                given = {"keypoints_2d": points, "keypoint_scores": np.full((1, 21), score)}
                out = tiny_pipeline(photo, num_hypotheses=3, generator=0, output_type="pt", **given)
                assert out.joint_std_calibrated
                expected = (fitted if name == "new" else JointStdCalibration.from_dict(old)).apply(
                    _spread(out.joints), out.keypoint_scores
                )
                torch.testing.assert_close(out.joint_std, expected, atol=1e-6, rtol=1e-3)
                radii[name, score] = out.joint_std / _spread(out.joints).clamp_min(1e-9)
    finally:
        tiny_pipeline.register_to_config(joint_std_calibration=before)
    ratio = radii["new", 0.1][0, 1:].mean() / radii["new", 0.9][0, 1:].mean()
    assert ratio > 1.5


def _spread(joints):
    return (joints - joints.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
