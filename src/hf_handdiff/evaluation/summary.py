"""From per-sample measures to the results of a run, see `results.Results`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation import breakdown, groups, metrics, uncertainty
from hf_handdiff.evaluation import measures as m
from hf_handdiff.evaluation.calibration import reliability
from hf_handdiff.evaluation.measured_hands import COVERAGE_LEVELS, MeasuredHands, named_levels, radius_calibration
from hf_handdiff.evaluation.results import (
    AnswerFigures,
    BaselineResults,
    BestOfFigures,
    ComparedFigures,
    DistributionFigures,
    Figure,
    GroupResults,
    HandScoreFigures,
    JointStdFigures,
    KeypointFigures,
    Results,
    Stage1Figures,
    VisibilityFigures,
)
from hf_handdiff.evaluation.scores import Scores
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.tables import as_number

PCK_THRESHOLDS_MM = (5, 10, 15, 20, 30)
_M_TO_MM = 1000.0


# -- accuracy ----------------------------------------------------------------------------------------------


def _accuracy(hands: MeasuredHands) -> dict[str, Figure]:
    errors = hands[m.PA_JOINT_ERROR]
    means = {metric.figure: hands.mean(metric) for metric in m.METRICS.values() if metric.figure is not None}
    return {
        **means,
        "pa_mpjpe_median_mm": as_number(errors.mean(dim=1).nanmedian() * _M_TO_MM),
        "pa_joint_auc_0_to_50mm": as_number(metrics.auc(errors)),
        "root_relative_joint_auc_0_to_50mm": as_number(metrics.auc(hands[m.JOINT_ERROR])),
        **_pck(errors),
    }


def _pck(errors: Tensor) -> dict[str, Figure]:
    """Share of joints within some distances, mean over the joints."""
    shares = metrics.pck(errors, torch.tensor(PCK_THRESHOLDS_MM, dtype=errors.dtype) / _M_TO_MM).nanmean(dim=1)
    return {
        f"pa_pck_{threshold}mm": as_number(share) for threshold, share in zip(PCK_THRESHOLDS_MM, shares, strict=True)
    }


def _aggregated(hands: MeasuredHands) -> dict[str, AnswerFigures]:
    return {
        method: {
            "pa_mpjpe_mm": hands.mean(measured.pa_joints),
            "pa_mpvpe_mm": hands.mean(measured.pa_vertices),
            "mpjpe_root_relative_mm": hands.mean(measured.joint_error),
        }
        for method, measured in m.AGGREGATED.items()
    }


def _single_sample(hands: MeasuredHands) -> AnswerFigures:
    return {
        "pa_mpjpe_mm": hands.mean(m.HYPOTHESIS_PA_JOINTS),
        "pa_mpvpe_mm": hands.mean(m.HYPOTHESIS_PA_VERTICES),
        "mpjpe_root_relative_mm": hands.mean(m.HYPOTHESIS_JOINT_ERROR),
    }


def _stage1(hands: MeasuredHands) -> Stage1Figures:
    return {
        "pa_mpjpe_mm": hands.mean(m.STAGE1_PA_JOINTS),
        "single_sample_pa_mpjpe_mm": hands.mean(m.STAGE1_HYPOTHESIS_PA_JOINTS),
        "mpjpe_root_relative_mm": hands.mean(m.STAGE1_JOINT_ERROR),
    }


def _best_of(hands: MeasuredHands, counts: Iterable[int]) -> dict[str, BestOfFigures]:
    """Best-of-n and its control."""

    def best(metric: m.Metric, n: int) -> Figure:
        if metric not in hands:
            return None
        return as_number(uncertainty.best_of_n(hands[metric], n).nanmean() * metric.unit.factor)

    return {
        str(n): {
            "pa_mpjpe_mm": best(m.HYPOTHESIS_PA_JOINTS, n),
            "pa_mpvpe_mm": best(m.HYPOTHESIS_PA_VERTICES, n),
            "stage1_pa_mpjpe_mm": best(m.STAGE1_HYPOTHESIS_PA_JOINTS, n),
            "prior_pa_mpjpe_mm": best(m.PRIOR_PA_JOINTS, n),
            "prior_pa_mpvpe_mm": best(m.PRIOR_PA_VERTICES, n),
        }
        for n in counts
    }


def _keypoints(hands: MeasuredHands) -> KeypointFigures:
    percent, visible = hands[m.KEYPOINT_ERROR] * m.KEYPOINT_ERROR.unit.factor, hands.keypoints_visible
    return {
        "error_percent_of_box": as_number(percent.nanmean()),
        "visible_error_percent_of_box": as_number(percent[visible].nanmean()),
        "hidden_error_percent_of_box": as_number(percent[~visible].nanmean()),
        "median_error_percent_of_box": as_number(percent.nanmedian()),
        "error_px": hands.mean(m.KEYPOINT_ERROR_PX),
    }


# -- distribution and uncertainty --------------------------------------------------------------------------


def _distribution(hands: MeasuredHands, measured: m.DistributionMetrics) -> DistributionFigures | None:
    """Spread and calibration of one stage's hypotheses; the wrist, being the origin, is left out."""
    if measured.spread not in hands:
        return None
    count = hands.num_hypotheses
    pooled, published = (hands[ranks][:, 1:].reshape(-1, 1) for ranks in (measured.rank, measured.rank_median))
    covered = uncertainty.coverage(pooled, count, list(COVERAGE_LEVELS))[:, 0]
    several = count > 1
    return {
        "spread_mm": as_number(hands[measured.spread][:, 1:].nanmean() * _M_TO_MM) if several else None,
        "coverage": named_levels(covered if several else torch.full_like(covered, math.nan)),
        "ece": as_number(uncertainty.quantile_ece(pooled, count)),
        "ece_published_definition": as_number(uncertainty.quantile_ece(published, count)),
        "energy_score_mm": as_number(hands[measured.energy][:, 1:].nanmean() * _M_TO_MM),
        "energy_score_whole_hand_mm": hands.mean(measured.energy_whole_hand),
    }


