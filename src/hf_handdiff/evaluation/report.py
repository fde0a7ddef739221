"""From per-sample measures to results: a dictionary for `results.json` and Markdown tables for people.

Lengths are millimetres here, and say so in their names; shares of a whole are fractions unless a name says
percent. A figure that cannot be told (no meshes, one hypothesis, an empty group) is None in the results and
"-" in the tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation import metrics
from hf_handdiff.evaluation.breakdown import (
    COVERAGE_LEVELS,
    STAGES,
    by_joint,
    curves,
    joint_regions,
    joint_table,
    named_levels,
    radius_calibration,
    skin_tone_table,
    visible_share_table,
)
from hf_handdiff.evaluation.calibration import reliability
from hf_handdiff.evaluation.protocol import EvaluationSettings, Scores
from hf_handdiff.evaluation.tables import Table, as_number, as_text
from hf_handdiff.files import replace_file
from hf_handdiff.pipelines.aggregation import AGGREGATIONS

PCK_THRESHOLDS_MM = (5, 10, 15, 20, 30)
_M_TO_MM = 1000.0


# -- figures -----------------------------------------------------------------------------------------------


class _Measures:
    """Per-sample measures of some samples, as tensors; a measure that was not taken gives None."""

    def __init__(self, scores: Scores, rows: np.ndarray):
        self._scores, self._rows = scores, rows

    def __contains__(self, name: str) -> bool:
        return name in self._scores

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._scores[name][self._rows])

    def mean(self, name: str, factor: float = 1.0) -> float | None:
        """Mean over samples and everything else, NaN left out."""
        return as_number(self[name].double().nanmean() * factor) if name in self else None

    def mean_mm(self, name: str) -> float | None:
        return self.mean(name, _M_TO_MM)


def _accuracy(measures: _Measures) -> dict[str, Any]:
    figures = {
        "pa_mpjpe_mm": measures.mean_mm("pa_joint_error"),
        "pa_mpvpe_mm": measures.mean_mm("pa_vertices"),
        "pa_mpjpe_rotation_only_mm": measures.mean_mm("pa_joints_rotation"),
        "pa_mpvpe_rotation_only_mm": measures.mean_mm("pa_vertices_rotation"),
        "mpjpe_root_relative_mm": measures.mean_mm("joint_error"),
        "mpvpe_root_relative_mm": measures.mean_mm("vertex_error"),
        "mpjpe_scale_translation_mm": measures.mean_mm("scale_translation_error"),
        "pa_joint_auc_0_to_50mm": as_number(metrics.auc(measures["pa_joint_error"])),
        "root_relative_joint_auc_0_to_50mm": as_number(metrics.auc(measures["joint_error"])),
        **_pck(measures["pa_joint_error"].double()),
        "f_score_5mm": measures.mean("f_score_5mm"),
        "f_score_15mm": measures.mean("f_score_15mm"),
    }
    median = measures["pa_joint_error"].double().mean(dim=1)
    figures["pa_mpjpe_median_mm"] = as_number(median.nanmedian() * _M_TO_MM)
    return figures


def _pck(errors: Tensor) -> dict[str, float | None]:
    """Share of joints within some distances, mean over the joints."""
    shares = metrics.pck(errors, torch.tensor(PCK_THRESHOLDS_MM, dtype=errors.dtype) / _M_TO_MM).nanmean(dim=1)
    return {
        f"pa_pck_{threshold}mm": as_number(share) for threshold, share in zip(PCK_THRESHOLDS_MM, shares, strict=True)
    }


def _hypotheses(measures: _Measures, best_of: Iterable[int]) -> dict[str, Any]:
    """Aggregated answers, a single sample, best-of-n and its control."""
    figures: dict[str, Any] = {
        "aggregated": {
            method: {
                "pa_mpjpe_mm": measures.mean_mm(f"{method}_pa_joints"),
                "pa_mpvpe_mm": measures.mean_mm(f"{method}_pa_vertices"),
                "mpjpe_root_relative_mm": measures.mean_mm(f"{method}_joint_error"),
            }
            for method in AGGREGATIONS
        },
        "single_sample": {
            "pa_mpjpe_mm": measures.mean_mm("hypothesis_pa_joints"),
            "pa_mpvpe_mm": measures.mean_mm("hypothesis_pa_vertices"),
            "mpjpe_root_relative_mm": measures.mean_mm("hypothesis_joint_error"),
        },
        "stage1": {
            "pa_mpjpe_mm": measures.mean_mm("stage1_pa_joints"),
            "single_sample_pa_mpjpe_mm": measures.mean_mm("stage1_hypothesis_pa_joints"),
            "mpjpe_root_relative_mm": measures.mean_mm("stage1_joint_error"),
        },
    }
    columns = {
        "pa_mpjpe_mm": "hypothesis_pa_joints",
        "pa_mpvpe_mm": "hypothesis_pa_vertices",
        "stage1_pa_mpjpe_mm": "stage1_hypothesis_pa_joints",
        "prior_pa_mpjpe_mm": "prior_pa_joints",
        "prior_pa_mpvpe_mm": "prior_pa_vertices",
    }
    figures["best_of"] = {
        str(n): {
            column: as_number(metrics.best_of_n(measures[name], n).double().nanmean() * _M_TO_MM)
            if name in measures
            else None
            for column, name in columns.items()
        }
        for n in best_of
    }
    return figures


def _keypoints(measures: _Measures) -> dict[str, Any]:
    errors, visible = measures["keypoint_error"].double(), measures["keypoints_visible"]
    return {
        "error_percent_of_box": as_number(100 * errors.nanmean()),
        "visible_error_percent_of_box": as_number(100 * errors[visible].nanmean()),
        "hidden_error_percent_of_box": as_number(100 * errors[~visible].nanmean()),
        "median_error_percent_of_box": as_number(100 * errors.nanmedian()),
        "error_px": measures.mean("keypoint_error_px"),
    }


def _distribution(measures: _Measures, stage: str, num_hypotheses: int) -> dict[str, Any] | None:
    """Spread and calibration of one stage's hypotheses; the wrist, being the origin, is left out."""
    if f"spread_{stage}" not in measures:
        return None
    pooled = measures[f"rank_{stage}"][:, 1:].reshape(-1, 1)
    published = measures[f"rank_median_{stage}"][:, 1:].reshape(-1, 1)
    spreads = measures[f"spread_{stage}"].double()[:, 1:]
    several = num_hypotheses > 1
    covered = metrics.coverage(pooled, num_hypotheses, list(COVERAGE_LEVELS))[:, 0]
    return {
        "spread_mm": as_number(spreads.nanmean() * _M_TO_MM) if several else None,
        "coverage": named_levels(covered if several else torch.full_like(covered, math.nan)),
        "ece": as_number(metrics.quantile_ece(pooled, num_hypotheses)),
        "ece_published_definition": as_number(metrics.quantile_ece(published, num_hypotheses)),
        "energy_score_mm": as_number(measures[f"energy_{stage}"].double()[:, 1:].nanmean() * _M_TO_MM),
        "energy_score_whole_hand_mm": measures.mean_mm(f"energy_hand_{stage}"),
    }


