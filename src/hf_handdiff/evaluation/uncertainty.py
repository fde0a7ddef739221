"""Metrics of several hypotheses and of predicted uncertainty, as pure, batched torch functions.

Units: metres in, metres out, unless a name says otherwise. N is the number of hypotheses of a hand, P that of its
points, S that of the samples. Points that are not finite give NaN.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from hf_handdiff.evaluation.metrics import at_least_float32, point_distance

# -- several hypotheses ------------------------------------------------------------------------------------


def best_of_n(errors: Tensor, n: int) -> Tensor:
    """The smallest error among the first n hypotheses of each sample: (..., N) -> (...).

    An oracle's choice, made per sample (never per joint, never over the data set): print it only beside the
    prior control and the aggregated answer. The first n are what a run with `num_hypotheses=n` would give.
    """
    if not 1 <= n <= errors.shape[-1]:
        raise ValueError(f"n must be 1..{errors.shape[-1]}, the number of hypotheses; got {n}")
    return errors[..., :n].amin(dim=-1)


def truth_ranks(hypotheses: Tensor, truth: Tensor, center: str = "median") -> Tensor:
    """How many hypotheses lie nearer to the centre than the truth does, per point.

    Under a calibrated sampler each of the N + 1 ranks 0..N is equally likely.

    Args:
        hypotheses: (..., N, P, 3) m.
        truth: (..., P, 3) m.
        center: "median", the coordinate-wise median of the hypotheses, as published for `quantile_ece`; or
            "pooled", the mean of hypotheses and truth together: then truth and hypotheses are exchangeable,
            and the ranks of a calibrated sampler are uniform at any N, where the median of a few hypotheses
            lies nearer to these than to the truth.

    Returns:
        (..., P) in 0..N; ties count half. NaN for points that are not finite.
    """
    hypotheses, truth = at_least_float32(hypotheses, truth)
    truth = truth.unsqueeze(-3)
    if center == "median":
        middle = hypotheses.quantile(0.5, dim=-3, keepdim=True)
    elif center == "pooled":
        num_hypotheses = hypotheses.shape[-3]
        middle = (hypotheses.sum(dim=-3, keepdim=True) + truth) / (num_hypotheses + 1)
    else:
        raise ValueError(f"center must be 'median' or 'pooled', got {center!r}")
    truth_distance = point_distance(truth, middle)  # (..., 1, P)
    distances = point_distance(hypotheses, middle)  # (..., N, P)
    nearer = (distances < truth_distance).to(distances.dtype) + 0.5 * (distances == truth_distance)
    ranks = nearer.sum(dim=-2)
    finite = torch.isfinite(truth_distance.squeeze(-2)) & torch.isfinite(distances).all(dim=-2)
    return torch.where(finite, ranks, math.nan)


def coverage(ranks: Tensor, num_hypotheses: int, levels: Tensor | list[float]) -> Tensor:
    """How often the truth lies inside the region that should hold it with probability `level`.

    The region of level q is the ball around the centre that holds the share q of the hypotheses. A rank r of
    `truth_ranks` stands for the interval [r, r + 1] / (N + 1) of quantiles, so that N hypotheses cause no
    rounding: a calibrated sampler has coverage(q) = q at every q.

    Args:
        ranks: (S, P) of `truth_ranks`; NaN is left out.
        num_hypotheses: N.
        levels: (L,) in 0..1.

    Returns:
        (L, P) in 0..1.
    """
    levels = torch.as_tensor(levels, dtype=ranks.dtype, device=ranks.device)
    inside = (levels[:, None, None] * (num_hypotheses + 1) - ranks.unsqueeze(0)).clamp(0, 1)  # (L, S, P)
    return inside.nanmean(dim=1)


def quantile_ece(ranks: Tensor, num_hypotheses: int, num_levels: int = 101) -> Tensor:
    """Expected calibration error of quantiles: mean over q of |coverage(q) - q|, per point.

    Pierzchlewicz et al., "Multi-hypothesis 3D human pose estimation metrics favor miscalibrated
    distributions" (arXiv 2210.11179). 0 is calibrated; 0.5 is the worst, truth always outside
    (over-confident) or always inside (under-confident). A single hypothesis has no quantiles: NaN.

    Args:
        ranks: (S, P) of `truth_ranks`.
        num_hypotheses: N.

    Returns:
        (P,) in 0..0.5.
    """
    if num_hypotheses < 2:
        return ranks.new_full(ranks.shape[1:], math.nan)
    levels = torch.linspace(0, 1, num_levels, dtype=ranks.dtype, device=ranks.device)
    return (coverage(ranks, num_hypotheses, levels) - levels.unsqueeze(-1)).abs().mean(dim=0)


def energy_score(hypotheses: Tensor, truth: Tensor, *, whole_hand: bool = False) -> Tensor:
    """Energy score: mean distance to the truth minus half the mean distance of two hypotheses.

    Lower is better. A strictly proper score (Gneiting and Raftery 2007), so no distribution but the true one
    can win on average. Pairs of different hypotheses only, which makes it unbiased at any N; of one
    hypothesis it is the error.

    Args:
        hypotheses: (..., N, P, 3) m.
        truth: (..., P, 3) m.
        whole_hand: True scores the hand as one vector of P * 3 numbers, divided by sqrt(P) to stay in metres
            of a point, so that how joints move together counts too.

    Returns:
        (..., P) m, or (...) m with `whole_hand`.
    """
    hypotheses, truth = at_least_float32(hypotheses, truth)
    num_hypotheses, num_points = hypotheses.shape[-3], hypotheses.shape[-2]
    truth = truth.unsqueeze(-3)
    if whole_hand:  # (..., N, 1, P * 3) and (..., 1, 1, P * 3)
        hypotheses, truth = hypotheses.flatten(-2).unsqueeze(-2), truth.flatten(-2).unsqueeze(-2)
    error = point_distance(hypotheses, truth).mean(dim=-2)
    if num_hypotheses > 1:
        samples = hypotheses.transpose(-3, -2)  # (..., P, N, D)
        pairwise = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist")
        error = error - 0.5 * pairwise.sum(dim=(-1, -2)) / (num_hypotheses * (num_hypotheses - 1))
    return error.squeeze(-1) / math.sqrt(num_points) if whole_hand else error


# -- does the uncertainty know the error? --------------------------------------------------------------------


def pearson_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Linear correlation over samples: (S, ...), (S, ...) -> (...) in -1..1.

    0 where one of the two never changes: such an uncertainty says nothing about the error.
    """
    x, y = at_least_float32(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    scale = x.norm(dim=0) * y.norm(dim=0)
    smallest = torch.finfo(scale.dtype).tiny
    return torch.where(scale > smallest, (x * y).sum(dim=0) / scale.clamp_min(smallest), 0.0).clamp(-1, 1)


def spearman_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation over samples, ties averaged: (S, ...), (S, ...) -> (...) in -1..1, float64."""
    return pearson_correlation(*(torch.from_numpy(rankdata(values.numpy(), axis=0)) for values in (x, y)))


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a positive sample scores higher than a negative one, ties counting half: (P,), (Q,) -> 0..1.

    Mann and Whitney's U over the number of pairs; NaN where one of the two is empty.
    """
    if len(positive) == 0 or len(negative) == 0:
        return math.nan
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    smallest = len(positive) * (len(positive) + 1) / 2
    return float((ranks.sum() - smallest) / (len(positive) * len(negative)))


def sparsification(uncertainty: Tensor, error: Tensor, num_steps: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Mean error of what is left when the least certain share is removed.

    Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow" (2018).

    Args:
        uncertainty, error: (S,), any unit.

    Returns:
        removed shares (num_steps,) from 0 to below 1, the curve when sorted by uncertainty, and the oracle's
        curve, sorted by the error itself; both curves (num_steps,), 1 at the start.
    """
    uncertainty, error = at_least_float32(uncertainty.flatten(), error.flatten())
    if len(error) == 0:
        raise ValueError("sparsification needs at least one sample")
    removed = torch.arange(num_steps, dtype=error.dtype, device=error.device) / num_steps
    kept = (len(error) * (1 - removed)).ceil().long().clamp_min(1)

    def curve(order: Tensor) -> Tensor:
        running_mean = error[order].cumsum(0) / torch.arange(1, len(error) + 1, device=error.device)
        return running_mean[kept - 1] / error.mean().clamp_min(torch.finfo(error.dtype).tiny)

    return removed, curve(uncertainty.argsort(stable=True)), curve(error.argsort(stable=True))


def ause(uncertainty: Tensor, error: Tensor, num_steps: int = 50) -> Tensor:
    """Area under the sparsification error: the mean gap between both curves of `sparsification`, >= 0.

    0: the uncertainty sorts the samples as their errors do. An uncertainty that knows nothing scores about
    the area between 1 and the oracle's curve. (S,), (S,) -> scalar.
    """
    _, by_uncertainty, oracle = sparsification(uncertainty, error, num_steps)
    return (by_uncertainty - oracle).mean()