def _joint_std(hands: MeasuredHands) -> JointStdFigures:
    """Does the calibrated radius `joint_std` tell the error? The wrist, being the origin, is left out."""
    radius, error = hands[m.JOINT_STD][:, 1:], hands[m.JOINT_ERROR][:, 1:]
    known = torch.isfinite(radius).all(dim=1) & torch.isfinite(error).all(dim=1)
    radius, error = radius[known], error[known]
    if len(radius) == 0:
        return {}
    checked = reliability(radius, error)
    coverage, ece = radius_calibration(hands.joint_regions[:, 1:])
    return {
        "predicted_rms_mm": as_number(radius.square().mean().sqrt() * _M_TO_MM),
        "observed_rms_mm": as_number(error.square().mean().sqrt() * _M_TO_MM),
        "mean_square_ratio": as_number(checked.mean_square_ratio),
        "ence": as_number(checked.ence),
        "coverage": coverage,
        "ece": ece,
        "correlation_over_joints": as_number(uncertainty.pearson_correlation(radius.flatten(), error.flatten())),
        "correlation_per_joint": as_number(uncertainty.pearson_correlation(radius, error).mean()),
        "rank_correlation_of_hands": as_number(uncertainty.spearman_correlation(radius.mean(1), error.mean(1))),
        "ause": as_number(uncertainty.ause(radius.flatten(), error.flatten())),
        "ause_knowing_nothing": as_number(1 - uncertainty.sparsification(error.flatten(), error.flatten())[2].mean()),
        "reliability_predicted_mm": (checked.predicted_rms * _M_TO_MM).tolist(),
        "reliability_observed_mm": (checked.observed_rms * _M_TO_MM).tolist(),
    }


def _spread_and_visibility(hands: MeasuredHands, measured: m.DistributionMetrics) -> VisibilityFigures | None:
    """Does the spread grow where joints are hidden?

    Joints are compared with themselves: tips always spread more than knuckles, and are hidden more often.
    """
    if measured.spread not in hands:
        return None
    spreads, hidden = hands[measured.spread][:, 1:], ~hands.keypoints_visible[:, 1:]
    known = torch.isfinite(spreads).all(dim=1)
    spreads, hidden, share = spreads[known], hidden[known], hands.visible_share[known]
    if len(spreads) == 0:
        return None
    visible_mean = metrics.masked_mean(spreads, ~hidden, dim=0)  # (20,)
    hidden_mean = metrics.masked_mean(spreads, hidden, dim=0)
    correlation = uncertainty.pearson_correlation(hidden.double(), spreads)
    changing = hidden.any(dim=0) & (~hidden).any(dim=0)
    of_hands = None
    if torch.isfinite(share).all():
        of_hands = as_number(uncertainty.pearson_correlation(1 - share, spreads.mean(dim=1)))
    return {
        "visible_joints_spread_mm": as_number(spreads[~hidden].mean() * _M_TO_MM),
        "hidden_joints_spread_mm": as_number(spreads[hidden].mean() * _M_TO_MM),
        "hidden_over_visible_same_joint": as_number((hidden_mean / visible_mean).nanmean()),
        "correlation_hidden_spread_same_joint": as_number(correlation[changing].mean()),
        "correlation_hidden_share_spread_of_hand": of_hands,
    }