def _joint_std(measures: _Measures) -> dict[str, Any]:
    """Does the calibrated radius `joint_std` tell the error? The wrist, being the origin, is left out."""
    radius, error = measures["joint_std"].double()[:, 1:], measures["joint_error"].double()[:, 1:]
    known = torch.isfinite(radius).all(dim=1) & torch.isfinite(error).all(dim=1)
    radius, error = radius[known], error[known]
    if len(radius) == 0:
        return {}
    checked = reliability(radius, error)
    return {
        "predicted_rms_mm": as_number(radius.square().mean().sqrt() * _M_TO_MM),
        "observed_rms_mm": as_number(error.square().mean().sqrt() * _M_TO_MM),
        "mean_square_ratio": as_number(checked.mean_square_ratio),
        "ence": as_number(checked.ence),
        **radius_calibration(joint_regions(measures)[:, 1:]),
        "correlation_over_joints": as_number(metrics.pearson_correlation(radius.flatten(), error.flatten())),
        "correlation_per_joint": as_number(metrics.pearson_correlation(radius, error).mean()),
        "rank_correlation_of_hands": as_number(metrics.spearman_correlation(radius.mean(1), error.mean(1))),
        "ause": as_number(metrics.ause(radius.flatten(), error.flatten())),
        "ause_knowing_nothing": as_number(1 - metrics.sparsification(error.flatten(), error.flatten())[2].mean()),
        "reliability_predicted_mm": (checked.predicted_rms * _M_TO_MM).tolist(),
        "reliability_observed_mm": (checked.observed_rms * _M_TO_MM).tolist(),
    }


