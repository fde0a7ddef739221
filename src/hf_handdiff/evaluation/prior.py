"""The prior baseline: random hands of the pose sampler, the control beside every best-of-N."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import NUM_SHAPE

_POOL_SIZE = 2000


@dataclass
class PriorBaseline:
    """A pool of random hands, drawn without looking at any image.

    Attributes:
        joints: (M, 21, 3) m.
        vertices: (M, V, 3) m, of the open hand.
    """

    joints: Tensor
    vertices: Tensor

    def choose(self, seeds: list[int], count: int) -> tuple[Tensor, Tensor]:
        """`count` of them for each seed: (B, count, 21, 3) and (B, count, V, 3)."""
        rows = [np.random.default_rng([seed, 1]).integers(len(self.joints), size=count) for seed in seeds]
        picked = torch.from_numpy(np.stack(rows))
        return self.joints[picked], self.vertices[picked]


def sample_prior_baseline(size: int = _POOL_SIZE, seed: int = 0) -> PriorBaseline:
    """Random poses and shapes of the pose sampler that the synthetic corpus draws from."""
    generator = torch.Generator().manual_seed(seed)
    pose = sample_poses(size, generator)
    shape = torch.randn(size, NUM_SHAPE, generator=generator)
    with torch.no_grad():
        mesh = HandLayer.open_hand()(pose.float(), shape)
    wrist = mesh.joints[:, :1]
    return PriorBaseline(mesh.joints - wrist, mesh.vertices - wrist)
