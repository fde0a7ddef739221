"""Poses that hands can take: joint limits and a fast sampler.

Each of the 15 finger joints has three angles about axes of the rest hand (``joint_frames`` of the asset):
*flexion* (positive closes the finger), *spread* (positive moves it to the thumb's side) and *twist*.  The
joint's rotation is flexion * spread * twist, so that spreading happens in the frame of the bent bone, as at
a knuckle.  The thumb's first joint, a saddle, is turned by an *opposition* about the hand's long axis
before that.

The sampler mixes hands of several kinds (relaxed, independent fingers, counting and pointing, fists, flat
and spread hands, grasps, pinches with touching fingertips) with a prior over poses recorded from people, and
rejects those whose thumb and fingers run through each other.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from hf_handdiff.hand.open_hand import ASSETS, load_open_hand_arrays
from hf_handdiff.hand.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    quaternion_multiply,
    quaternion_to_axis_angle,
)
from hf_handdiff.hand.topology import FINGERS, FINGERTIPS, MANO_FINGERS, NUM_ROTATIONS, NUM_SHAPE

if TYPE_CHECKING:
    from hf_handdiff.hand.layer import HandLayer

RECORDED_POSES_PATH = ASSETS / "recorded_poses.npz"

RECORDED_SPLITS = {"validation": ("csq", "gss"), "test": ("ase", "jos")}
"""Sign languages (ISO 639-3) whose recordings belong to a split; those of all others belong to "train".

