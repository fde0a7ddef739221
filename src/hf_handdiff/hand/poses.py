"""Poses that hands can take: joint limits and a fast sampler.

Each of the 15 finger joints has three angles about axes of the rest hand (``joint_frames`` of the asset):
*flexion* (positive closes the finger), *spread* (positive moves it to the thumb's side) and *twist*.  The
joint's rotation is flexion * spread * twist, so that spreading happens in the frame of the bent bone, as at
a knuckle.  The thumb's first joint, a saddle, is turned by an *opposition* about the hand's long axis
before that.

The sampler mixes hands of several kinds (relaxed, independent fingers, counting and pointing, fists, flat
and spread hands, grasps, pinches with touching fingertips) with poses recorded from people, and keeps those
whose thumb and fingers do not run through each other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .open_hand import ASSETS, load_open_hand_arrays
from .rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    quaternion_multiply,
    quaternion_to_axis_angle,
)
from .topology import FINGERS, MANO_FINGERS, NUM_ROTATIONS, NUM_SHAPE

if TYPE_CHECKING:
    from .layer import HandLayer

RECORDED_POSES_PATH = ASSETS / "recorded_poses.npz"


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
        for joint, limits in zip(joints, POSE_LIMITS[finger]):
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
    quaternion = axis_angle_to_quaternion(angles[..., 0:1] * frames[..., 0, :])
    for axis in (1, 2):
        turn = axis_angle_to_quaternion(angles[..., axis : axis + 1] * frames[..., axis, :])
        quaternion = quaternion_multiply(quaternion, turn)
    return quaternion_to_axis_angle(_positive(quaternion))


def pose_to_angles(pose: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Joint angles from rotation vectors, the inverse of :func:`angles_to_pose`.

    Args:
        pose: ``(..., 3)`` axis-angle, radians.
        frames: ``(..., 3, 3)``, rows are the three axes.

    Returns:
        ``(..., 3)`` flexion, spread (within +-pi/2) and twist in radians.
    """
    local = frames @ axis_angle_to_matrix(pose) @ frames.transpose(-1, -2)
    flexion = torch.atan2(-local[..., 1, 2], local[..., 2, 2])
    spread = torch.asin(local[..., 0, 2].clamp(-1, 1))
    twist = torch.atan2(-local[..., 0, 1], local[..., 0, 0])
    return torch.stack([flexion, spread, twist], dim=-1)


def _positive(quaternion: torch.Tensor) -> torch.Tensor:
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def clamp_to_limits(pose: torch.Tensor, frames: torch.Tensor | None = None) -> torch.Tensor:
    """Bring every joint into ``POSE_LIMITS``; the global rotation stays.

    Args:
        pose: ``(..., 16, 3)`` axis-angle, radians.
        frames: ``(16, 3, 3)`` joint frames; None takes the open hand's.

    Returns:
        ``(..., 16, 3)`` axis-angle, radians; differentiable inside the limits.
    """
    frames = (_open_hand_frames() if frames is None else frames).to(pose)
    table = limits_table().to(pose)
    angles = pose_to_angles(pose, frames)
    clamped = angles_to_pose(angles.clamp(table[..., 0], table[..., 1]), frames)
    return torch.cat([pose[..., :1, :], clamped[..., 1:, :]], dim=-2)


@lru_cache(maxsize=1)
def _open_hand_frames() -> torch.Tensor:
    return torch.tensor(load_open_hand_arrays()["joint_frames"])


@lru_cache(maxsize=1)
def recorded_poses() -> torch.Tensor:
    """Poses of real hands as ``(K, 16, 3)`` axis-angle with the identity as global rotation.

    They were fitted by ``scripts/fit_recorded_poses.py`` to the fingerspelling lexicon of spoken-to-signed
    (https://github.com/ZurichNLP/spoken-to-signed-translation, MIT License, Copyright (c) ZurichNLP).
    """
    with np.load(RECORDED_POSES_PATH, allow_pickle=False) as file:
        fingers = torch.tensor(file["hand_pose"].astype(np.float32)).unflatten(-1, (15, 3))
    return torch.cat([torch.zeros(len(fingers), 1, 3), fingers], dim=1)


# ---- the sampler --------------------------------------------------------------------------------------

_LONG_FINGERS = ("index", "middle", "little", "ring")
_FLEXION_RANGE = torch.tensor([88.0, 104.0, 68.0]).deg2rad()
"""Flexion of a fully curled finger at its three joints."""
_SPREAD_DIRECTION = torch.tensor([1.0, 0.1, -1.5, -0.6])
"""Where the fingers go when the hand spreads, index, middle, little, ring."""
_CONTACT_GAP_M = 0.0135
"""Distance between the centres of two fingertips' pulps that touch."""
_PULP_DEPTH_M = 0.007
"""How far behind the tip vertex the centre of the pulp lies."""

