"""Rows of a corpus as tensors, for the scripts that look at images."""

import numpy as np
import torch

from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.errors import InputError, first_line

COLUMNS = ["image", "has_hand", "keypoints_2d_px", "keypoints_visible", "joints_m", "intrinsics_px"]


class CorpusBatches:
    """A split of a corpus, read by row numbers.

    Args:
        path: folder or Hub id of the corpus.
        split: "train", "validation" or "test".
        with_vertices: also read the meshes (V, 3), m, camera frame.
        limit: use the first rows only.
        more_columns: of the corpus' own, such as `keypoint_weight` of photos.
        flag: of the command line, for messages.

    Raises:
        InputError: there is no such corpus or split, or it has other columns.
    """

    def __init__(
        self, path, split: str, with_vertices: bool = False, limit: int | None = None, more_columns=(), flag="--corpus"
    ):
        columns = [*COLUMNS, *(["vertices_m"] if with_vertices else []), *more_columns]
        self._flag = flag
        try:
            self._corpus = load_corpus(path, split, columns=columns)
        except (OSError, ValueError) as error:
            raise InputError(f"{flag}: {first_line(error).removeprefix('path: ')}") from error
        rows = self._corpus.select_columns(columns).with_format("torch")
        self._rows = rows if limit is None else rows.select(range(min(limit, len(rows))))

    def __len__(self):
        return len(self._rows)

    def rows(self, index) -> dict[str, torch.Tensor]:
        """Every column as one tensor, row by row as `index` says; images are (B, 3, H, W) uint8."""
        rows = self._rows[np.asarray(index).tolist()]
        return {name: value if torch.is_tensor(value) else torch.stack(list(value)) for name, value in rows.items()}

    def with_meshes(self, index) -> dict[str, torch.Tensor]:
        """`rows`, all hands of which have a mesh.

        Raises:
            InputError: one has none, as in the hidden part of an official test set.
        """
        batch = self.rows(index)
        known = torch.isfinite(batch["vertices_m"]).flatten(1).all(1) | ~batch["has_hand"].bool()
        if not known.all():
            row = int(np.asarray(index)[(~known).numpy()][0])
            raise InputError(f"{self._flag}: expected a mesh (vertices_m) of every hand, got none in row {row}")
        return batch

    def column(self, name: str) -> list:
        """One column of all rows."""
        return list(self._corpus[name][: len(self)])

    def in_order(self, batch_size: int = 64):
        """All rows, batch by batch."""
        for start in range(0, len(self), batch_size):
            yield self.rows(np.arange(start, min(start + batch_size, len(self))))
