"""The report: Markdown tables of the results for people, and the files of both.

A figure that cannot be told is "-" in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from hf_handdiff.evaluation.group_tables import joint_table, skin_tone_table, visible_share_table
from hf_handdiff.evaluation.measured_hands import LEVEL_NAMES
from hf_handdiff.evaluation.measures import STAGES
from hf_handdiff.evaluation.results import Results
from hf_handdiff.evaluation.tables import Table, as_text
from hf_handdiff.files import replace_file


def _answers_table(results: Results) -> Table:
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


def _keypoints_table(results: Results) -> Table:
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


def _distribution_table(results: Results) -> Table:
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
    levels = [f"covered at {name[:-1]} %" for name in LEVEL_NAMES]
    header = ["hypotheses", "spread mm", *levels, "ECE", "ECE as published", "energy score mm"]
    note = (
        "Per joint, wrist-relative. Spread: RMS distance to the mean of the hypotheses. Covered below the "
        "level means over-confident. ECE: 0 calibrated, 0.5 worst; the published definition measures from "
        "the hypotheses' own median, which makes few of them look over-confident; the other does not."
    )
    return Table("Distribution", header, rows, note)


def _joint_std_table(results: Results) -> Table:
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


def _occlusion_table(results: Results) -> Table:
    header = ["hypotheses", "visible joints mm", "hidden joints mm", "hidden / visible, same joint"]
    header += ["correlation, same joint", "correlation with hidden share"]
    rows = []
    for stage, figures in results["spread_and_visibility"].items():
        if figures is not None:
            values = list(figures.values())
            rows.append([stage, *map(as_text, values[:3]), *(as_text(value, 3) for value in values[3:])])
    note = "Spread should be larger where a joint is hidden: a ratio above 1, correlations above 0."
    return Table("Does the spread grow when fingers are hidden?", header, rows, note)


def _hand_score_table(results: Results) -> Table:
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


def _baseline_table(results: Results) -> Table:
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


def _official_table(results: Results) -> Table:
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


def render_report(results: Results) -> str:
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


def write_report(results: Results, out: str | Path, plots: Iterable[Path] = ()) -> tuple[Path, Path]:
    """Write `results.json` and `report.md`, which shows `plots`, pictures in the same folder."""
    out = Path(out)
    json_path, report_path = out / "results.json", out / "report.md"
    with replace_file(json_path) as temporary:
        temporary.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    with replace_file(report_path) as temporary:
        shown = "".join(f"\n![{path.stem.replace('_', ' ')}]({path.name})\n" for path in plots)
        temporary.write_text(render_report(results) + (f"\n## Plots\n{shown}" if shown else ""))
    return json_path, report_path
