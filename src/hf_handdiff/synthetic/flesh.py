"""Hands as balls along their bones: how near something comes to a hand, and where two hands meet."""

import numpy as np

from hf_handdiff.hand.topology import FINGERS

FINGER_RADII_M = {"thumb": 0.0095, "index": 0.008, "middle": 0.008, "ring": 0.0078, "little": 0.007}
PALM_RADIUS_M, ARM_RADIUS_M = 0.0125, 0.027
ARM_LENGTH_M, ARM_BALLS = 0.2, 8
BALLS_PER_BONE = 3


def flesh_balls(joints: np.ndarray, forearm: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Centres (P, 3) m and radii (P,) m of balls that fill a hand of `joints` (21, 3) m.

    forearm: with balls of a straight forearm, which goes on from the middle of the palm through the wrist.
    """
    share = np.linspace(0.0, 1.0, BALLS_PER_BONE + 1)[1:, None]
    centres, radii = [joints[:1]], [np.array([PALM_RADIUS_M])]
    for finger, chain in FINGERS.items():
        for bone, (near, far) in enumerate(zip((0, *chain[:-1]), chain, strict=True)):
            end = joints[far]
            if bone == 3:  # the tip lies on the skin
                end = end - 0.5 * FINGER_RADII_M[finger] * _unit(joints[far] - joints[near])
            centres.append(joints[near] + share * (end - joints[near]))
            radii.append(np.full(BALLS_PER_BONE, FINGER_RADII_M[finger] if bone else PALM_RADIUS_M))
    if forearm:
        along = _unit(joints[0] - joints[[5, 9, 13, 17]].mean(0))
        steps = np.linspace(0.02, ARM_LENGTH_M, ARM_BALLS)[:, None]
        centres.append(joints[0] + steps * along)
        radii.append(np.full(ARM_BALLS, ARM_RADIUS_M))
    return np.concatenate(centres), np.concatenate(radii)


def distance_to_balls(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Signed distance (N,) m of `points` (N, 3) to the nearest of the balls (P, 3), (P,)."""
    squared = (points**2).sum(1)[:, None] + (centres**2).sum(1) - 2.0 * points @ centres.T
    return (np.sqrt(np.maximum(squared, 0.0)) - radii).min(1)


def slide_to_contact(
    moving: tuple[np.ndarray, np.ndarray], standing: tuple[np.ndarray, np.ndarray], direction: np.ndarray
) -> float | None:
    """How far (m) balls `moving` go along the unit `direction` until they first touch balls `standing`.

    They are taken to come from far away, so that the answer may be negative; None where they pass by.
    """
    offset = standing[0][None] - moving[0][:, None]
    along = offset @ direction
    reach = moving[1][:, None] + standing[1][None]
    aside = (offset**2).sum(2) - along**2
    meets = aside < reach**2
    if not meets.any():
        return None
    return float((along[meets] - np.sqrt(reach[meets] ** 2 - aside[meets])).min())


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) + 1e-9)
