"""Pushing a corpus to the Hub."""

from __future__ import annotations

from pathlib import Path

from pyarrow.parquet import ParquetFile

from hf_handdiff.data.corpus import find_shards
from hf_handdiff.data.shards import SKIPPED_SUFFIX
from hf_handdiff.errors import InputError
from hf_handdiff.hub.public import names_a_place
from hf_handdiff.hub.push import folder_files, prepare_repository, push_files


def push_corpus(
    folder: Path,
    repo_id: str,
    commit_message: str = "Upload corpus",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
) -> str:
    """Push a folder of Parquet shards as a data set, with its card.

    `{split}-skipped.json` stays: it tells of files that others do not have.

    Args:
        folder: with complete shards and README.md.
        repo_id: as for `push_checkpoint`, and so the others.
        commit_message: its first line.
        private: whether a new repository is private.
        token: None: that of `hf auth login`.
        revision: branch to push to, made if it is not there; None: main.

    Returns:
        The commit's address.

    Raises:
        InputError: there is no README.md: whoever shares images says where they come from and under which licence; or
            a file is a link, or tells a path of this machine or a token.
        FileNotFoundError: a shard is missing.
        StorageError: see `push_files`.
    """
    find_shards(folder)
    if not (folder / "README.md").is_file():
        raise InputError(
            f"folder: expected README.md in {folder}: the card that says where the images come from and under which "
            "licence they may be shared"
        )
    files = {path: file for path, file in folder_files(folder).items() if not path.endswith(SKIPPED_SUFFIX)}
    for path in files:
        if path.endswith(".parquet"):
            _refuse_image_paths(folder, path)
    repo_id = prepare_repository(repo_id, "dataset", private, token, revision)
    return push_files(files, repo_id, commit_message, "dataset", token, revision, source=folder)


def _refuse_image_paths(folder: Path, name: str) -> None:
    """Raise `InputError` if the rows of a shard say where on a machine their images lay."""
    with ParquetFile(folder / name) as shard:
        if "image.path" not in [shard.schema.column(number).path for number in range(len(shard.schema))]:
            return
        images = shard.read(columns=["image.path"])["image"].to_pylist()
    told = next((image["path"] for image in images if image and names_a_place(image["path"] or "")), None)
    if told is not None:
        raise InputError(f"folder: {name} holds the path {told} of an image, which is not for others; expected names")
