"""Writing a split of a corpus as Parquet shards: resumable, and with samples that cannot be used named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.errors import InputError
from hf_handdiff.files import remove_leftovers, replace_file
from hf_handdiff.json_files import read_json_object

SHARD_ROWS = 1000
SKIPPED_SUFFIX = "-skipped.json"


class BadSampleError(InputError):
    """The files of one sample are missing, damaged or do not belong together; the message names the file."""


class NotAnnotatedError(Exception):
    """A sample that its data set does not annotate, and so is no fault of anyone."""


@dataclass(frozen=True)
class ShardReport:
    """What became of the samples of one split.

    Attributes:
        split: name of the split.
        num_rows: rows that were written, in all runs together.
        not_annotated: sample id -> reason, of those that the data set does not annotate.
        bad: sample id -> reason, of those that were skipped because their files cannot be used.
        note: what else is to be said of the split.
    """

    split: str
    num_rows: int
    not_annotated: dict[str, str]
    bad: dict[str, str]
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.split}: {self.num_rows} rows"
        if self.not_annotated:
            text += f", {len(self.not_annotated)} frames without annotation left out"
        if self.bad:
            text += f", {len(self.bad)} bad samples skipped (see {_skipped_name(self.split)})"
        return f"{text}; {self.note}" if self.note else text


def count_shards(num_samples: int, shard_rows: int) -> int:
    """How many shards hold `num_samples` rows."""
    return -(-num_samples // shard_rows)


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """The file name of a shard, as `datasets` and the Hub know them."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.parquet"


def write_shards(
    out: str | Path,
    split: str,
    sample_ids: Sequence[str],
    make_row: Callable[[int], dict[str, Any]],
    settings: Mapping[str, Any],
    *,
    skip_bad: bool = False,
    num_workers: int = 1,
    shard_rows: int = SHARD_ROWS,
    progress: bool = True,
    root: Path | None = None,
) -> ShardReport:
    """Write the rows of samples 0 .. len(sample_ids) - 1, in that order, to shards in the folder `out`.

    A shard holds the rows of `shard_rows` samples, fewer where some were left out. Shards are written aside
    and renamed when complete; those that exist are kept, so that a run that was stopped is carried on by the
    same call. `{split}.json` holds the settings, `{split}-skipped.json` names the samples that were left out.

    Args:
        out: folder, made if missing.
        split: name of the split.
        sample_ids: their names, for messages and records.
        make_row: index -> row of `CORPUS_FEATURES`; raises `BadSampleError` or `NotAnnotatedError`. Called by
            several threads where `num_workers` is above 1.
        settings: whatever decides what the rows hold.
        skip_bad: leave bad samples out instead of stopping at the first.
        num_workers: threads; what is written does not depend on it.
        shard_rows: samples a shard.
        progress: show a progress bar on standard error.
        root: where the samples' files lie; `{split}-skipped.json` names them relative to it.

    Raises:
        BadSampleError: a sample cannot be used, and `skip_bad` is False.
        InputError: `out` cannot be used or holds a corpus of other settings, a count is below 1, or not one
            sample could be used.
    """
    for name, value in (("num_workers", num_workers), ("shard_rows", shard_rows)):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    out = _make_folder(out)
    digest = hashlib.sha256("\n".join(sample_ids).encode()).hexdigest()[:16]
    counts = {"split": split, "num_samples": len(sample_ids), "samples": digest, "shard_rows": shard_rows}
    claim_folder(out / f"{split}.json", {**settings, **counts})
    remove_leftovers(out)

    skipped = _Skipped(out / _skipped_name(split), root)
    num_shards = count_shards(len(sample_ids), shard_rows)
    with tqdm(total=len(sample_ids), unit="sample", desc=split, disable=not progress) as bar:
        for shard in range(num_shards):
            indices = range(shard * shard_rows, min((shard + 1) * shard_rows, len(sample_ids)))
            path = out / shard_name(split, shard, num_shards)
            if not path.exists():
                skipped.forget(sample_ids[index] for index in indices)
                rows = list(_rows(make_row, indices, sample_ids, skipped, skip_bad, num_workers, bar))
                skipped.save()
                write_rows(path, rows)
            else:
                bar.update(len(indices))
    num_rows = len(sample_ids) - len(skipped.not_annotated) - len(skipped.bad)
    if num_rows == 0:
        reason = next(iter([*skipped.bad.values(), *skipped.not_annotated.values()]), "there are none")
        raise InputError(f"{split}: not one of {len(sample_ids)} samples could be used; the first: {reason}")
    return ShardReport(split, num_rows, skipped.not_annotated, skipped.bad)


