"""Which files `handdiff predict` is to do, what their answers are called, and which of them are done already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hf_handdiff.files import replace_file
from hf_handdiff.video.reading import VIDEO_SUFFIXES

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif", ".jp2")


@dataclass(frozen=True)
class InputFile:
    """One file of a run.

    Attributes:
        path: where it is.
        name: of its answers, below the folder of the results; no other file of the run has it.
    """

    path: str
    name: str

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
    found: list[tuple[str, str]] = []
    for path in paths:
        inside = _files_below(Path(path), out) if Path(path).is_dir() else []
        found += [(str(file), file.relative_to(path).with_suffix("").as_posix()) for file in inside]
        if not inside:
            found.append((str(path), Path(path).stem))
    names = OutputNames(name for _, name in found)
    return [InputFile(path, names.next_for(name)) for path, name in found], names


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


class Ledger:
    """Which files of a run are done: one line of JSON each in `handdiff-done.jsonl` of the results, written afterwards.

    Every process writes a file of its own and reads those of all. A file is done if it has not been changed since, was
    done with the same settings, and its answers are there.

    Args:
        out: folder of the results.
        settings: whatever the answers depend on.
        process: number of this process.
    """

    def __init__(self, out: Path, settings: dict[str, Any], process: int = 0):
        self._out = out
        self._settings = json.loads(json.dumps(settings))
        self._path = out / ("handdiff-done.jsonl" if process == 0 else f"handdiff-done-{process}.jsonl")

    def forget(self, files: Sequence[InputFile]) -> None:
        """Count none of the files as done by any process: they are about to be done anew."""
        names = {file.name for file in files}
        for path in self._paths():
            kept = [line for line in _json_lines(path) if line.get("name") not in names]
            with replace_file(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            if not kept:
                path.unlink()

    def done(self, files: Sequence[InputFile]) -> set[str]:
        """Names of those files that are done."""
        lines = [line for path in self._paths() for line in _json_lines(path)]
        by_name = {file.name: file for file in files}
        return {line["name"] for line in lines if line.get("name") in by_name and self._holds(line, by_name)}

    def _paths(self) -> list[Path]:
        return sorted(self._out.glob("handdiff-done*.jsonl"))

    def add(self, file: InputFile, answers: list[str]) -> None:
        """Say that a file is done; `answers`: its result files, relative to the folder."""
        line = {"name": file.name, "answers": answers, "settings": self._settings, "file": _identity(file.path)}
        with open(self._path, "a+b") as ledger:
            torn = ledger.tell() > 0 and _last_byte(ledger) != b"\n"
            ledger.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")

    def _holds(self, line: dict[str, Any], files: dict[str, InputFile]) -> bool:
        same = line.get("settings") == self._settings and line.get("file") == _identity(files[line["name"]].path)
        return same and all((self._out / answer).is_file() for answer in line.get("answers", [""]))


def _identity(path: str) -> dict[str, Any] | None:
    """What tells a file from another one, or from itself after a change."""
    absolute = os.path.abspath(path)
    try:
        status = os.stat(absolute)
    except OSError:
        return None
    return {"path": absolute, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are JSON objects; the last one may be torn where a run was cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
