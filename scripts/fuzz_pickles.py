"""Fuzz the readers of foreign files: MANO pickles, MANO npz files and HO3D annotations.

Mutated and synthetic files are read in a process of its own that may use 2 s a file and 1 GB above what it starts with.
Each must end as a hand (or annotation) or as one sentence (`InputError`).  Anything else, another exception, a signal,
a file that takes too long or too much, is counted, kept on request and makes the script fail:

    python scripts/fuzz_pickles.py --files 20000 --seed 0 --keep runs/fuzz
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from pickle_mutations import FileMaker

from hf_handdiff.data import ho3d
from hf_handdiff.errors import InputError
from hf_handdiff.hand.mano_files import load_mano_file

SECONDS_A_FILE = 2.0
MEMORY_BYTES = 1 << 30
GOOD, SENTENCE = "hands and annotations", "sentences"
_HO3D_FIELDS = {"camMat": [(3, 3)], "handJoints3D": [(21, 3), (3,), (1, 3)], "handBoundingBox": [(4,)]}


@dataclasses.dataclass
class Counts:
    """What became of the files: how many of each outcome, the slowest and the largest."""

    outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    slowest_s: float = 0.0
    grown_bytes: int = 0

    def failures(self) -> dict[str, int]:
        """The outcomes that must not be."""
        return {name: count for name, count in self.outcomes.items() if name not in (GOOD, SENTENCE)}


def read(path: Path) -> str:
    """Read a file by what its name says; the outcome in words."""
    try:
        if "ho3d" in path.name:
            meta = ho3d._Meta(path)
            meta.joints(), meta.pose_and_shape(), meta.box()
            for name, shapes in _HO3D_FIELDS.items():
                meta.numbers(name, *shapes)
        else:
            load_mano_file(path)
    except (InputError, ho3d.NotAnnotatedError) as error:
        message = str(error)
        is_sentence = len(message) < 500 + len(str(path)) and message.isprintable()
        return SENTENCE if is_sentence else "messages that are no sentence"
    except Exception as error:
        return f"exception {type(error).__name__}"
    return GOOD


def _resident_bytes(peak: bool) -> int:
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _work(connection, folder: Path) -> None:
    """Read the files that come by the connection, in a process that may not grow by more than a limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    start = _resident_bytes(peak=False)
    while True:
        name, content = connection.recv()
        path = folder / name
        path.write_bytes(content)
        used = time.process_time()
        outcome = read(path)
        connection.send((outcome, time.process_time() - used, _resident_bytes(peak=True) - start))


class _Reader:
    """The process that reads, started anew after it was killed."""

    def __init__(self, folder: Path):
        self._folder, self._process, self._before = folder, None, 0.0

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # with everything imported
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, self._folder), daemon=True)
        self._process.start()
        other.close()

    def outcome(self, name: str, content: bytes) -> tuple[str, float, int]:
        """What becomes of a file, the seconds of processor time and the growth in bytes."""
        if self._process is None:
            self._start()
        self._connection.send((name, content))
        waited = 0.0
        while waited < 10 * SECONDS_A_FILE:  # a busy machine; what counts is the time of the processor
            if self._connection.poll(SECONDS_A_FILE):
                break
            waited += SECONDS_A_FILE
            if self._processor_seconds() > SECONDS_A_FILE + self._before:
                break
        try:
            if not self._connection.poll(0):
                self.stop()
                return "too slow", waited, 0
            outcome, seconds, grown = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}", waited, 0
        self._before = self._processor_seconds()
        if seconds > SECONDS_A_FILE:
            return "too slow", seconds, grown
        return outcome, seconds, grown

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process, self._before = None, 0.0


def fuzz(num_files: int, seed: int, folder: Path, keep: Path | None = None, progress: bool = False) -> Counts:
    """Read files until there were so many.

    Args:
        num_files: how many.
        seed: of the mutations; file i of a seed is always the same.
        folder: where the file that is read lies.
        keep: a folder for the files that must not be so.
        progress: print a line each 1,000 files.
    """
    maker, reader, counts = FileMaker(), _Reader(folder), Counts()
    for index in range(num_files):
        name, content = maker.make(random.Random(f"{seed} {index}"))
        outcome, seconds, grown = reader.outcome(name, content)
        counts.outcomes[outcome] += 1
        counts.slowest_s, counts.grown_bytes = max(counts.slowest_s, seconds), max(counts.grown_bytes, grown)
        if outcome not in (GOOD, SENTENCE) and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{index:06d}-{outcome.replace(' ', '_')}-{name}").write_bytes(content)
        if progress and (index + 1) % 1000 == 0:
            print(f"{index + 1} files: {dict(counts.outcomes)}", flush=True)
    reader.stop()
    return counts


def main() -> int:
    """Print the counts; 1 if a file ended as it must not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="how many to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that ended as they must not")
    parser.add_argument("--read", type=Path, nargs="+", help="read these files instead and tell what became of each")
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if args.read:
            reader = _Reader(Path(folder))
            outcomes = [reader.outcome(path.name, path.read_bytes())[0] for path in args.read]
            reader.stop()
            print("\n".join(f"{path.name}: {outcome}" for path, outcome in zip(args.read, outcomes, strict=True)))
            return int(any(outcome not in (GOOD, SENTENCE) for outcome in outcomes))
        counts = fuzz(args.files, args.seed, Path(folder), args.keep, progress=True)
    for name, count in counts.outcomes.most_common():
        print(f"{count:8d}  {name}")
    print(
        f"{args.files} files in {time.monotonic() - start:.0f} s; the slowest {counts.slowest_s:.2f} s, "
        f"the reader grew by {counts.grown_bytes >> 20} MB at most"
    )
    return 1 if counts.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
