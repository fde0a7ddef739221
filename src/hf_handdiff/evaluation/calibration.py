"""From the spread of the hypotheses to a calibrated radius: how far the truth is expected from the mean.

A sampler may be too sure of itself, and all hypotheses may share an error that their spread cannot show. Both
are measured on validation data, per joint: expected squared distance = (scale * spread)^2 + floor^2. Errors have
heavier tails than a Gaussian, so how many times that radius the regions of 50, 80 or 90 % reach is measured too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.json_files import read_json_object
from hf_handdiff.pipelines.aggregation import (
    REGION_SHARES,
    VISIBILITY_KNOTS,
    calibrated_std,
    visibility_weights,
)
from hf_handdiff.pipelines.defaults import DEFAULT_AGGREGATION

_MIN_VARIANCE_M2 = 1e-10  # (0.01 mm)^2: keeps the likelihood finite for a joint that never moves (the wrist)
_MIN_SAMPLES = 10
_FITTED_SHARE, _VISIBILITY_ROUNDS = 0.9, 20
_LOW_SCORE, _WIDEST = 0.5, 2.0  # of mean keypoint scores; of their hands' factor


@dataclass(frozen=True)
class JointStdCalibration:
    """What turns a spread into the contract's `joint_std`.

    Attributes:
        scale: (21,) factor on the spread; 1 where the sampler is calibrated.
        floor: (21,) metres that remain where all hypotheses agree.
        single: (21,) metres, RMS distance of the truth from a single hypothesis: what is to be expected where
            there is one hypothesis only, and so no spread.
        regions: (R,) how many times `joint_std` the ball reaches that holds each share of `REGION_SHARES` of the
            truths, all joints together; None in checkpoints that were calibrated without.
        visibility: (5,) what the radius of a hand is multiplied by, at the mean keypoint scores `VISIBILITY_KNOTS`:
            mostly hidden hands err otherwise than their spread tells; None likewise.
    """

    scale: Tensor
    floor: Tensor
    single: Tensor
    regions: Tensor | None = None
    visibility: Tensor | None = None

    def apply(self, spread: Tensor, scores: Tensor | None = None) -> Tensor:
        """RMS distance of the truth from the answer that is to be expected.

        Args:
            spread: (..., 21) m.
            scores: (..., 21) keypoint scores; None: nothing is known of them.

        Returns:
            (..., 21) m.
        """
        std = calibrated_std(spread, self.scale.to(spread), self.floor.to(spread))
        if scores is None or self.visibility is None:
            return std
        return std * (visibility_weights(scores) @ self.visibility.to(scores))[..., None]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain numbers for a checkpoint's config: "scale", "floor_m", "single_m", 21 floats each, and "regions"."""
        values = {"scale": self.scale, "floor_m": self.floor, "single_m": self.single}
        values |= {"regions": self.regions, "visibility": self.visibility}
        known = {name: numbers for name, numbers in values.items() if numbers is not None}
        return {name: [round(value, 6) for value in numbers.tolist()] for name, numbers in known.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, list[float]]) -> JointStdCalibration:
        """The inverse of `to_dict`."""
        optional = (torch.tensor(values[name]) if name in values else None for name in ("regions", "visibility"))
        return cls(*(torch.tensor(values[name]) for name in ("scale", "floor_m", "single_m")), *optional)


