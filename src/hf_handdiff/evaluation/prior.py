"""The prior baseline: random hands of the pose sampler, the control beside every best-of-N."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mesh_kinds import mesh_of_layer
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import NUM_SHAPE, OPEN_HAND

_POOL_SIZE = 2000


@dataclass
class PriorBaseline:
    """A pool of random hands, drawn without looking at any image.

    Attributes:
        joints: (M, 21, 3) m.
        vertices: (M, V, 3) m.
        mesh: whose vertices they are, see `EvaluationSettings`.
    """

    joints: Tensor
    vertices: Tensor
    mesh: str = OPEN_HAND

    def choose(self, seeds: list[int], count: int) -> tuple[Tensor, Tensor]:
        """`count` of them for each seed: (B, count, 21, 3) and (B, count, V, 3)."""
        rows = [np.random.default_rng([seed, 1]).integers(len(self.joints), size=count) for seed in seeds]
        picked = torch.from_numpy(np.stack(rows))
        return self.joints[picked], self.vertices[picked]


def sample_prior_baseline(layer: HandLayer | None = None, size: int = _POOL_SIZE, seed: int = 0) -> PriorBaseline:
    """Random poses and shapes of the pose sampler that the synthetic corpus draws from.

    Args:
        layer: the hand that predictions are of; None: the open hand.
        size: M.
        seed: of the hands.
    """
    layer = HandLayer.open_hand() if layer is None else layer
    generator = torch.Generator().manual_seed(seed)
    pose = sample_poses(size, generator)
    shape = torch.randn(size, NUM_SHAPE, generator=generator)
    with torch.no_grad():
        mesh = layer(pose.float(), shape)
    wrist = mesh.joints[:, :1]
    return PriorBaseline(mesh.joints - wrist, mesh.vertices - wrist, mesh_of_layer(layer))
