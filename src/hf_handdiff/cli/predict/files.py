"""The files that `handdiff predict` is to do, and what their answers are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from hf_handdiff.cli.predict.kinds import Kind, kind_of
from hf_handdiff.files import make_writable_folder

_LONGEST_NAME = 255 - len(".jsonl")
"""Bytes of a name to which the longest suffix is added; file systems take 255."""
_NAMED = 5
"""So many files of a kind that are left out are named."""


@dataclass(frozen=True)
class InputFile:
    """One file of a run.

    Attributes:
        path: where it is.
        name: of its answers, below the folder of the results; no other file of the run has it.
        inside: where it is in the folder that was named on the command line; None: it was named itself.
        is_video: whether it is to be read as a video.
    """

    path: str
    name: str
    inside: str | None = None
    is_video: bool = False


class OutputNames:
    """Hands out names of result files, so that no two results of a run share one.

    Two images called ``hand.jpg`` in different folders become ``hand`` and ``hand-2``. A name that a suffix would make
    longer than file systems take is cut, and ends in a digest of the whole of it.

    Args:
        stems: the names of all images of the run; they are kept free for them.
    """

    def __init__(self, stems: Iterable[str]):
        self._reserved = {_short(stem).casefold() for stem in stems}
        self._used: set[str] = set()

    def next_for(self, stem: str) -> str:
        """Return a name for an image called `stem`."""
        name = _short(stem)
        if name.casefold() not in self._used:
            self._used.add(name.casefold())
            return name
        return self._numbered(stem)

    def claim(self, name: str) -> str:
        """Return a name for a further result, that is no image's own."""
        short = _short(name)
        if self._is_free(short):
            self._used.add(short.casefold())
            return short
        return self._numbered(name)

    def _numbered(self, name: str) -> str:
        number = 2
        while not self._is_free(numbered := _short(f"{name}-{number}")):
            number += 1
        self._used.add(numbered.casefold())
        return numbered

    def _is_free(self, name: str) -> bool:
        return name.casefold() not in self._used and name.casefold() not in self._reserved


def _short(name: str) -> str:
    """A name of results whose last part leaves room for a suffix."""
    folder, slash, last = name.rpartition("/")
    data = os.fsencode(last)
    if len(data) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{folder}{slash}{os.fsdecode(_cut(data, _LONGEST_NAME - 9))}-{digest}"


def _cut(data: bytes, length: int) -> bytes:
    """At most so many bytes of UTF-8, without a part of a letter at the end."""
    while length and data[length] & 0xC0 == 0x80:
        length -= 1
    return data[:length]


def find_inputs(
    paths: Sequence[str], out: Path, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[InputFile], OutputNames]:
    """The files of a run: those that are named, and the images and videos in folders that are named.

    Folders are searched with all that is below them; their answers lie in folders of the same names below `out`.
    What lies in `out` itself is none of the input. A folder that holds nothing stands for itself: it is an input that
    cannot be done. What a file is, its content says.

    Args:
        paths: files and folders.
        out: folder of the results.
        tell: takes a line for the user on each folder, which names what is left out of it.

    Returns:
        The files, in an order that is the same in every process, and the names that they have taken.
    """
    found: list[tuple[str, PurePath, bool]] = []
    for path in paths:
        inside, left_out = _files_below(Path(path), out) if Path(path).is_dir() else ([], {})
        found += [(str(file), file.relative_to(path), is_video) for file, is_video in inside]
        if not inside:
            found.append((str(path), PurePath(Path(path).name), kind_of(Path(path)) is Kind.VIDEO))
        if left_out:
            tell(f"{path}: {_told(left_out, Path(path))}")
    stems = [place.with_suffix("").as_posix() if place.name else "" for _, place, _ in found]
    names = OutputNames(stems)
    files = [
        InputFile(path, names.next_for(stem), place.as_posix(), is_video)
        for (path, place, is_video), stem in zip(found, stems, strict=True)
    ]
    return files, names


def _files_below(folder: Path, out: Path) -> tuple[list[tuple[Path, bool]], dict[str, list[Path]]]:
    """The files of a folder that are done, each with whether it is a video, and the others by what they are."""
    answers = out.resolve()
    done, left_out = [], {}
    unread = left_out.setdefault("folders that cannot be opened", [])
    for parent, folders, names in os.walk(folder, onerror=lambda error: unread.append(Path(error.filename))):
        folders[:] = [name for name in folders if (Path(parent) / name).resolve() != answers]
        if Path(parent).resolve() == answers:
            continue
        left_out.setdefault("links to folders", []).extend(
            Path(parent) / name for name in folders if (Path(parent) / name).is_symlink()
        )
        for path in (Path(parent) / name for name in names):
            kind = Kind.HIDDEN if path.name.startswith(".") else kind_of(path)
            if kind.is_input:
                done.append((path, kind is Kind.VIDEO))
            else:
                left_out.setdefault(kind.value, []).append(path)
    return sorted(done), {kind: sorted(paths) for kind, paths in left_out.items() if paths}


def _told(left_out: dict[str, list[Path]], folder: Path) -> str:
    """One line that counts what is left out by its kind and names it, or the first of many."""
    parts = []
    for kind, paths in left_out.items():
        shown = ", ".join(path.relative_to(folder).as_posix() for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        parts.append(f"{len(paths)} {kind} ({shown}{more})")
    return f"left out {', '.join(parts)}"


def make_folder(folder: Path) -> None:
    """Make a folder of the results where it is missing.

    Raises:
        InputError: it cannot be made, or not be written into.
    """
    make_writable_folder(folder)


def with_suffix(stem: Path, suffix: str) -> Path:
    """The file of a name that may itself hold a dot."""
    return stem.with_name(f"{stem.name}.{suffix}")
