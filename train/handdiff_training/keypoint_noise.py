"""Detector-like noise on exact 2D keypoints, for training stage 1 on hands that were never rendered."""

import torch

from hf_handdiff.hand.topology import FINGERS


def noisy_keypoints(keypoints: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """What a detector might say of exact keypoints.

    Per hand an overall quality; per finger and per point some are hidden, with large errors and low scores that
    tell of them, more or less honestly; some points are missing altogether; neighbouring fingers are sometimes
    swapped; now and then the points are exact.

    Args:
        keypoints: (B, 21, 2), in units of which the hand's box is about 2 wide (view units).
        generator: source of all randomness.

    Returns:
        Noisy points (B, 21, 2) and scores (B, 21), 0 where the point is missing.
    """

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    batch, count = keypoints.shape[:2]
    finger_of = torch.zeros(count, dtype=torch.long)
    for index, joints in enumerate(FINGERS.values(), start=1):
        finger_of[list(joints)] = index

    # Hidden: whole fingers, runs of them, or single joints.
    hidden_share = uniform(batch, 1).pow(2)
    hidden = (uniform(batch, 6) < 0.6 * hidden_share)[:, finger_of] | (uniform(batch, count) < 0.5 * hidden_share)
    quality = 0.005 + 0.05 * uniform(batch, 1).pow(2)  # jitter of visible points, in view units (half a box)
    sigma = torch.where(hidden, quality + 0.03 + 0.22 * uniform(batch, 1), quality)  # (B, 21)
    finger_shift = normal(batch, 6, 2)[:, finger_of]
    noise = 0.6 * normal(batch, count, 2) + 0.8 * finger_shift  # errors go together along a finger
    points = keypoints + sigma[..., None] * noise

    swap = torch.nonzero(uniform(batch) < 0.03).flatten()
    for row in swap.tolist():
        first = int(torch.randint(1, 4, (), generator=generator))  # index..ring with its neighbour
        fingers = list(FINGERS.values())
        a, b = list(fingers[first]), list(fingers[first + 1])
        points[row, a + b] = points[row, b + a]

    score = torch.where(hidden, 0.02 + 0.5 * uniform(batch, count), 0.6 + 0.4 * uniform(batch, count))
    dishonest = uniform(batch, 1) < 0.1
    score = torch.where(dishonest, uniform(batch, count).clamp_min(0.02), score)
    missing = (uniform(batch, count) < 0.5) & hidden & (uniform(batch, 1) < 0.25)
    everything_sure = uniform(batch, 1) < 0.1  # callers who bring keypoints often bring no scores
    score = torch.where(everything_sure, 1.0, score)
    return points, torch.where(missing, 0.0, score)