def _non_negative_line(weights: Tensor, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares of `targets` on slope * features + offset, slope and offset >= 0.

    All arguments (S, P); returns slope and offset (P,). Where the free solution leaves the quadrant, the
    better of its two borders is taken.
    """
    total = weights.sum(dim=0)
    mean_x, mean_y = (weights * features).sum(dim=0) / total, (weights * targets).sum(dim=0) / total
    variance = (weights * (features - mean_x).square()).sum(dim=0)
    covariance = (weights * (features - mean_x) * (targets - mean_y)).sum(dim=0)
    smallest = torch.finfo(features.dtype).tiny
    slope = torch.where(variance > smallest, covariance / variance.clamp_min(smallest), 0.0)
    offset = mean_y - slope * mean_x

    second_moment = (weights * features.square()).sum(dim=0)
    cross_moment = (weights * features * targets).sum(dim=0)
    slope_only = torch.where(second_moment > smallest, cross_moment / second_moment.clamp_min(smallest), 0.0)
    loss_slope_only = (weights * (targets - slope_only * features).square()).sum(dim=0)
    loss_offset_only = (weights * (targets - mean_y).square()).sum(dim=0)
    inside = (slope >= 0) & (offset >= 0)
    use_slope = loss_slope_only <= loss_offset_only
    zero = torch.zeros_like(slope)
    slope = torch.where(inside, slope, torch.where(use_slope, slope_only, zero))
    offset = torch.where(inside, offset, torch.where(use_slope, zero, mean_y))
    return slope, offset


def fit_joint_std(
    spread: Tensor,
    error: Tensor,
    scores: Tensor | None = None,
    hidden: Tensor | None = None,
    num_iterations: int = 200,
) -> JointStdCalibration:
    """Fit scale and floor per joint by maximum likelihood, then what visibility adds, then regions of all joints.

    With variance v = (scale * spread)^2 + floor^2, the fit minimises the mean of log v + error^2 / v, whose
    minimum has v = E[error^2 | spread] whatever the errors' distribution (the quasi-likelihood of a Gaussian
    variance). Solved by reweighted least squares; a joint that never moves and is never wrong gets floor 0.

    Args:
        spread: (S, 21) m, RMS distance of the hypotheses to their mean, on validation data.
        error: (S, 21) m, distance of the truth from the answer of the same hypotheses, wrist-relative, not
            aligned.
        scores: (S, 21) keypoint scores; None: the radius shall not depend on them.
        hidden: (S,) bool, which hands are mostly hidden: with `scores`, hands of low scores get so much wider regions
            that those of the hidden ones hold what they say. Not all hidden hands have low scores.

    Returns:
        The calibration, float32.
    """
    if spread.ndim != 2 or spread.shape != error.shape:
        raise InputError(
            f"spread and error must both have shape (S, joints), got {tuple(spread.shape)} and {tuple(error.shape)}"
        )
    known = torch.isfinite(spread).all(dim=1) & torch.isfinite(error).all(dim=1)
    if known.sum() < _MIN_SAMPLES:
        raise InputError(
            f"spread and error: expected {_MIN_SAMPLES} finite samples or more to fit a calibration, "
            f"got {int(known.sum())}"
        )
    features = spread[known].double().square()
    targets = error[known].double().square()
    slope, offset = torch.ones_like(targets[0]), targets.mean(dim=0)
    for _ in range(num_iterations):
        variance = (slope * features + offset).clamp_min(_MIN_VARIANCE_M2)
        slope, offset = _non_negative_line(variance.square().reciprocal(), features, targets)
    scale = torch.where(features.amax(dim=0) > _MIN_VARIANCE_M2, slope.sqrt(), 1.0)
    floor = torch.where(offset > _MIN_VARIANCE_M2, offset.sqrt(), 0.0)
    # The mean squared distance of the truth from a hypothesis is that from their mean plus their variance.
    single = (targets + features).mean(dim=0).sqrt()
    variance = scale.square() * features + floor.square()
    moving = variance.amin(dim=0) > _MIN_VARIANCE_M2
    ratio = (targets[:, moving] / variance[:, moving]).sqrt()
    visibility = None
    if scores is not None and ratio.numel():
        hidden = torch.zeros(len(known), dtype=torch.bool) if hidden is None else hidden
        visibility, factor = _fit_visibility(ratio, visibility_weights(scores[known].double()), hidden[known])
        ratio = ratio / factor[:, None]
    shares = torch.tensor(REGION_SHARES, dtype=ratio.dtype)
    regions = torch.from_numpy(np.quantile(ratio.numpy(), shares.numpy())) if ratio.numel() else None
    return JointStdCalibration(scale.float(), floor.float(), single.float(), regions, visibility)


def _fit_visibility(ratio: Tensor, weights: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Factors at the knots of visibility that make the 90 % regions of all hands hold 90 %.

    Args:
        ratio: (S, P) distances over the radius without factors.
        weights: (S, 5) of `visibility_weights`.
        hidden: (S,) bool.

    Returns:
        (5,) float32, 1 where next to no hand is, and (S,) the factor of each hand.
    """
    overall = ratio.quantile(_FITTED_SHARE)
    factors = torch.ones_like(weights[0])
    for _ in range(_VISIBILITY_ROUNDS):  # each round moves a knot by what the hands round it still lack
        scaled = ratio / (weights @ factors)[:, None]
        for knot in range(len(factors)):
            share = weights[:, knot]
            near = share > 0.5
            if near.sum() >= _MIN_SAMPLES:
                factors[knot] *= (scaled[near].quantile(_FITTED_SHARE) / overall).sqrt()
    if hidden.sum() >= _MIN_SAMPLES:
        low = torch.tensor([knot <= _LOW_SCORE for knot in VISIBILITY_KNOTS])
        for wider in torch.arange(1.0, _WIDEST, 0.02, dtype=factors.dtype):
            tried = torch.where(low, wider * factors, factors)
            scaled = ratio / (weights @ tried)[:, None]
            if scaled[hidden].quantile(_FITTED_SHARE) <= scaled.quantile(_FITTED_SHARE):
                break
        factors = tried
    return factors.float(), weights @ factors


