"""Tables that show the results by visible share, by skin tone and by joint."""

from __future__ import annotations

from typing import Any

from hf_handdiff.evaluation.measured_hands import LEVEL_NAMES
from hf_handdiff.evaluation.measures import METRICS, STAGES, Unit
from hf_handdiff.evaluation.results import GroupResults, Results
from hf_handdiff.evaluation.tables import Table, as_text


def _find(figures: Any, path: tuple[str, ...]) -> Any:
    """The entry at a path of keys, None where there is none."""
    for key in path:
        figures = (figures or {}).get(key)
    return figures


def _rows_of_group(group: GroupResults) -> list[tuple[str, tuple[str, ...], int]]:
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
    rows.append(("PA-MPJPE, stage 1 alone: mean", ("stage1", "pa_mpjpe_mm"), 2))
    for metric in METRICS.values():
        if metric.title is not None:
            rows.append((metric.title, ("accuracy", metric.figure), 3 if metric.unit is Unit.SHARE else 2))
    rows += [
        ("PA joint AUC 0-50 mm", ("accuracy", "pa_joint_auc_0_to_50mm"), 3),
        ("root-relative joint AUC 0-50 mm", ("accuracy", "root_relative_joint_auc_0_to_50mm"), 3),
    ]
    pck = [name for name in group["accuracy"] if name.startswith("pa_pck_")]
    rows += [(f"PA-PCK at {name.removeprefix('pa_pck_')}", ("accuracy", name), 3) for name in pck]
    rows.append(("2D error, % of the box", ("keypoints_2d", "error_percent_of_box"), 2))
    for stage in STAGES:
        name, place = stage.replace("stage", "stage "), ("distribution", stage)
        rows.append((f"{name}: spread", (*place, "spread_mm"), 2))
        rows += [(f"{name}: covered at {level}", (*place, "coverage", level), 3) for level in LEVEL_NAMES]
        rows.append((f"{name}: ECE", (*place, "ece"), 3))
        rows.append((f"{name}: ECE as published", (*place, "ece_published_definition"), 3))
        rows.append((f"{name}: energy score", (*place, "energy_score_mm"), 2))
    rows.append(("joint_std, RMS", ("joint_std", "predicted_rms_mm"), 2))
    rows.append(("true distance, RMS", ("joint_std", "observed_rms_mm"), 2))
    rows += [(f"joint_std: covered at {level}", ("joint_std", "coverage", level), 3) for level in LEVEL_NAMES]
    rows += [
        ("joint_std: ECE", ("joint_std", "ece"), 3),
        ("joint_std: correlation with the error, per joint", ("joint_std", "correlation_per_joint"), 3),
        ("joint_std: AUSE", ("joint_std", "ause"), 3),
    ]
    return rows


def visible_share_table(results: Results) -> Table:
    """Every figure of the results, for all images and for each group by visible share."""
    note = "Lengths in mm; AUC, PCK, F-scores and coverages are shares of 1. Best-of-N: read it beside its control."
    groups = {"all": results, **results["by_visible_share"]}
    return _table_of_groups("By visible share of the hand", groups, _rows_of_group(results), note)


def skin_tone_table(results: Results) -> Table:
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
    title: str, groups: dict[str, GroupResults], lines: list[tuple[str, tuple[str, ...], int]], note: str
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


def joint_table(results: Results) -> Table:
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
