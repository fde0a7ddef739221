"""The plots of an evaluation: PNG files drawn from the results (`results.json` is enough to draw them again)."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from hf_handdiff.evaluation.results import Results
from hf_handdiff.files import replace_file
from hf_handdiff.viz.charts import BLUE, GREEN, GREY, ORANGE, Axis, Line, line_chart

_SMALLEST_BIN = 10  # samples: means over fewer are drawn, and the note says so


def reliability_plot(results: Results) -> Image.Image | None:
    """How often the truth lies in a region, against how often it should: stage 1, stage 2, joint_std."""
    figures = results["curves"]["reliability"]
    lines = [Line("calibrated", [0, 1], [0, 1], GREY, dashed=True)]
    for key, name, color, marker in (
        ("stage1", "stage 1 hypotheses", ORANGE, "square"),
        ("stage2", "stage 2 hypotheses", BLUE, "circle"),
        ("joint_std", "calibrated joint_std", GREEN, "triangle"),
    ):
        if key in figures:
            named = _with_ece(name, results, key)
            lines.append(Line(named, figures["nominal"], figures[key], color, marker=marker, mark_every=4))
    if len(lines) == 1:
        return None
    percent = {"ticks": [0, 0.2, 0.4, 0.6, 0.8, 1.0], "tick_labels": ["0", "20", "40", "60", "80", "100"]}
    return line_chart(
        "Calibration: is the truth where the model says it is?",
        Axis("nominal: the region should hold the truth this often, %", 0, 1, **percent),
        Axis("observed: it does, %", 0, 1, **percent),
        lines,
        "Per joint, wrist-relative. Below the diagonal: over-confident; above: under-confident.\n"
        "Regions of joint_std are balls around the answer, see report.md.",
        legend="left",
    )


def _with_ece(name: str, results: Results, key: str) -> str:
    figures = results["joint_std"] if key == "joint_std" else results["distribution"][key]
    ece = figures.get("ece")
    return name if ece is None else f"{name} (ECE {ece:.3f})"


def visible_share_plot(results: Results) -> Image.Image | None:
    """PA-MPJPE against how much of the hand is seen."""
    figures = results["curves"]["visible_share"]
    if len(figures["center"]) < 2:
        return None
    n = results["settings"]["num_hypotheses"]
    names = {
        "single": ("single sample", ORANGE, "square"),
        "answer": ("aggregated answer", BLUE, "circle"),
        "best": (f"best of {n}, picked by the truth", GREEN, "triangle"),
        "prior_best": (f"control: best of {n} prior random hands", GREY, ""),
    }
    lines = [
        Line(name, figures["center"], figures[key], color, dashed=not marker, marker=marker)
        for key, (name, color, marker) in names.items()
        if key in figures
    ]
    counts = [f"{count}" for count in figures["num_samples"]]
    ticks = [f"{100 * center:.0f}\n({count})" for center, count in zip(figures["center"], counts, strict=True)]
    few = min(figures["num_samples"]) < _SMALLEST_BIN
    return line_chart(
        "Error by how much of the hand is seen",
        Axis("visible share of the hand, % (images in the bin)", 0, 1, figures["center"], ticks),
        _from_zero("PA-MPJPE, mm", lines),
        lines,
        f"Means over bins of 10 %; bins of fewer than {_SMALLEST_BIN} images say little." if few else "",
    )


def best_of_plot(results: Results) -> Image.Image | None:
    """Best-of-N against N, beside the prior control and the aggregated answer."""
    figures = results["curves"]["best_of"]
    counts = figures["n"]
    if len(counts) < 2:
        return None
    lines = [
        Line(name, counts, figures[key], color, dashed=dashed)
        for key, name, color, dashed in (
            ("prior", "control: prior random hands", GREY, True),
            ("stage1", "stage 1 hypotheses", ORANGE, False),
            ("stage2", "stage 2 hypotheses", BLUE, False),
        )
        if key in figures
    ]
    answer = f"aggregated answer of all {counts[-1]}, no oracle"
    lines.append(Line(answer, [1, counts[-1]], [figures["answer"]] * 2, GREEN, dashed=True))
    ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= counts[-1]]
    return line_chart(
        "Best of N, picked for each image by the truth",
        Axis("N, number of hypotheses (logarithmic)", 1, counts[-1], ticks, logarithmic=True),
        _from_zero("PA-MPJPE, mm", lines),
        lines,
        "An oracle's choice: hands drawn without seeing the image also gain with N.",
    )


def sparsification_plot(results: Results) -> Image.Image | None:
    """Error of what is left when the joints of the largest joint_std are removed."""
    figures = results["curves"]["sparsification"]
    if not figures:
        return None
    removed, by_radius = figures["removed_share"], figures["joint_std_mm"]
    ause, prior = results["joint_std"]["ause"], results["joint_std"]["ause_knowing_nothing"]
    lines = [
        Line(f"knowing nothing (AUSE {prior:.3f})", [0, 1], [by_radius[0]] * 2, GREY, dashed=True),
        Line(f"removed by joint_std (AUSE {ause:.3f})", removed, by_radius, BLUE),
        Line("removed by the true error (oracle)", removed, figures["oracle_mm"], GREEN, dashed=True),
    ]
    percent = {"ticks": [0, 0.2, 0.4, 0.6, 0.8, 1.0], "tick_labels": ["0", "20", "40", "60", "80", "100"]}
    return line_chart(
        "Sparsification: does joint_std know which joints are wrong?",
        Axis("least certain joints removed, %", 0, 1, **percent),
        _from_zero("error of the joints that are left, mm", lines),
        lines,
        "Wrist-relative error, not aligned. AUSE: area between a curve and the oracle's, over the error of all joints.",
    )


def _from_zero(label: str, lines: list[Line]) -> Axis:
    """An axis from 0 to above all lines, with room for the legend over them."""
    highest = max((point[1] for line in lines for point in line.points()), default=1.0)
    return Axis(label, 0, 1.35 * max(highest, 1e-6))


PLOTS = {
    "reliability": reliability_plot,
    "visible_share": visible_share_plot,
    "best_of_n": best_of_plot,
    "sparsification": sparsification_plot,
}


def write_plots(results: Results, out: str | Path) -> list[Path]:
    """Write the plots of `PLOTS` as PNG files into a folder; those that cannot be told are left out."""
    written = []
    for name, plot in PLOTS.items():
        picture = plot(results)
        if picture is None:
            continue
        path = Path(out) / f"{name}.png"
        with replace_file(path) as temporary:
            picture.save(temporary)
        written.append(path)
    return written
