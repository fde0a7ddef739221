"""Kill a recipe with SIGKILL in each of its steps, go on each time, and compare the end with a run that was let alone.

    handdiff data synthetic --layout freihand --out trees/tiny --num-samples 60 --evaluation-samples 4
    python scripts/check_recipe_kills.py --data trees/tiny --hand trees/tiny/MANO_RIGHT.pkl --out runs/kills

Weights of both ends have to be equal to the bit, and so have the answers. Ends with 1 where they are not.
"""

import argparse
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = Path(__file__).parents[1] / "train" / "run.py"
COMPARED = ("checkpoint/*/*.safetensors", "checkpoint/model_index.json", "evaluate/pred.json")


def start(arguments: argparse.Namespace, out: Path) -> subprocess.Popen:
    """The recipe in a process group of its own."""
    command = [sys.executable, str(RUN), "--recipe", arguments.recipe, "--size", "toy", "--data", str(arguments.data)]
    command += ["--out", str(out), *(["--hand", str(arguments.hand)] if arguments.hand else [])]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_in(arguments: argparse.Namespace, out: Path, step: str) -> None:
    """Let the recipe come to a step and kill it there."""
    record = out / "steps" / f"{step}.json"
    process = start(arguments, out)
    while process.poll() is None and not record.exists():
        time.sleep(0.02)
    time.sleep(arguments.delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = record.exists() and json.loads(record.read_text())["done"]
    print(f"killed in {step}{' (just after it)' if done else ''}", flush=True)


def different_files(one: Path, other: Path) -> list[str]:
    """Of those that are compared."""
    names = sorted({str(path.relative_to(root)) for root in (one, other) for p in COMPARED for path in root.glob(p)})
    return [name for name in names if not (one / name).is_file() or not filecmp.cmp(one / name, other / name, False)]


def main() -> int:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="freihand", choices=("freihand", "ho3d"))
    parser.add_argument("--data", type=Path, required=True, help="a small tree")
    parser.add_argument("--hand", type=Path, help="its MANO_RIGHT.pkl")
    parser.add_argument("--out", type=Path, required=True, help="folder for both runs")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds in a step before it is killed")
    arguments = parser.parse_args()
    whole, killed = arguments.out / "whole", arguments.out / "killed"
    shutil.rmtree(arguments.out, ignore_errors=True)
    if start(arguments, whole).wait():
        print("the recipe fails even when it is let alone")
        return 1
    steps = [path.stem for path in sorted((whole / "steps").glob("*.json"), key=lambda path: path.stat().st_mtime)]
    for step in steps:
        kill_in(arguments, killed, step)
    if start(arguments, killed).wait():
        print("the killed recipe could not be finished")
        return 1
    different = different_files(whole, killed)
    print(f"{len(steps)} steps killed; {'differ: ' + ', '.join(different) if different else 'the ends are equal'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
