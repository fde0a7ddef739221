"""What the importers of FreiHAND and HO3D share: reading the official files, and writing their splits as a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from hf_handdiff.data.annotated_rows import NO_TRUTH
from hf_handdiff.data.mano_annotations import ManoHand
from hf_handdiff.data.number_lists import read_number_list
from hf_handdiff.data.shards import BadSampleError, ShardReport, write_shards
from hf_handdiff.errors import InputError
from hf_handdiff.images import load_image

SPLITS = ("train", "evaluation")
VALIDATION = "validation"
"""Samples of the training split that are held out; neither data set has such a split of its own."""


class OfficialSplit(Protocol):
    """The samples of a split as they lie in a download."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Their names, in order."""

    @property
    def joints_known(self) -> bool:
        """Whether the truth of the joints was published, and is there."""

    def annotations(self) -> list[str]:
        """Names of the lists that are there: they decide what the rows hold."""


_Split = TypeVar("_Split", bound=OfficialSplit)


def read_splits(
    root: str | Path,
    data_set: str,
    names: Sequence[str],
    read: Callable[[Path, str], _Split],
    validation_share: float,
    divide: Callable[[_Split, float], tuple[_Split, _Split]],
) -> dict[str, _Split]:
    """The named splits of a download, {name: what `read` gives for (root, name)}.

    Args:
        root: folder of the download.
        data_set: its name, for messages.
        names: of `SPLITS`.
        read: reads one.
        validation_share: of the training samples that become the split "validation"; 0: there is none.
        divide: a training split and that share -> what stays and what is held out, with nothing in common.

    Raises:
        InputError: there is no such folder, a name is none of `SPLITS`, or the share leaves a split empty.
    """
    root = Path(root)
    if not 0 <= validation_share < 1:
        raise InputError(f"validation_share: expected 0 or more and less than 1, got {validation_share}")
    if not root.is_dir():
        raise InputError(f"root: expected the folder of the {data_set} download, there is no folder {root}")
    for name in names:
        if name not in SPLITS:
            raise InputError(f"splits: expected {' or '.join(SPLITS)}, got {name!r}")
    found = {name: read(root, name) for name in names}
    if validation_share and "train" in found:
        kept, held_out = divide(found["train"], validation_share)
        if not (kept.sample_ids and held_out.sample_ids):
            raise InputError(
                f"validation_share: {validation_share} of {data_set}'s training split in {root} leaves no samples for "
                f"{'training' if held_out.sample_ids else VALIDATION}"
            )
        found = {"train": kept, VALIDATION: held_out, **{name: found[name] for name in names if name != "train"}}
    return found


def write_splits(
    out: str | Path,
    splits: Mapping[str, _Split],
    make_row: Callable[[_Split, int], dict[str, Any]],
    settings: Callable[[str], Mapping[str, Any]],
    hand: ManoHand | None,
    **options: Any,
) -> list[ShardReport]:
    """Write splits as a corpus; a run that was stopped is carried on.

    Args:
        out: folder of the corpus.
        splits: by name.
        make_row: of a split, by the sample's index.
        settings: of a split by name, whatever else decides what its rows hold.
        hand: the user's, or None.
        options: of `write_shards`.
    """
    reports = []
    for name, split in splits.items():
        decided = {
            **settings(name),
            "annotations": split.annotations(),
            "mano": None if hand is None else hand.digest,
        }
        report = write_shards(
            out, name, split.sample_ids, lambda index, split=split: make_row(split, index), decided, **options
        )
        reports.append(report if split.joints_known else replace(report, note=NO_TRUTH))
    return reports


def read_matching_list(
    path: Path, shape: tuple[int, ...], count: int, counted: str, expected: str, dtype=np.float64
) -> np.ndarray:
    """A list of numbers with as many entries as another one, see `read_number_list`.

    Args:
        path: of the list.
        shape: of an entry.
        count: of the other one's entries.
        counted: says where these are, "NAME has 12 lines".
        expected: what was expected instead, for the message.
        dtype: of the array.

    Raises:
        InputError: it has more or fewer.
    """
    values = read_number_list(path, shape, dtype)
    if len(values) != count:
        raise InputError(f"{path} has {len(values)} entries where {counted}: expected {expected}")
    return values


def known_lists(**lists: np.ndarray | None) -> list[str]:
    """The names of those that are there."""
    return [name for name, values in lists.items() if values is not None]


def read_image_of_size(path: Path, size_px: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB that decodes to the end and has the size (width, height).

    Raises:
        BadSampleError: it is missing, damaged or of another size.
    """
    if not path.is_file():
        raise BadSampleError(f"{path} is missing")
    try:
        image = load_image(path, "image")
    except InputError as error:
        raise BadSampleError(str(error)) from None
    height, width, _ = image.shape
    if (width, height) != size_px:
        raise BadSampleError(f"{path} is {width} x {height} px, expected {size_px[0]} x {size_px[1]}")
    return image
