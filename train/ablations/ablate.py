"""Train the variants that the cascade is compared with, score them all alike, and try numbers of steps and hypotheses.

    python train/ablations/ablate.py --conditions corpora/conditions \
        --score_on synthetic=corpora/conditions:test realistic=corpora/realistic:test

Data, steps and parameters are equal: see the configs in train/configs/ablations. What is there already is not made
again, a stopped training goes on where it stood, and several of these commands can share the work of one folder:
each takes what no other has taken. Flags after `--` go to all trainings.

Writes NAME-seedS/model, NAME-seedS/scores.json and cascade-seedS/grid.json; table.py makes tables of them.
"""

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # train/, where the training scripts lie

import stage1
import stage2
from handdiff_training.conditions import ConditionData
from handdiff_training.flags import FlagParser, run
from tqdm.auto import tqdm

from ablations.scores import Sampler, grid_scores, load_sampler, split_scores
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file

CONFIGS = Path(__file__).parents[1] / "configs" / "ablations"
VARIANTS = (
    "cascade",
    "single_stage",
    "vertex_space",
    "one_sample",
    "noised_truth",
    "clean_truth",
    "deterministic",
)
STAGE1 = "stage1"
POLL_SECONDS = 10


@dataclass
class Job:
    """Something to make, once.

    Attributes:
        name: for the progress line.
        made: the file that stands when it is made.
        needs: files that must stand before.
        make: makes it.
    """

    name: str
    made: Path
    needs: list[Path]
    make: Callable[[], None]


