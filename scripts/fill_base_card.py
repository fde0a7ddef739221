"""Fill the card of the bundled checkpoint, and README's figures, from finished runs of one checkpoint.

    python scripts/fill_base_card.py --synthetic runs/test --realistic runs/realistic --benchmark runs/benchmark.json

The folders are those of `handdiff evaluate`, the file that of `handdiff benchmark --json`. What is shown of them is
kept in model_cards/base_results.json; without flags the card is filled from that file again, as after an edit of
model_cards/base.template.md. Figures that no command makes (counts by eye, errors on photos that are not in the
repository) stand in model_cards/base_measured.json, under the name of the checkpoint that they were measured with: they
are left out of the card of any other.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.cli.pipeline_arguments import checkpoint_digest
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_between_marks, replace_file
from hf_handdiff.hub import figures
from hf_handdiff.hub.cards import pipeline_card

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "model_cards"
COMMAND = "handdiff evaluate --data {data} --split test --baseline mediapipe --out {out}"
SETS = {
    "synthetic": ("synthetic test split", COMMAND.format(data="corpora/synthetic", out="runs/test")),
    "realistic": ("path-traced", COMMAND.format(data="data/realistic_test", out="runs/realistic")),
}


def collect(folders: dict[str, Path], benchmark: Path | None, measured: Path) -> dict[str, Any]:
    """The shown figures of the runs; of `benchmark` and `measured` only where they are of the same checkpoint."""
    sets = []
    for name, folder in folders.items():
        results = json.loads((folder / "results.json").read_text())
        sets.append(figures.EvaluatedSet(*SETS[name], results))
    checkpoint = sets[0].results["settings"]["predictor"]
    noted = json.loads(measured.read_text())
    if noted["checkpoint"] != checkpoint:
        print(f"{measured.name} is of {noted['checkpoint']}, not of {checkpoint}: left out", file=sys.stderr)
        noted = None
    return figures.collect_results(sets, None if benchmark is None else json.loads(benchmark.read_text()), noted)


def fill_card(results: dict[str, Any]) -> str:
    """The card of the bundled checkpoint, as text."""
    return str(pipeline_card(DEFAULT_CHECKPOINT, results, template=CARDS / "base.template.md"))


def fill_readme(results: dict[str, Any]) -> str:
    """README's table, with what is said of the peers and of the time."""
    sets = figures.evaluated_sets(results)
    header, rows = figures.accuracy_rows(sets)
    shown = ("true joints within the region of 90 %", "ECE of the regions")
    rows += [row for row in figures.calibration_rows(sets)[1] if row[0] in shown]
    lines = [figures.markdown_table(header, rows)]
    for part in sets:
        if "baseline" in part.results and part.label == SETS["realistic"][0]:
            told = part.results["baseline"]
            ours, theirs = (told["on_found_images"][name]["pa_mpjpe_mm"] for name in ("checkpoint", "baseline"))
            lines += [
                "",
                f"On the path-traced images in which MediaPipe finds the hand ({told['num_found']} of "
                f"{told['num_images_with_hand']}) this answer is {ours:.1f} mm off, MediaPipe's {theirs:.1f} mm.",
            ]
    if "benchmark" in results:
        lines += ["", _time_sentence(results["benchmark"])]
    return "\n".join(lines)


def _time_sentence(told: dict[str, Any]) -> str:
    fresh = told["fresh_process"]
    text = (
        f"On {told['cores']} {told['device'].upper()} cores (`handdiff benchmark --vit-h --mediapipe`): one photo with "
        f"20 hypotheses {told['ms_per_image']['20']:.0f} ms, {told['ms_per_extra_hypothesis']:.1f} ms for each more, "
        f"the image encoder once a photo ({told['encoder_ms']:.0f} ms of it),\nfirst answer of a fresh process after "
        f"{fresh['total_s']:.1f} s, {fresh['peak_memory_mib']:.0f} MiB of memory."
    )
    if "vit_h" in told:
        text += f" A ViT-H/16 takes {told['vit_h']['ms_per_image']:,.0f} ms in the same run."
    if "mediapipe" in told:
        text += f" MediaPipe takes {told['mediapipe']['ms_per_image']:.0f} ms."
    return text


def main(argv: list[str] | None = None) -> int:
    """Collect, fill, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", type=Path, help="folder of `handdiff evaluate` on the synthetic test split")
    parser.add_argument("--realistic", type=Path, help="folder of `handdiff evaluate` on data/realistic_test")
    parser.add_argument("--benchmark", type=Path, help="file of `handdiff benchmark --json`")
    parser.add_argument("--measured", type=Path, default=CARDS / "base_measured.json", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    folders = {name: folder for name in SETS if (folder := getattr(args, name)) is not None}
    kept = CARDS / "base_results.json"
    if len(folders) not in (0, len(SETS)) or (args.benchmark and not folders):
        parser.error("expected --synthetic and --realistic together, --benchmark only with them")
    try:
        results = collect(folders, args.benchmark, args.measured) if folders else json.loads(kept.read_text())
        if results["checkpoint"] != checkpoint_digest(DEFAULT_CHECKPOINT):
            told = f"results: they are of {results['checkpoint']}, the bundled checkpoint is "
            raise InputError(told + checkpoint_digest(DEFAULT_CHECKPOINT))
        card = fill_card(results)
    except (InputError, OSError) as error:
        print(f"fill_base_card: error: {error}", file=sys.stderr)
        return 1
    _write(kept, json.dumps(results, indent=1) + "\n")
    _write(CARDS / "base.md", card)
    _write(Path(DEFAULT_CHECKPOINT) / "README.md", card)
    replace_between_marks(ROOT / "README.md", "figures", fill_readme(results))
    return 0


def _write(path: Path, text: str) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(text)
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
