"""The files that `handdiff predict` is to do, and what their answers are called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from hf_handdiff.errors import InputError
from hf_handdiff.images import IMAGE_SUFFIXES
from hf_handdiff.video.reading import VIDEO_SUFFIXES


@dataclass(frozen=True)
class InputFile:
    """One file of a run.

    Attributes:
        path: where it is.
        name: of its answers, below the folder of the results; no other file of the run has it.
        inside: where it is in the folder that was named on the command line; None: it was named itself.
    """

    path: str
    name: str
    inside: str | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is to be read as a video."""
        return Path(self.path).suffix.lower() in VIDEO_SUFFIXES


class OutputNames:
    """Hands out names of result files, so that no two results of a run share one.

    Two images called ``hand.jpg`` in different folders become ``hand`` and ``hand-2``.

    Args:
        stems: the names of all images of the run; they are kept free for them.
    """

    def __init__(self, stems: Iterable[str]):
        self._reserved = {stem.casefold() for stem in stems}
        self._used: set[str] = set()

    def next_for(self, stem: str) -> str:
        """Return a name for an image called `stem`."""
        if stem.casefold() not in self._used:
            self._used.add(stem.casefold())
            return stem
        return self._numbered(stem)

    def claim(self, name: str) -> str:
        """Return a name for a further result, that is no image's own."""
        if name.casefold() not in self._used | self._reserved:
            self._used.add(name.casefold())
            return name
        return self._numbered(name)

    def _numbered(self, name: str) -> str:
        number = 2
        while f"{name}-{number}".casefold() in self._used | self._reserved:
            number += 1
        self._used.add(f"{name}-{number}".casefold())
        return f"{name}-{number}"


def find_inputs(paths: Sequence[str], out: Path) -> tuple[list[InputFile], OutputNames]:
    """The files of a run: those that are named, and the images and videos in folders that are named.

    Folders are searched with all that is below them; their answers lie in folders of the same names below `out`.
    What lies in `out` itself is none of the input. A folder that holds nothing stands for itself: it is an input that
    cannot be done.

    Args:
        paths: files and folders.
        out: folder of the results.

    Returns:
        The files, in an order that is the same in every process, and the names that they have taken.
    """
    found: list[tuple[str, PurePath]] = []
    for path in paths:
        inside = _files_below(Path(path), out) if Path(path).is_dir() else []
        found += [(str(file), file.relative_to(path)) for file in inside]
        if not inside:
            found.append((str(path), PurePath(Path(path).name)))
    stems = [place.with_suffix("").as_posix() if place.name else "" for _, place in found]
    names = OutputNames(stems)
    files = [
        InputFile(path, names.next_for(stem), place.as_posix())
        for (path, place), stem in zip(found, stems, strict=True)
    ]
    return files, names


def _files_below(folder: Path, out: Path) -> list[Path]:
    answers = out.resolve()
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if (Path(parent) / name).resolve() != answers]
        if Path(parent).resolve() == answers:
            continue
        files += [Path(parent) / name for name in names if _is_input(name)]
    return sorted(files)


def _is_input(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES


def make_folder(folder: Path) -> None:
    """Make a folder of the results where it is missing.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: '{folder}' cannot be made a folder ({error.strerror})") from None


def with_suffix(stem: Path, suffix: str) -> Path:
    """The file of a name that may itself hold a dot."""
    return stem.with_name(f"{stem.name}.{suffix}")
