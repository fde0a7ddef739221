"""Writing a synthetic corpus: Parquet shards made by worker processes, resumable, in any order."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from hf_handdiff.data.shards import SHARD_ROWS, claim_folder, count_shards, shard_name, write_rows
from hf_handdiff.files import remove_leftovers
from hf_handdiff.synthetic.card import write_card
from hf_handdiff.synthetic.kinds import write_kinds
from hf_handdiff.synthetic.processes import run_jobs

PROGRESS_ROWS = 10
GENERATOR_VERSION = 5


def write_corpus(
    out: str | Path,
    num_samples: int,
    seed: int,
    num_workers: int = 1,
    split: str = "train",
    *,
    shard_rows: int = SHARD_ROWS,
    shards: range | None = None,
    progress: bool = True,
) -> Path:
    """Make samples 0 .. num_samples - 1 of `seed` and write them to the folder `out`.

    Shards of `shard_rows` rows are written aside and renamed when complete; shards that exist are skipped,
    so that a run that was stopped is carried on by the same command. What is written depends on the seed,
    the split and the counts alone, not on `num_workers`. Whoever completes a split writes its card.

    Args:
        shards: numbers of the shards to make, for one task of an array job; None: all.

    Raises:
        ValueError: a count is not positive, there are no such `shards`, or `out` holds a corpus made with
            other settings.
    """
    for name, value in (
        ("num_samples", num_samples),
        ("num_workers", num_workers),
        ("shard_rows", shard_rows),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    out = Path(out)
    count = count_shards(num_samples, shard_rows)
    shards = range(count) if shards is None else shards
    if not shards or min(shards) < 0 or max(shards) >= count:
        raise ValueError(f"shards: expected some of 0:{count}, got {shards.start}:{shards.stop}")
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "generator": "hf_handdiff.synthetic",
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "num_samples": num_samples,
        "shard_rows": shard_rows,
        "split": split,
    }
    remove_leftovers(out)
    claim_folder(out / f"{split}.json", settings)
    every_job = [
        (out / shard_name(split, shard, count), seed, shard * shard_rows, min((shard + 1) * shard_rows, num_samples))
        for shard in shards
    ]
    jobs = [job for job in every_job if not job[0].exists()]
    total, todo = (sum(stop - start for _, _, start, stop in some) for some in (every_job, jobs))
    with tqdm(total=total, initial=total - todo, unit="sample", disable=not progress) as bar:
        run_jobs(partial(_work, split), jobs, todo, num_workers, bar)
    if jobs or not (out / "README.md").exists():
        write_card(out)
    return out


def _work(split: str, jobs: Iterable[tuple], report: Callable[[int], None]) -> None:
    """Make the shards of `jobs`, telling `report` how many rows were made since it was last told."""
    from hf_handdiff.synthetic.assets import SceneAssets

    assets = SceneAssets.load(split)
    for job in jobs:
        _write_shard(*job, assets, report)


def _write_shard(path: Path, seed: int, start: int, stop: int, assets, report) -> None:
    """Rows `start` .. `stop` - 1, written aside and renamed to `path`; before them, of what kinds they are."""
    from hf_handdiff.synthetic.generator import generate_scene

    rows, kinds = [], []
    for index in range(start, stop):
        scene = generate_scene(seed, index, assets)
        rows.append(scene.row)
        kinds.append(list(scene.kinds))
        if (index + 1 - start) % PROGRESS_ROWS == 0 or index + 1 == stop:
            report((index - start) % PROGRESS_ROWS + 1)
    write_kinds(path, kinds)
    write_rows(path, rows)