def _spread_and_visibility(measures: _Measures, stage: str) -> dict[str, Any] | None:
    """Does the spread grow where joints are hidden?

    Joints are compared with themselves: tips always spread more than knuckles, and are hidden more often.
    """
    if f"spread_{stage}" not in measures:
        return None
    spreads, hidden = measures[f"spread_{stage}"].double()[:, 1:], ~measures["keypoints_visible"][:, 1:]
    known = torch.isfinite(spreads).all(dim=1)
    spreads, hidden, share = spreads[known], hidden[known], measures["visible_share"].double()[known]
    if len(spreads) == 0:
        return None
    visible_mean = metrics.masked_mean(spreads, ~hidden, dim=0)  # (20,)
    hidden_mean = metrics.masked_mean(spreads, hidden, dim=0)
    correlation = metrics.pearson_correlation(hidden.double(), spreads)
    changing = hidden.any(dim=0) & (~hidden).any(dim=0)
    figures = {
        "visible_joints_spread_mm": as_number(spreads[~hidden].mean() * _M_TO_MM),
        "hidden_joints_spread_mm": as_number(spreads[hidden].mean() * _M_TO_MM),
        "hidden_over_visible_same_joint": as_number((hidden_mean / visible_mean).nanmean()),
        "correlation_hidden_spread_same_joint": as_number(correlation[changing].mean()),
        "correlation_hidden_share_spread_of_hand": None,
    }
    if torch.isfinite(share).all():
        figures["correlation_hidden_share_spread_of_hand"] = as_number(
            metrics.pearson_correlation(1 - share, spreads.mean(dim=1))
        )
    return figures


def _hand_score(scores: Scores) -> dict[str, Any]:
    """How well `hand_score` tells images with a hand from images without."""
    has_hand, score = scores["has_hand"].astype(bool), scores["hand_score"]
    positive, negative = score[has_hand], score[~has_hand]
    both = len(positive) > 0 and len(negative) > 0
    pairs = np.sign(positive[:, None] - negative)  # 1 where the image with a hand scores higher
    return {
        "images_with_hand": int(has_hand.sum()),
        "images_without_hand": int((~has_hand).sum()),
        "mean_with_hand": as_number(positive.mean()) if len(positive) else None,
        "mean_without_hand": as_number(negative.mean()) if len(negative) else None,
        "accuracy_at_half": as_number(((score >= 0.5) == has_hand).mean()),
        "area_under_roc": as_number((1 + pairs.mean()) / 2) if both else None,
    }


def _group(measures: _Measures, settings: EvaluationSettings, num_samples: int) -> dict[str, Any]:
    """Everything that is told both for all samples and for each group of them."""
    return {
        "num_samples": num_samples,
        "visible_share": measures.mean("visible_share"),
        "accuracy": _accuracy(measures),
        **_hypotheses(measures, settings.best_of()),
        "keypoints_2d": _keypoints(measures),
        "distribution": {stage: _distribution(measures, stage, settings.num_hypotheses) for stage in STAGES},
        "joint_std": _joint_std(measures),
    }


def _found(scores: Scores) -> np.ndarray:
    return scores["found"].astype(bool) if "found" in scores else np.ones(len(scores["has_hand"]), bool)


def _measured(scores: Scores) -> np.ndarray:
    """(S,) bool: samples with a hand and a finite prediction."""
    return scores["has_hand"].astype(bool) & np.isfinite(scores["pa_joint_error"]).all(axis=1)


def compare_with_baseline(scores: Scores, baseline_scores: Scores, name: str) -> dict[str, Any]:
    """Checkpoint and baseline side by side, on the images where the baseline found the hand and both could be measured.

    Args:
        scores: per-sample measures of the checkpoint.
        baseline_scores: those of the baseline, on the same samples.
        name: of the baseline.
    """
    has_hand, found = scores["has_hand"].astype(bool), _found(baseline_scores)
    both = _measured(scores) & _measured(baseline_scores) & found
    return {
        "name": name,
        "num_images_with_hand": int(has_hand.sum()),
        "num_found": int((has_hand & found).sum()),
        "num_compared": int(both.sum()),
        "on_found_images": {
            "checkpoint": _compared_figures(scores, both),
            "baseline": _compared_figures(baseline_scores, both),
        },
    }


def _compared_figures(scores: Scores, rows: np.ndarray) -> dict[str, float | None]:
    measures = _Measures(scores, rows)
    return {
        "pa_mpjpe_mm": measures.mean_mm("pa_joint_error"),
        "keypoint_error_percent_of_box": measures.mean("keypoint_error", 100),
        "median_ms_per_image": as_number(1000 * np.median(scores["seconds"][rows])) if rows.any() else None,
    }


