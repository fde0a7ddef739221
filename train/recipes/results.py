"""The table in the end: the answer beside its controls, the official scores, and the time of each step."""

import json
from pathlib import Path
from typing import Any

from hf_handdiff.evaluation.tables import Table, as_text
from hf_handdiff.files import replace_file

FILE = "results.md"


def accuracy_table(results: dict[str, Any]) -> Table:
    """The answer of the cascade beside a random hand and stage 1, mm.

    Args:
        results: `results.json` of `handdiff evaluate`.
    """
    answer, stage1, single = results["accuracy"], results["stage1"], results["single_sample"]
    prior = results["best_of"]["1"]
    rows = [
        ["random hand, aligned", prior["prior_pa_mpjpe_mm"], prior["prior_pa_mpvpe_mm"], None],
        ["stage 1, mean of its hypotheses", stage1["pa_mpjpe_mm"], None, stage1["mpjpe_root_relative_mm"]],
        ["stage 1, one hypothesis", stage1["single_sample_pa_mpjpe_mm"], None, None],
        [
            "stage 2, mean of its hypotheses",
            results["aggregated"]["mean"]["pa_mpjpe_mm"],
            results["aggregated"]["mean"]["pa_mpvpe_mm"],
            results["aggregated"]["mean"]["mpjpe_root_relative_mm"],
        ],
        ["stage 2, one hypothesis", single["pa_mpjpe_mm"], single["pa_mpvpe_mm"], single["mpjpe_root_relative_mm"]],
        ["answer", answer["pa_mpjpe_mm"], answer["pa_mpvpe_mm"], answer["mpjpe_root_relative_mm"]],
    ]
    cells = [[name, *map(as_text, figures)] for name, *figures in rows]
    note = f"mm; {results['num_samples']} hands, N = {results['settings']['num_hypotheses']}."
    return Table("Accuracy", ["", "PA-MPJPE", "PA-MPVPE", "MPJPE"], cells, note)


def official_table(results: dict[str, Any]) -> Table | None:
    """The scores as the data set's own script tells them; None where the truth was not published."""
    official = results.get("official")
    if official is None:
        return None
    rows = [[name.replace("_", " "), as_text(value, 4)] for name, value in official["scores"].items()]
    note = f"{official['num_images']} of {official['num_images_of_split']} images; {official['root']}."
    return Table(f"{official['data_set']}: official scores", ["score", ""], rows, note)


def times_table(seconds: dict[str, float]) -> Table:
    """How long each step took on this machine."""
    rows = [[name, f"{value / 60:.1f}"] for name, value in [*seconds.items(), ("all", sum(seconds.values()))]]
    return Table("Time", ["step", "minutes"], rows, "")


def write_results(out: Path, seconds: dict[str, float]) -> str:
    """Write the tables of a run to `results.md` in its folder, and give them."""
    file = out / "evaluate" / "results.json"
    tables: list[Table | None] = []
    if file.is_file():
        results = json.loads(file.read_text())
        tables = [accuracy_table(results), official_table(results)]
    text = "\n\n".join(table.markdown() for table in [*tables, times_table(seconds)] if table is not None)
    with replace_file(out / FILE) as temporary:
        temporary.write_text(text + "\n")
    return text
