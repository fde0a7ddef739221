"""Labelled photos beside renders in a batch, for the scripts that train the image encoder."""

import argparse

import torch

from handdiff_training.flags import or_none
from handdiff_training.image_batches import CorpusBatches
from hf_handdiff.data.augmentation import AugmentationConfig, augment_batch


class Photos:
    """A corpus of label_photos.py. Its batches have what those of `augment_batch` have, and `keypoint_weight` (B, 21),
    how well the networks that labelled them agree, and `is_metric` (B,), whether the size of the hand is known.

    Args:
        path: the corpus' folder or Hub id.
        source_cap: a source with more rows counts as so many.
    """

    def __init__(self, path, source_cap: int):
        self._train, self._unseen = (
            CorpusBatches(path, split, more_columns=["keypoint_weight"], flag="--photos")
            for split in ("train", "validation")
        )
        self._odds = capped_odds(self._train.column("source"), source_cap)

    def draw(self, count: int, generator: torch.Generator, augmentation: AugmentationConfig) -> dict[str, torch.Tensor]:
        """`count` rows, drawn with replacement and augmented."""
        rows = self._train.rows(torch.multinomial(self._odds, count, True, generator=generator))
        return _augmented(rows, generator, augmentation)

    def unseen(self, generator: torch.Generator, augmentation: AugmentationConfig) -> list[dict[str, torch.Tensor]]:
        """The validation split in batches, augmented."""
        return [_augmented(rows, generator, augmentation) for rows in self._unseen.in_order()]


def add_photo_flags(parser: argparse.ArgumentParser) -> None:
    """`--photos`, `--photo_share` and `--photo_source_cap`."""
    add = parser.add_argument
    add("--photos", type=or_none, help="corpus of label_photos.py; default: none")
    add("--photo_share", type=float, default=0.3, help="share of photos in a batch")
    add("--photo_source_cap", type=int, default=300, help="rows that a source of photos counts for at the most")


def capped_odds(sources: list[str], cap: int) -> torch.Tensor:
    """Odds (n,) of rows to be drawn: a source with more than `cap` rows counts as `cap`."""
    return torch.tensor([min(1.0, cap / sources.count(source)) for source in sources])


def joined(renders: dict[str, torch.Tensor], photos: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One batch of renders of `augment_batch` and photos."""
    known = torch.ones_like(renders["keypoints"][..., 0])
    renders = {**renders, "keypoint_weight": known, "is_metric": torch.ones_like(renders["has_hand"])}
    return {name: torch.cat([renders[name], photos[name]]) for name in renders}


def _augmented(rows: dict, generator: torch.Generator, augmentation: AugmentationConfig) -> dict[str, torch.Tensor]:
    batch = augment_batch(rows, generator, augmentation)
    no_size = torch.zeros(len(batch["has_hand"]), dtype=torch.bool)
    return {**batch, "keypoint_weight": rows["keypoint_weight"], "is_metric": no_size}
