"""What an evaluation gives to a predictor and what it gets back, and batches made of rows of the corpus schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.data.features import UNKNOWN_SKIN_TONE
from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import NUM_JOINTS
from hf_handdiff.images import load_image

REQUIRED_COLUMNS = ("image", "intrinsics_px", "keypoints_2d_px", "joints_m")


class Prediction(Protocol):
    """What a predictor returns: arrays or tensors, metres, wrist-relative, as the pipelines' outputs.

    Two more are used where they are there: `translation` (B, N, 3) m, the wrist in the camera frame, for official
    answers; and `found` (B,) bool, of a predictor that may find no hand and then answers with NaN.
    """

    joints: Any  # (B, N, 21, 3)
    vertices: Any  # (B, N, V, 3), or None for a predictor without meshes
    joint_hypotheses: Any  # (B, N, 21, 3), or None for a predictor with one stage
    mean_joints: Any  # (B, 21, 3)
    mean_vertices: Any  # (B, V, 3), or None
    joint_std: Any  # (B, 21)
    keypoints_2d: Any  # (B, 21, 2) px
    hand_score: Any  # (B,)


@dataclass
class HandBatch:
    """Some annotated images. The predictor may look at images, cameras and seeds; the rest is the truth.

    Attributes:
        indices: position of each sample in the data set.
        sample_ids: what the data set calls them.
        images: (H, W, 3) uint8 RGB; each is a hand crop.
        intrinsics_px: (B, 3, 3).
        seeds: one int a sample.
        has_hand: (B,) bool; where False nothing but `hand_score` is measured.
        keypoints_px: (B, 21, 2).
        keypoints_visible: (B, 21) bool.
        joints: (B, 21, 3) m, wrist-relative.
        vertices: (B, V, 3) m, wrist-relative, or None where the data set has no meshes.
        visible_share: (B,) 0..1, how much of the hand is seen.
        wrist: (B, 3) m, where the true wrist stands in the camera frame; NaN where the data set does not tell.
        skin_tone: (B,) 0 lightest .. 1 darkest, -1 where it is not known; None: of no sample.
    """

    indices: list[int]
    sample_ids: list[str]
    images: list[np.ndarray]
    intrinsics_px: Tensor
    seeds: list[int]
    has_hand: Tensor
    keypoints_px: Tensor
    keypoints_visible: Tensor
    joints: Tensor
    vertices: Tensor | None
    visible_share: Tensor
    wrist: Tensor
    skin_tone: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)


Predictor = Callable[[HandBatch], Prediction]


def sample_seed(seed: int, index: int) -> int:
    """The seed of one sample of a run."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 2


def check_columns(columns: Iterable[str] | None) -> None:
    """Raise an `InputError` that names what a data set lacks; None (unknown) passes."""
    missing = [] if columns is None else [name for name in REQUIRED_COLUMNS if name not in set(columns)]
    if missing:
        raise InputError(f"data: expected the columns {', '.join(REQUIRED_COLUMNS)}; missing: {', '.join(missing)}")


def collate(rows: list[Mapping[str, Any]], first_index: int, seed: int) -> HandBatch:
    """Rows of the corpus schema (see `hf_handdiff.data.features`) -> a batch, points moved to the wrist."""
    check_columns(rows[0].keys())

    def stack(name: str, default: Any = None) -> Tensor:
        return torch.stack([torch.as_tensor(np.array(row.get(name, default))) for row in rows])

    joints = stack("joints_m").float()
    wrist = joints[:, :1]
    has_meshes = all(row.get("vertices_m") is not None for row in rows)
    visible = stack("keypoints_visible", [True] * NUM_JOINTS).bool()
    indices = list(range(first_index, first_index + len(rows)))
    return HandBatch(
        indices=indices,
        sample_ids=[str(row.get("sample_id", index)) for row, index in zip(rows, indices, strict=True)],
        images=[load_image(row["image"]) for row in rows],
        intrinsics_px=stack("intrinsics_px").float(),
        seeds=[sample_seed(seed, index) for index in indices],
        has_hand=stack("has_hand", True).bool(),
        keypoints_px=stack("keypoints_2d_px").float(),
        keypoints_visible=visible,
        joints=joints - wrist,
        vertices=stack("vertices_m").float() - wrist if has_meshes else None,
        visible_share=stack("visible_share", math.nan).float(),
        wrist=wrist[:, 0],
        skin_tone=stack("skin_tone", UNKNOWN_SKIN_TONE).float(),
    )
