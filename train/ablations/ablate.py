"""Train the variants that the cascade is compared with, and score them all alike: the fitted answer, on images.

    python train/encode_corpus.py --corpus corpora/unseen --out corpora/conditions
    python train/encode_corpus.py --corpus corpora/unseen --out corpora/estimates --estimates
    python train/ablations/ablate.py --conditions corpora/conditions --estimates corpora/estimates \
        --score_on synthetic=corpora/synthetic:test realistic=data/realistic_test:test

Data, steps and parameters are equal: see the configs in train/configs/ablations. What is there already is not made
again, a stopped training goes on where it stood, and several of these commands can share the work of one folder:
each takes what no other has taken. Flags after `--` go to all trainings.

Variants without joints learn from the encoder's estimates of the 2D points, as they get them; the others from points as
likely as those that each hypothesis draws. `--conditions` and `--estimates` are of the same images, each with train and
validation.

Writes NAME-seedS/model and NAME-seedS/scores.json; table.py makes tables of them.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # train/, where the training scripts lie

import stage1
import stage2
from handdiff_training.flags import BUNDLED, FlagParser, load_model, run
from tqdm.auto import tqdm

from ablations.scores import load_pipeline, parameter_counts, score
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.models import HandImageEncoder

CONFIGS = Path(__file__).parents[1] / "configs" / "ablations"
VARIANTS = (
    "cascade",
    "single_stage",
    "vertex_space",
    "one_sample",
    "noised_truth",
    "clean_truth",
    "deterministic",
    "no_consistency",
)
WITHOUT_JOINTS = ("single_stage", "deterministic")
STAGE1, FREE_STAGE1 = "stage1", "stage1_free"  # the second knows nothing of rays
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

    def stage1_folder(self, name: str, seed: int) -> Path:
        """The model folder of the stage 1 that a variant uses."""
        if self.args.joint_denoiser and name != "no_consistency":
            return Path(self.args.joint_denoiser)
        return self.folder(FREE_STAGE1 if name == "no_consistency" else STAGE1, seed) / "model"

    def flags(self, name: str, seed: int) -> list[str]:
        """Of one training."""
        conditions = self.args.estimates if name in WITHOUT_JOINTS else self.args.conditions
        steps = self.args.train_steps and self.args.train_steps * (2 if name in WITHOUT_JOINTS else 1)
        flags = ["--config", str(CONFIGS / f"{name}.yaml"), "--seed", str(seed), "--conditions", conditions]
        flags += ["--output_dir", str(self.folder(name, seed)), "--resume_from_checkpoint", "latest"]
        if steps:
            flags += ["--max_train_steps", str(steps), "--validation_steps", str(steps)]
        if name in VARIANTS:
            flags += ["--joint_denoiser", str(self.stage1_folder(name, seed))]
            flags += ["--mesh_autoencoder", self.args.mesh_autoencoder]
        return flags + self.training_flags

    def train(self, name: str, seed: int) -> Job:
        """One training."""
        module = stage2 if name in VARIANTS else stage1
        needs = [self.stage1_folder(name, seed) / "config.json"] if name in VARIANTS else []
        made = self.folder(name, seed) / "model" / "config.json"
        return Job(f"train {name}-seed{seed}", made, needs, lambda: module.main(self.flags(name, seed)) and None)

    def score(self, name: str, seed: int) -> Job:
        """Its figures on every set of --score_on."""

        def make():
            args = stage2.parse_flags(self.flags(name, seed))
            encoder = load_model(HandImageEncoder, self.args.image_encoder, "image_encoder").eval()
            steps = self.args.num_inference_steps, self.args.num_mesh_inference_steps
            pipeline = load_pipeline(args, folder / "model", encoder, steps)
            _write(
                folder / "scores.json",
                {
                    "name": name,
                    "seed": seed,
                    "command": f"python train/ablations/ablate.py --only {name} --seeds {seed}",
                    "stage1": "given" if self.args.joint_denoiser else "trained",
                    "train_steps_stage2": args.max_train_steps,
                    "parameters": parameter_counts(pipeline),
                    "sets": {label: score(pipeline, corpus, label, self.args) for label, corpus in self._sets()},
                },
            )

        folder = self.folder(name, seed)
        return Job(f"score {name}-seed{seed}", folder / "scores.json", [folder / "model" / "config.json"], make)

    def _sets(self) -> Iterable[tuple[str, Any]]:
        for entry in self.args.score_on:
            label, _, place = entry.partition("=")
            folder, _, split = place.rpartition(":")
            if not (label and folder and split):
                raise InputError(f"--score_on: expected LABEL=FOLDER:SPLIT, got {entry!r}")
            try:
                yield label, load_corpus(folder, split)
            except (OSError, ValueError) as error:
                raise InputError(f"--score_on: {error}") from error


def _write(path: Path, values: dict) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")


def parse_flags(argv=None) -> tuple[argparse.Namespace, list[str]]:
    """The flags of this script, and those that are meant for the trainings."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--conditions", default="corpora/conditions", help="folder of encode_corpus.py with train and validation")
    add("--estimates", default="corpora/estimates", help="the same, made with --estimates")
    add("--image_encoder", default=BUNDLED, help="that made both: folder or Hub id, to score with")
    add("--mesh_autoencoder", default="runs/autoencoder/model", help="folder of the frozen autoencoder")
    add("--joint_denoiser", help="use this stage 1, which may have seen more than the others did; default: train one")
    add("--out", default="runs/ablations")
    add("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    add("--seeds", "--seed", type=int, nargs="+", default=[0, 1])
    add("--train_steps", type=int, help="of stage 1 and of each stage 2; single stages get both; default: the configs'")
    add("--do", nargs="+", choices=["train", "score"], default=["train", "score"])
    add(
        "--score_on",
        nargs="+",
        metavar="LABEL=FOLDER:SPLIT",
        default=["realistic=data/realistic_test:test"],
        help="corpora of images; default: %(default)s",
    )
    add("--score_samples", type=int, help="score the first rows only")
    add("--num_hypotheses", type=int, default=20)
    add("--num_inference_steps", type=int, default=5, help="of stage 1")
    add("--num_mesh_inference_steps", type=int, default=4, help="of stage 2")
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
        first = [] if args.joint_denoiser or set(args.only) <= {*WITHOUT_JOINTS, "no_consistency"} else [STAGE1]
        first += [FREE_STAGE1] if "no_consistency" in args.only else []
        jobs += [runs.train(name, seed) for seed in args.seeds for name in first]
        jobs += [runs.train(name, seed) for seed in args.seeds for name in args.only]
    if "score" in args.do:
        jobs += [runs.score(name, seed) for seed in args.seeds for name in args.only]
    run_jobs(jobs, runs.out / "locks")


if __name__ == "__main__":
    run(main)