_KINDS = {
    "coordinated": 0.24,
    "independent": 0.22,
    "counting": 0.14,
    "fist": 0.06,
    "flat": 0.10,
    "grasp": 0.10,
    "pinch": 0.14,
}
_OVERSAMPLING = {"fist": 3.0, "counting": 2.0, "grasp": 2.0}


class _Draw:
    """Random numbers of one generator and device, in the few forms that the sampler needs."""

    def __init__(self, generator: torch.Generator | None):
        self.generator = generator
        self.device = generator.device if generator is not None else torch.device("cpu")

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(*size, generator=self.generator, device=self.device)

    def normal(self, *size: int, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        return mean + std * torch.randn(*size, generator=self.generator, device=self.device)

    def integers(self, high: int, *size: int) -> torch.Tensor:
        return torch.randint(high, size, generator=self.generator, device=self.device)


class _Thumb(NamedTuple):
    """Means and deviations, in radians, of the thumb's five angles in one kind of pose."""

    opposition: tuple[float, float]
    flexion: tuple[float, float]
    spread: tuple[float, float]
    middle: tuple[float, float]
    tip: tuple[float, float]


_RELAXED_THUMB = _Thumb((0.15, 0.2), (0.0, 0.15), (0.0, 0.12), (0.15, 0.2), (0.2, 0.25))
_EXTENDED_THUMB = _Thumb((-0.1, 0.2), (-0.15, 0.15), (0.0, 0.12), (-0.05, 0.1), (-0.1, 0.15))
_ADDUCTED_THUMB = _Thumb((-0.1, 0.2), (0.2, 0.2), (0.25, 0.15), (0.2, 0.2), (0.1, 0.2))
_ACROSS_THUMB = _Thumb((0.75, 0.25), (0.25, 0.2), (0.05, 0.15), (0.5, 0.3), (0.7, 0.35))
_OPPOSED_THUMB = _Thumb((0.8, 0.25), (0.0, 0.2), (0.0, 0.15), (0.2, 0.2), (0.25, 0.25))
_ANY_THUMB = _Thumb((0.35, 0.45), (0.1, 0.3), (0.05, 0.2), (0.3, 0.35), (0.35, 0.4))


class PoseSampler:
    """Draws hand poses: vectorised, on the generator's device, about 10^5 a second on one CPU core.

    Args:
        frames: ``(16, 3, 3)`` joint frames of the hand; None takes the open hand's.
        layer: the hand whose mean shape decides what touches; None takes the open hand.
    """

    def __init__(self, frames=None, layer: HandLayer | None = None):
        if layer is None:
            from .layer import HandLayer

            layer = HandLayer.open_hand()
        self.layer = layer
        self.frames = _open_hand_frames() if frames is None else torch.tensor(np.asarray(frames, np.float32))
        bones = torch.stack([self.frames[MANO_FINGERS[finger][0], 2] for finger in _LONG_FINGERS])
        self.azimuth = torch.atan2(bones[:, 2], -bones[:, 0])
        self._pinches: torch.Tensor | None = None

    def sample(
        self, count: int, generator: torch.Generator | None = None, recorded_share: float = 0.3
    ) -> torch.Tensor:
        """Draw poses.

        Args:
            count: how many.
            generator: source of randomness; its device is the device of the result.
            recorded_share: share of the poses that vary recorded ones.

        Returns:
            ``(count, 16, 3)`` axis-angle, radians, within ``POSE_LIMITS``; the global rotation is 0.
        """
        draw = _Draw(generator)
        chances = torch.tensor([recorded_share] + [(1 - recorded_share) * share for share in _KINDS.values()])
        kinds = torch.multinomial(chances.to(draw.device), count, replacement=True, generator=generator)
        poses = torch.empty(count, NUM_ROTATIONS, 3, device=draw.device)
        for number, kind in enumerate(["recorded", *_KINDS]):
            rows = (kinds == number).nonzero()[:, 0]
            if len(rows):
                candidates = int(len(rows) * _OVERSAMPLING.get(kind, 1.4)) + 7
                drawn = getattr(self, f"_{kind}")(candidates, draw)
                drawn = self._quick_clamp(drawn)
                overlap = self.overlap(drawn)
                best = torch.sort(overlap, stable=True).indices[: len(rows)]
                poses[rows] = drawn[best]
        return poses

    # -- the kinds; each returns (count, 16, 3) axis-angle --

    def _recorded(self, count: int, draw: _Draw) -> torch.Tensor:
        bank = recorded_poses().to(draw.device)
        poses = bank[draw.integers(len(bank), count)]
        noise = draw.normal(count, NUM_ROTATIONS, 3, std=0.06) * draw.uniform(count, 1, 1)
        noise[:, 0] = 0
        return poses + noise

    def _coordinated(self, count: int, draw: _Draw) -> torch.Tensor:
        curl = draw.uniform(count, 1, low=-0.05, high=1.0) + draw.normal(count, 1, std=0.2) * self._slope(draw)
        knuckle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        middle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        spread = self._spread(count, draw, low=-0.7, high=0.8)
        thumb = self._mixed_thumb(count, draw, (_RELAXED_THUMB, _ANY_THUMB, _OPPOSED_THUMB))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _independent(self, count: int, draw: _Draw) -> torch.Tensor:
        knuckle, middle = draw.uniform(count, 4), draw.uniform(count, 4)
        follows = draw.uniform(count, 4) < 0.6
        middle = torch.where(follows, knuckle + draw.normal(count, 4, std=0.12), middle)
        # fingers pull their neighbours along
        neighbours = torch.stack([knuckle[:, 1], knuckle[:, 3], knuckle[:, 3], knuckle[:, 1]], dim=1)
        knuckle = 0.75 * knuckle + 0.25 * neighbours
        spread = self._spread(count, draw, low=-0.5, high=1.0)
        thumb = self._mixed_thumb(count, draw, (_ANY_THUMB, _RELAXED_THUMB, _EXTENDED_THUMB))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _counting(self, count: int, draw: _Draw) -> torch.Tensor:
        """Any set of fingers straight and the others closed: pointing, counting, letters."""
        straight = draw.uniform(count, 4) < 0.45
        pointing = draw.uniform(count, 1) < 0.25
        straight = torch.where(pointing, torch.tensor([True, False, False, False], device=draw.device), straight)
        open_curl, closed_curl = draw.normal(count, 4, std=0.06).abs(), draw.normal(count, 4, mean=0.93, std=0.08)
        knuckle = torch.where(straight, open_curl + draw.normal(count, 1, std=0.08), closed_curl - 0.1)
        middle = torch.where(straight, open_curl, closed_curl + draw.normal(count, 4, std=0.05))
        spread = self._spread(count, draw, low=-0.8, high=0.8)
        thumb = self._mixed_thumb(count, draw, (_ACROSS_THUMB, _EXTENDED_THUMB, _ADDUCTED_THUMB))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _fist(self, count: int, draw: _Draw) -> torch.Tensor:
        closed = draw.normal(count, 1, mean=0.95, std=0.08)
        knuckle, middle = (closed + draw.normal(count, 4, std=0.05) for _ in range(2))
        spread = self._spread(count, draw, low=-0.9, high=-0.2)
        thumb = self._mixed_thumb(count, draw, (_ACROSS_THUMB, _ACROSS_THUMB, _ADDUCTED_THUMB))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _flat(self, count: int, draw: _Draw) -> torch.Tensor:
        knuckle = draw.normal(count, 1, std=0.1) + draw.normal(count, 4, std=0.05)
        middle = draw.normal(count, 1, std=0.06).abs() + draw.normal(count, 4, std=0.03).abs()
        spread = self._spread(count, draw, low=-1.0, high=1.3)
        thumb = self._mixed_thumb(count, draw, (_EXTENDED_THUMB, _ADDUCTED_THUMB, _RELAXED_THUMB))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _grasp(self, count: int, draw: _Draw) -> torch.Tensor:
        """Fingers around an object of some size, the thumb on its other side."""
        tightness = draw.uniform(count, 1, low=0.2, high=0.75)
        shape = draw.normal(count, 1, std=0.18)  # more at the knuckles (box) or at the middle joints (pen)
        knuckle = tightness + shape + draw.normal(count, 4, std=0.05)
        middle = tightness - shape + draw.normal(count, 4, std=0.05)
        spread = self._spread(count, draw, low=-0.5, high=0.9)
        thumb = self._mixed_thumb(count, draw, (_OPPOSED_THUMB,))
        return self._compose(knuckle, middle, spread, thumb, draw)

    def _pinch(self, count: int, draw: _Draw) -> torch.Tensor:
        """The thumb's pulp on a finger's; the other fingers follow it, close or open."""
        table = self._pinch_table().to(draw.device)
        finger = torch.multinomial(
            torch.tensor([0.5, 0.25, 0.1, 0.15], device=draw.device), count, True, generator=draw.generator
        )
        chosen = table[finger, draw.integers(table.shape[1], count)]  # (count, 6, 3)
        own = self._range(pose_flexion(chosen[:, 3:5], self._rows(finger)))
        others = torch.where(draw.uniform(count, 1) < 0.5, own[:, :1], draw.uniform(count, 1))
        others = others + draw.normal(count, 1, std=0.1)
        knuckle, middle = (others + draw.normal(count, 4, std=0.1) for _ in range(2))
        poses = self._compose(
            knuckle, middle, self._spread(count, draw, low=-0.5, high=0.8), _RELAXED_THUMB, draw
        )
        first = torch.tensor([MANO_FINGERS[name][0] for name in _LONG_FINGERS], device=draw.device)[finger]
        rows = torch.arange(count, device=draw.device)
        for bone in range(3):
            poses[rows, first + bone] = chosen[:, 3 + bone]
        poses[:, list(MANO_FINGERS["thumb"])] = chosen[:, :3]
        return poses