def _hand_score(scores: Scores) -> HandScoreFigures:
    """How well `hand_score` tells images with a hand from images without."""
    has_hand, score = scores.has_hand, scores.hand_score
    positive, negative = score[has_hand], score[~has_hand]
    return {
        "images_with_hand": int(has_hand.sum()),
        "images_without_hand": int((~has_hand).sum()),
        "mean_with_hand": as_number(positive.mean()) if len(positive) else None,
        "mean_without_hand": as_number(negative.mean()) if len(negative) else None,
        "accuracy_at_half": as_number(((score >= 0.5) == has_hand).mean()),
        "area_under_roc": as_number(uncertainty.area_under_roc(positive, negative)),
    }


# -- all of it ---------------------------------------------------------------------------------------------


def _group(hands: MeasuredHands, settings: EvaluationSettings) -> GroupResults:
    """Everything that is told both for all samples and for each group of them."""
    return {
        "num_samples": len(hands),
        "visible_share": as_number(hands.visible_share.nanmean()),
        "accuracy": _accuracy(hands),
        "aggregated": _aggregated(hands),
        "single_sample": _single_sample(hands),
        "stage1": _stage1(hands),
        "best_of": _best_of(hands, settings.best_of()),
        "keypoints_2d": _keypoints(hands),
        "distribution": {stage: _distribution(hands, measured) for stage, measured in m.DISTRIBUTION.items()},
        "joint_std": _joint_std(hands),
    }


def summarise(scores: Scores, settings: EvaluationSettings, regions: Tensor | None = None) -> Results:
    """All results of a run, ready for JSON.

    Hands that the predictor did not find count in `num_not_found`, those whose prediction is not finite otherwise in
    `num_failed`; the means are over the others.

    Args:
        scores: of `protocol.run_protocol`.
        settings: of the same run.
        regions: of the checkpoint's own calibration of `joint_std`, see `JointStdCalibration`; None: those of a
            Gaussian.

    Raises:
        InputError: not one hand could be measured.
    """
    has_hand, is_measured = scores.has_hand, scores.is_measured
    not_found = has_hand & ~scores.found
    if not is_measured.any():
        raise InputError(
            f"data: expected at least one hand that can be measured: of {len(has_hand)} images {has_hand.sum()} show a "
            f"hand, {not_found.sum()} of these were not found, and no other has a finite prediction"
        )
    hands = MeasuredHands(scores.select(is_measured), settings.num_hypotheses, regions)

    def by_group(members: dict[str, Tensor]) -> dict[str, GroupResults]:
        chosen = {name: rows.numpy() for name, rows in members.items() if rows.any()}
        return {name: _group(hands.select(rows), settings) for name, rows in chosen.items()}

    visibility = {stage: _spread_and_visibility(hands, measured) for stage, measured in m.DISTRIBUTION.items()}
    return {
        "settings": asdict(settings),
        "num_images": len(has_hand),
        "num_failed": int((has_hand & ~is_measured & ~not_found).sum()),
        "num_not_found": int(not_found.sum()),
        **_group(hands, settings),
        "spread_and_visibility": visibility,
        "hand_score": _hand_score(scores),
        "by_visible_share": by_group(groups.visible_groups(hands.visible_share)),
        "by_skin_tone": by_group(groups.skin_tone_groups(torch.from_numpy(hands.scores.skin_tone))),
        "by_joint": breakdown.by_joint(hands),
        "curves": breakdown.curves(hands),
        "median_ms_per_image": as_number(1000 * np.median(scores.seconds)),
    }


# -- beside a baseline -------------------------------------------------------------------------------------


def compare_with_baseline(scores: Scores, baseline_scores: Scores, name: str) -> BaselineResults:
    """Checkpoint and baseline side by side, on the images where the baseline found the hand and both could be measured.

    Args:
        scores: of the checkpoint.
        baseline_scores: those of the baseline, on the same samples.
        name: of the baseline.
    """
    found = baseline_scores.found
    both = scores.is_measured & baseline_scores.is_measured & found
    return {
        "name": name,
        "num_images_with_hand": int(scores.has_hand.sum()),
        "num_found": int((scores.has_hand & found).sum()),
        "num_compared": int(both.sum()),
        "on_found_images": {
            "checkpoint": _compared_figures(scores.select(both)),
            "baseline": _compared_figures(baseline_scores.select(both)),
        },
    }


def _compared_figures(scores: Scores) -> ComparedFigures:
    hands = MeasuredHands(scores, num_hypotheses=1)
    return {
        "pa_mpjpe_mm": hands.mean(m.PA_JOINT_ERROR),
        "keypoint_error_percent_of_box": hands.mean(m.KEYPOINT_ERROR),
        "median_ms_per_image": as_number(1000 * np.median(scores.seconds)) if len(scores) else None,
    }
