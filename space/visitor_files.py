"""Where visitors' uploads and results lie: one private folder of this run, which cleans and removes itself."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path

from hf_handdiff.errors import StorageError

KEEP_SECONDS = 3000
"""Age at which a file is removed, counted from its last use; with a sweep's delay less than an hour."""
SWEEP_SECONDS = 300


class VisitorFiles:
    """A new folder that only this user can read, made by `mkdtemp`: nobody knows its name before.

    No link is followed in it, and it is used only as long as it is the very folder that was made.

    Args:
        parent: where to make it; None: among the temporary files of this machine.
        keep_seconds: age at which files in it are removed.
    """

    def __init__(self, parent: str | os.PathLike | None = None, keep_seconds: float = KEEP_SECONDS):
        if parent is not None:
            Path(parent).mkdir(parents=True, exist_ok=True)
        self.path = Path(os.path.realpath(tempfile.mkdtemp(prefix="handdiff-space-", dir=parent)))
        self._made = _identity(self.path)
        self._keep_seconds = keep_seconds
        self._kept: set[str] = set()
        self._ended = threading.Event()
        atexit.register(self.close)

    def new_folder(self) -> Path:
        """An empty folder with a name that cannot be guessed.

        Raises:
            StorageError: the folder of this run is gone or was replaced.
        """
        if not self._is_ours():
            raise StorageError("The folder for results is gone from this server: the Space has to be started again.")
        return Path(tempfile.mkdtemp(dir=self.path))

    def keep_present(self) -> None:
        """What lies there now belongs to the page, not to a visitor: it stays until the end."""
        self._kept = {os.path.join(place, name) for place, _, names in os.walk(self.path) for name in names}

    def start_sweeping(self) -> None:
        """Sweep every `SWEEP_SECONDS` in a thread, until `close`."""
        threading.Thread(target=self._sweep_until_end, name="visitor-files", daemon=True).start()

    def sweep(self) -> None:
        """Remove the files that were not used for `keep_seconds`, and folders that have been empty for as long."""
        if not self._is_ours():
            return
        os.utime(self.path)  # cleaners of temporary folders leave alone what is in use
        oldest = time.time() - self._keep_seconds
        for place, _, names in os.walk(self.path, topdown=False):
            for name in names:
                path = os.path.join(place, name)
                if path not in self._kept and _last_change(path) < oldest:
                    _quietly(os.unlink, path)
            if place != str(self.path) and _last_change(place) < oldest:
                _quietly(os.rmdir, place)  # fails where something is in it

    def clear(self) -> None:
        """Remove all that is in it."""
        for entry in list(os.scandir(self.path)) if self._is_ours() else []:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                _quietly(os.unlink, entry.path)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._ended.set()
        if self._is_ours():
            shutil.rmtree(self.path, ignore_errors=True)

    def _sweep_until_end(self) -> None:
        while not self._ended.wait(SWEEP_SECONDS):
            self.sweep()

    def _is_ours(self) -> bool:
        return _identity(self.path) == self._made


def _identity(path: Path) -> tuple[int, ...] | None:
    """Device, number and owner of a folder; None: it is a link, no folder, or gone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_uid) if stat.S_ISDIR(found.st_mode) else None


def _last_change(path: str) -> float:
    """When it was last written, touched or moved here, seconds; a link counts itself, not what it points to."""
    try:
        found = os.lstat(path)
    except OSError:
        return float("inf")
    return max(found.st_mtime, found.st_ctime)


def _quietly(remove, path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
