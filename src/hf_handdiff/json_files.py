"""Reading JSON that others wrote: whatever is in the file, it is a value or one sentence."""

from __future__ import annotations

import json
import math
import os
import reprlib
from typing import Any

from hf_handdiff.errors import InputError

MOST_BYTES = 16_000_000
"""Larger files are refused: nothing that is read here needs as much, and lists take twenty times their text."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlong = 40


def read_json(path: str | os.PathLike, name: str, finite: bool = True, most_bytes: int = MOST_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: the file, UTF-8 (UTF-16 and UTF-32 are recognised).
        name: what the file was given as, for the message.
        finite: see `parse_json`.
        most_bytes: size above which it is not read.

    Raises:
        InputError: the file cannot be read, is too large or is not JSON, in one sentence with its path.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(most_bytes + 1)  # not by its size, which a pipe or a device does not tell
    except OSError as error:
        raise InputError(f"{name}: '{path}' cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{name}: {shown(os.fspath(path))} is not the name of a file") from None
    if len(text) > most_bytes:
        raise InputError(f"{name}: '{path}' is too large, expected at most {most_bytes / 1e6:g} MB of JSON")
    return parse_json(text, f"{name}: '{path}'", finite)


def read_json_object(path: str | os.PathLike, name: str, holding: str = "", **options) -> dict[str, Any]:
    """The object, as a dictionary, in a JSON file.

    Args:
        path, name, **options: as for `read_json`.
        holding: what the object is expected to be, such as "that maps names to boxes".

    Raises:
        InputError: as for `read_json`, or the file holds something else.
    """
    value = read_json(path, name, **options)
    if not isinstance(value, dict):
        raise InputError(
            f"{name}: '{path}' holds a {type(value).__name__}; expected an object{holding and ' ' + holding}"
        )
    return value


def parse_json(text: str | bytes, name: str, finite: bool = True) -> Any:
    """The value that JSON text stands for.

    Args:
        text: the JSON.
        name: what holds it, for the message.
        finite: refuse NaN, Infinity and numbers too large for a float, whole ones too; otherwise they are
            what `json` makes of them.

    Raises:
        InputError: it is not JSON, is nested too deeply, or holds a number that is refused.
    """
    checks = {"parse_constant": _no_number, "parse_float": _float, "parse_int": _int} if finite else {}
    try:
        return json.loads(text, **checks)
    except RecursionError:
        raise InputError(f"{name} is not JSON that can be read: its brackets are nested too deeply") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is not JSON: expected text in UTF-8") from None
    except ValueError as error:  # besides what is no JSON: a whole number of thousands of digits
        raise InputError(f"{name} is not JSON ({error})") from None


def finite_numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """A list or tuple of `count` finite numbers, which may be written as text; None where it is something else."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    if any(isinstance(value, bool) for value in values):
        return None
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def shown(value: Any) -> str:
    """A value as a message shows it: short, whatever it is."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _no_number(literal: str) -> None:
    raise ValueError(f"expected finite numbers, got {literal}")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(shown(text))
    return number


def _int(text: str) -> int:
    try:
        number = int(text)
        float(number)
    except (ValueError, OverflowError):
        raise ValueError(f"expected finite numbers, got one of {len(text)} digits") from None
    return number
