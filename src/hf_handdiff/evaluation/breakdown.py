"""Results by joint, as curves for the plots, and tables that show everything by visible share and by joint.

Lengths are millimetres, shares fractions unless a name says percent. What cannot be told is None.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from hf_handdiff.evaluation import metrics
from hf_handdiff.evaluation.calibration import region_coverage, region_ece, region_quantiles
from hf_handdiff.evaluation.tables import Table, as_number, as_text
from hf_handdiff.hand.topology import JOINT_NAMES

COVERAGE_LEVELS = (0.5, 0.8, 0.9)
STAGES = ("stage1", "stage2")
_M_TO_MM = 1000.0
_CURVE_LEVELS = 41  # of the reliability diagram: every 2.5 %
_SHARE_BINS = 10


class Measures(Protocol):
    """Per-sample measures by name, leading dimension S, of images with a hand and a finite prediction."""

    def __contains__(self, name: str) -> bool:
        """Whether the measure was taken."""

    def __getitem__(self, name: str) -> Tensor:
        """(S, ...)."""


def numbers(values: Tensor) -> list[float | None]:
    """Plain finite floats, or None: (K,) -> K of them."""
    return [as_number(value) for value in values.flatten()]


def named_levels(covered: Tensor) -> dict[str, float | None]:
    """Coverages (L,) at `COVERAGE_LEVELS` under the levels' names."""
    return {f"{100 * level:.0f}%": as_number(share) for level, share in zip(COVERAGE_LEVELS, covered, strict=True)}


