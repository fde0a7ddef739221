"""Writing files so that a name never stands for half a file.

What is being written has a hidden name of its own, `.NAME-RANDOM.handdiff-part.SUFFIX`, and its process holds a lock
on it. A process that is killed leaves such a file behind; its lock goes with it, and whoever writes to the same folder
next removes it (`remove_leftovers`). What a living process holds stays, in whichever container it runs.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from hf_handdiff.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_MARK = ".handdiff-part"
_BEFORE = ".before"
_PART = re.compile(rf"\.(?P<name>.*)-[a-z0-9_]{{8}}{re.escape(_MARK)}(?P<suffix>\.[^.]*)?", re.DOTALL)
_LONGEST_NAME = 100  # bytes of a file's name that its temporary name repeats
_LONGEST_SUFFIX = 20  # a longer one says nothing of a format
_DEAD_AFTER_S = 24 * 3600.0  # where there are no locks: nothing is written for so long


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, rename it to `path`.

    If the block raises, the temporary file is removed and `path` stays as it was.  The temporary name keeps
    the suffix, for writers that choose the format by it.
    """
    path = Path(path)
    _remove_leftovers_once(os.path.abspath(path.parent))
    temporary, lock = _new_part(path.parent, path.stem, path.suffix)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        _let_go(lock)


@contextmanager
def replace_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give an empty folder beside `folder`; when the block ends well, it takes the place of `folder`.

    If the block raises, what it wrote is removed and `folder` stays as it was.
    """
    folder = Path(os.path.abspath(folder))
    with _folder_aside(folder, folder.parent) as aside:
        yield aside
        before, lock = Path(f"{aside}{_BEFORE}"), None
        if folder.exists():
            with suppress(BlockingIOError):
                lock = _hold(folder)  # it stays held under its other name
            os.replace(folder, before)
        try:
            os.replace(aside, folder)
        except OSError:
            if before.exists():
                os.replace(before, folder)
            raise
        finally:
            _let_go(lock)
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
    remove_leftovers(place)
    aside, lock = _new_part(place, folder.name, None)
    os.chmod(aside, 0o777 & ~_umask())
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _let_go(lock)


@contextmanager
def held_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Make an empty folder and hold it until the block ends: `remove_leftovers` of other processes leaves it alone.

    What a killed process left in its place is removed first.

    Raises:
        InputError: a living process holds the folder.
    """
    folder, lock = Path(folder), None
    try:
        while lock is None or not _is_still(folder, lock):  # between making and lock another may have removed it
            _let_go(lock)
            if folder.exists():
                lock = _hold(folder)
                shutil.rmtree(folder, ignore_errors=True)
                _let_go(lock)
            folder.mkdir(parents=True)
            lock = _hold(folder)
            if lock is None:  # a file system without locks
                break
    except BlockingIOError:
        raise InputError(f"{folder.parent}: another process is writing {folder.name} there") from None
    try:
        yield folder
    finally:
        _let_go(lock)


def remove_leftovers(folder: str | os.PathLike, also: re.Pattern[str] | None = None) -> int:
    """Remove what killed processes were writing in a folder, not in those below it.

    A folder that was about to be replaced when its process was killed gets its place back. Only names that this module
    gives, and those that match `also` as a whole, are looked at. Where the file system has no locks, what has not
    changed for a day counts as left behind.

    Args:
        folder: may be missing.
        also: names of folders that `held_folder` makes.

    Returns:
        How many files and folders were removed.
    """
    patterns = [_PART] if also is None else [_PART, also]
    try:
        names = [name for name in os.listdir(folder) if any(pattern.fullmatch(name) for pattern in patterns)]
    except OSError:
        return 0
    return sum(_remove_if_left(Path(folder) / name) for name in sorted(names))


@lru_cache(maxsize=1024)
def _remove_leftovers_once(folder: str) -> int:
    return remove_leftovers(folder)


def _remove_if_left(path: Path) -> bool:
    """Remove a temporary file or folder unless a living process holds it; whether it was removed."""
    if path.is_symlink():
        return False
    try:
        lock = _hold(path)
    except (BlockingIOError, FileNotFoundError):
        return False
    try:
        if lock is None and time.time() - _last_change(path) < _DEAD_AFTER_S:
            return False
        if _takes_its_place_back(path):
            return False
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return not path.exists()
    except OSError:  # not ours to remove
        return False
    finally:
        _let_go(lock)


def _takes_its_place_back(path: Path) -> bool:
    """Put the old folder back, if `path` is one and the new one never came; whether that is so."""
    found = _PART.fullmatch(path.name)
    if not (found and found["suffix"] == _BEFORE and path.is_dir()):
        return False
    target = path.with_name(found["name"])
    if target.exists():
        return False
    if len(os.fsencode(found["name"])) < _LONGEST_NAME:  # else its name is not known whole
        os.replace(path, target)
    return True


def _last_change(path: Path) -> float:
    """When a file, or anything in a folder, was last changed, in seconds of the clock."""
    times = [0.0]
    for part in (path, *path.rglob("*")):
        with suppress(OSError):
            times.append(part.stat().st_mtime)
    return max(times)


def _new_part(place: Path, name: str, suffix: str | None) -> tuple[Path, int | None]:
    """A new temporary file in `place`, or a folder if `suffix` is None, and the lock on it."""
    encoded = os.fsencode(name)  # names need not be UTF-8
    cut = encoded if len(encoded) <= _LONGEST_NAME else encoded[:_LONGEST_NAME].decode(errors="ignore").encode()
    prefix = "." + os.fsdecode(cut) + "-"
    if suffix is not None and len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        suffix = ""
    while True:
        if suffix is None:
            part = Path(tempfile.mkdtemp(prefix=prefix, suffix=_MARK, dir=place))
        else:
            handle, path = tempfile.mkstemp(prefix=prefix, suffix=_MARK + suffix, dir=place)
            os.close(handle)
            part = Path(path)
        # between its making and its lock another process may have taken it for left behind
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _hold(part)
            if lock is None or _is_still(part, lock):
                return part, lock
            _let_go(lock)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _hold(path: Path) -> int | None:
    """Lock a file or folder until the handle is closed or the process ends; None: that cannot be done here.

    Raises:
        BlockingIOError: it is locked already.
        FileNotFoundError: it is not there.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # NFS locks what may be written
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle


def _let_go(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def make_writable_folder(folder: str | os.PathLike, name: str = "--out") -> Path:
    """Make a folder where it is missing, and see that files can be written into it: before the work, not after it.

    Args:
        folder: the folder.
        name: what it was given as, for the message.

    Raises:
        InputError: it cannot be made, or not be written into.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name}: '{folder}' cannot be made a folder ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(f"{name}: '{folder}' cannot be written into (permission denied)")
    return Path(folder)


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
