"""Writing files so that a name never stands for half a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_handdiff.errors import InputError


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, rename it to `path`.

    If the block raises, the temporary file is removed and `path` stays as it was.  The temporary name keeps
    the suffix, for writers that choose the format by it.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give an empty folder beside `folder`; when the block ends well, it takes the place of `folder`.

    If the block raises, what it wrote is removed and `folder` stays as it was.
    """
    folder = Path(os.path.abspath(folder))
    with _folder_aside(folder, folder.parent) as aside:
        yield aside
        before = Path(f"{aside}.before")
        if folder.exists():
            os.replace(folder, before)
        try:
            os.replace(aside, folder)
        except OSError:
            if before.exists():
                os.replace(before, folder)
            raise
        shutil.rmtree(before, ignore_errors=True)


@contextmanager
def add_to_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give an empty folder on the same disk; when the block ends well, its files move into `folder`.

    Files of `folder` that the block does not write stay. If the block raises, all of them stay as they were. Files
    at the top are moved last: `model_index.json` never names parts that are not there yet.
    """
    folder = Path(os.path.abspath(folder))
    place = folder if folder.is_dir() else folder.parent  # `folder` may be a disk of its own
    with _folder_aside(folder, place) as aside:
        yield aside
        if not folder.exists():
            os.replace(aside, folder)
            return
        written = [path for path in sorted(aside.rglob("*")) if path.is_file()]
        for path in sorted(written, key=lambda path: -len(path.relative_to(aside).parts)):
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


@contextmanager
def _folder_aside(folder: Path, place: Path) -> Iterator[Path]:
    """A new hidden folder in `place`, named after `folder`; removed in the end if it is still there."""
    place.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=place))
    os.chmod(aside, 0o777 & ~_umask())
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def replace_between_marks(path: str | os.PathLike, name: str, text: str) -> None:
    """Put `text` between the lines `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a Markdown file.

    Raises:
        InputError: the marks are not there, each once and in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before = Path(path).read_text() if Path(path).is_file() else ""
    if before.count(begin) != 1 or before.count(end) != 1 or before.index(begin) > before.index(end):
        raise InputError(f"path: expected a file with {begin} and then {end}, each once, got {path}")
    head, tail = before.split(begin)[0], before.split(end)[1]
    with replace_file(path) as temporary:
        temporary.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def _umask() -> int:
    """Return the umask of the process; it can only be read by setting it."""
    current = os.umask(0)
    os.umask(current)
    return current
