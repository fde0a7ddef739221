"""The Gaussian prior over finger poses: a mean and a covariance, made once by ``scripts/build_pose_prior.py``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from hf_handdiff.hand.open_hand import ASSETS
from hf_handdiff.hand.topology import NUM_ROTATIONS

POSE_PRIOR_PATH = ASSETS / "pose_prior.npz"

_ROUNDING_RAD2 = 1e-3
"""Added to the variances, so that hinges have some play: 1.8 degrees."""


@dataclass(frozen=True)
class PosePrior:
    """What finger poses are likely.

    Attributes:
        mean: ``(45,)`` float64, axis-angle of MANO's 15 finger rotations, radians.
        precision: ``(45, 45)`` float64, the inverse of their covariance, 1/rad².
    """

    mean: torch.Tensor
    precision: torch.Tensor

    @classmethod
    def of_poses(cls, poses: torch.Tensor) -> PosePrior:
        """The prior of example poses.

        Args:
            poses: ``(N, 16, 3)`` axis-angle, radians; the global rotation is left out.
        """
        fingers = poses[:, 1:].double().flatten(1)
        return cls.of_moments(fingers.mean(0), torch.cov(fingers.T))

    @classmethod
    def of_moments(cls, mean: torch.Tensor, covariance: torch.Tensor) -> PosePrior:
        """The prior of a mean ``(45,)`` and a covariance ``(45, 45)``, to which a little is added."""
        mean, covariance = mean.double(), covariance.double()
        rounding = _ROUNDING_RAD2 * torch.eye(3 * (NUM_ROTATIONS - 1), dtype=torch.float64)
        return cls(mean, torch.linalg.inv(covariance + rounding))


@lru_cache(maxsize=1)
def load_pose_prior() -> PosePrior:
    """The prior of this package, of recorded and sampled poses; those of held-out signers are not in it."""
    with np.load(POSE_PRIOR_PATH, allow_pickle=False) as file:
        return PosePrior.of_moments(torch.tensor(file["mean"]), torch.tensor(file["covariance"]))
