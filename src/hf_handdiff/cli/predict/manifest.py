"""Which files of a run are done already, for `--resume`."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hf_handdiff.cli.predict.files import InputFile
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hub.public import public_name
from hf_handdiff.json_files import parse_json

_END_BYTES = 65_536  # at each end of a file: enough to tell it from another of its size


class Manifest:
    """Which files of a run are done: one line of JSON each in `handdiff-done.jsonl` of the results, written afterwards.

    Every process writes a file of its own and reads those of all. A file is done if it has not been changed since, was
    done with the same settings, and its answers are there. No line tells where on the machine anything lies, so both
    folders may be moved; lines of older versions, which do, count too, until `renew` puts new ones in their place.

    Args:
        out: folder of the results.
        settings: whatever the answers depend on.
        process: number of this process.
    """

    def __init__(self, out: Path, settings: dict[str, Any], process: int = 0):
        self._out = out
        self._old_settings = json.loads(json.dumps(settings))
        self._settings = _without_places(self._old_settings)
        self._path = out / ("handdiff-done.jsonl" if process == 0 else f"handdiff-done-{process}.jsonl")

    def forget(self, files: Sequence[InputFile]) -> None:
        """Count none of the files as done by any process: they are about to be done anew."""
        names = {file.name for file in files}
        for path in self._paths():
            kept = [line for line in _json_lines(path) if line.get("name") not in names]
            _write_lines(path, kept)
            if not kept:
                path.unlink(missing_ok=True)

    def renew(self, files: Sequence[InputFile]) -> None:
        """Write the lines of older versions anew, those of `files` that are done; no other process may be writing."""
        by_name = {file.name: file for file in files}
        for path in self._paths():
            lines = _json_lines(path)
            old = [line for line in lines if _is_old(line) and self._holds(line, by_name)]
            if old:
                new = {id(line): self._line(by_name[line["name"]], line["answers"]) for line in old}
                _write_lines(path, [new.get(id(line), line) for line in lines])

    def done(self, files: Sequence[InputFile]) -> set[str]:
        """Names of those files that are done."""
        lines = [line for path in self._paths() for line in _json_lines(path)]
        by_name = {file.name: file for file in files}
        return {line["name"] for line in lines if self._holds(line, by_name)}

    def _paths(self) -> list[Path]:
        return sorted(self._out.glob("handdiff-done*.jsonl"))

    def add(self, file: InputFile, answers: list[str]) -> None:
        """Say that a file is done; `answers`: its result files, relative to the folder."""
        with open(self._path, "a+b") as manifest:
            torn = manifest.tell() > 0 and _last_byte(manifest) != b"\n"
            line = json.dumps(self._line(file, answers)).encode()
            manifest.write((b"\n" if torn else b"") + line + b"\n")

    def _line(self, file: InputFile, answers: list[str]) -> dict[str, Any]:
        return {"name": file.name, "answers": answers, "settings": self._settings, "file": _identity(file)}

    def _holds(self, line: dict[str, Any], files: dict[str, InputFile]) -> bool:
        file = files.get(line.get("name"))
        if file is None or line.get("settings") not in (self._settings, self._old_settings):
            return False
        same = line.get("file") == (_old_identity(file) if _is_old(line) else _identity(file))
        return same and all((self._out / answer).is_file() for answer in line.get("answers", [""]))


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with a checkpoint's folder and the boxes, whose names may be paths, told by digests."""
    from hf_handdiff.cli.pipeline_arguments import checkpoint_digest

    told = dict(settings)
    if told.get("checkpoint") is not None:
        told["checkpoint"] = public_name(checkpoint_digest(told["checkpoint"]))
    if told.get("boxes") is not None:
        told["boxes"] = "sha256:" + hashlib.sha256(json.dumps(told["boxes"], sort_keys=True).encode()).hexdigest()[:16]
    return told


def _identity(file: InputFile) -> dict[str, Any] | None:
    """What tells a file from another one, or from itself after a change, wherever its folder lies."""
    try:
        status = os.stat(file.path)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(file.path, "rb") as content:
            ends = content.read(_END_BYTES)
            content.seek(max(0, status.st_size - _END_BYTES))
            ends += content.read(_END_BYTES)
    except OSError:
        return None
    return {
        "path": file.inside or Path(file.path).name,
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "ends": hashlib.sha256(ends).hexdigest()[:16],
    }


def _is_old(line: dict[str, Any]) -> bool:
    """Whether a line is an older version's: it told where the file lay, and not what its ends hold."""
    return isinstance(line.get("file"), dict) and "ends" not in line["file"]


def _old_identity(file: InputFile) -> dict[str, Any] | None:
    absolute = os.path.abspath(file.path)
    try:
        status = os.stat(absolute)
    except OSError:
        return None
    return {"path": absolute, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    with replace_file(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that a manifest writes; others are left out, such as the torn last one of a run cut off."""
    lines = []
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another run into the same folder has removed it
        return []
    for text in content.splitlines():
        try:
            line = parse_json(text, path.name, finite=False)
        except InputError:
            continue
        if isinstance(line, dict) and isinstance(line.get("name"), str) and _are_names(line.get("answers", [])):
            lines.append(line)
    return lines


def _are_names(answers: Any) -> bool:
    return isinstance(answers, list) and all(isinstance(answer, str) and "\0" not in answer for answer in answers)
