"""From N hypotheses to one answer, and how far the hypotheses lie apart.

Three ways to aggregate are convex weights over the hypotheses; the fourth turns them upon each other first. All are
decided on the joints alone and then applied to joints and vertices alike, so that the mesh of the answer belongs to
the joints of the answer.
Plain batched functions: used by the pipelines and by the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.pipelines.defaults import MEANS

_ALIGNMENT_ROUNDS = 4

# Weiszfeld's weights are 1 / distance; below a micrometre two hands are the same hand.
_MIN_DISTANCE_M = 1e-6


def _flatten_hands(points: Tensor) -> Tensor:
    """(..., N, P, 3) -> (..., N, P * 3)."""
    return points.flatten(start_dim=-2)


def mean_weights(joints: Tensor) -> Tensor:
    """The same weight for every hypothesis: joints (..., N, P, 3) -> weights (..., N)."""
    num_hypotheses = joints.shape[-3]
    return joints.new_full(joints.shape[:-2], 1.0 / num_hypotheses)


def geometric_median_weights(joints: Tensor, num_iterations: int = 100) -> Tensor:
    """Weights whose weighted mean is the geometric median of whole hands.

    The geometric median minimises the sum of distances to the hypotheses, a hand being one vector of P * 3
    numbers. Weiszfeld's iteration, "Sur le point pour lequel la somme des distances de n points donnés est
    minimum" (1937), smoothed at one micrometre so that it is safe where the median is one of the hypotheses.

    Args:
        joints: (..., N, P, 3), metres.
        num_iterations: fixed, so that the answer of one image does not depend on the rest of its batch.

    Returns:
        (..., N) non-negative weights that sum to 1.
    """
    hands = _flatten_hands(joints)  # (..., N, D)
    weights = mean_weights(joints)
    for _ in range(num_iterations):
        center = (weights.unsqueeze(-1) * hands).sum(dim=-2, keepdim=True)
        distances = (hands - center).norm(dim=-1)
        weights = 1.0 / distances.clamp_min(_MIN_DISTANCE_M)
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights


def medoid_index(joints: Tensor) -> Tensor:
    """The hypothesis with the smallest summed distance to all others; the first one on a tie.

    Args:
        joints: (..., N, P, 3), metres.

    Returns:
        (...) int64 index into N.
    """
    hands = _flatten_hands(joints)
    pairwise = torch.cdist(hands, hands, compute_mode="donot_use_mm_for_euclid_dist")  # (..., N, N)
    return pairwise.sum(dim=-1).argmin(dim=-1)


def alignment_rotations(joints: Tensor) -> Tensor:
    """Rotations about the wrist that turn the hypotheses upon their common hand.

    Generalised Procrustes analysis without scale (Gower, "Generalized Procrustes analysis", 1975), begun at the plain
    mean. Hypotheses differ most in how the hand is turned; averaged as they stand, they give a hand that is too small
    and whose fingers are smeared, turned upon each other first, a hand.

    Args:
        joints: (..., N, P, 3) metres, wrist-relative.

    Returns:
        (..., N, 3, 3); points @ rotation is turned.
    """
    joints = joints.nan_to_num(0.0, 0.0, 0.0)  # what is not finite stays so in the points that are turned
    common = joints.mean(dim=-3, keepdim=True)
    for _ in range(_ALIGNMENT_ROUNDS):
        left, _, right = torch.linalg.svd(joints.transpose(-1, -2) @ common)
        mirrored = torch.linalg.det(left @ right) < 0
        left = torch.cat([left[..., :2], torch.where(mirrored, -1.0, 1.0)[..., None, None] * left[..., 2:]], dim=-1)
        rotations = left @ right
        common = (joints @ rotations).mean(dim=-3, keepdim=True)
    return rotations


def _mean_of_turned(points: Tensor, rotations: Tensor) -> Tensor:
    return (points @ rotations.to(points.dtype)).mean(dim=-3)


def _take_hypothesis(points: Tensor, index: Tensor) -> Tensor:
    """points (..., N, P, 3), index (...) -> (..., P, 3), bit for bit."""
    picked = index[..., None, None, None].expand(*index.shape, 1, *points.shape[-2:])
    return points.gather(dim=-3, index=picked).squeeze(-3)


def _weighted_sum(points: Tensor, weights: Tensor) -> Tensor:
    return (weights[..., None, None].to(points.dtype) * points).sum(dim=-3)


def aggregate(joints: Tensor, vertices: Tensor | None = None, method: str = MEANS[0]) -> tuple[Tensor, Tensor | None]:
    """One hand out of N.

    Args:
        joints: (..., N, 21, 3) metres, wrist-relative.
        vertices: (..., N, V, 3) metres of the same hypotheses, or None.
        method: "mean", "median" (geometric median of the joint vectors), "medoid" (the hypothesis that is
            nearest to all others, returned unchanged) or "aligned" (mean of the hypotheses turned upon each other).

    Returns:
        (..., 21, 3) joints and (..., V, 3) vertices (None where none were given).
    """
    if method not in MEANS:
        raise ValueError(f"aggregation must be one of {', '.join(MEANS)}; got {method!r}")
    if method == "medoid":
        combine, choice = _take_hypothesis, medoid_index(joints)
    elif method == "aligned":
        combine, choice = _mean_of_turned, alignment_rotations(joints)
    elif method == "median":
        combine, choice = _weighted_sum, geometric_median_weights(joints)
    else:
        combine, choice = _weighted_sum, mean_weights(joints)
    return combine(joints, choice), None if vertices is None else combine(vertices, choice)


def spread(hypotheses: Tensor) -> Tensor:
    """RMS distance of the hypotheses to their own mean, per point.

    Args:
        hypotheses: (..., N, P, 3) metres. N = 1 has spread 0.

    Returns:
        (..., P) metres.
    """
    offsets = hypotheses - hypotheses.mean(dim=-3, keepdim=True)
    return offsets.square().sum(dim=-1).mean(dim=-2).sqrt()


REGION_SHARES = (*(k / 40 for k in range(40)), 0.99)  # of the table that a calibration keeps; see `region_radius`


def region_radius(joint_std: Tensor, share: float, radii: Sequence[float] | None = None) -> Tensor:
    """Radius of the ball around the answer that holds the truth with probability `share`.

    Args:
        joint_std: (..., P) metres, the calibrated radius.
        share: in 0..1, at most 0.99 where there is a table.
        radii: the ball's radius over joint_std at `REGION_SHARES`, measured on validation data; None: that of a
            Gaussian, joint_std^2 / 3 an axis.

    Returns:
        (..., P) metres.

    Raises:
        ValueError: `share` is outside of that range.
    """
    highest = 1.0 if radii is None else REGION_SHARES[-1]
    if not 0 <= share <= highest:
        raise ValueError(f"share must be in 0..{highest:g}, got {share}")
    if radii is None:
        from scipy.stats import chi  # slow to import, and seldom needed

        factor = chi.ppf(share, 3) / 3**0.5
    else:
        factor = np.interp(share, REGION_SHARES, radii)
    return joint_std * float(factor)


VISIBILITY_KNOTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Mean keypoint scores of a hand at which a calibration keeps a factor on `joint_std`."""


def visibility_weights(scores: Tensor) -> Tensor:
    """Shares of `VISIBILITY_KNOTS` in hands, by linear interpolation: keypoint scores (..., 21) -> (..., 5)."""
    place = scores.mean(-1).clamp(0, 1) * (len(VISIBILITY_KNOTS) - 1)
    knots = torch.arange(len(VISIBILITY_KNOTS), device=scores.device)
    return (1 - (place[..., None] - knots).abs()).clamp_min(0)


def calibrated_std(spread_m: Tensor, scale: Tensor, floor_m: Tensor) -> Tensor:
    """The RMS distance of the truth that is to be expected from the mean: sqrt((scale * spread)^2 + floor^2).

    Args:
        spread_m: (..., P) metres, see `spread`.
        scale: (P,) how many times farther the truth lies than the hypotheses.
        floor_m: (P,) metres that remain where all hypotheses agree.

    Returns:
        (..., P) metres.
    """
    return ((scale * spread_m).square() + floor_m.square()).sqrt()
