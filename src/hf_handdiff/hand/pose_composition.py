"""From how far the fingers are curled to rotations of the joints, within the limits."""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch

from hf_handdiff.hand.pose_limits import angles_to_pose, limits_table, pose_to_angles
from hf_handdiff.hand.topology import MANO_FINGERS, NUM_ROTATIONS

LONG_FINGERS = ("index", "middle", "little", "ring")
FULL_CURL = torch.tensor([88.0, 104.0, 68.0]).deg2rad()
"""Flexion of a fully curled finger at its three joints."""
ACROSS_HAND = torch.tensor([-1.0, -0.33, 1.0, 0.33])
"""Where the long fingers sit across the hand, index, middle, little, ring."""
_SPREAD_DIRECTION = torch.tensor([1.0, 0.1, -1.5, -0.6])
"""Where the fingers go when the hand spreads, index, middle, little, ring."""


class Draw:
    """Random numbers of one generator and device, in the few forms that the sampler needs."""

    def __init__(self, generator: torch.Generator | None):
        self.generator = generator
        self.device = generator.device if generator is not None else torch.device("cpu")

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Evenly from ``low`` to ``high``."""
        return low + (high - low) * torch.rand(*size, generator=self.generator, device=self.device)

    def normal(self, *size: int, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        """Gaussian."""
        return mean + std * torch.randn(*size, generator=self.generator, device=self.device)

    def integers(self, high: int, *size: int) -> torch.Tensor:
        """Of 0 to ``high - 1``."""
        return torch.randint(high, size, generator=self.generator, device=self.device)


class Thumb(NamedTuple):
    """Means and deviations, in radians, of the thumb's five angles in one kind of pose."""

    opposition: tuple[float, float]
    flexion: tuple[float, float]
    spread: tuple[float, float]
    middle: tuple[float, float]
    tip: tuple[float, float]


RELAXED_THUMB = Thumb((0.15, 0.2), (0.0, 0.15), (0.0, 0.12), (0.15, 0.2), (0.2, 0.25))
EXTENDED_THUMB = Thumb((-0.1, 0.2), (-0.15, 0.15), (0.0, 0.12), (-0.05, 0.1), (-0.1, 0.15))
ADDUCTED_THUMB = Thumb((-0.1, 0.2), (0.2, 0.2), (0.25, 0.15), (0.2, 0.2), (0.1, 0.2))
ACROSS_THUMB = Thumb((0.75, 0.25), (0.25, 0.2), (0.05, 0.15), (0.5, 0.3), (0.7, 0.35))
OPPOSED_THUMB = Thumb((0.8, 0.25), (0.0, 0.2), (0.0, 0.15), (0.2, 0.2), (0.25, 0.25))
ANY_THUMB = Thumb((0.35, 0.45), (0.1, 0.3), (0.05, 0.2), (0.3, 0.35), (0.35, 0.4))


class PoseComposer:
    """Composes poses of a hand from curls.

    Args:
        frames: ``(16, 3, 3)`` joint frames of the hand.
    """

    def __init__(self, frames: torch.Tensor):
        self.frames = frames
        bones = torch.stack([frames[MANO_FINGERS[finger][0], 2] for finger in LONG_FINGERS])
        self.azimuth = torch.atan2(bones[:, 2], -bones[:, 0])
        """How far each long finger of the rest hand points to the thumb's side, radians."""

    def compose(self, knuckle, middle, spread_range, thumbs, draw: Draw) -> torch.Tensor:
        """Poses from the curl of the knuckles and of the middle joints.

        Args:
            knuckle, middle: ``(N, 4)``, 0 straight, 1 closed, for index, middle, little, ring.
            spread_range: -1 brings straight fingers together, 1 spreads them.
            thumbs: kinds of thumb poses to choose from.
        """
        poses = torch.zeros(len(knuckle), NUM_ROTATIONS, 3, device=draw.device)
        poses[:, 1:13] = self._long_fingers(knuckle, middle, spread_range, draw)
        poses[:, 13:] = self._thumb(len(knuckle), thumbs, draw)
        return poses

    def _long_fingers(self, knuckle, middle, spread_range, draw: Draw) -> torch.Tensor:
        """``(N, 12, 3)`` axis-angle of index, middle, little and ring."""
        count = len(knuckle)
        last = middle * draw.normal(count, 1, mean=0.8, std=0.2) + draw.normal(count, 4, std=0.07)
        curls = torch.stack([knuckle, middle, last], dim=-1)  # (N, 4, 3)
        angles = torch.zeros(count, 4, 3, 3, device=draw.device)
        angles[..., 0] = curls * FULL_CURL.to(draw.device)
        together = -0.9 * self.azimuth.to(draw.device)
        apart = _SPREAD_DIRECTION.to(draw.device) * 0.16
        amount = draw.uniform(count, 1, low=spread_range[0], high=spread_range[1])
        spread = torch.where(amount < 0, -amount * together, amount * apart)
        # bent knuckles hold the fingers in line
        freedom = 1 - 0.7 * knuckle.clamp(0, 1)
        angles[..., 0, 1] = (spread + draw.normal(count, 4, std=0.04)) * freedom
        angles[..., 0, 2] = draw.normal(count, 4, std=0.03)
        angles[..., 1:, 1:] = draw.normal(count, 4, 2, 2, std=0.015)
        return self.bounded_pose(angles.flatten(1, 2), slice(1, 13))

    def _thumb(self, count: int, kinds, draw: Draw) -> torch.Tensor:
        """``(N, 3, 3)`` axis-angle of the thumb's joints, of one of the kinds each."""
        table = torch.tensor(kinds, device=draw.device)  # (K, 5, 2)
        chosen = table[draw.integers(len(kinds), count)]
        values = chosen[..., 0] + chosen[..., 1] * draw.normal(count, 5)
        opposition, flexion, spread, middle, tip = values.unbind(-1)
        angles = torch.zeros(count, 3, 3, device=draw.device)
        angles[:, 0, 0], angles[:, 0, 1] = flexion, spread
        angles[:, 0, 2] = draw.normal(count, std=0.08)
        angles[:, 1, 0], angles[:, 2, 0] = middle, tip
        angles[:, 1, 1:] = draw.normal(count, 2, std=0.05)
        frames = self.frames.to(draw.device)[13:]
        saddle = angles_to_pose(angles[:, 0], frames[0])
        long_axis = torch.nn.functional.pad(opposition[:, None], (0, 2))
        angles[:, 0] = pose_to_angles(roma.rotvec_composition((long_axis, saddle)), frames[0])
        return self.bounded_pose(angles, slice(13, 16))

    def bounded_pose(self, angles: torch.Tensor, joints: slice) -> torch.Tensor:
        """Joint angles ``(N, K, 3)`` of some joints, brought into their limits, as axis-angle."""
        table = limits_table().to(angles)[joints]
        bounded = torch.minimum(torch.maximum(angles, table[..., 0]), table[..., 1])
        return angles_to_pose(bounded, self.frames.to(angles)[joints])
