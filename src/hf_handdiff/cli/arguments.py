"""Types of arguments, and arguments that several commands have. Nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_handdiff.errors import InputError
from hf_handdiff.pipelines.defaults import HANDEDNESS

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


class _HandAction(argparse.Action):
    """Of `--hand`: a side goes to `hand`, a file's path to `hand_model`."""

    def __call__(self, parser, namespace, value, option_string=None):
        if value in HANDEDNESS:
            namespace.hand = value
        elif Path(value).is_file():
            namespace.hand_model = value
        else:
            raise argparse.ArgumentError(
                self,
                f"expected left, right or the file of a hand, such as MANO_RIGHT.pkl; there is no '{value}'",
            )


def add_hand_argument(parser: argparse.ArgumentParser, with_side: bool = False) -> None:
    """Add `--hand`, which sets `hand_model` to a file, and `--hand-model`, its former name.

    Args:
        parser: of a command.
        with_side: the command also asks which hand it is: `--hand` takes a side too, which sets `hand`. Given twice, it
            takes both.
    """
    file_help = "MANO_RIGHT.pkl, if the checkpoint's meshes are MANO's (default: the open hand)"
    if with_side:
        parser.add_argument(
            "--hand",
            action=_HandAction,
            metavar="left|right|FILE",
            help=f"which hand it is (default: what the detector says, else right); or, given once more, {file_help}",
        )
    else:
        parser.add_argument("--hand", dest="hand_model", metavar="FILE", help=file_help)
    parser.add_argument("--hand-model", dest="hand_model", help=argparse.SUPPRESS)