def summarise(scores: Scores, settings: EvaluationSettings) -> dict[str, Any]:
    """All results of a run, ready for JSON.

    Hands that the predictor did not find count in `num_not_found`, those whose prediction is not finite otherwise in
    `num_failed`; the means are over the others.

    Args:
        scores: per-sample measures of `protocol.run_protocol`.
        settings: of the same run.

    Raises:
        InputError: not one hand could be measured.
    """
    has_hand, measured = scores["has_hand"].astype(bool), _measured(scores)
    not_found = has_hand & ~_found(scores)
    if not measured.any():
        raise InputError(
            f"data: expected at least one hand that can be measured: of {len(has_hand)} images {has_hand.sum()} show a "
            f"hand, {not_found.sum()} of these were not found, and no other has a finite prediction"
        )
    measures = _Measures(scores, measured)
    seconds = scores["seconds"]
    results = {
        "settings": asdict(settings),
        "num_images": len(has_hand),
        "num_failed": int((has_hand & ~measured & ~not_found).sum()),
        "num_not_found": int(not_found.sum()),
        **_group(measures, settings, int(measured.sum())),
        "spread_and_visibility": {stage: _spread_and_visibility(measures, stage) for stage in STAGES},
        "hand_score": _hand_score(scores),
        "by_visible_share": {},
        "by_skin_tone": {},
        "by_joint": by_joint(measures, settings.num_hypotheses),
        "curves": curves(measures, settings.num_hypotheses),
        "median_ms_per_image": as_number(1000 * np.median(seconds)),
    }
    groups = {"by_visible_share": metrics.visible_groups(torch.from_numpy(scores["visible_share"]))}
    if "skin_tone" in scores:  # not in the chunks of runs that earlier versions began
        groups["by_skin_tone"] = metrics.skin_tone_groups(torch.from_numpy(scores["skin_tone"]))
    for kind, members in groups.items():
        for name, rows in members.items():
            rows = rows.numpy() & measured
            if rows.any():
                results[kind][name] = _group(_Measures(scores, rows), settings, int(rows.sum()))
    return results


# -- tables ------------------------------------------------------------------------------------------------


def _answers_table(results: dict[str, Any]) -> Table:
    accuracy, rows = results["accuracy"], []

    def add(name: str, joints: float | None, vertices: float | None, root_relative: float | None) -> None:
        rows.append([name, as_text(joints), as_text(vertices), as_text(root_relative)])

    for method, figures in results["aggregated"].items():
        name = f"aggregated: {'geometric ' if method == 'median' else ''}{method}"
        add(name, figures["pa_mpjpe_mm"], figures["pa_mpvpe_mm"], figures["mpjpe_root_relative_mm"])
    single = results["single_sample"]
    add("single sample", single["pa_mpjpe_mm"], single["pa_mpvpe_mm"], single["mpjpe_root_relative_mm"])
    for n, figures in results["best_of"].items():
        add(f"best of {n} (oracle)", figures["pa_mpjpe_mm"], figures["pa_mpvpe_mm"], None)
        prior = figures["prior_pa_mpjpe_mm"], figures["prior_pa_mpvpe_mm"]
        if prior[0] is not None:
            add(f"best of {n} prior random hands", *prior, None)
    stage1 = results["stage1"]
    if stage1["pa_mpjpe_mm"] is not None:
        add("stage 1 alone: mean", stage1["pa_mpjpe_mm"], None, stage1["mpjpe_root_relative_mm"])
        add("stage 1 alone: single sample", stage1["single_sample_pa_mpjpe_mm"], None, None)
    keys = ("pa_mpjpe_rotation_only_mm", "pa_mpvpe_rotation_only_mm")
    rotation_only = " / ".join(as_text(accuracy[key]) for key in keys)
    note = (
        "PA as in the official scripts (scale, reflections allowed); with rotations only the answer has "
        f"{rotation_only} mm. Median over hands: {as_text(accuracy['pa_mpjpe_median_mm'])} mm PA-MPJPE. MPJPE "
        f"after alignment by scale and translation: {as_text(accuracy['mpjpe_scale_translation_mm'])} mm. PA "
        f"joint AUC (0-50 mm) {as_text(accuracy['pa_joint_auc_0_to_50mm'], 3)}, "
        f"F@5 {as_text(accuracy['f_score_5mm'], 3)}, F@15 {as_text(accuracy['f_score_15mm'], 3)}. Best-of-N is "
        "chosen per sample by the truth, for joints and meshes apart: read it beside its prior control."
    )
    return Table("Accuracy (mm)", ["answer", "PA-MPJPE", "PA-MPVPE", "MPJPE root-relative"], rows, note)


