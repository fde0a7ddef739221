"""Reading corpora: a folder of Parquet shards, or a repository on the Hub."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, interleave_datasets, load_dataset
from datasets.distributed import split_dataset_by_node
from pyarrow.parquet import read_metadata

from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.data.photo_feature import with_checked_photos
from hf_handdiff.hub.errors import hub_errors
from hf_handdiff.json_files import read_json_object

SPLITS = ("train", "validation", "test", "evaluation")


def load_corpus(
    path: str | Path,
    split: str | None = None,
    streaming: bool = False,
    columns: Iterable[str] = tuple(CORPUS_FEATURES),
) -> Dataset | DatasetDict | IterableDataset | IterableDatasetDict:
    """Read a corpus.

    Args:
        path: a folder with shards named `train-00000-of-00020.parquet` and the like, or a Hub id `owner/name`.
        split: "train", "validation", "test", ...; None for all that are there.
        streaming: read rows as they are asked for, instead of preparing an Arrow copy first.
        columns: those that must be there.

    Returns:
        A dataset with `LOADED_FEATURES`, or a dictionary of them by split. Other columns that would have to be decoded
        are left out, see `with_checked_photos`.

    Raises:
        FileNotFoundError: the folder holds no shard, an incomplete set of shards, or not the split; or there is no
            such repository on the Hub.
        StorageError: the Hub cannot be reached, or it refuses the token.
        ValueError: the columns are not those of a hand corpus, or there are no rows.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.exists() or str(path).count("/") != 1:
            raise FileNotFoundError(f"path: expected a folder of Parquet shards or a Hub id owner/name, got {path}")
        with hub_errors("path", path):
            corpus = load_dataset(str(path), split=split, streaming=streaming)
    else:
        shards = find_shards(folder)
        if split is not None and split not in shards:
            raise FileNotFoundError(f"split: {folder} has {sorted(shards) or 'no shards'}, not {split!r}")
        files = {name: [str(file) for file in paths] for name, paths in shards.items() if split in (None, name)}
        try:
            corpus = load_dataset("parquet", data_files=files, split=split, streaming=streaming)
        except ValueError:  # what `datasets` says of shards without rows means nothing to a user
            if any(read_metadata(file).num_rows for paths in files.values() for file in paths):
                raise
            raise ValueError(f"path: the data set is empty, the shards in {folder} have no rows") from None
    if isinstance(corpus, (DatasetDict, IterableDatasetDict)):
        return type(corpus)({name: _checked(part, path, columns) for name, part in corpus.items()})
    return _checked(corpus, path, columns)


def _checked(part: Dataset | IterableDataset, path: str | Path, columns: Iterable[str]) -> Dataset | IterableDataset:
    missing = sorted(set(columns) - set(part.column_names or columns))
    if missing:
        raise ValueError(f"path: {path} is not a hand corpus: the columns {', '.join(missing)} are missing")
    return with_checked_photos(part)


def mix_corpora(corpora: dict[str, float], split: str = "train", seed: int = 0, streaming: bool = False, **distributed):
    """Several corpora as one, each row drawn from one of them by weight, until one has no more rows.

    Args:
        corpora: {path or Hub id: weight}; weights are positive and need not sum to 1.
        split: the split of every one.
        seed: of the draw.
        streaming: see `load_corpus`.
        **distributed: `rank` and `world_size`: only this process's share of the rows.

    Returns:
        A dataset, or an iterable one when streaming.

    Raises:
        ValueError: no corpus, or a weight that is not positive.
        FileNotFoundError: see `load_corpus`.
    """
    if not corpora or min(corpora.values()) <= 0:
        raise ValueError(f"corpora: expected at least one path with a positive weight, got {corpora}")
    total = sum(corpora.values())
    mixed = interleave_datasets(
        [load_corpus(path, split, streaming) for path in corpora],
        probabilities=[weight / total for weight in corpora.values()],
        seed=seed,
    )
    return split_dataset_by_node(mixed, **distributed) if distributed else mixed


def read_settings(path: str | Path, split: str) -> dict[str, Any]:
    """What `{split}.json` beside the shards says of how they were made; empty where there is none, as on the Hub.

    Raises:
        InputError: the file holds something else.
    """
    file = Path(path) / f"{split}.json"
    if not file.is_file():
        return {}
    return read_json_object(file, "data", f"with the settings of the split {split!r}", finite=False)


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """The shards of each split in `folder`, in order; raises FileNotFoundError where a set is incomplete."""
    shards: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*-of-*.parquet")):
        if not file.name.startswith("."):
            shards.setdefault(file.name.split("-")[0], []).append(file)
    if not shards:
        raise FileNotFoundError(f"path: {folder} holds no Parquet shards (such as train-00000-of-00001.parquet)")
    for split, files in shards.items():
        expected = int(files[0].stem.split("-")[-1])
        if len(files) != expected:
            raise FileNotFoundError(f"path: {folder} holds {len(files)} of the {expected} shards of {split!r}")
    return shards
