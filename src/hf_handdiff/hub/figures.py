"""Figures of model cards: what `handdiff evaluate` and `handdiff benchmark --json` wrote, cut down to what is shown.

Nothing here computes a figure; cards only round them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult

from hf_handdiff.errors import InputError

Figures = Mapping[str, Any]
ALL_HANDS = "all"
_NONE = "-"

# What a card shows of a set, and of each group of its hands: paths of keys; "*" stands for every key.
_SHOWN_OF_GROUP = (
    ("num_samples",),
    ("visible_share",),
    ("accuracy", "pa_mpjpe_mm"),
    ("accuracy", "pa_mpvpe_mm"),
    ("accuracy", "mpjpe_root_relative_mm"),
    ("aggregated", "mean", "*"),
    ("single_sample", "*"),
    ("stage1", "*"),
    ("best_of", "*", "pa_mpjpe_mm"),
    ("best_of", "*", "prior_pa_mpjpe_mm"),
    ("keypoints_2d", "error_percent_of_box"),
    ("keypoints_2d", "median_error_percent_of_box"),
    ("distribution", "*", "spread_mm"),
    ("distribution", "*", "coverage", "*"),
    ("distribution", "*", "ece"),
    ("joint_std", "coverage", "*"),
    ("joint_std", "ece"),
    ("joint_std", "correlation_per_joint"),
)
_SHOWN_OF_SET = (
    ("settings", "*"),
    ("num_images",),
    ("hand_score", "area_under_roc"),
    ("baseline", "name"),
    ("baseline", "num_images_with_hand"),
    ("baseline", "num_found"),
    ("baseline", "on_found_images", "*", "pa_mpjpe_mm"),
    ("baseline", "on_found_images", "*", "keypoint_error_percent_of_box"),
)
_GROUPS = ("by_visible_share", "by_skin_tone")
_SHOWN_OF_BENCHMARK = (
    ("checkpoint",),
    ("machine",),
    ("cores",),
    ("device",),
    ("ms_per_image", "*"),
    ("ms_per_extra_hypothesis",),
    ("encoder_ms",),
    ("fresh_process", "*"),
    ("vit_h", "ms_per_image"),
    ("mediapipe", "ms_per_image"),
)


@dataclass(frozen=True)
class EvaluatedSet:
    """One evaluated data set on a card.

    Attributes:
        label: its name in the tables.
        command: what makes the figures again, or None.
        results: of `handdiff evaluate`; lengths in mm.
    """

    label: str
    command: str | None
    results: Figures

    @property
    def groups(self) -> dict[str, Figures]:
        """All hands, then those of each visible share."""
        return {ALL_HANDS: self.results, **self.results.get("by_visible_share", {})}

    @property
    def num_hypotheses(self) -> int:
        """N."""
        return self.results["settings"]["num_hypotheses"]


# -- results of several commands as one ----------------------------------------------------------------------


def collect_results(
    sets: list[EvaluatedSet], benchmark: Figures | None = None, measured: Figures | None = None
) -> dict[str, Any]:
    """What a card is filled from, ready for JSON: the shown figures of several sets of one checkpoint.

    Args:
        sets: evaluated with the same checkpoint, the leading one first.
        benchmark: of `handdiff benchmark --json` for this checkpoint.
        measured: further figures of this checkpoint, by whatever means, under names of their own.

    Raises:
        InputError: no set, or figures of different checkpoints.
    """
    if not sets:
        raise InputError("results: expected at least one folder of `handdiff evaluate`")
    parts = {part.label: part.results["settings"]["predictor"] for part in sets}
    if benchmark is not None:
        parts["benchmark"] = benchmark["checkpoint"]
    if measured is not None:
        parts["measured"] = measured["checkpoint"]
    if len(set(parts.values())) > 1:
        told = ", ".join(f"{name}: {checkpoint}" for name, checkpoint in parts.items())
        raise InputError(f"results: expected figures of one checkpoint, got those of several ({told})")
    collected: dict[str, Any] = {"checkpoint": parts[sets[0].label], "sets": []}
    for part in sets:
        shown = _pick(part.results, _SHOWN_OF_GROUP + _SHOWN_OF_SET)
        for kind in _GROUPS:
            groups = part.results.get(kind, {})
            shown[kind] = {name: _pick(group, _SHOWN_OF_GROUP) for name, group in groups.items()}
        collected["sets"].append({"label": part.label, "command": part.command, "results": shown})
    if benchmark is not None:
        collected["benchmark"] = _pick(benchmark, _SHOWN_OF_BENCHMARK)
    if measured is not None:
        collected["measured"] = dict(measured)
    return collected


def _pick(figures: Figures, paths: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """The entries of a nested dictionary at the paths that it has, nested as they were."""
    picked: dict[str, Any] = {}
    for path in paths:
        _pick_path(figures, path, picked)
    return picked


def _pick_path(figures: Any, path: tuple[str, ...], picked: dict[str, Any]) -> None:
    if not isinstance(figures, Mapping):  # a stage that was not measured is None
        return
    key, rest = path[0], path[1:]
    for name in list(figures) if key == "*" else [key]:
        if name not in figures:
            continue
        if rest:
            inner = picked.get(name, {})
            _pick_path(figures[name], rest, inner)
            if inner:
                picked[name] = inner
        else:
            picked[name] = figures[name]


def evaluated_sets(results: Figures) -> list[EvaluatedSet]:
    """The sets of `collect_results`, or the one of a `results.json` as `handdiff evaluate` wrote it.

    Raises:
        InputError: it is neither.
    """
    if "sets" in results:
        return [EvaluatedSet(part["label"], part["command"], part["results"]) for part in results["sets"]]
    if "settings" not in results or "accuracy" not in results:
        raise InputError("results: expected the results.json of `handdiff evaluate`, or several of them collected")
    settings = results["settings"]
    return [EvaluatedSet(f"{settings['data'].split(' ')[0]}, {settings['split']}", None, results)]


# -- tables ----------------------------------------------------------------------------------------------------


def value_at(figures: Figures | None, *path: str) -> Any:
    """The entry at a path of keys, None where there is none."""
    for key in path:
        figures = None if figures is None else figures.get(key)
    return figures


def rounded(value: float | None, digits: int = 1) -> str:
    """A figure as it is printed."""
    return _NONE if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as it is printed."""
    return _NONE if share is None else f"{100 * share:.{digits}f} %"