def _make_folder(out: str | Path) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: expected a folder that can be made, got {out} ({error.strerror})") from None
    return Path(out)


def claim_folder(path: Path, settings: dict[str, Any], what: str = "a corpus") -> None:
    """Write the settings of what a folder is to hold, or check that those there are the same.

    Raises:
        InputError: they are others; `what` names what the folder holds.
    """
    if path.exists():
        found = read_json_object(path, "out")
        names = sorted(set(found) | set(settings))
        different = [f"{name} {found.get(name)!r}, not {settings.get(name)!r}" for name in names
                     if found.get(name) != settings.get(name)]  # fmt: skip
        if different:
            raise InputError(f"out: {path.parent} holds {what} with {'; '.join(different)}: take another folder")
        return
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n")


# ---------------------------------------------------------------------------------------- samples left out


def _skipped_name(split: str) -> str:
    return f"{split}{SKIPPED_SUFFIX}"


_MOST_BYTES = 256_000_000  # a reason of some 100 bytes for each sample of the largest data sets


class _Skipped:
    """The record of the samples that were left out, kept in a file that exists only if there are any."""

    def __init__(self, path: Path, root: Path | None):
        self.path = path
        self._root = None if root is None else f"{root}{os.sep}"
        found = read_json_object(path, "out", most_bytes=_MOST_BYTES) if path.exists() else {}
        self.not_annotated: dict[str, str] = found.get("not_annotated", {})
        self.bad: dict[str, str] = found.get("bad", {})

    def reason(self, error: Exception) -> str:
        """Why a sample is left out, its files named relative to the root."""
        return str(error) if self._root is None else str(error).replace(self._root, "")

    def forget(self, sample_ids: Iterator[str]) -> None:
        for sample_id in sample_ids:
            self.not_annotated.pop(sample_id, None)
            self.bad.pop(sample_id, None)

    def save(self) -> None:
        if not self.not_annotated and not self.bad:
            self.path.unlink(missing_ok=True)
            return
        with replace_file(self.path) as temporary:
            temporary.write_text(json.dumps({"not_annotated": self.not_annotated, "bad": self.bad}, indent=1) + "\n")


# ------------------------------------------------------------------------------------------------- shards


def _rows(
    make_row: Callable[[int], dict[str, Any]],
    indices: range,
    sample_ids: Sequence[str],
    skipped: _Skipped,
    skip_bad: bool,
    num_workers: int,
    bar: tqdm,
) -> Iterator[dict[str, Any]]:
    """The rows of those samples that can be used; the others are noted in `skipped`."""

    def attempt(index: int) -> dict[str, Any] | Exception:
        try:
            return make_row(index)
        except (BadSampleError, NotAnnotatedError) as error:
            return error

    with _mapping(num_workers) as run:
        for index, row in zip(indices, run(attempt, indices), strict=True):
            bar.update()
            if isinstance(row, NotAnnotatedError):
                skipped.not_annotated[sample_ids[index]] = skipped.reason(row)
            elif not isinstance(row, Exception):
                yield row
            elif skip_bad:
                skipped.bad[sample_ids[index]] = skipped.reason(row)
            else:
                raise BadSampleError(f"{row} (--skip-bad leaves such samples out)")


@contextmanager
def _mapping(num_workers: int) -> Iterator[Callable]:
    """`map`, by several threads where wanted: images are decoded and resampled outside of Python's lock."""
    if num_workers == 1:
        yield map
        return
    with ThreadPoolExecutor(num_workers) as pool:
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows aside and rename them to `path`."""
    from datasets import Dataset

    columns = {name: [row[name] for row in rows] for name in CORPUS_FEATURES}
    with replace_file(path) as temporary, _without_inner_progress_bars():
        Dataset.from_dict(columns, features=CORPUS_FEATURES).to_parquet(str(temporary))


@contextmanager
def _without_inner_progress_bars() -> Iterator[None]:
    """`datasets` would show a bar of its own for every shard."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
