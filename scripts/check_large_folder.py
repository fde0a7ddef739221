"""A large folder with bad files in it, killed midway and taken up again: is all of it done, and nothing else there?

    nice python scripts/check_large_folder.py --images 3000 --bad 200

Makes the images, runs `handdiff predict FOLDER`, kills it (SIGKILL) once about half of the answers are there and one is
being written, runs it again with --resume, and counts. Exits with 1 if anything is not as it should be.
"""

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\nshowpage\n%%EOF\n"
PART = "*.handdiff-part*"


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    """A small image, another for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE)).save(file, kind)
    return file.getvalue()


def bad_content(number: int) -> bytes:
    """What a bad file holds: one kind after the other."""
    png = encoded(number, "PNG")
    kinds = [
        encoded(number)[:200],  # cut off in its head
        png[: len(png) // 2],
        b"",
        b"this is a text, and no image\n" * 20,
        EPS,
        os.urandom(5000),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        json.dumps({"image": number}).encode(),
    ]
    return kinds[number % len(kinds)]


def make_folder(folder: Path, images: int, bad: int, seed: int) -> set[str]:
    """Write the files into folders of 500; returns the names, without suffix, of the bad ones."""
    chosen = set(random.Random(seed).sample(range(images), bad))
    names = set()
    for number in range(images):
        name = f"{number // 500:02d}/{number:05d}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(bad_content(number) if number in chosen else encoded(number))
        if number in chosen:
            names.add(name)
    return names


def count(folder: Path, pattern: str) -> int:
    """Files of a folder and those below it."""
    return sum(1 for _ in folder.rglob(pattern))


def run_and_kill(command: list[str], out: Path, after: int, log: Path) -> list[str]:
    """Run the command until `after` answers are there and one is being written, then kill it; the names left behind."""
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while process.poll() is None and count(out, "*.json") < after:
                time.sleep(0.5)
            while process.poll() is None:
                if not count(out, PART):
                    continue
                process.send_signal(signal.SIGSTOP)  # only once it stands still is it known what it is at
                time.sleep(0.05)
                if count(out, PART):
                    break
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
            process.wait()
    return sorted(path.name for path in out.rglob(PART))


def check(args: argparse.Namespace, work: Path) -> bool:
    """Do it all in the folder `work` and print what was counted; whether all is as it should be."""
    photos, out = work / "photos", work / "results"
    bad = make_folder(photos, args.images, args.bad, args.seed)
    command = [sys.executable, "-m", "hf_handdiff", "predict", str(photos), "--out", str(out)]
    command += [
        "--num-hypotheses",
        str(args.num_hypotheses),
        *(["--checkpoint", args.checkpoint] if args.checkpoint else []),
    ]
    start = time.perf_counter()
    left = run_and_kill(command, out, args.images // 2, work / "first.txt")
    half = count(out, "*.json")
    second = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start

    lines = [line for line in second.stderr.splitlines() if "handdiff: error:" in line]
    named = {name for name in bad if sum(f"{name}.jpg" in line for line in lines) == 1}
    whole = {
        path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*.json") if json.loads(path.read_text())
    }
    manifest = [json.loads(line) for line in (out / "handdiff-done.jsonl").read_text().splitlines()]
    good = args.images - args.bad
    done = next((line for line in second.stdout.splitlines() if "are done already" in line), "none were done already")
    rows = [
        ("answers when it was killed", half, None),
        ("temporary files that the kill left", len(left), None),
        ("of the resumed run", done, None),
        ("its exit status", second.returncode, 1 if args.bad else 0),
        ("good images with a whole answer", len(whole - bad), good),
        ("bad images with an answer", len(whole & bad), 0),
        ("GLB, PNG", f"{count(out, '*.glb')}, {count(out, '*.png')}", f"{good}, {good}"),
        ("lines of error", len(lines), args.bad),
        ("bad images with one line each", len(named), args.bad),
        (
            "lines of the manifest, names in it",
            f"{len(manifest)}, {len({line['name'] for line in manifest})}",
            f"{good}, {good}",
        ),
        ("manifest tells where the photos lie", str(work) in (out / "handdiff-done.jsonl").read_text(), False),
        ("temporary files left", count(out, PART), 0),
        ("other hidden files", count(out, ".*"), 0),
        ("seconds in all", round(seconds), None),
    ]
    for what, is_, expected in rows:
        print(f"{what}: {is_}" + ("" if expected is None else f" (expected {expected})"))
    return bool(left) and all(expected is None or is_ == expected for _, is_, expected in rows)


def main(argv=None) -> int:
    """Parse the flags and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--bad", type=int, default=200, help="how many of them are none")
    parser.add_argument("--num-hypotheses", type=int, default=20)
    parser.add_argument("--checkpoint", help="default: the one in the package")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of bad ones")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        return 0 if check(args, Path(work)) else 1


if __name__ == "__main__":
    sys.exit(main())
