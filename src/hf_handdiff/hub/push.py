"""Pushing to the Hub: everything in one commit, so that nobody ever sees half of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token

from hf_handdiff.errors import InputError
from hf_handdiff.hub.errors import hub_errors
from hf_handdiff.hub.public import private_text
from hf_handdiff.json_files import read_json_object

_NO_TEXT = (".safetensors", ".parquet", ".png", ".jpg", ".jpeg", ".webp", ".npz")
_LARGEST_TEXT = 256 * 2**20  # bytes; what is larger is none


def prepare_repository(
    repo_id: str,
    repo_type: str = "model",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
) -> str:
    """Make the repository, and its branch `revision`, where they are not there.

    Args:
        repo_id: "owner/name", or "name" for your own namespace.
        repo_type: "model", "dataset" or "space".
        private: whether a new one is private.
        token: None: that of `hf auth login`.
        revision: a branch; None: main.

    Returns:
        "owner/name".

    Raises:
        StorageError: the token is refused, the Hub cannot be reached, or it refuses.
    """
    with hub_errors("repo_id", repo_id, writing=True):
        api = HfApi(token=token)
        full_id = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(full_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return full_id


def push_files(
    files: Mapping[str, Path | bytes],
    repo_id: str,
    commit_message: str,
    repo_type: str = "model",
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    source: Path | None = None,
) -> str:
    """Push files to a repository that is there, in one commit.

    Args:
        files: path in the repository -> file or content.
        repo_id: "owner/name".
        commit_message: its first line.
        repo_type: "model", "dataset" or "space".
        token: None: that of `hf auth login`.
        revision: a branch; None: main.
        create_pr: open a pull request instead.
        source: the folder that they come from, whose path no file may tell.

    Returns:
        The commit's address, or the pull request's.

    Raises:
        InputError: the metadata in README.md are not what the Hub takes, or a file tells a path of this machine or a
            token.
        StorageError: the token is refused, the Hub cannot be reached, or it refuses; nothing was pushed.
    """
    _refuse_private(files, token, source)
    operations = [
        CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
        for path, content in files.items()
    ]
    with hub_errors("repo_id", repo_id, writing=True):
        try:
            done = HfApi(token=token).create_commit(
                repo_id,
                operations,
                commit_message=commit_message,
                repo_type=repo_type,
                revision=revision,
                create_pr=create_pr,
            )
        except ValueError as error:
            if isinstance(error, OSError) or "README.md" not in str(error):
                raise
            raise InputError(f"README.md: the Hub does not take its metadata: {error}") from error
    return done.pr_url or done.commit_url


def folder_files(folder: str | os.PathLike) -> dict[str, Path]:
    """The files of a folder by their paths in it; hidden ones, such as those of a writing that broke off, left out.

    Raises:
        InputError: a file or folder in it is a link: what it leads to was perhaps never meant to be shared.
    """
    folder = Path(folder)
    files = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent) / name for name in sorted([*folders, *names]) if not name.startswith(".")):
            refuse_link(path, path.relative_to(folder).as_posix())
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path
    return dict(sorted(files.items()))


def refuse_link(path: Path, name: str) -> None:
    """Raise `InputError` if a path is a link, or what Windows calls a junction; `name` is for the message."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    junction = getattr(status, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)
    if stat.S_ISLNK(status.st_mode) or junction:
        raise InputError(f"folder: {name} is a link; expected files and folders alone: put a copy there to push it")


def _refuse_private(files: Mapping[str, Path | bytes], token: str | bool | None, source: Path | None) -> None:
    """Raise `InputError` if a text tells a path of this machine or a token; weights, shards and images hold neither."""
    places = [place for place in (Path.home(), source and source.resolve()) if place and len(place.parts) > 2]
    used = token if isinstance(token, str) else get_token()
    for name, content in files.items():
        if name.endswith(_NO_TEXT) or (isinstance(content, Path) and content.stat().st_size > _LARGEST_TEXT):
            continue
        text = content if isinstance(content, bytes) else content.read_bytes()
        found = private_text(text, places, used, is_json=name.endswith((".json", ".jsonl")))
        if found:
            raise InputError(f"folder: {name} holds {found}, which is not for others; take it out to push the rest")


def push_checkpoint(
    folder: Path,
    repo_id: str,
    commit_message: str = "Upload checkpoint",
    private: bool | None = None,
    token: str | bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    more_files: Mapping[str, Path | bytes] | None = None,
) -> str:
    """Push the folder of a pipeline with its card: its own README.md, else that of the repository, else a new one.

    Args:
        folder: that `save_pretrained` of a pipeline wrote; `results.json` in it, of `handdiff evaluate`, is told on
            a new card.
        repo_id: "owner/name", or "name" for your own namespace; made if it is not there.
        commit_message: its first line.
        private: whether a new repository is private.
        token: None: that of `hf auth login`.
        create_pr: open a pull request instead.
        revision: branch to push to, made if it is not there; None: main.
        more_files: path in the repository -> file or content, to go with it.

    Returns:
        The commit's address, or the pull request's.

    Raises:
        InputError: `results.json` or the metadata of README.md cannot be used, or a file is a link, or tells a path of
            this machine or a token, or holds the triangles of a hand that may not be passed on.
        StorageError: see `push_files`.
    """
    from hf_handdiff.hub.cards import pipeline_card
    from hf_handdiff.hub.terms import refuse_users_triangles

    refuse_users_triangles(folder)
    files: dict[str, Path | bytes] = {**folder_files(folder), **(more_files or {})}
    repo_id = prepare_repository(repo_id, private=private, token=token, revision=revision)
    if "README.md" not in files:
        with hub_errors("repo_id", repo_id, writing=True):
            has_card = HfApi(token=token).file_exists(repo_id, "README.md", revision=revision)
        if not has_card:
            files["README.md"] = str(pipeline_card(folder, read_results(folder), repo_id=repo_id)).encode()
    return push_files(
        files, repo_id, commit_message, token=token, create_pr=create_pr, revision=revision, source=folder
    )


def read_results(folder: Path) -> dict | None:
    """What `results.json` in `folder` says; None where there is none.

    Raises:
        InputError: it is not JSON, or no object.
    """
    file = folder / "results.json"
    if not file.is_file():
        return None
    return read_json_object(file, "results.json", "of figures", finite=False)  # older runs wrote NaN
