"""The images of a corpus, decoded as strictly as other files that people bring.

`datasets.Image` decodes bytes with whatever Pillow knows, which may start another program (see `images.IMAGE_FORMATS`),
and opens any path or address that a row names instead.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, Image, IterableDataset
from datasets.features.features import register_feature, require_decoding
from PIL import Image as PillowImage

from hf_handdiff.errors import InputError
from hf_handdiff.images import decode_image


@dataclass
class CheckedPhoto(Image):
    """`datasets.Image` for the rows of others: bytes alone, of the formats of `images.IMAGE_FORMATS` alone."""

    _type: str = field(default="CheckedPhoto", init=False, repr=False)  # `datasets` finds the class again by it

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> PillowImage.Image:
        """The image, RGB and upright.

        Args:
            value: `bytes`, the image file; `path` is not looked at.
            token_per_repo_id: not used.

        Raises:
            InputError: there are no bytes, or they are no image of a format that is read.
        """
        if isinstance(value, PillowImage.Image):
            return value
        data = value.get("bytes") if isinstance(value, dict) else None
        if not data:
            raise InputError("data: a row holds no image; expected the bytes of an image file, paths are not followed")
        return PillowImage.fromarray(decode_image(data, "data"))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that it is experimental
    register_feature(CheckedPhoto, "CheckedPhoto")


def with_checked_photos(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """A data set whose column `image` is decoded by `CheckedPhoto`, and no other column at all.

    Columns that `datasets` would decode (images, sound, video) are left out, but for `image`. Where it does not know
    what the columns hold, it decodes none.
    """
    features = dataset.features or {}
    others = [name for name, feature in features.items() if name != "image" and require_decoding(feature)]
    if isinstance(dataset, IterableDataset) and features:
        dataset = dataset.decode(False)  # it would decode a column to leave it out
    if others:
        dataset = dataset.remove_columns(others)
    is_image = isinstance(features.get("image"), Image) and features["image"].decode
    return dataset.cast_column("image", CheckedPhoto()) if is_image else dataset