def accuracy_rows(sets: list[EvaluatedSet]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the main table: the first set by visible share, of the others all hands."""
    count = str(sets[0].num_hypotheses)
    columns = [_column(part, name) for part in sets for name in (part.groups if part is sets[0] else [ALL_HANDS])]

    def mm(*path: str) -> Callable[[Figures], str]:
        return lambda figures: rounded(value_at(figures, *path))

    def spreads(figures: Figures) -> str:
        stages = ("stage1", "stage2")
        return " / ".join(rounded(value_at(figures, "distribution", stage, "spread_mm"), 0) for stage in stages)

    def keypoints(figures: Figures) -> str:
        median = rounded(value_at(figures, "keypoints_2d", "median_error_percent_of_box"))
        return f"{rounded(value_at(figures, 'keypoints_2d', 'error_percent_of_box'))} (median {median})"

    lines = {
        "PA-MPJPE, the answer": mm("accuracy", "pa_mpjpe_mm"),
        "PA-MPVPE, the answer": mm("accuracy", "pa_mpvpe_mm"),
        f"PA-MPJPE, mean of {count} hands of stage 1": mm("stage1", "pa_mpjpe_mm"),
        f"PA-MPJPE, mean of {count} hands of stage 2": mm("aggregated", "mean", "pa_mpjpe_mm"),
        "PA-MPJPE, single hand": mm("single_sample", "pa_mpjpe_mm"),
        f"PA-MPJPE, best of {count} (picked by the truth)": mm("best_of", count, "pa_mpjpe_mm"),
        f"control: best of {count} random hands, blind": mm("best_of", count, "prior_pa_mpjpe_mm"),
        "MPJPE, not aligned (wrist-relative)": mm("accuracy", "mpjpe_root_relative_mm"),
        "2D keypoint error, % of the hand's box": keypoints,
        "spread of stage 1 / of stage 2, not aligned": spreads,
    }
    return _table(columns, lines)


def calibration_rows(sets: list[EvaluatedSet]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: do the regions hold what they promise? Columns as of `accuracy_rows`."""
    columns = [_column(part, name) for part in sets for name in (part.groups if part is sets[0] else [ALL_HANDS])]
    levels = value_at(sets[0].results, "joint_std", "coverage") or {}
    lines: dict[str, Callable[[Figures], str]] = {}
    for level in levels:
        name = f"true joints within the region of {level.replace('%', ' %')}"
        lines[name] = lambda figures, level=level: percent(value_at(figures, "joint_std", "coverage", level))
    lines["ECE of the regions"] = lambda figures: rounded(value_at(figures, "joint_std", "ece"), 3)
    lines["correlation of `joint_std` with the error"] = lambda figures: rounded(
        value_at(figures, "joint_std", "correlation_per_joint"), 2
    )
    if "80%" in levels:
        lines["true joints within the hypotheses' own region of 80 %"] = lambda figures: percent(
            value_at(figures, "distribution", "stage2", "coverage", "80%")
        )
    lines["ECE of the hypotheses' own regions"] = lambda figures: rounded(
        value_at(figures, "distribution", "stage2", "ece"), 3
    )
    return _table(columns, lines)


def skin_tone_rows(sets: list[EvaluatedSet]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the sets that tell skin tones, by tone; no rows where none does."""
    told = [part for part in sets if part.results.get("by_skin_tone")]
    columns = [
        (f"{part.label}: {name}", group) for part in told for name, group in part.results["by_skin_tone"].items()
    ]
    lines = {
        "hands": lambda figures: rounded(figures["num_samples"], 0),
        "share of the hand that is seen, mean": lambda figures: percent(value_at(figures, "visible_share")),
        "PA-MPJPE": lambda figures: rounded(value_at(figures, "accuracy", "pa_mpjpe_mm")),
        "PA-MPVPE": lambda figures: rounded(value_at(figures, "accuracy", "pa_mpvpe_mm")),
        "2D keypoint error, % of the hand's box": lambda figures: rounded(
            value_at(figures, "keypoints_2d", "error_percent_of_box")
        ),
        "true joints within the region of 90 %": lambda figures: percent(
            value_at(figures, "joint_std", "coverage", "90%")
        ),
    }
    return _table(columns, lines) if columns else ([], [])


def _column(part: EvaluatedSet, group: str) -> tuple[str, Figures]:
    figures = part.groups[group]
    title = part.label if group == ALL_HANDS else group
    return f"{title}, {rounded(figures['num_samples'], 0)} hands", figures


def _table(columns: list[tuple[str, Figures]], lines: Mapping[str, Callable[[Figures], str]]):
    """Header and rows; a line that no column can tell is left out."""
    rows = [[name, *(tell(figures) for _, figures in columns)] for name, tell in lines.items()]
    told = [row for row in rows if any(character.isdigit() for cell in row[1:] for character in cell)]
    return ["", *(title for title, _ in columns)], told


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, figures to the right."""
    rules = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join(["| " + " | ".join(header) + " |", rules, *("| " + " | ".join(row) + " |" for row in rows)])


# -- the Hub's own form ------------------------------------------------------------------------------------------

_HUB_METRICS = {
    "pa_mpjpe_mm": ("PA-MPJPE, mm", ("accuracy", "pa_mpjpe_mm"), 2),
    "pa_mpvpe_mm": ("PA-MPVPE, mm", ("accuracy", "pa_mpvpe_mm"), 2),
    "mpjpe_root_relative_mm": ("MPJPE, wrist-relative, mm", ("accuracy", "mpjpe_root_relative_mm"), 2),
    "joint_std_ece": ("ECE of the calibrated regions", ("joint_std", "ece"), 4),
    "joint_std_coverage_90": ("true joints within the 90 % region", ("joint_std", "coverage", "90%"), 4),
}


def eval_results(sets: list[EvaluatedSet]) -> list[EvalResult]:
    """The main figures of all hands of each set, as `model-index` holds them."""
    told = []
    for part in sets:
        settings = part.results["settings"]
        for metric, (name, path, digits) in _HUB_METRICS.items():
            value = value_at(part.results, *path)
            if value is not None:
                told.append(
                    EvalResult(
                        task_type="image-to-3d",
                        dataset_type=part.label.lower().replace(", ", "-").replace(" ", "-"),
                        dataset_name=part.label,
                        dataset_split=settings["split"],
                        metric_type=metric,
                        metric_name=name,
                        metric_value=round(value, digits),
                    )
                )
    return told
