"""2D points as stage 1 is given them: drawn from a distribution, exact but for a noise that is known of each point."""

import math

import torch

from hf_handdiff.hand.topology import FINGERS
from hf_handdiff.models.joint_denoiser import score_of_noise

_NOISE = (0.004, 0.08)
"""Range of the noise of a hand's seen points, in view units (half a box)."""
_HIDDEN_NOISE = (0.03, 0.6)
_FINGER_OF = torch.zeros(21, dtype=torch.long)
for _index, _joints in enumerate(FINGERS.values(), start=1):
    _FINGER_OF[list(_joints)] = _index


def noisy_keypoints(keypoints: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """What stage 1 might be given of exact keypoints.

    Each hand has a noise of its own, and each point about that; of whole fingers and of single points it is large, and
    some of these are missing altogether. The scores tell it truly. A tenth of the hands are exact. Of a fifth, fingers
    are off together without a word: distributions are not perfect.

    Args:
        keypoints: (B, 21, 2), in units of which the hand's box is about 2 wide (view units).
        generator: source of all randomness.

    Returns:
        Points (B, 21, 2) and scores (B, 21) of their noise, 0 where the point is missing.
    """

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    def log_uniform(low, high, *shape):
        return torch.exp(math.log(low) + math.log(high / low) * uniform(*shape))

    batch, count = keypoints.shape[:2]
    hidden_share = uniform(batch, 1).square()
    hidden = (uniform(batch, 6) < 0.5 * hidden_share)[:, _FINGER_OF] | (uniform(batch, count) < 0.4 * hidden_share)
    noise = log_uniform(*_NOISE, batch, 1) * torch.exp(0.4 * normal(batch, count))
    noise = torch.where(hidden, noise + log_uniform(*_HIDDEN_NOISE, batch, count), noise)
    noise = torch.where(uniform(batch, 1) < 0.1, 0.0, noise)
    points = keypoints + noise[..., None] * normal(batch, count, 2)
    slip = (uniform(batch, 1) < 0.2) * (0.02 + 0.06 * uniform(batch, 1))
    points = points + slip[..., None] * normal(batch, 6, 2)[:, _FINGER_OF]
    missing = hidden & (uniform(batch, count) < 0.5) & (uniform(batch, 1) < 0.3)
    return points, torch.where(missing, 0.0, score_of_noise(noise))