def _known_pairs(radius: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    known = torch.isfinite(radius) & torch.isfinite(error)
    return radius[known], error[known]


# -- by joint ----------------------------------------------------------------------------------------------

# figure -> (measure (S, 21), factor)
_MEANS_BY_JOINT = {
    "pa_error_mm": ("pa_joint_error", _M_TO_MM),
    "pa_error_rotation_only_mm": ("pa_joint_error_rotation", _M_TO_MM),
    "root_relative_error_mm": ("joint_error", _M_TO_MM),
    "scale_translation_error_mm": ("scale_translation_error", _M_TO_MM),
    "mean_root_relative_error_mm": ("mean_joint_error", _M_TO_MM),
    "median_root_relative_error_mm": ("median_joint_error", _M_TO_MM),
    "medoid_root_relative_error_mm": ("medoid_joint_error", _M_TO_MM),
    "single_sample_pa_error_mm": ("single_pa_joint_error", _M_TO_MM),
    "best_of_all_pa_error_mm": ("best_pa_joint_error", _M_TO_MM),
    "prior_best_of_all_pa_error_mm": ("prior_best_pa_joint_error", _M_TO_MM),
    "keypoint_error_percent_of_box": ("keypoint_error", 100.0),
    "joint_std_mm": ("joint_std", _M_TO_MM),
    "spread_stage1_mm": ("spread_stage1", _M_TO_MM),
    "spread_stage2_mm": ("spread_stage2", _M_TO_MM),
    "energy_score_stage1_mm": ("energy_stage1", _M_TO_MM),
    "energy_score_stage2_mm": ("energy_stage2", _M_TO_MM),
}


def by_joint(measures: Measures, num_hypotheses: int) -> dict[str, dict[str, Any]]:
    """Every figure that has a meaning for one joint alone: {joint: {figure: value}}.

    The wrist is the origin, so what is told from the wrist on is None for it: its spread, its calibration.
    """
    return {name: _figures_of_joint(measures, joint, num_hypotheses) for joint, name in enumerate(JOINT_NAMES)}


def _figures_of_joint(measures: Measures, joint: int, num_hypotheses: int) -> dict[str, Any]:
    figures: dict[str, Any] = {
        figure: as_number(measures[measure].double()[:, joint].nanmean() * factor)
        for figure, (measure, factor) in _MEANS_BY_JOINT.items()
        if measure in measures
    }
    figures["pa_auc_0_to_50mm"] = as_number(metrics.auc(measures["pa_joint_error"][:, joint : joint + 1]))
    if joint == metrics.WRIST:
        return figures
    for stage in STAGES:
        if f"rank_{stage}" in measures and num_hypotheses > 1:
            ranks = measures[f"rank_{stage}"][:, joint : joint + 1]
            covered = metrics.coverage(ranks, num_hypotheses, list(COVERAGE_LEVELS))[:, 0]
            figures[f"coverage_{stage}"] = named_levels(covered)
            figures[f"ece_{stage}"] = as_number(metrics.quantile_ece(ranks, num_hypotheses))
    radius, error = _known_pairs(measures["joint_std"].double()[:, joint], measures["joint_error"].double()[:, joint])
    if len(radius):
        figures["joint_std_correlation"] = as_number(metrics.pearson_correlation(radius, error))
        figures["joint_std_ause"] = as_number(metrics.ause(radius, error))
        shares = joint_regions(measures)[:, joint]
        figures |= {f"joint_std_{name}": value for name, value in radius_calibration(shares).items()}
    return figures


def joint_regions(measures: Measures) -> Tensor:
    """(S, 21) share of the region that just reaches the truth: the checkpoint's regions, else those of a Gaussian."""
    if "joint_region" in measures:
        return measures["joint_region"]
    return region_quantiles(measures["joint_std"], measures["joint_error"])


def radius_calibration(shares: Tensor) -> dict[str, Any]:
    """Coverage and calibration error of the regions of `joint_regions`, all entries together."""
    quantiles = shares.reshape(-1, 1)
    return {
        "coverage": named_levels(region_coverage(quantiles, list(COVERAGE_LEVELS))[:, 0]),
        "ece": as_number(region_ece(quantiles)),
    }


# -- curves ------------------------------------------------------------------------------------------------


def curves(measures: Measures, num_hypotheses: int) -> dict[str, Any]:
    """What the plots show, over all samples: see the four functions below."""
    return {
        "reliability": _reliability_curves(measures, num_hypotheses),
        "sparsification": _sparsification_curves(measures),
        "best_of": _best_of_curves(measures, num_hypotheses),
        "visible_share": _visible_share_curves(measures, num_hypotheses),
    }


def _reliability_curves(measures: Measures, num_hypotheses: int) -> dict[str, list[float | None]]:
    """Observed coverage at nominal levels 0..1: of the hypotheses of each stage, and of `joint_std`."""
    levels = torch.linspace(0, 1, _CURVE_LEVELS, dtype=torch.float64)
    figures = {"nominal": numbers(levels)}
    for stage in STAGES:
        if f"rank_{stage}" in measures and num_hypotheses > 1:
            ranks = measures[f"rank_{stage}"].double()[:, 1:].reshape(-1, 1)
            figures[stage] = numbers(metrics.coverage(ranks, num_hypotheses, levels))
    quantiles = joint_regions(measures)[:, 1:].reshape(-1, 1)
    if torch.isfinite(quantiles).any():
        figures["joint_std"] = numbers(region_coverage(quantiles, levels))
    return figures


def _sparsification_curves(measures: Measures) -> dict[str, list[float | None]]:
    """Mean error of the joints that are left, mm, when the least certain share of them is removed."""
    radius, error = _known_pairs(measures["joint_std"].double()[:, 1:], measures["joint_error"].double()[:, 1:])
    if len(error) == 0:
        return {}
    removed, by_radius, oracle = metrics.sparsification(radius, error)
    mean_mm = error.mean() * _M_TO_MM
    return {
        "removed_share": numbers(removed),
        "joint_std_mm": numbers(by_radius * mean_mm),
        "oracle_mm": numbers(oracle * mean_mm),
    }


def _best_of_curves(measures: Measures, num_hypotheses: int) -> dict[str, Any]:
    """PA-MPJPE, mm, of the best of the first n hypotheses of each sample, for every n, and of the control."""
    counts = list(range(1, num_hypotheses + 1))
    figures: dict[str, Any] = {"n": counts, "answer": as_number(measures["pa_joint_error"].nanmean() * _M_TO_MM)}
    columns = {
        "stage1": "stage1_hypothesis_pa_joints",
        "stage2": "hypothesis_pa_joints",
        "prior": "prior_pa_joints",
    }
    for column, name in columns.items():
        if name in measures:
            best = [metrics.best_of_n(measures[name].double(), n).nanmean() * _M_TO_MM for n in counts]
            figures[column] = numbers(torch.stack(best))
    return figures


def _visible_share_curves(measures: Measures, num_hypotheses: int) -> dict[str, list[Any]]:
    """PA-MPJPE, mm, in bins of the visible share; bins without samples are left out."""
    share = measures["visible_share"].double()
    per_sample = {
        "answer": measures["pa_joint_error"].double().mean(dim=1),
        "single": measures["hypothesis_pa_joints"].double().mean(dim=1),
        "best": metrics.best_of_n(measures["hypothesis_pa_joints"].double(), num_hypotheses),
    }
    if "prior_pa_joints" in measures:
        per_sample["prior_best"] = metrics.best_of_n(measures["prior_pa_joints"].double(), num_hypotheses)
    figures: dict[str, list[Any]] = {"center": [], "num_samples": [], **{name: [] for name in per_sample}}
    # A share of exactly 1 belongs to the last bin; data without shares have NaN, which is in none.
    bins = (share * _SHARE_BINS).floor().clamp_max(_SHARE_BINS - 1)
    for number in range(_SHARE_BINS):
        rows = bins == number
        if rows.any():
            figures["center"].append((number + 0.5) / _SHARE_BINS)
            figures["num_samples"].append(int(rows.sum()))
            for name, values in per_sample.items():
                figures[name].append(as_number(values[rows].nanmean() * _M_TO_MM))
    return figures


# -- tables ------------------------------------------------------------------------------------------------


def _find(figures: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The entry at a path of keys, None where there is none."""
    for key in path:
        figures = (figures or {}).get(key)
    return figures


def _rows_of_group(group: dict[str, Any]) -> list[tuple[str, tuple[str, ...], int]]:
    """(what it is called, where it lies in a group's results, digits) of every figure to show."""
    rows = []
    for method in group["aggregated"]:
        name = "geometric median" if method == "median" else method
        rows.append((f"PA-MPJPE, {name}", ("aggregated", method, "pa_mpjpe_mm"), 2))
        rows.append((f"PA-MPVPE, {name}", ("aggregated", method, "pa_mpvpe_mm"), 2))
    rows += [
        ("PA-MPJPE, single sample", ("single_sample", "pa_mpjpe_mm"), 2),
        ("PA-MPVPE, single sample", ("single_sample", "pa_mpvpe_mm"), 2),
    ]
    for n in group["best_of"]:
        for metric, key in (("PA-MPJPE", "pa_mpjpe_mm"), ("PA-MPVPE", "pa_mpvpe_mm")):
            rows.append((f"{metric}, best of {n} (oracle)", ("best_of", n, key), 2))
            rows.append((f"{metric}, best of {n} prior random hands", ("best_of", n, f"prior_{key}"), 2))
    rows += [
        ("PA-MPJPE, stage 1 alone: mean", ("stage1", "pa_mpjpe_mm"), 2),
        ("PA-MPJPE, rotation only", ("accuracy", "pa_mpjpe_rotation_only_mm"), 2),
        ("PA-MPVPE, rotation only", ("accuracy", "pa_mpvpe_rotation_only_mm"), 2),
        ("MPJPE root-relative", ("accuracy", "mpjpe_root_relative_mm"), 2),
        ("MPVPE root-relative", ("accuracy", "mpvpe_root_relative_mm"), 2),
        ("MPJPE scale and translation", ("accuracy", "mpjpe_scale_translation_mm"), 2),
        ("PA joint AUC 0-50 mm", ("accuracy", "pa_joint_auc_0_to_50mm"), 3),
        ("root-relative joint AUC 0-50 mm", ("accuracy", "root_relative_joint_auc_0_to_50mm"), 3),
    ]
    pck = [name for name in group["accuracy"] if name.startswith("pa_pck_")]
    rows += [(f"PA-PCK at {name.removeprefix('pa_pck_')}", ("accuracy", name), 3) for name in pck]
    rows += [
        ("F@5", ("accuracy", "f_score_5mm"), 3),
        ("F@15", ("accuracy", "f_score_15mm"), 3),
        ("2D error, % of the box", ("keypoints_2d", "error_percent_of_box"), 2),
    ]
    levels = [f"{100 * level:.0f}%" for level in COVERAGE_LEVELS]
    for stage in STAGES:
        name, place = stage.replace("stage", "stage "), ("distribution", stage)
        rows.append((f"{name}: spread", (*place, "spread_mm"), 2))
        rows += [(f"{name}: covered at {level}", (*place, "coverage", level), 3) for level in levels]
        rows.append((f"{name}: ECE", (*place, "ece"), 3))
        rows.append((f"{name}: ECE as published", (*place, "ece_published_definition"), 3))
        rows.append((f"{name}: energy score", (*place, "energy_score_mm"), 2))
    rows.append(("joint_std, RMS", ("joint_std", "predicted_rms_mm"), 2))
    rows.append(("true distance, RMS", ("joint_std", "observed_rms_mm"), 2))
    rows += [(f"joint_std: covered at {level}", ("joint_std", "coverage", level), 3) for level in levels]
    rows += [
        ("joint_std: ECE", ("joint_std", "ece"), 3),
        ("joint_std: correlation with the error, per joint", ("joint_std", "correlation_per_joint"), 3),
        ("joint_std: AUSE", ("joint_std", "ause"), 3),
    ]
    return rows


def visible_share_table(results: dict[str, Any]) -> Table:
    """Every figure of the results, for all images and for each group by visible share."""
    note = "Lengths in mm; AUC, PCK, F-scores and coverages are shares of 1. Best-of-N: read it beside its control."
    groups = {"all": results, **results["by_visible_share"]}
    return _table_of_groups("By visible share of the hand", groups, _rows_of_group(results), note)


def skin_tone_table(results: dict[str, Any]) -> Table:
    """The main figures for all images and for each group by skin tone."""
    shown = ("PA-MPJPE, mean", "PA-MPVPE, mean", "2D error", "joint_std")
    lines = [line for line in _rows_of_group(results) if line[0].startswith(shown)]
    lines.append(("visible share, mean", ("visible_share",), 3))
    groups = {"all": results, **results["by_skin_tone"]}
    note = (
        "0 is the lightest tone, 1 the darkest. By chance the groups differ in more than that: see the visible share."
    )
    return _table_of_groups("By skin tone", groups, lines, note)


def _table_of_groups(
    title: str, groups: dict[str, Any], lines: list[tuple[str, tuple[str, ...], int]], note: str
) -> Table:
    rows = [["images", *(str(group["num_samples"]) for group in groups.values())]]
    for name, path, digits in lines:
        values = [_find(group, path) for group in groups.values()]
        if any(value is not None for value in values):
            rows.append([name, *(as_text(value, digits) for value in values)])
    return Table(title, ["figure", *groups], rows, note)


_JOINT_COLUMNS = {
    "PA": (("pa_error_mm",), 1),
    "root-rel.": (("root_relative_error_mm",), 1),
    "single PA": (("single_sample_pa_error_mm",), 1),
    "best of N PA": (("best_of_all_pa_error_mm",), 1),
    "prior best": (("prior_best_of_all_pa_error_mm",), 1),
    "AUC": (("pa_auc_0_to_50mm",), 2),
    "2D %": (("keypoint_error_percent_of_box",), 1),
    "spread 1": (("spread_stage1_mm",), 1),
    "spread 2": (("spread_stage2_mm",), 1),
    "energy 2": (("energy_score_stage2_mm",), 1),
    "ECE 1": (("ece_stage1",), 3),
    "ECE 2": (("ece_stage2",), 3),
    "80% holds, 2": (("coverage_stage2", "80%"), 2),
    "std": (("joint_std_mm",), 1),
    "80% holds, std": (("joint_std_coverage", "80%"), 2),
    "ECE std": (("joint_std_ece",), 3),
    "corr.": (("joint_std_correlation",), 2),
    "AUSE": (("joint_std_ause",), 2),
}


def joint_table(results: dict[str, Any]) -> Table:
    """The results by joint."""
    joints = results["by_joint"]
    columns = {
        name: entry
        for name, entry in _JOINT_COLUMNS.items()
        if any(_find(figures, entry[0]) is not None for figures in joints.values())
    }
    rows = [
        [joint, *(as_text(_find(figures, path), digits) for path, digits in columns.values())]
        for joint, figures in joints.items()
    ]
    note = (
        f"mm where nothing else is said; N = {results['settings']['num_hypotheses']}. Best of N: this joint of the "
        "hand whose mean over all joints is best, and the same of prior random hands. std is joint_std, the "
        "calibrated radius; corr. and AUSE tell how well it knows the error of this joint. results.json has more."
    )
    return Table("By joint", ["joint", *columns], rows, note)
