"""Results by joint, and as curves for the plots.

Lengths are millimetres, shares 0..1 unless a name says percent. What cannot be told is None.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hf_handdiff.evaluation import metrics, uncertainty
from hf_handdiff.evaluation.calibration import region_coverage
from hf_handdiff.evaluation.measured_hands import (
    COVERAGE_LEVELS,
    MeasuredHands,
    named_levels,
    numbers,
    radius_calibration,
)
from hf_handdiff.evaluation.measures import (
    DISTRIBUTION,
    HYPOTHESIS_PA_JOINTS,
    JOINT_ERROR,
    JOINT_STD,
    METRICS,
    PA_JOINT_ERROR,
    PRIOR_PA_JOINTS,
    STAGE1_HYPOTHESIS_PA_JOINTS,
)
from hf_handdiff.evaluation.results import (
    BestOfCurves,
    Curves,
    ReliabilityCurves,
    SparsificationCurves,
    VisibleShareCurves,
)
from hf_handdiff.evaluation.tables import as_number
from hf_handdiff.hand.topology import JOINT_NAMES

_M_TO_MM = 1000.0
_CURVE_LEVELS = 41  # of the reliability diagram: every 2.5 %
_SHARE_BINS = 10


def _known_pairs(radius: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    known = torch.isfinite(radius) & torch.isfinite(error)
    return radius[known], error[known]


# -- by joint ----------------------------------------------------------------------------------------------


def by_joint(hands: MeasuredHands) -> dict[str, dict[str, Any]]:
    """Every figure that has a meaning for one joint alone: {joint: {figure: value}}.

    The wrist is the origin, so what is told from the wrist on is None for it: its spread, its calibration.
    """
    return {name: _figures_of_joint(hands, joint) for joint, name in enumerate(JOINT_NAMES)}


def _figures_of_joint(hands: MeasuredHands, joint: int) -> dict[str, Any]:
    figures: dict[str, Any] = {
        metric.joint_figure: as_number(hands[metric][:, joint].nanmean() * metric.unit.factor)
        for metric in METRICS.values()
        if metric.joint_figure is not None and metric in hands
    }
    figures["pa_auc_0_to_50mm"] = as_number(metrics.auc(hands[PA_JOINT_ERROR][:, joint : joint + 1]))
    if joint == metrics.WRIST:
        return figures
    count = hands.num_hypotheses
    for stage, measured in DISTRIBUTION.items():
        if measured.rank in hands and count > 1:
            ranks = hands[measured.rank][:, joint : joint + 1]
            covered = uncertainty.coverage(ranks, count, list(COVERAGE_LEVELS))[:, 0]
            figures[f"coverage_{stage}"] = named_levels(covered)
            figures[f"ece_{stage}"] = as_number(uncertainty.quantile_ece(ranks, count))
    radius, error = _known_pairs(hands[JOINT_STD][:, joint], hands[JOINT_ERROR][:, joint])
    if len(radius):
        figures["joint_std_correlation"] = as_number(uncertainty.pearson_correlation(radius, error))
        figures["joint_std_ause"] = as_number(uncertainty.ause(radius, error))
        coverage, ece = radius_calibration(hands.joint_regions[:, joint])
        figures |= {"joint_std_coverage": coverage, "joint_std_ece": ece}
    return figures


# -- curves ------------------------------------------------------------------------------------------------


def curves(hands: MeasuredHands) -> Curves:
    """What the plots show, over all samples."""
    return {
        "reliability": _reliability_curves(hands),
        "sparsification": _sparsification_curves(hands),
        "best_of": _best_of_curves(hands),
        "visible_share": _visible_share_curves(hands),
    }


def _reliability_curves(hands: MeasuredHands) -> ReliabilityCurves:
    """Observed coverage at nominal levels 0..1: of the hypotheses of each stage, and of `joint_std`."""
    levels = torch.linspace(0, 1, _CURVE_LEVELS, dtype=torch.float64)
    figures: ReliabilityCurves = {"nominal": numbers(levels)}
    for stage, measured in DISTRIBUTION.items():
        if measured.rank in hands and hands.num_hypotheses > 1:
            ranks = hands[measured.rank][:, 1:].reshape(-1, 1)
            figures[stage] = numbers(uncertainty.coverage(ranks, hands.num_hypotheses, levels))
    quantiles = hands.joint_regions[:, 1:].reshape(-1, 1)
    if torch.isfinite(quantiles).any():
        figures["joint_std"] = numbers(region_coverage(quantiles, levels))
    return figures


def _sparsification_curves(hands: MeasuredHands) -> SparsificationCurves:
    """Mean error of the joints that are left, mm, when the least certain share of them is removed."""
    radius, error = _known_pairs(hands[JOINT_STD][:, 1:], hands[JOINT_ERROR][:, 1:])
    if len(error) == 0:
        return {}
    removed, by_radius, oracle = uncertainty.sparsification(radius, error)
    mean_mm = error.mean() * _M_TO_MM
    return {
        "removed_share": numbers(removed),
        "joint_std_mm": numbers(by_radius * mean_mm),
        "oracle_mm": numbers(oracle * mean_mm),
    }


def _best_of_curves(hands: MeasuredHands) -> BestOfCurves:
    """PA-MPJPE, mm, of the best of the first n hypotheses of each sample, for every n, and of the control."""
    counts = list(range(1, hands.num_hypotheses + 1))
    figures: BestOfCurves = {"n": counts, "answer": hands.mean(PA_JOINT_ERROR)}
    columns = {
        "stage1": STAGE1_HYPOTHESIS_PA_JOINTS,
        "stage2": HYPOTHESIS_PA_JOINTS,
        "prior": PRIOR_PA_JOINTS,
    }
    for column, metric in columns.items():
        if metric in hands:
            best = [uncertainty.best_of_n(hands[metric], n).nanmean() * metric.unit.factor for n in counts]
            figures[column] = numbers(torch.stack(best))
    return figures


def _visible_share_curves(hands: MeasuredHands) -> VisibleShareCurves:
    """PA-MPJPE, mm, in bins of the visible share; bins without samples are left out."""
    per_sample = {
        "answer": hands[PA_JOINT_ERROR].mean(dim=1),
        "single": hands[HYPOTHESIS_PA_JOINTS].mean(dim=1),
        "best": uncertainty.best_of_n(hands[HYPOTHESIS_PA_JOINTS], hands.num_hypotheses),
    }
    if PRIOR_PA_JOINTS in hands:
        per_sample["prior_best"] = uncertainty.best_of_n(hands[PRIOR_PA_JOINTS], hands.num_hypotheses)
    figures: VisibleShareCurves = {"center": [], "num_samples": [], **{name: [] for name in per_sample}}
    # A share of exactly 1 belongs to the last bin; data without shares have NaN, which is in none.
    bins = (hands.visible_share * _SHARE_BINS).floor().clamp_max(_SHARE_BINS - 1)
    for number in range(_SHARE_BINS):
        rows = bins == number
        if rows.any():
            figures["center"].append((number + 0.5) / _SHARE_BINS)
            figures["num_samples"].append(int(rows.sum()))
            for name, values in per_sample.items():
                figures[name].append(as_number(values[rows].nanmean() * _M_TO_MM))
    return figures
