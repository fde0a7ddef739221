"""What `handdiff predict FOLDER` costs a photo beside its networks, in one run: ratios to the pipeline's own time.

    python scripts/benchmark_predict.py --photos 24 --rounds 3 --json runs/predict.json

The photos are those of data/realistic_test. Each round runs the pipeline alone on photos that are loaded, then the
whole command with `--write json` and with everything; the figures are medians over the rounds, of one process with the
checkpoint loaded. Wanted: at most 1.4 and 3 times the pipeline's own time.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

from hf_handdiff.cli import loading
from hf_handdiff.cli.predict.images import sample_hands
from hf_handdiff.cli.predict.run import predict_files
from hf_handdiff.cli.predict.settings import WRITABLE, PredictionSettings
from hf_handdiff.export.records import HandToPredict
from hf_handdiff.files import replace_file
from hf_handdiff.images import load_image

PHOTOS = Path(__file__).parent.parent / "data" / "realistic_test" / "test-00000-of-00001.parquet"
KINDS = {"--write json": ("json",), "everything": WRITABLE}
WANTED = {"--write json": 1.4, "everything": 3.0}


def write_photos(folder: Path, count: int) -> list[Path]:
    """The first photos of the realistic test set as files."""
    rows = pq.read_table(PHOTOS, columns=["image"])["image"]
    paths = [folder / f"{number:04d}.jpg" for number in range(min(count, len(rows)))]
    for path, row in zip(paths, rows, strict=False):
        path.write_bytes(row.as_py()["bytes"])
    return paths


def seconds(call) -> float:
    """How long a call takes; what it says is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


def measure(count: int, rounds: int, num_hypotheses: int) -> dict:
    """Milliseconds a photo, medians over rounds that go through all kinds in turns."""
    pipeline = loading.load_pipeline()
    loading.load_pipeline = lambda *_: pipeline  # loading is not measured
    found: dict[str, list[float]] = {"pipeline": [], **{name: [] for name in KINDS}}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        paths = write_photos(photos, count)
        settings = {
            name: PredictionSettings(Path(folder) / str(number), num_hypotheses=num_hypotheses, write=kinds)
            for number, (name, kinds) in enumerate(KINDS.items())
        }
        images = [load_image(path) for path in paths]

        def alone() -> None:
            for image in images:
                sample_hands(pipeline, [(image, HandToPredict(None, "right"))], settings["everything"])

        calls = {"pipeline": alone}
        calls |= {name: lambda name=name: predict_files([str(photos)], settings[name]) for name in KINDS}
        for round_number in range(rounds + 1):
            for name, call in calls.items():
                took = 1000 * seconds(call) / len(paths)
                if round_number:  # the first warms up
                    found[name].append(took)
    milliseconds = {name: statistics.median(took) for name, took in found.items()}
    return {
        "photos": len(paths),
        "num_hypotheses": num_hypotheses,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "milliseconds_a_photo": milliseconds,
        "ratios": {
            name: statistics.median(took / own for took, own in zip(found[name], found["pipeline"], strict=True))
            for name in KINDS
        },
    }


def main() -> int:
    """Measure, print, and say by the exit status whether it is quick enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-hypotheses", type=int, default=PredictionSettings(Path()).num_hypotheses)
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    figures = measure(arguments.photos, arguments.rounds, arguments.num_hypotheses)
    own = figures["milliseconds_a_photo"]["pipeline"]
    print(
        f"{figures['photos']} photos, {figures['num_hypotheses']} hypotheses: {own:.0f} ms a photo, the pipeline alone"
    )
    for name, ratio in figures["ratios"].items():
        took = figures["milliseconds_a_photo"][name]
        print(f"  {name}: {took:.0f} ms, {ratio:.2f} times as long (wanted: at most {WANTED[name]})")
    if arguments.json:
        with replace_file(arguments.json) as file:
            file.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(ratio <= WANTED[name] for name, ratio in figures["ratios"].items()) else 1


if __name__ == "__main__":
    sys.exit(main())
