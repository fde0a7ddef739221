"""Reading and writing JSON files that are one long list of equal arrays, as FreiHAND and HO3D publish them.

The meshes of FreiHAND's training split are 1.5 GB of text, of which Python's `json` would make more than 6 GB
of lists and floats. Here the text is read in pieces, numbers straight into an array.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file

_PIECE_BYTES = 1 << 24
_LONGEST_NUMBER = 1 << 16  # bytes from one comma to the next, with brackets and spaces


def read_number_list(path: str | Path, shape: tuple[int, ...], dtype=np.float64) -> np.ndarray:
    """The arrays in a JSON file such as `training_xyz.json`.

    Args:
        path: the file: a list of N nested lists of numbers.
        shape: of each of them, e.g. (21, 3).
        dtype: of the result.

    Returns:
        (N, *shape) array.

    Raises:
        InputError: the file is missing, truncated, empty, cannot be read or holds something else; the message names
            it. Numbers too large for `dtype` become infinite, and NaN is read as such: check the result.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: expected a JSON list of arrays of shape {shape}")
    try:
        return _read(path, shape, dtype)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def write_number_list(path: str | Path, values: np.ndarray, decimals: int | None = None) -> None:
    """Write the arrays `values` (N, ...) as such a file, aside and then renamed.

    Args:
        path: the file.
        values: floating-point numbers.
        decimals: to which numbers are rounded; None: none are.
    """
    with replace_file(path) as aside, aside.open("w") as file:
        for number, entry in enumerate(np.asarray(values, np.float64)):
            file.write(", " if number else "[")
            file.write(json.dumps((entry if decimals is None else entry.round(decimals)).tolist()))
        file.write("]")


def _read(path: Path, shape: tuple[int, ...], dtype) -> np.ndarray:
    if not _last_bytes(path).rstrip().endswith(b"]"):
        raise InputError(f"{path} is truncated: its list has no end")
    parts, opened, closed = [], 0, 0
    for text in _pieces(path):
        opened, closed = opened + text.count(b"["), closed + text.count(b"]")
        with np.errstate(over="ignore"):
            parts.append(_numbers(text, path).astype(dtype))
    if opened != closed:
        raise InputError(f"{path} is truncated: {opened} brackets are opened and {closed} closed")
    numbers = np.concatenate(parts)
    count, rest = divmod(len(numbers), math.prod(shape))
    lists_of_one = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    if count == 0 or rest or opened != 1 + count * lists_of_one:
        raise InputError(f"{path} holds something else than a list of arrays of shape {shape}")
    return numbers.reshape(count, *shape)


def _last_bytes(path: Path, count: int = 64) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


def _pieces(path: Path):
    """The text of a file in pieces that end behind a comma, or at the end."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_PIECE_BYTES):
            text = rest + block
            cut = text.rfind(b",") + 1
            rest = text[cut:]
            if len(rest) > _LONGEST_NUMBER:
                raise InputError(f"{path} holds something else than numbers")
            if cut:
                yield text[:cut]
    if rest:
        yield rest


def _numbers(text: bytes, path: Path) -> np.ndarray:
    """Numbers in a piece of text, whatever the brackets between them."""
    bare = text.translate(None, b"[] \t\r\n").removesuffix(b",")
    if not bare:
        return np.zeros(0)
    try:
        numbers = np.fromstring(bare, sep=",")
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) != bare.count(b",") + 1:  # older numpy stops at the first that is no number
        raise InputError(f"{path} holds something else than numbers")
    return numbers
