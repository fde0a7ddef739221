"""Joint angles and their limits: from rotations to flexion, spread and twist, and back.

Each of the 15 finger joints has three angles about axes of the rest hand (``joint_frames`` of the asset):
*flexion* (positive closes the finger), *spread* (positive moves it to the thumb's side) and *twist*.  The
joint's rotation is flexion * spread * twist, so that spreading happens in the frame of the bent bone, as at
a knuckle.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import roma
import torch

from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import MANO_FINGERS, NUM_ROTATIONS


class JointLimits(NamedTuple):
    """Limits of one joint in degrees, each (lowest, highest), about flexion, spread and twist."""

    flexion: tuple[float, float]
    spread: tuple[float, float]
    twist: tuple[float, float]


_HINGE = ((-4.0, 4.0), (-4.0, 4.0))

POSE_LIMITS: dict[str, tuple[JointLimits, JointLimits, JointLimits]] = {
    "index": (
        JointLimits((-22, 92), (-18, 20), (-10, 10)),
        JointLimits((-5, 110), *_HINGE),
        JointLimits((-10, 80), *_HINGE),
    ),
    "middle": (
        JointLimits((-22, 95), (-16, 16), (-10, 10)),
        JointLimits((-5, 112), *_HINGE),
        JointLimits((-10, 80), *_HINGE),
    ),
    "ring": (
        JointLimits((-22, 95), (-16, 18), (-10, 10)),
        JointLimits((-5, 112), *_HINGE),
        JointLimits((-10, 80), *_HINGE),
    ),
    "little": (
        JointLimits((-25, 98), (-24, 26), (-12, 12)),
        JointLimits((-5, 110), *_HINGE),
        JointLimits((-10, 80), *_HINGE),
    ),
    "thumb": (
        JointLimits((-35, 50), (-35, 40), (-35, 50)),
        JointLimits((-15, 65), (-15, 15), (-12, 12)),
        JointLimits((-25, 85), *_HINGE),
    ),
}
"""Joint limits by finger, from the palm outwards, measured from the open hand's flat rest pose."""


def limits_table() -> torch.Tensor:
    """``POSE_LIMITS`` as ``(16, 3, 2)`` radians: joint, axis, (lowest, highest); zeros for the wrist."""
    table = torch.zeros(NUM_ROTATIONS, 3, 2)
    for finger, joints in MANO_FINGERS.items():
        for joint, limits in zip(joints, POSE_LIMITS[finger], strict=True):
            table[joint] = torch.tensor(limits)
    return table.deg2rad()


def angles_to_pose(angles: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Rotation vectors from joint angles.

    Args:
        angles: ``(..., 3)`` flexion, spread and twist in radians.
        frames: ``(..., 3, 3)``, rows are the three axes.

    Returns:
        ``(..., 3)`` axis-angle, radians.
    """
    turns = (angles[..., axis : axis + 1] * frames[..., axis, :] for axis in range(3))
    return roma.rotvec_composition(tuple(turns))


def pose_to_angles(pose: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Joint angles from rotation vectors, the inverse of :func:`angles_to_pose`.

    Args:
        pose: ``(..., 3)`` axis-angle, radians.
        frames: ``(..., 3, 3)``, rows are the three axes.

    Returns:
        ``(..., 3)`` flexion, spread (within +-pi/2) and twist in radians.
    """
    local = frames @ roma.rotvec_to_rotmat(pose) @ frames.transpose(-1, -2)
    flexion = torch.atan2(-local[..., 1, 2], local[..., 2, 2])
    spread = torch.asin(local[..., 0, 2].clamp(-1, 1))
    twist = torch.atan2(-local[..., 0, 1], local[..., 0, 0])
    return torch.stack([flexion, spread, twist], dim=-1)


def clamp_to_limits(pose: torch.Tensor, frames: torch.Tensor | None = None) -> torch.Tensor:
    """Bring every joint into ``POSE_LIMITS``; the global rotation stays.

    Args:
        pose: ``(..., 16, 3)`` axis-angle, radians.
        frames: ``(16, 3, 3)`` joint frames; None takes the open hand's.

    Returns:
        ``(..., 16, 3)`` axis-angle, radians; differentiable inside the limits.
    """
    frames = (open_hand_frames() if frames is None else frames).to(pose)
    table = limits_table().to(pose)
    angles = pose_to_angles(pose, frames)
    clamped = angles_to_pose(angles.clamp(table[..., 0], table[..., 1]), frames)
    return torch.cat([pose[..., :1, :], clamped[..., 1:, :]], dim=-2)


@lru_cache(maxsize=1)
def open_hand_frames() -> torch.Tensor:
    """``(16, 3, 3)`` joint frames of the open hand, rows are the three axes."""
    return torch.tensor(load_open_hand_arrays()["joint_frames"])
