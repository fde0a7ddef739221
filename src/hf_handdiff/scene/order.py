"""Which of two hands that overlap in the picture is in front: 2D points that are hidden are less sure."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from hf_handdiff.scene.candidates import Candidate

LOG_ODDS = 1.8
"""Of a hand to be in front, for each unit of the logarithm of how much surer its points are than the other's: fitted to
validation renders of two hands in contact."""
_NEAR, _NEIGHBOURS = 0.08, 6
"""A point lies on a hand if so many of that hand's vertices are within this share of its own hand's extent of it."""


def order_costs(
    hands: tuple[Candidate, Candidate],
    stds_px: tuple[np.ndarray, np.ndarray],
    intrinsics: np.ndarray,
    log_ratios: np.ndarray,
) -> np.ndarray:
    """How unlikely ratios of depths are by what they put in front: twice the negative logarithm of the probability.

    Args:
        hands: the answers.
        stds_px: (21,) px each, how far 2D points may be off; NaN where one was not seen.
        intrinsics: (3, 3) px.
        log_ratios: (K,), by which the logarithm of the second's distance over the first's is changed.

    Returns:
        (K,); the same for all where nothing of one hand lies on the other.
    """
    surer, ahead = order_evidence(hands, stds_px, intrinsics, log_ratios)
    return 2 * np.logaddexp(0.0, -LOG_ODDS * surer * ahead)


def order_evidence(hands, stds_px, intrinsics, log_ratios) -> tuple[float, np.ndarray]:
    """Arguments are those of `order_costs`.

    Returns:
        Logarithm of how much surer the first's points on the second are than the second's on the first, 0 where one has
        none, and (K,) how much of the first is in front: 1 all of it, -1 none.
    """
    logs, fronts = [], []
    for own, other, std, sign in zip(hands, hands[::-1], stds_px, (1.0, -1.0), strict=True):
        points, surface = (_pixels(of, intrinsics) for of in (own.joints, other.vertices))
        extent = np.ptp(points, axis=0).max()
        distances, nearest = cKDTree(surface).query(points, k=_NEIGHBOURS)
        on = (distances.max(axis=1) < _NEAR * extent) & np.isfinite(std)
        if not on.any():
            return 0.0, np.zeros(len(log_ratios))
        logs.append(np.log(np.maximum(std[on] / extent, 1e-6)).mean())
        behind = np.log(own.joints[on, 2]) - np.log(other.vertices[nearest[on], 2].mean(axis=1))
        fronts.append((behind[:, None] < sign * log_ratios).mean(axis=0))
    return float(logs[1] - logs[0]), fronts[0] - fronts[1]


def _pixels(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    homogeneous = points @ intrinsics.T
    return homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 1e-6)