def _keypoints_table(results: dict[str, Any]) -> Table:
    figures = results["keypoints_2d"]
    rows = [
        [name, as_text(figures[key])]
        for name, key in (
            ("all", "error_percent_of_box"),
            ("visible", "visible_error_percent_of_box"),
            ("hidden", "hidden_error_percent_of_box"),
            ("all, median", "median_error_percent_of_box"),
        )
    ]
    return Table("2D keypoint error (% of the hand's box, longer side)", ["keypoints", "%"], rows)


def _distribution_table(results: dict[str, Any]) -> Table:
    rows = []
    for stage in STAGES:
        figures = results["distribution"][stage]
        if figures is None:
            continue
        covered = [as_text(None if v is None else 100 * v, 1) for v in figures["coverage"].values()]
        rows.append(
            [stage, as_text(figures["spread_mm"]), *covered, as_text(figures["ece"], 3)]
            + [as_text(figures["ece_published_definition"], 3), as_text(figures["energy_score_mm"])]
        )
    levels = [f"covered at {100 * level:.0f} %" for level in COVERAGE_LEVELS]
    header = ["hypotheses", "spread mm", *levels, "ECE", "ECE as published", "energy score mm"]
    note = (
        "Per joint, wrist-relative. Spread: RMS distance to the mean of the hypotheses. Covered below the "
        "level means over-confident. ECE: 0 calibrated, 0.5 worst; the published definition measures from "
        "the hypotheses' own median, which makes few of them look over-confident; the other does not."
    )
    return Table("Distribution", header, rows, note)


def _joint_std_table(results: dict[str, Any]) -> Table:
    names = {
        "predicted_rms_mm": ("joint_std, RMS mm", 2),
        "observed_rms_mm": ("true distance, RMS mm", 2),
        "mean_square_ratio": ("mean (distance / joint_std)^2; 1 is calibrated", 2),
        "ence": ("expected normalised calibration error", 3),
        "ece": ("ECE of its regions (0 calibrated, 0.5 worst)", 3),
        "correlation_per_joint": ("correlation with the error, per joint", 3),
        "correlation_over_joints": ("correlation with the error, all joints", 3),
        "rank_correlation_of_hands": ("rank correlation of whole hands", 3),
        "ause": ("AUSE (0 best)", 3),
        "ause_knowing_nothing": ("AUSE of an uncertainty that knows nothing", 3),
    }
    figures = results["joint_std"]
    rows = [[name, as_text(figures[key], digits)] for key, (name, digits) in names.items() if key in figures]
    for level, share in figures.get("coverage", {}).items():
        rows.append([f"truths within the {level} region", "-" if share is None else f"{100 * share:.1f} %"])
    note = (
        "The regions are balls around the answer, so many times joint_std wide as the checkpoint's calibration found "
        "on validation data; without one, as a Gaussian's that is the same along every axis."
    )
    return Table("Calibrated radius joint_std", ["figure", "value"], rows, note)


def _occlusion_table(results: dict[str, Any]) -> Table:
    header = ["hypotheses", "visible joints mm", "hidden joints mm", "hidden / visible, same joint"]
    header += ["correlation, same joint", "correlation with hidden share"]
    rows = []
    for stage, figures in results["spread_and_visibility"].items():
        if figures is not None:
            values = list(figures.values())
            rows.append([stage, *map(as_text, values[:3]), *(as_text(value, 3) for value in values[3:])])
    note = "Spread should be larger where a joint is hidden: a ratio above 1, correlations above 0."
    return Table("Does the spread grow when fingers are hidden?", header, rows, note)


def _hand_score_table(results: dict[str, Any]) -> Table:
    figures = results["hand_score"]
    rows = [
        ["images with a hand", str(figures["images_with_hand"]), as_text(figures["mean_with_hand"], 3)],
        ["images without", str(figures["images_without_hand"]), as_text(figures["mean_without_hand"], 3)],
    ]
    note = (
        f"Accuracy at 0.5: {as_text(figures['accuracy_at_half'], 3)}; area under the ROC curve: "
        f"{as_text(figures['area_under_roc'], 3)}."
    )
    return Table("Hand score", ["", "images", "mean score"], rows, note)


