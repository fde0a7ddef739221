"""Put the figures of finished runs into BENCHMARKS.md: of `handdiff evaluate` and of `handdiff benchmark --json`.

    python scripts/benchmark_tables.py --into BENCHMARKS.md --time runs/benchmark.json \
        "synthetic=runs/test=handdiff evaluate --data corpora/synthetic --baseline mediapipe --out runs/test" \
        "realistic=runs/cycles=handdiff evaluate --data data/realistic_test --baseline mediapipe --out runs/cycles"

Each set is LABEL=FOLDER=COMMAND: its name in the tables, the folder that `handdiff evaluate` wrote, and the command
that makes it again. Nothing is typed by hand: what stands between two marks of the file is replaced.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_handdiff.evaluation.benchmark import render_benchmark
from hf_handdiff.evaluation.tables import Table, as_text
from hf_handdiff.files import replace_between_marks

ALL = "all"


@dataclass
class Run:
    """One evaluated set: its label, the results of `handdiff evaluate`, and the command."""

    label: str
    results: dict[str, Any]
    command: str


def read_run(text: str) -> Run:
    """LABEL=FOLDER=COMMAND."""
    label, _, rest = text.partition("=")
    folder, _, command = rest.partition("=")
    path = Path(folder) / "results.json"
    if not (label and command and path.is_file()):
        raise SystemExit(f"sets: expected LABEL=FOLDER=COMMAND with a results.json in the folder, got {text!r}")
    return Run(label, json.loads(path.read_text()), command)


def groups(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All hands, then those of each visible share."""
    return {ALL: results, **results["by_visible_share"]}


def percent(share: float | None) -> str:
    """A share of 1 as a figure in per cent."""
    return as_text(None if share is None else 100 * share, 1)


def accuracy_table(runs: list[Run]) -> Table:
    """Millimetres and 2D error."""
    rows = []
    for run in runs:
        for name, figures in groups(run.results).items():
            best = list(figures["best_of"].values())[-1]
            values = [
                figures["accuracy"]["pa_mpjpe_mm"],
                figures["accuracy"]["pa_mpvpe_mm"],
                figures["accuracy"]["mpjpe_root_relative_mm"],
                figures["stage1"]["pa_mpjpe_mm"],
                figures["single_sample"]["pa_mpjpe_mm"],
                best["pa_mpjpe_mm"],
                best["prior_pa_mpjpe_mm"],
                figures["keypoints_2d"]["error_percent_of_box"],
                figures["keypoints_2d"]["median_error_percent_of_box"],
            ]
            rows.append([run.label, name, str(figures["num_samples"]), *map(as_text, values)])
    count = runs[0].results["settings"]["num_hypotheses"]
    header = ["set", "visible share", "hands", "PA-MPJPE", "PA-MPVPE", "MPJPE", "stage 1 PA-MPJPE", "single sample"]
    header += [f"best of {count}", f"prior best of {count}", "2D %", "2D % median"]
    commands = "; ".join(f"{run.label}: `{run.command}`" for run in runs)
    note = (
        f"mm; the answer is a hand fitted to {count} hypotheses and the 2D points. Best of {count} is picked by the "
        f"truth, single hands and its prior control are PA-MPJPE too. 2D: of the longer side of the hand's box. "
        f"{commands}"
    )
    return Table("Accuracy", header, rows, note)


def calibration_table(runs: list[Run]) -> Table:
    """Do the regions hold what they promise?"""
    rows = []
    for run in runs:
        for name, figures in groups(run.results).items():
            for what in ("stage1", "stage2", "joint_std"):
                part = figures["joint_std"] if what == "joint_std" else figures["distribution"][what]
                spread = part["predicted_rms_mm"] if what == "joint_std" else part["spread_mm"]
                covered = [percent(value) for value in part["coverage"].values()]
                energy = None if what == "joint_std" else part["energy_score_mm"]
                rows.append(
                    [run.label, name, what, as_text(spread), *covered, as_text(part["ece"], 3), as_text(energy)]
                )
    header = ["set", "visible share", "of", "spread mm", "in 50 %", "in 80 %", "in 90 %", "ECE", "energy score mm"]
    note = (
        "Per joint, wrist-relative, not aligned. Stages: regions of the hypotheses. joint_std: the radius that the "
        "pipeline returns, with the regions of the checkpoint's calibration (fitted on validation renders)."
    )
    return Table("Calibration", header, rows, note)


def peers_table(runs: list[Run]) -> Table | None:
    """MediaPipe on the same images."""
    rows = []
    for run in runs:
        if "baseline" not in run.results:
            continue
        baseline = run.results["baseline"]
        found = f"{baseline['num_found']} of {baseline['num_images_with_hand']}"
        names = {"checkpoint": "hf_handdiff", "baseline": baseline["name"]}
        for key, name in names.items():
            figures = baseline["on_found_images"][key]
            values = (figures["pa_mpjpe_mm"], figures["keypoint_error_percent_of_box"])
            rows.append([run.label, name, found, *map(as_text, values)])
    note = (
        "Both on the images in which MediaPipe found the hand. Its joints are defined a little differently, which "
        "counts against it here, and it never saw such renders, while the checkpoint was trained on some."
    )
    header = ["set", "predictor", "MediaPipe found", "PA-MPJPE mm", "2D %"]
    return Table("MediaPipe on the same images", header, rows, note) if rows else None


def main() -> None:
    """Read the runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="LABEL=FOLDER=COMMAND")
    parser.add_argument("--time", type=Path, help="file of handdiff benchmark --json")
    parser.add_argument("--into", type=Path, required=True, help="Markdown file with the marks")
    args = parser.parse_args()
    runs = [read_run(text) for text in args.sets]
    tables = [accuracy_table(runs), calibration_table(runs), peers_table(runs)]
    replace_between_marks(args.into, "evaluation", "\n\n".join(table.markdown() for table in tables if table))
    if args.time:
        replace_between_marks(args.into, "time", render_benchmark(json.loads(args.time.read_text())))


if __name__ == "__main__":
    main()