@contextmanager
def claimed(path: Path):
    """Whether this process alone holds `path`; released when the block ends, or the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run_jobs(jobs: list[Job], locks: Path) -> None:
    """Make what is not there, in order; what another process is at is left to it and waited for.

    Args:
        jobs: each after those that it needs.
        locks: folder that all processes share.
    """
    bar = tqdm(total=len(jobs), unit="job")
    pending = list(jobs)
    while pending:
        before = len(pending)
        for job in list(pending):
            if job.made.exists():
                pending.remove(job)
            elif all(path.exists() for path in job.needs):
                with claimed(locks / job.name.replace(" ", "-")) as mine:
                    if mine and not job.made.exists():
                        bar.write(job.name)
                        job.make()
                        pending.remove(job)
            bar.update(len(jobs) - len(pending) - bar.n)
        if len(pending) == before:
            bar.set_description("waiting for another process")
            time.sleep(POLL_SECONDS)
    bar.close()


class Ablations:
    """The jobs of one folder of runs."""

    def __init__(self, args: argparse.Namespace, training_flags: list[str]):
        self.args, self.training_flags = args, training_flags
        self.out = Path(args.out)

    def folder(self, name: str, seed: int) -> Path:
        """Of one run."""
        return self.out / f"{name}-seed{seed}"

    def stage1_folder(self, seed: int) -> Path:
        """The model folder of the stage 1 that the cascades of this seed use."""
        return Path(self.args.joint_denoiser) if self.args.joint_denoiser else self.folder(STAGE1, seed) / "model"

    def flags(self, name: str, seed: int) -> list[str]:
        """Of one training."""
        flags = ["--config", str(CONFIGS / f"{name}.yaml"), "--seed", str(seed), "--conditions", self.args.conditions]
        flags += ["--output_dir", str(self.folder(name, seed)), "--resume_from_checkpoint", "latest"]
        if name != STAGE1:
            flags += ["--joint_denoiser", str(self.stage1_folder(seed))]
            flags += ["--mesh_autoencoder", self.args.mesh_autoencoder]
        return flags + self.training_flags

    def train(self, name: str, seed: int) -> Job:
        """One training."""
        module = stage1 if name == STAGE1 else stage2
        needs = [] if name == STAGE1 else [self.stage1_folder(seed) / "config.json"]
        made = self.folder(name, seed) / "model" / "config.json"
        return Job(f"train {name}-seed{seed}", made, needs, lambda: module.main(self.flags(name, seed)) and None)

    def score(self, name: str, seed: int) -> Job:
        """Its figures on every set of --score_on."""

        def make():
            sampler = self.sampler(name, seed)
            sets = {label: split_scores(sampler, conditions, label, self.args) for label, conditions in self._sets()}
            scores = {**self._about(name, seed, sampler), "sets": sets}
            _write(self.folder(name, seed) / "scores.json", scores)

        folder = self.folder(name, seed)
        return Job(f"score {name}-seed{seed}", folder / "scores.json", [folder / "model" / "config.json"], make)

    def grid(self, seed: int) -> Job:
        """The default cascade at several numbers of hypotheses and steps, on the first set of --score_on."""

        def make():
            sampler = self.sampler("cascade", seed)
            label, conditions = next(iter(self._sets()))
            cells = grid_scores(sampler, conditions, self.args.grid_samples, self.args.sampling_seed)
            _write(folder / "grid.json", {**self._about("cascade", seed, sampler), "set": label, "cells": cells})

        folder = self.folder("cascade", seed)
        return Job(f"grid cascade-seed{seed}", folder / "grid.json", [folder / "model" / "config.json"], make)

    def sampler(self, name: str, seed: int) -> Sampler:
        """The trained run, ready to answer."""
        args = stage2.parse_flags(self.flags(name, seed))
        return load_sampler(args, self.folder(name, seed) / "model")

    def _sets(self) -> Iterable[tuple[str, ConditionData]]:
        for entry in self.args.score_on or [f"validation={self.args.conditions}:validation"]:
            label, _, place = entry.partition("=")
            folder, _, split = place.rpartition(":")
            if not (label and folder and split):
                raise InputError(f"--score_on: expected LABEL=FOLDER:SPLIT, got {entry!r}")
            yield label, ConditionData(folder, split, "--score_on")

    def _about(self, name: str, seed: int, sampler: Sampler) -> dict:
        steps = stage2.parse_flags(self.flags(name, seed)).max_train_steps
        return {
            "name": name,
            "seed": seed,
            "command": f"python train/ablations/ablate.py --only {name} --seeds {seed}",
            "stage1": "given" if self.args.joint_denoiser else "trained",
            "train_steps_stage2": steps,
            "parameters": sampler.parameter_counts(),
        }


def _write(path: Path, values: dict) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")


def parse_flags(argv=None) -> tuple[argparse.Namespace, list[str]]:
    """The flags of this script, and those that are meant for the trainings."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--conditions", default="corpora/conditions", help="folder of encode_corpus.py with train and validation")
    add("--mesh_autoencoder", default="runs/autoencoder/model", help="folder of the frozen autoencoder")
    add("--joint_denoiser", help="use this stage 1, which may have seen more than the others did; default: train one")
    add("--out", default="runs/ablations")
    add("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    add("--seeds", "--seed", type=int, nargs="+", default=[0, 1])
    add("--do", nargs="+", choices=["train", "score", "grid"], default=["train", "score", "grid"])
    add(
        "--score_on",
        nargs="+",
        metavar="LABEL=FOLDER:SPLIT",
        help="cached conditions; default: validation of --conditions",
    )
    add("--score_samples", type=int, help="score the first rows only")
    add("--grid_samples", type=int, default=300, help="rows for the grid of hypotheses and steps")
    add("--num_hypotheses", type=int, default=20)
    add("--num_inference_steps", type=int, default=10, help="of stage 1")
    add("--num_mesh_inference_steps", type=int, default=5, help="of stage 2")
    add("--sampling_seed", type=int, default=0)
    add("training_flags", nargs="*", help="after --: flags for all trainings")
    args = parser.parse_args(argv)
    return args, args.training_flags


def main(argv=None):
    """Parse the flags and make all that is missing."""
    args, training_flags = parse_flags(argv)
    runs = Ablations(args, training_flags)
    jobs: list[Job] = []
    if "train" in args.do:
        jobs += [runs.train(STAGE1, seed) for seed in args.seeds if not args.joint_denoiser]
        jobs += [runs.train(name, seed) for seed in args.seeds for name in args.only]
    if "score" in args.do:
        jobs += [runs.score(name, seed) for seed in args.seeds for name in args.only]
    if "grid" in args.do and "cascade" in args.only:
        jobs += [runs.grid(seed) for seed in args.seeds]
    run_jobs(jobs, runs.out / "locks")


if __name__ == "__main__":
    run(main)
