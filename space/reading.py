"""Reading what a visitor or a program sent: each value is checked, and what is wrong is said in one sentence."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

from answering import Settings

from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import JOINT_NAMES
from hf_handdiff.pipelines.defaults import AGGREGATIONS

SIDES = ("detect", "right", "left")
MOST_HYPOTHESES, MOST_LIVE_HYPOTHESES, MOST_STEPS = 50, 8, 50
MOST_SEED = 2**32 - 1
LARGEST_UPLOAD_MB = 30
_SHOWN_LETTERS = 40


def read_settings(side, hypotheses, joint_steps, mesh_steps, seed, aggregation, checkpoint: str) -> Settings:
    """The settings of an answer.

    Args:
        side: one of `SIDES`.
        hypotheses: 1 to `MOST_HYPOTHESES`.
        joint_steps, mesh_steps: denoising steps of the two stages, 1 to `MOST_STEPS`.
        seed: 0 to `MOST_SEED`.
        aggregation: one of `AGGREGATIONS`.
        checkpoint: what the JSON file calls the weights.

    Raises:
        InputError: a value is missing, of another kind, or out of its range.
    """
    return Settings(
        one_of(side, "side", SIDES),
        whole_number(hypotheses, "hypotheses", 1, MOST_HYPOTHESES),
        whole_number(joint_steps, "joint_steps", 1, MOST_STEPS),
        whole_number(mesh_steps, "mesh_steps", 1, MOST_STEPS),
        whole_number(seed, "seed", 0, MOST_SEED),
        one_of(aggregation, "aggregation", tuple(AGGREGATIONS)),
        checkpoint,
    )


def read_live_settings(side, hypotheses) -> Settings:
    """The settings of the live tab; raises as `read_settings`."""
    return Settings(one_of(side, "side", SIDES), whole_number(hypotheses, "hypotheses", 1, MOST_LIVE_HYPOTHESES))


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """A whole number low..high, also where it came as 5.0, or `InputError`."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or number != int(number):
        raise InputError(f"{name}: expected a whole number from {low} to {high}, got {shown(value)}.")
    return int(number)


def one_of(value: Any, name: str, allowed: Sequence[str]) -> str:
    """One of the allowed words, or `InputError`."""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name}: expected one of {', '.join(allowed)}, got {shown(value)}.")
    return value


def photo_source(payload: Any) -> str | bytes | None:
    """Where to read a photo: a path, or the content of a file that came along in a data address; None: no photo.

    Args:
        payload: what gradio hands on for an image: path and url, the path already found to be one of an upload.

    Raises:
        InputError: it is neither, or more than `LARGEST_UPLOAD_MB`.
    """
    if payload is None:
        return None
    path, url = (payload.get("path"), payload.get("url")) if isinstance(payload, dict) else (None, None)
    if isinstance(url, str) and url.startswith("data:"):
        return _content(url)
    if not isinstance(path, str) or not path:
        raise InputError(f"photo: expected a file that was uploaded to this Space, got {shown(payload)}.")
    return path


def table_rows(payload: Any) -> list[list[Any]]:
    """The rows of an edited table of keypoints: 21 of joint, x, y, score; or `InputError`."""
    rows = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"keypoints: expected a table of {len(JOINT_NAMES)} rows, got {shown(payload)}.")
    return rows


def joint_number(value: Any) -> int | None:
    """The number of a joint, or None where none is chosen; or `InputError`."""
    return None if value is None else whole_number(value, "joint", 0, len(JOINT_NAMES) - 1)


def clicked_place(index: Any) -> tuple[float, float]:
    """Where a picture was clicked, px of the picture; or `InputError`."""
    numbers = [value for value in index if isinstance(value, (int, float))] if isinstance(index, list | tuple) else []
    if len(numbers) != 2 or not all(abs(value) < 1e5 for value in numbers):
        raise InputError(f"click: expected x and y in pixels of the picture, got {shown(index)}.")
    return float(numbers[0]), float(numbers[1])


def shown(value: Any) -> str:
    """A value as an error message shows it: short."""
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) > 10**_SHOWN_LETTERS:
        return "a number that is too large"
    text = f"“{value}”" if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…"


def _content(address: str) -> bytes:
    """The bytes of a data address."""
    head, _, text = address.partition(",")
    if len(text) > LARGEST_UPLOAD_MB * 1e6 * 4 / 3 + 4:
        raise InputError(f"photo: the file is too large; at most {LARGEST_UPLOAD_MB} MB can be sent.")
    try:
        return base64.b64decode(text, validate=True) if head.endswith(";base64") else b""
    except (binascii.Error, ValueError):
        return b""