The recordings do not name their signers. Each alphabet was signed for one language, so that recordings of
different languages are the nearest there is to recordings of different people.
"""
SPLITS = ("train", "validation", "test")


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


@lru_cache(maxsize=4)
def recorded_angles(split: str | None = None) -> torch.Tensor:
    """Joint angles of real hands, ``(K, 15, 3)`` flexion, spread and twist in radians.

    They were fitted by ``scripts/fit_recorded_poses.py`` to the fingerspelling lexicon of spoken-to-signed
    (https://github.com/ZurichNLP/spoken-to-signed-translation, MIT License, Copyright (c) ZurichNLP).

    Args:
        split: "train", "validation" or "test": those of the split's own signers (``RECORDED_SPLITS``);
            None: all.
    """
    if split not in (None, *SPLITS):
        raise ValueError(f"split must be one of {sorted(SPLITS)} or None, got {split!r}")
    with np.load(RECORDED_POSES_PATH, allow_pickle=False) as file:
        angles = torch.tensor(file["angles"].astype(np.float32))
        languages = file["languages"][file["language"]]  # (K,) codes
    if split == "train":
        held_out = [code for codes in RECORDED_SPLITS.values() for code in codes]
        angles = angles[~np.isin(languages, held_out)]
    elif split is not None:
        angles = angles[np.isin(languages, RECORDED_SPLITS[split])]
    return angles


def recorded_poses(split: str | None = None) -> torch.Tensor:
    """:func:`recorded_angles` as ``(K, 16, 3)`` axis-angle with the identity as global rotation."""
    fingers = angles_to_pose(recorded_angles(split), _open_hand_frames()[1:])
    return torch.cat([torch.zeros(len(fingers), 1, 3), fingers], dim=1)


@lru_cache(maxsize=4)
def _recorded_neighbours(split: str) -> torch.Tensor:
    """``(K, 6)`` indices of the recorded poses that are most like each of :func:`recorded_angles`."""
    angles = recorded_angles(split).flatten(1)
    distance = torch.cdist(angles, angles).fill_diagonal_(torch.inf)
    return distance.topk(_NEIGHBOURS, largest=False).indices


# ---- the sampler --------------------------------------------------------------------------------------

_LONG_FINGERS = ("index", "middle", "little", "ring")
_FULL_CURL = torch.tensor([88.0, 104.0, 68.0]).deg2rad()
"""Flexion of a fully curled finger at its three joints."""
_ACROSS_HAND = torch.tensor([-1.0, -0.33, 1.0, 0.33])
"""Where the long fingers sit across the hand, index, middle, little, ring."""
_SPREAD_DIRECTION = torch.tensor([1.0, 0.1, -1.5, -0.6])
"""Where the fingers go when the hand spreads, index, middle, little, ring."""
_CONTACT_GAP_M = 0.0135
"""Distance between the centres of two fingertips' pulps that touch."""
_PULP_DEPTH_M = 0.007
"""How far behind the tip vertex the centre of the pulp lies."""

_THUMB_RADIUS_M, _PALM_RADIUS_M = 0.0085, 0.012
_FINGER_RADII_M = (0.0085, 0.0075, 0.0065)
_SOFT_M = 0.003
"""How deep flesh gives way."""
_PINCH_CHANCES = (0.5, 0.25, 0.1, 0.15)
"""Chances of a pinch with index, middle, little and ring finger."""

_KINDS = {
    "coordinated": 0.25,
    "independent": 0.20,
    "counting": 0.13,
    "fist": 0.06,
    "flat": 0.14,
    "grasp": 0.10,
    "pinch": 0.12,
}
_OVERSAMPLING = {"fist": 3.5, "counting": 2.4, "pinch": 1.6}
"""Candidates drawn for each pose that is wanted; see ``MAX_OVERLAP_M``."""
MAX_OVERLAP_M = 0.006
"""Poses whose fingers run deeper into each other or into the palm (:meth:`PoseSampler.overlap`) are rejected."""
_MAX_ROUNDS = 12
_NEIGHBOURS = 6


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
    """Draws hand poses: vectorised, on the generator's device, tens of thousands a second on one CPU core.

    Args:
        frames: ``(16, 3, 3)`` joint frames of the hand; None takes the open hand's.
        layer: the hand whose mean shape decides what touches; None takes the open hand.
    """

    def __init__(self, frames=None, layer: HandLayer | None = None):
        if layer is None:
            from hf_handdiff.hand.layer import HandLayer

            layer = HandLayer.open_hand()
        self.layer = layer
        self.frames = _open_hand_frames() if frames is None else torch.tensor(np.asarray(frames, np.float32))
        bones = torch.stack([self.frames[MANO_FINGERS[finger][0], 2] for finger in _LONG_FINGERS])
        self.azimuth = torch.atan2(bones[:, 2], -bones[:, 0])
        """How far each long finger of the rest hand points to the thumb's side, radians."""
        self._pinches: torch.Tensor | None = None
        self._rests: torch.Tensor | None = None

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        recorded_share: float = 0.3,
        split: str = "train",
    ) -> torch.Tensor:
        """Draw poses; those whose fingers run through each other are rejected and drawn again.

        Args:
            count: how many.
            generator: source of randomness; its device is the device of the result.
            recorded_share: share of the poses that come from the prior over recorded hands.
            split: whose recordings that prior knows, see ``RECORDED_SPLITS``.

        Returns:
            ``(count, 16, 3)`` axis-angle, radians, within ``POSE_LIMITS``; the global rotation is 0.
        """
        draw = _Draw(generator)
        if count == 0:
            return torch.zeros(0, NUM_ROTATIONS, 3, device=draw.device)
        chances = torch.tensor([recorded_share] + [(1 - recorded_share) * share for share in _KINDS.values()])
        kinds = torch.multinomial(chances.to(draw.device), count, replacement=True, generator=generator)
        poses = torch.empty(count, NUM_ROTATIONS, 3, device=draw.device)
        for number, kind in enumerate(["recorded", *_KINDS]):
            rows = (kinds == number).nonzero()[:, 0]
            if len(rows):
                poses[rows] = self._sample_kind(kind, len(rows), draw, split)
        return poses

    def _sample_kind(self, kind: str, count: int, draw: _Draw, split: str) -> torch.Tensor:
        """``count`` poses of a kind that keep ``MAX_OVERLAP_M``, in the order in which they were drawn."""
        kept = torch.empty(0, NUM_ROTATIONS, 3, device=draw.device)
        for _ in range(_MAX_ROUNDS):
            wanted = int((count - len(kept)) * _OVERSAMPLING.get(kind, 1.3)) + 7
            if kind == "recorded":
                candidates = self._recorded(wanted, draw, split)
            else:
                candidates = getattr(self, f"_{kind}")(wanted, draw)
            kept = torch.cat([kept, candidates[self.overlap(candidates) <= MAX_OVERLAP_M]])
            if len(kept) >= count:
                return kept[:count]
        # never seen; a flat hand cannot overlap
        return torch.cat([kept, self._flat(count - len(kept), draw)])

    # -- the kinds of poses; each returns (count, 16, 3) axis-angle --

    def _recorded(self, count: int, draw: _Draw, split: str) -> torch.Tensor:
        """The prior over recorded hands: somewhere between one of them and one of its likes, a little off."""
        bank = recorded_angles(split).to(draw.device)
        neighbours = _recorded_neighbours(split).to(draw.device)
        first = draw.integers(len(bank), count)
        second = neighbours[first, draw.integers(_NEIGHBOURS, count)]
        angles = torch.lerp(bank[first], bank[second], draw.uniform(count, 1, 1))
        noise = draw.normal(count, NUM_ROTATIONS - 1, 3, std=0.06) * draw.uniform(count, 1, 1)
        poses = torch.zeros(count, NUM_ROTATIONS, 3, device=draw.device)
        poses[:, 1:] = self._bounded_pose(angles + noise, slice(1, NUM_ROTATIONS))
        return poses

    def _coordinated(self, count: int, draw: _Draw) -> torch.Tensor:
        """All fingers curl together, a little more on one side of the hand."""
        slope = draw.normal(count, 1, std=0.15) * _ACROSS_HAND.to(draw.device)
        curl = draw.uniform(count, 1, low=-0.05, high=1.0) + slope
        knuckle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        middle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        thumb = (_RELAXED_THUMB, _ANY_THUMB, _OPPOSED_THUMB)
        return self._compose(knuckle, middle, (-0.7, 0.8), thumb, draw)

    def _independent(self, count: int, draw: _Draw) -> torch.Tensor:
        """Every finger for itself, with some pull on its neighbours."""
        knuckle, middle = draw.uniform(count, 4, low=-0.1), draw.uniform(count, 4)
        follows = draw.uniform(count, 4) < 0.6
        middle = torch.where(follows, knuckle + draw.normal(count, 4, std=0.12), middle)
        knuckle = 0.75 * knuckle + 0.25 * knuckle[:, [1, 3, 3, 1]]
        thumb = (_ANY_THUMB, _RELAXED_THUMB, _EXTENDED_THUMB)
        return self._compose(knuckle, middle, (-0.5, 1.0), thumb, draw)

    def _counting(self, count: int, draw: _Draw) -> torch.Tensor:
        """Any set of fingers straight and the others closed: pointing, counting, letters."""
        straight = draw.uniform(count, 4) < 0.45
        only_index = torch.tensor([True, False, False, False], device=draw.device)
        straight = torch.where(draw.uniform(count, 1) < 0.25, only_index, straight)
        opened = draw.normal(count, 4, std=0.06).abs()
        closed = draw.normal(count, 4, mean=0.93, std=0.08)
        knuckle = torch.where(straight, opened + draw.normal(count, 1, std=0.08), closed - 0.1)
        middle = torch.where(straight, opened, closed + draw.normal(count, 4, std=0.05))
        thumb = (_ACROSS_THUMB, _EXTENDED_THUMB, _ADDUCTED_THUMB)
        poses = self._compose(knuckle, middle, (-0.8, 0.8), thumb, draw)
        on_middle = ~straight[:, 1] & (straight[:, 0] | (draw.uniform(count) < 0.3))
        on_index = ~straight[:, 0] & ~on_middle
        rests = (on_middle | on_index) & (draw.uniform(count) < 0.5)
        self._rest_thumb(poses, rests, on_middle.long(), draw)
        return poses

    def _fist(self, count: int, draw: _Draw) -> torch.Tensor:
        closed = draw.normal(count, 1, mean=0.93, std=0.07)
        knuckle, middle = (closed + draw.normal(count, 4, std=0.05) for _ in range(2))
        thumb = (_ACROSS_THUMB, _EXTENDED_THUMB, _ADDUCTED_THUMB)
        poses = self._compose(knuckle, middle, (-0.9, -0.2), thumb, draw)
        self._rest_thumb(poses, draw.uniform(count) < 0.7, draw.integers(2, count), draw)
        return poses

    def _flat(self, count: int, draw: _Draw) -> torch.Tensor:
        """An open hand, the fingers close together or spread."""
        knuckle = draw.normal(count, 1, std=0.1) + draw.normal(count, 4, std=0.05)
        middle = draw.normal(count, 1, std=0.06).abs() + draw.normal(count, 4, std=0.03).abs()
        thumb = (_EXTENDED_THUMB, _ADDUCTED_THUMB, _RELAXED_THUMB)
        return self._compose(knuckle, middle, (-0.9, 1.3), thumb, draw)

    def _grasp(self, count: int, draw: _Draw) -> torch.Tensor:
        """Fingers around an object of some size, the thumb on its other side."""
        tightness = draw.uniform(count, 1, low=0.2, high=0.75)
        form = draw.normal(count, 1, std=0.18)  # bent more at the knuckles or at the middle joints
        knuckle = tightness + form + draw.normal(count, 4, std=0.05)
        middle = tightness - form + draw.normal(count, 4, std=0.05)
        return self._compose(knuckle, middle, (-0.5, 0.9), (_OPPOSED_THUMB,), draw)

    def _pinch(self, count: int, draw: _Draw) -> torch.Tensor:
        """The thumb's pulp on a finger's; the other fingers follow that finger or do as they like."""
        table = self._pinch_table().to(draw.device)  # (4, K, 6, 3)
        chances = torch.tensor(_PINCH_CHANCES, device=draw.device)
        finger = torch.multinomial(chances, count, replacement=True, generator=draw.generator)
        chosen = table[finger, draw.integers(table.shape[1], count)]  # (count, 6, 3)
        own_curl = chosen[:, 4].norm(dim=-1, keepdim=True) / _FULL_CURL[1]
        follows = draw.uniform(count, 1) < 0.5
        curl = torch.where(follows, own_curl, draw.uniform(count, 1)) + draw.normal(count, 4, std=0.08)
        curl = curl + draw.normal(count, 1, std=0.1) * _ACROSS_HAND.to(draw.device)
        poses = self._compose(curl, curl, (-0.5, 0.8), (_RELAXED_THUMB,), draw)
        poses[:, list(MANO_FINGERS["thumb"])] = chosen[:, :3]
        first = torch.tensor([MANO_FINGERS[name][0] for name in _LONG_FINGERS], device=draw.device)[finger]
        rows = torch.arange(count, device=draw.device)
        for bone in range(3):
            poses[rows, first + bone] = chosen[:, 3 + bone]
        return poses

    # -- from curls to rotations --

    def _compose(self, knuckle, middle, spread_range, thumbs, draw: _Draw) -> torch.Tensor:
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

    def _long_fingers(self, knuckle, middle, spread_range, draw: _Draw) -> torch.Tensor:
        """``(N, 12, 3)`` axis-angle of index, middle, little and ring."""
        count = len(knuckle)
        last = middle * draw.normal(count, 1, mean=0.8, std=0.2) + draw.normal(count, 4, std=0.07)
        curls = torch.stack([knuckle, middle, last], dim=-1)  # (N, 4, 3)
        angles = torch.zeros(count, 4, 3, 3, device=draw.device)
        angles[..., 0] = curls * _FULL_CURL.to(draw.device)
        together = -0.9 * self.azimuth.to(draw.device)
        apart = _SPREAD_DIRECTION.to(draw.device) * 0.16
        amount = draw.uniform(count, 1, low=spread_range[0], high=spread_range[1])
        spread = torch.where(amount < 0, -amount * together, amount * apart)
        # bent knuckles hold the fingers in line
        freedom = 1 - 0.7 * knuckle.clamp(0, 1)
        angles[..., 0, 1] = (spread + draw.normal(count, 4, std=0.04)) * freedom
        angles[..., 0, 2] = draw.normal(count, 4, std=0.03)
        angles[..., 1:, 1:] = draw.normal(count, 4, 2, 2, std=0.015)
        return self._bounded_pose(angles.flatten(1, 2), slice(1, 13))

    def _thumb(self, count: int, kinds, draw: _Draw) -> torch.Tensor:
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
        saddle = axis_angle_to_quaternion(angles_to_pose(angles[:, 0], frames[0]))
        long_axis = torch.nn.functional.pad(opposition[:, None], (0, 2))
        saddle = quaternion_multiply(axis_angle_to_quaternion(long_axis), saddle)
        angles[:, 0] = pose_to_angles(quaternion_to_axis_angle(_positive(saddle)), frames[0])
        return self._bounded_pose(angles, slice(13, 16))

    def _bounded_pose(self, angles: torch.Tensor, joints: slice) -> torch.Tensor:
        table = limits_table().to(angles)[joints]
        bounded = torch.minimum(torch.maximum(angles, table[..., 0]), table[..., 1])
        return angles_to_pose(bounded, self.frames.to(angles)[joints])

    # -- what touches --

    def overlap(self, poses: torch.Tensor) -> torch.Tensor:
        """How deep fingers run into each other or into the palm, roughly, by balls and capsules.

        Args:
            poses: ``(N, 16, 3)`` axis-angle.

        Returns:
            ``(N,)`` metres, summed over the pairs; what soft tissue gives way is not counted.
        """
        with torch.no_grad():
            layer = self.layer.to(poses.device)
            joints = layer.pose_joints(poses, poses.new_zeros(len(poses), NUM_SHAPE))
        total = poses.new_zeros(len(poses))
        for balls, ball_radius, starts, ends, radius in _contact_pairs():
            gap = _distance_to_segments(_ball_centres(joints, balls), joints[:, starts], joints[:, ends])
            depth = (ball_radius + radius.to(joints) - _SOFT_M - gap).clamp(min=0)
            total = total + depth.flatten(1).sum(1)
        return total

    def _pinch_table(self) -> torch.Tensor:
        """``(4, K, 6, 3)`` rotations of the thumb and of one long finger whose pulps touch."""
        if self._pinches is None:
            self._pinches = self._find_pinches()
        return self._pinches

    def _find_pinches(self, tries: int = 12000, keep: int = 1500) -> torch.Tensor:
        """Match random poses of the thumb with random poses of each finger by the places of their pulps."""
        draw = _Draw(torch.Generator().manual_seed(100))
        knuckle = draw.uniform(tries, 4)
        middle = 0.6 * knuckle + 0.4 * draw.uniform(tries, 4) + draw.normal(tries, 4, std=0.1)
        poses = self._compose(knuckle, middle, (-1.0, 0.6), (_ANY_THUMB, _OPPOSED_THUMB), draw)
        joints, backs = self._joints_and_backs(poses)
        centres = {finger: _ball_centres(joints, (chain[3],))[:, 0] for finger, chain in FINGERS.items()}
        tree = cKDTree(centres["thumb"].numpy())
        table = []
        for finger in _LONG_FINGERS:
            distance, thumb = (torch.tensor(a) for a in tree.query(centres[finger].numpy(), k=8))
            own = torch.arange(tries)[:, None].expand_as(thumb)
            between = (centres["thumb"][thumb] - centres[finger][own]) / distance[..., None]
            fits = (distance / _CONTACT_GAP_M - 1).abs() < 0.15
            fits &= (between * backs[finger][own]).sum(-1) < -0.3
            fits &= (between * backs["thumb"][thumb]).sum(-1) > 0.2
            thumb, own = thumb[fits], own[fits]
            chosen = draw.integers(len(own), keep)
            thumbs = poses[thumb[chosen]][:, list(MANO_FINGERS["thumb"])]
            table.append(torch.cat([thumbs, poses[own[chosen]][:, list(MANO_FINGERS[finger])]], dim=1))
        return torch.stack(table)

    def _resting_thumbs(self) -> torch.Tensor:
        """``(2, K, 3, 3)`` rotations of a thumb that rests on the closed index or middle finger."""
        if self._rests is None:
            self._rests = self._find_resting_thumbs()
        return self._rests

    def _find_resting_thumbs(self, tries: int = 16000, keep: int = 400) -> torch.Tensor:
        draw = _Draw(torch.Generator().manual_seed(101))
        closed = torch.full((tries, 4), 0.92) + draw.normal(tries, 4, std=0.03)
        poses = self._compose(closed, closed, (-0.7, -0.3), (_ANY_THUMB, _ACROSS_THUMB), draw)
        joints, backs = self._joints_and_backs(poses)
        pulp = _ball_centres(joints, (FINGERS["thumb"][3],))
        rests = []
        for finger in ("index", "middle"):
            start, end = (joints[:, [FINGERS[finger][k]]] for k in (1, 2))
            gap = _distance_to_segments(pulp, start, end)[:, 0, 0]
            outwards = pulp[:, 0] - (start + end)[:, 0] / 2
            fits = (gap > 0.013) & (gap < 0.0185) & ((outwards * backs["thumb"]).sum(-1) > 0.5 * gap)
            fits &= self.overlap(poses) < 0.012
            found = poses[fits][:, list(MANO_FINGERS["thumb"])]
            rests.append(found[draw.integers(len(found), keep)])
        return torch.stack(rests)

    def _rest_thumb(self, poses, where: torch.Tensor, number: torch.Tensor, draw: _Draw) -> None:
        """Lay the thumb on a closed finger (0 index, 1 middle) in the rows ``where``, in place."""
        table = self._resting_thumbs().to(draw.device)
        chosen = table[number, draw.integers(table.shape[1], len(poses))]
        poses[:, 13:] = torch.where(where[:, None, None], chosen, poses[:, 13:])

    def _joints_and_backs(self, poses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The joints ``(N, 21, 3)`` and for each finger the direction ``(N, 3)`` in which its nail looks."""
        rest = poses.new_zeros(len(poses), NUM_SHAPE)
        layer = self.layer.to(poses.device)
        with torch.no_grad():
            world, _ = layer.kinematics(poses, rest)
            joints = layer.pose_joints(poses, rest)
        return joints, {f: world[:, chain[2]] @ self.frames[chain[2], 1] for f, chain in MANO_FINGERS.items()}


def _ball_centres(joints: torch.Tensor, balls: tuple[int, ...]) -> torch.Tensor:
    """``(N, K, 3)`` centres of the balls around joints; at a fingertip, the centre of its pulp."""
    centres = joints[:, list(balls)]
    for place, joint in enumerate(balls):
        if joint in FINGERTIPS:
            back = joints[:, joint - 1] - joints[:, joint]
            centres[:, place] += _PULP_DEPTH_M * back / back.norm(dim=-1, keepdim=True)
    return centres


def _distance_to_segments(points, starts, ends) -> torch.Tensor:
    """``(N, K, S)`` distances of ``(N, K, 3)`` points to ``(N, S, 3)`` segments."""
    # by scalar products only: the (N, K, S, 3) differences would cost three times as much
    along = ends - starts
    length = (along**2).sum(-1)[:, None]
    start_along = (starts * along).sum(-1)[:, None]
    projected = torch.baddbmm(-start_along, points, along.transpose(1, 2))  # (N, K, S)
    share = (projected / length).clamp(0, 1)
    squared = (points**2).sum(-1, keepdim=True) + (starts**2).sum(-1)[:, None]
    squared = torch.baddbmm(squared, points, starts.transpose(1, 2), alpha=-2)
    squared = squared - share * (2 * projected - share * length)
    return squared.clamp(min=0).sqrt()


@lru_cache(maxsize=1)
def _contact_pairs() -> list[tuple]:
    """Which balls must stay out of which capsules: (joints, radius, starts, ends, radii)."""
    thumb = FINGERS["thumb"]
    starts, ends, radii = [], [], []
    for finger in ("index", "middle", "ring", "little"):
        chain = (0, *FINGERS[finger])
        starts += chain[:-1]
        ends += chain[1:]
        radii += [_PALM_RADIUS_M, *_FINGER_RADII_M]
    pairs = [((thumb[2], thumb[3]), _THUMB_RADIUS_M, starts, ends, torch.tensor(radii))]
    order = ("index", "middle", "ring", "little")
    finger_radii, palm_radii = torch.tensor(_FINGER_RADII_M), torch.tensor([_PALM_RADIUS_M] * 4)
    for one, other in [*pairwise(order), *pairwise(order[::-1])]:
        chain = FINGERS[other]
        pairs.append((FINGERS[one][1:], _FINGER_RADII_M[1], chain[:-1], chain[1:], finger_radii))
    knuckles = [FINGERS[name][0] for name in order]
    for finger in order:
        pairs.append((FINGERS[finger][2:], _FINGER_RADII_M[2], [0] * 4, knuckles, palm_radii))
    return pairs


@lru_cache(maxsize=1)
def default_sampler() -> PoseSampler:
    """The sampler of the open hand."""
    return PoseSampler()


def sample_poses(
    count: int,
    generator: torch.Generator | None = None,
    recorded_share: float = 0.3,
    split: str = "train",
) -> torch.Tensor:
    """Draw poses of the open hand; see :meth:`PoseSampler.sample`.

    Args:
        count: how many.
        generator: source of randomness; its device is the device of the result.
        recorded_share: share of the poses that come from the prior over recorded hands.
        split: whose recordings that prior knows, see ``RECORDED_SPLITS``.

    Returns:
        ``(count, 16, 3)`` axis-angle, radians; the global rotation is 0.
    """
    return default_sampler().sample(count, generator, recorded_share, split)
