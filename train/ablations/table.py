"""Markdown tables of what ablate.py wrote, printed and, with --into, put between two marks of a file.

python train/ablations/table.py --runs runs/ablations --into BENCHMARKS.md
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # train/, where the package `ablations` lies

from handdiff_training.flags import FlagParser, run

from ablations.ablate import VARIANTS
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.tables import Table
from hf_handdiff.files import replace_between_marks, replace_file

TITLES = {
    "cascade": "cascade, fresh samples of stage 1",
    "single_stage": "single stage, no joints",
    "vertex_space": "stage 2 diffuses vertices",
    "one_sample": "trained on one stored sample an image",
    "noised_truth": "trained on noised ground truth",
    "clean_truth": "trained on clean ground truth",
    "deterministic": "deterministic regressor",
    "no_consistency": "stage 1 without ray consistency",
}


def load_runs(folder: Path, file: str, variants: Sequence[str] = VARIANTS) -> dict[str, list[dict]]:
    """What lies in NAME-seedS/`file`, by name in the order of the variants, one entry a seed."""
    paths = {name: sorted(folder.glob(f"{name}-seed*/{file}")) for name in variants}
    return {name: [json.loads(path.read_text()) for path in found] for name, found in paths.items() if found}


def over_seeds(values: list[float | None], digits: int = 2) -> str:
    """Mean ± half the range; "-" where a figure cannot be told."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{sum(known) / len(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {(max(known) - min(known)) / 2:.{digits}f}"


def _distribution(results: dict, name: str, stage: str = "stage2") -> Any:
    return (results["distribution"][stage] or {}).get(name)


def _covered(level: str) -> Callable[[dict], float | None]:
    def figure(results):
        share = (_distribution(results, "coverage") or {}).get(level)
        return None if share is None else 100 * share

    return figure


def _best(column: str) -> Callable[[dict], float | None]:
    return lambda results: list(results["best_of"].values())[-1][column]


COLUMNS: dict[str, Callable[[dict], float | None]] = {
    "PA-MPJPE": lambda r: r["accuracy"]["pa_mpjpe_mm"],
    "PA-MPVPE": lambda r: r["accuracy"]["pa_mpvpe_mm"],
    "MPJPE": lambda r: r["accuracy"]["mpjpe_root_relative_mm"],
    "single sample": lambda r: r["single_sample"]["pa_mpjpe_mm"],
    "best of N": _best("pa_mpjpe_mm"),
    "prior best of N": _best("prior_pa_mpjpe_mm"),
    "energy": lambda r: _distribution(r, "energy_score_mm"),
    "ECE": lambda r: _distribution(r, "ece"),
    "in 80 %": _covered("80%"),
    "in 90 %": _covered("90%"),
    "spread 1": lambda r: _distribution(r, "spread_mm", "stage1"),
    "spread 2": lambda r: _distribution(r, "spread_mm"),
    "ms": lambda r: r["median_ms_per_image"],
}
OCCLUSION_COLUMNS = ("PA-MPJPE", "MPJPE", "best of N", "energy", "in 80 %", "spread 2")


def _cells(results: list[dict], columns) -> list[str]:
    return [over_seeds([COLUMNS[c](r) for r in results], 3 if c == "ECE" else 2) for c in columns]


def _command(runs: list[dict]) -> str:
    seeds = " ".join(str(run["seed"]) for run in runs)
    return f"`python train/ablations/ablate.py --only {runs[0]['name']} --seeds {seeds}`"


def variants_table(runs: dict[str, list[dict]], label: str) -> Table:
    """One row a variant, on one set."""
    rows = []
    for name, seeds in runs.items():
        done = [run for run in seeds if label in run["sets"]]
        if done:
            millions = f"{done[0]['parameters']['total'] / 1e6:.1f}"
            cells = _cells([run["sets"][label] for run in done], COLUMNS)
            rows.append([TITLES[name], millions, *cells, str(len(done)), _command(done)])
    settings = next(run["sets"][label] for seeds in runs.values() for run in seeds if label in run["sets"])
    several = max(
        run["sets"][label]["settings"]["num_hypotheses"]
        for seeds in runs.values()
        for run in seeds
        if label in run["sets"]
    )
    given = any(run["stage1"] == "given" for seeds in runs.values() for run in seeds)
    note = (
        f"mm, shares in %; {settings['num_samples']} hands, N = {several} (1 for the regressor), "
        f"{settings['settings']['options']}; mean over seeds ± half their range. "
        "Best of N is an oracle's choice: read it beside its prior control, random hands that never saw the image. "
        "The answer is the fitted hand for all, the regressor's too. ms: an image, all counted, in batches of eight."
    )
    if given:
        note += " Stage 1 was given: its training is not part of the equal budget."
    header = ["variant", "M parameters", *COLUMNS, "seeds", "command"]
    return Table(f"Ablations on {label}", header, rows, note)


def occlusion_table(runs: dict[str, list[dict]], label: str) -> Table:
    """One row a variant and group of visible share."""
    rows = []
    for name, seeds in runs.items():
        done = [run["sets"][label] for run in seeds if label in run["sets"]]
        for group in done[0]["by_visible_share"] if done else ():
            results = [result["by_visible_share"][group] for result in done]
            rows.append([TITLES[name], group, str(results[0]["num_samples"]), *_cells(results, OCCLUSION_COLUMNS)])
    header = ["variant", "visible joints", "hands", *OCCLUSION_COLUMNS]
    return Table(f"Ablations on {label}, by the share of joints that are visible", header, rows, "mm, shares in %.")


def render(folder: Path, variants: Sequence[str] = VARIANTS) -> str:
    """All tables of a folder of runs."""
    runs = load_runs(folder, "scores.json", variants)
    if not runs:
        raise InputError(f"--runs: expected a folder with NAME-seedS/scores.json of ablate.py, got {folder}")
    labels = list(dict.fromkeys(label for seeds in runs.values() for run in seeds for label in run["sets"]))
    tables = [make(runs, label) for label in labels for make in (variants_table, occlusion_table)]
    return "\n\n".join(table.markdown() for table in tables)


def main(argv=None):
    """Parse the flags and write the tables."""
    parser = FlagParser(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="--out of ablate.py")
    parser.add_argument("--into", type=Path, help="Markdown file with the two marks")
    parser.add_argument("--out", type=Path, help="file that shall hold the tables alone")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="NAME", help="these variants")
    args = parser.parse_args(argv)
    text = render(args.runs, args.only)
    print(text)
    if args.out:
        with replace_file(args.out) as file:
            file.write_text(text + "\n")
    if args.into:
        replace_between_marks(args.into, "ablations", text)


if __name__ == "__main__":
    run(main)
