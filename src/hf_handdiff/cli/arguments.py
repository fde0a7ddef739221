"""Types of arguments, and arguments that several commands have. Nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from hf_handdiff.errors import InputError

DETECTORS = ("builtin", "mediapipe")


def whole_number(lowest: int) -> Callable[[str], int]:
    """The type of an argument that takes whole numbers of at least `lowest`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {lowest}, got '{text}'")
        return value

    return parse


def whole_numbers(lowest: int) -> Callable[[str], list[int]]:
    """The type of an argument that takes such numbers with commas between them; sorted, each once."""
    parse = whole_number(lowest)
    return lambda text: sorted({parse(part) for part in text.split(",")})


def checked(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of an argument whose text `check` turns into a value, or refuses by an `InputError`."""

    def parse(text: str) -> Any:
        try:
            return check(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`."""
    parser.add_argument(
        "--checkpoint",
        metavar="PATH_OR_REPO",
        help="checkpoint folder or Hub repository (default: the one in the package)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: a GPU if there is one)")


def add_hand_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--hand-model`."""
    parser.add_argument(
        "--hand-model",
        metavar="FILE",
        help="MANO_RIGHT.pkl, if the meshes are MANO's (default: the open hand)",
    )