def write_calibration(
    checkpoint: str | Path, calibration: JointStdCalibration, aggregation: str = DEFAULT_AGGREGATION
) -> Path:
    """Keep a calibration in a checkpoint folder: `joint_std_calibration` of its `model_index.json`.

    Args:
        checkpoint: the folder.
        calibration: to keep.
        aggregation: of the answers that it was fitted to.
    """
    path = Path(checkpoint) / "model_index.json"
    if not path.is_file():
        raise InputError(f"checkpoint: expected a folder with a model_index.json, got {checkpoint}")
    config = read_json_object(path, "checkpoint", finite=False)
    config["joint_std_calibration"] = {**calibration.to_dict(), "aggregation": aggregation}
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")
    return path


@dataclass(frozen=True)
class Reliability:
    """What was promised beside what came, in bins of rising predicted radius.

    Attributes:
        predicted_rms: (K,) m, RMS of the predicted radius in each bin.
        observed_rms: (K,) m, RMS of the true distance in each bin.
        ence: expected normalised calibration error, mean of |predicted - observed| / predicted over the bins.
        mean_square_ratio: mean of (distance / radius)^2; 1 is calibrated, above 1 over-confident.
    """

    predicted_rms: Tensor
    observed_rms: Tensor
    ence: float
    mean_square_ratio: float


def reliability(joint_std: Tensor, error: Tensor, num_bins: int = 10) -> Reliability:
    """Check predicted radii against true distances on data that the calibration has not seen.

    Levi et al., "Evaluating and calibrating uncertainty prediction in regression tasks" (2019).

    Args:
        joint_std: (...) m, predicted RMS distance of the truth from the answer.
        error: (...) m, that distance. Entries that are not finite, or promise exactly nothing (a joint that
            defines the origin), are left out.
    """
    joint_std, error = joint_std.flatten().double(), error.flatten().double()
    known = torch.isfinite(joint_std) & torch.isfinite(error) & (joint_std > 0)
    joint_std, error = joint_std[known], error[known]
    if len(joint_std) == 0:
        return Reliability(torch.empty(0), torch.empty(0), math.nan, math.nan)
    order = joint_std.argsort(stable=True)
    bins = order.tensor_split(min(num_bins, len(order)))
    predicted = torch.stack([joint_std[rows].square().mean().sqrt() for rows in bins])
    observed = torch.stack([error[rows].square().mean().sqrt() for rows in bins])
    ence = ((predicted - observed).abs() / predicted).mean().item()
    return Reliability(predicted, observed, ence, (error / joint_std).square().mean().item())


# -- the regions that joint_std promises -------------------------------------------------------------------


def region_quantiles(joint_std: Tensor, error: Tensor, regions: Tensor | None = None) -> Tensor:
    """Which region around the answer just reaches the truth, by the calibration's table or as a Gaussian's.

    Without a table the truth is taken for a Gaussian of radius joint_std: isotropic, joint_std^2 / 3 an axis, so that
    sqrt(3) * error / joint_std follows the chi distribution with three degrees of freedom; this is its distribution
    function. Of a calibrated radius the quantiles are uniform over 0..1.

    Args:
        joint_std: (...) m, predicted RMS distance of the truth from the answer.
        error: (...) m, that distance.
        regions: see `JointStdCalibration`.

    Returns:
        (...) in 0..1, float64; NaN for entries that are not finite or promise exactly nothing (the wrist).
    """
    joint_std, error = joint_std.double(), error.double()
    known = torch.isfinite(joint_std) & torch.isfinite(error) & (joint_std > 0)
    ratio = torch.where(known, error / joint_std, 0.0)
    if regions is not None:
        shares = np.interp(ratio.numpy(), regions.numpy(), REGION_SHARES, right=1.0)
        return torch.where(known, torch.from_numpy(shares), math.nan)
    # The distribution function of chi with k degrees of freedom is the incomplete gamma function P(k/2, x^2/2).
    quantiles = torch.special.gammainc(torch.tensor(1.5, dtype=torch.float64), 1.5 * ratio.square())
    return torch.where(known, quantiles, math.nan)


def region_coverage(quantiles: Tensor, levels: Tensor | list[float]) -> Tensor:
    """How often the truth lies inside the region of each level: (S, P) quantiles, (L,) levels -> (L, P).

    Quantiles that are NaN are left out; a point with none at all has NaN.
    """
    levels = torch.as_tensor(levels, dtype=quantiles.dtype, device=quantiles.device)
    known = torch.isfinite(quantiles)
    inside = (quantiles.unsqueeze(0) <= levels[:, None, None]) & known
    return inside.sum(dim=1).to(quantiles.dtype) / known.sum(dim=0)


def region_ece(quantiles: Tensor, num_levels: int = 101) -> Tensor:
    """Mean over the levels q of |coverage(q) - q|, per point: (S, P) quantiles -> (P,) in 0..0.5.

    The same figure as `uncertainty.quantile_ece`, of the radius instead of the hypotheses.
    """
    levels = torch.linspace(0, 1, num_levels, dtype=quantiles.dtype, device=quantiles.device)
    return (region_coverage(quantiles, levels) - levels.unsqueeze(-1)).abs().mean(dim=0)