def _baseline_table(results: dict[str, Any]) -> Table:
    figures = results["baseline"]
    rows = [
        [name, *(as_text(value) for value in figures["on_found_images"][key].values())]
        for key, name in (("checkpoint", "this checkpoint"), ("baseline", figures["name"]))
    ]
    note = (
        f"On {figures['num_compared']} images: {figures['name']} found the hand in {figures['num_found']} of "
        f"{figures['num_images_with_hand']}. It gives one hand and no mesh; the checkpoint's answer is that of "
        f"{results['settings']['num_hypotheses']} hypotheses. Times are medians as run, the checkpoint's in batches."
    )
    header = ["predictor", "PA-MPJPE mm", "2D error % of box", "ms an image"]
    return Table("Beside the baseline, where it found the hand", header, rows, note)


_OFFICIAL_NAMES = {
    "mpjpe": "joints, camera frame",
    "pa_mpjpe": "joints, PA",
    "pa_mpjpe_rotation_only": "joints, PA without reflections",
    "mpjpe_scale_translation": "joints, scale and translation aligned",
    "mpvpe": "mesh, camera frame",
    "pa_mpvpe": "mesh, PA",
    "pa_mpvpe_rotation_only": "mesh, PA without reflections",
}


def _official_table(results: dict[str, Any]) -> Table:
    official = results["official"]
    scores = official["scores"]
    rows = [
        [text, as_text(scores[f"{name}_mm"]), as_text(scores[f"{name}_auc"], 3)]
        for name, text in _OFFICIAL_NAMES.items()
        if f"{name}_mm" in scores
    ]
    parts = [f"{official['num_images']} of {official['num_images_of_split']} images of the split; {official['root']}."]
    if "f_score_5mm" in scores:
        parts.append(
            f"Mesh F@5 {as_text(scores['f_score_5mm'], 3)}, F@15 {as_text(scores['f_score_15mm'], 3)}; aligned "
            f"{as_text(scores['f_score_5mm_aligned'], 3)} and {as_text(scores['f_score_15mm_aligned'], 3)}."
        )
    if not official["same_vertices"]:
        parts.append("The predicted mesh is not MANO's: aligned by the joints, and without vertex errors.")
    return Table(f"Official scores ({official['data_set']})", ["points", "mm", "AUC"], rows, " ".join(parts))


def render_report(results: dict[str, Any]) -> str:
    """The results as Markdown, also good to read in a terminal."""
    settings = results["settings"]
    lines = [
        "# Evaluation",
        "",
        f"- predictor: {settings['predictor']}{' ' + settings['options'] if settings['options'] else ''}",
        f"- data: {settings['data']}, split {settings['split']}: {results['num_samples']} images with a hand"
        f" of {results['num_images']}",
        f"- hypotheses: {settings['num_hypotheses']} an image, seed {settings['seed']}",
        f"- time: {as_text(results['median_ms_per_image'], 1)} ms an image (median)",
    ]
    if results["num_not_found"]:
        lines.append(f"- {results['num_not_found']} hands were not found and count in no mean")
    if results["num_failed"]:
        lines.append(f"- **{results['num_failed']} predictions were not finite and count in no mean**")
    tables = [
        _answers_table,
        _distribution_table,
        _joint_std_table,
        _occlusion_table,
        _keypoints_table,
        _hand_score_table,
        visible_share_table,
        skin_tone_table,
        joint_table,
    ]
    if not results["by_skin_tone"]:
        tables.remove(skin_tone_table)
    for name, table in (("baseline", _baseline_table), ("official", _official_table)):
        if name in results:
            tables.insert(1, table)
    return "\n".join(lines) + "\n\n" + "\n\n".join(table(results).markdown() for table in tables) + "\n"


def write_report(results: dict[str, Any], out: str | Path, plots: Iterable[Path] = ()) -> tuple[Path, Path]:
    """Write `results.json` and `report.md`, which shows `plots`, pictures in the same folder."""
    out = Path(out)
    json_path, report_path = out / "results.json", out / "report.md"
    with replace_file(json_path) as temporary:
        temporary.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    with replace_file(report_path) as temporary:
        shown = "".join(f"\n![{path.stem.replace('_', ' ')}]({path.name})\n" for path in plots)
        temporary.write_text(render_report(results) + (f"\n## Plots\n{shown}" if shown else ""))
    return json_path, report_path
