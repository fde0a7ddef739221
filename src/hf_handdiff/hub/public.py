"""What may be told to others: names instead of paths of a machine, and no secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_SECRET_FLAG = re.compile(r"(^|_)(token|secret|password|key)$")
_HUB_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")
# a whole string of JSON that is an absolute path, such as "/data/hands/model" or "C:\\hands\\model"
_JSON_PATH = re.compile(rb'"((?:/[^"/\\\n]+/|~/|[A-Za-z]:(?:/|\\\\))[^"\n]*)"')


def names_a_place(text: str) -> bool:
    """Whether a text is a path that tells of the machine: absolute, from a home folder, or up out of this folder."""
    path, on_windows = PurePosixPath(text), PureWindowsPath(text)
    upward = ".." in path.parts or ".." in on_windows.parts
    return path.is_absolute() or text.startswith(("~", "file:")) or upward or bool(on_windows.drive)


def public_name(text: str) -> str:
    """A path that tells of the machine by its last name alone; anything else as it is."""
    if not names_a_place(text):
        return text
    return PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name


def public_checkpoint(checkpoint: str) -> str:
    """A checkpoint as an answer names it: a local folder by its last name, a Hub repository as "owner/name"."""
    folder = Path(checkpoint)
    return folder.resolve().name if folder.is_dir() else public_name(checkpoint)


def public_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a run without secrets, paths by their last names; what is neither number nor text is left out."""
    kept = {
        name: value
        for name, value in flags.items()
        if not _SECRET_FLAG.search(name) and isinstance(value, (int, float, str, bool, type(None)))
    }
    return {name: public_name(value) if isinstance(value, str) else value for name, value in kept.items()}


def private_text(content: bytes, places: Iterable[Path], token: str | None = None, is_json: bool = False) -> str | None:
    """What a file must not tell to others, in words; None if there is nothing of it.

    Args:
        content: of the file.
        places: folders of this machine, absolute.
        token: that is in use.
        is_json: no value of it may be an absolute path; in prose one may be an example.
    """
    if _HUB_TOKEN.search(content) or (token and token.encode() in content):
        return "a token of the Hub"
    found = _JSON_PATH.search(content) if is_json else None
    if found:
        return f"the path {found[1].decode(errors='replace')}"
    for place in map(str, places):
        # as it is written in text, and in JSON
        if any(form.encode() in content for form in (place, place.replace("\\", "\\\\"))):
            return f"the path {place}"
    return None
