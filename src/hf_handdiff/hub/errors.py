"""What the Hub's answers mean, in one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_handdiff.errors import InputError, NotFoundError, StorageError, first_line

_DISK_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def hub_errors(argument: str, repo_id: str | os.PathLike, writing: bool = False) -> Iterator[None]:
    """Within it, what fails on the way to the Hub or back is raised as one sentence that names `argument`.

    Args:
        argument: of the caller, such as "checkpoint".
        repo_id: the repository "owner/name" that is read or written.
        writing: whether it is written.

    Raises:
        NotFoundError: the repository, its revision or its file is not there, or may not be seen.
        StorageError: the token is refused, the Hub cannot be reached, or it refuses.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = explain(error, str(repo_id), writing)
        if found is None:
            raise
        kind, sentence = found
        raise kind(f"{argument}: {sentence}") from error


def explain(error: BaseException, repo_id: str, writing: bool = False) -> tuple[type[StorageError], str] | None:
    """Which of our errors `error` is and what it means for `repo_id`; None where it has nothing to do with the Hub.

    Libraries wrap each other's errors: all that led to `error` is looked at, what tells most first.
    """
    causes = list(chain(error))
    instead = "nothing was pushed" if writing else f"{repo_id} is not in the cache"

    def first(kind: type, status: int | None = None):
        matching = (e for e in causes if isinstance(e, kind))
        return next((e for e in matching if status is None or _status(e) == status), None)

    if first(HFValidationError):
        return StorageError, f"expected a repository owner/name, got {repo_id}"
    if (refused := first(HfHubHTTPError, 401)) and _had_token(refused):
        return StorageError, f"the Hub does not accept the token for {repo_id}: log in anew (hf auth login)"
    if first(GatedRepoError):
        return NotFoundError, f"{repo_id} is gated: ask for access on its page, and log in (hf auth login)"
    # datasets says so by an error of its own, without its cause
    if first(RepositoryNotFoundError) or any(type(e).__name__ == "DatasetNotFoundError" for e in causes):
        return NotFoundError, (
            f"there is no repository {repo_id} on the Hub that you may see: check its name, or log in (hf auth login) "
            "if it is private"
        )
    if first(RevisionNotFoundError):
        return NotFoundError, f"{repo_id} has no such revision: expected one of its branches, tags or commits"
    if first(LocalTokenNotFoundError) or first(HfHubHTTPError, 401):
        return StorageError, f"the Hub wants to know who you are for {repo_id}: log in (hf auth login) or pass a token"
    if first(HfHubHTTPError, 403):
        return StorageError, f"your token may not write to {repo_id}: expected a token with write access to it"
    missing = first(EntryNotFoundError)
    if missing is not None and not isinstance(missing, LocalEntryNotFoundError):
        return NotFoundError, f"{repo_id} has no file {_file_of(missing)}"
    if failed := first(HfHubHTTPError):
        return StorageError, f"the Hub refuses {repo_id} ({first_line(failed)})"
    if first(OfflineModeIsEnabled) or (constants.HF_HUB_OFFLINE and missing):
        return StorageError, f"the Hub is not asked (HF_HUB_OFFLINE is set), and {instead}"
    if any(is_no_connection(e) for e in causes):
        return StorageError, f"the Hub cannot be reached at {constants.ENDPOINT}, and {instead}"
    if missing:
        return NotFoundError, f"{repo_id} is not in the cache, or not all of it"
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, the latest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_no_connection(error: BaseException) -> bool:
    """Whether the other side was never reached: an error of the HTTP client, and not of an answer of the Hub."""
    return isinstance(error, HTTPError) and not isinstance(error, HfHubHTTPError)


def why_not_written(error: BaseException) -> str:
    """Why a file could not be written, such as "no space left on device"."""
    for cause in chain(error):
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return os.strerror(cause.errno).lower()
        if found := re.search(r"\(os error (\d+)\)", str(cause)):  # safetensors tells it in its text alone
            return os.strerror(int(found[1])).lower()
    return first_line(error)


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _had_token(error: HfHubHTTPError) -> bool:
    """Whether the request that was refused carried a token."""
    return "authorization" in error.response.request.headers


def _file_of(error: BaseException) -> str:
    url = str(getattr(getattr(error, "response", None), "url", ""))
    found = re.search(r"/resolve/[^/]+/([^?]+)", url)
    return found[1] if found else "of that name"
