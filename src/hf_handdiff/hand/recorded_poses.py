"""Poses recorded from people, and which of them belong to which split."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from hf_handdiff.hand.open_hand import ASSETS
from hf_handdiff.hand.pose_limits import angles_to_pose, open_hand_frames

RECORDED_POSES_PATH = ASSETS / "recorded_poses.npz"

RECORDED_SPLITS = {"validation": ("csq", "gss"), "test": ("ase", "jos")}
"""Sign languages (ISO 639-3) whose recordings belong to a split; those of all others belong to "train".

The recordings do not name their signers. Each alphabet was signed for one language, so that recordings of
different languages are the nearest there is to recordings of different people.
"""
SPLITS = ("train", "validation", "test")

NUM_NEIGHBOURS = 6


@lru_cache(maxsize=4)
def recorded_angles(split: str | None = None) -> torch.Tensor:
    """Joint angles of real hands, ``(K, 15, 3)`` flexion, spread and twist in radians.

    They were fitted by ``scripts/fit_recorded_poses.py`` to the fingerspelling lexicon of spoken-to-signed
    (https://github.com/ZurichNLP/spoken-to-signed-translation, MIT License, Copyright (c) ZurichNLP).

    Args:
        split: "train", "validation" or "test": those of the split's own signers (``RECORDED_SPLITS``);
            None: all.
    """
    if split not in (None, *SPLITS):
        raise ValueError(f"split must be one of {sorted(SPLITS)} or None, got {split!r}")
    with np.load(RECORDED_POSES_PATH, allow_pickle=False) as file:
        angles = torch.tensor(file["angles"].astype(np.float32))
        languages = file["languages"][file["language"]]  # (K,) codes
    if split == "train":
        held_out = [code for codes in RECORDED_SPLITS.values() for code in codes]
        angles = angles[~np.isin(languages, held_out)]
    elif split is not None:
        angles = angles[np.isin(languages, RECORDED_SPLITS[split])]
    return angles


def recorded_poses(split: str | None = None) -> torch.Tensor:
    """:func:`recorded_angles` as ``(K, 16, 3)`` axis-angle with the identity as global rotation."""
    fingers = angles_to_pose(recorded_angles(split), open_hand_frames()[1:])
    return torch.cat([torch.zeros(len(fingers), 1, 3), fingers], dim=1)


@lru_cache(maxsize=4)
def recorded_neighbours(split: str) -> torch.Tensor:
    """``(K, 6)`` indices of the recorded poses that are most like each of :func:`recorded_angles`."""
    angles = recorded_angles(split).flatten(1)
    distance = torch.cdist(angles, angles).fill_diagonal_(torch.inf)
    return distance.topk(NUM_NEIGHBOURS, largest=False).indices
