"""Poses that hands can take: a fast sampler.

It mixes hands of several kinds (relaxed, independent fingers, counting and pointing, fists, flat and spread hands,
grasps, pinches with touching fingertips) with a prior over poses recorded from people, and rejects those whose thumb
and fingers run through each other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.finger_contact import overlap_of_joints
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_composition import (
    ACROSS_HAND,
    ACROSS_THUMB,
    ADDUCTED_THUMB,
    ANY_THUMB,
    EXTENDED_THUMB,
    FULL_CURL,
    LONG_FINGERS,
    OPPOSED_THUMB,
    RELAXED_THUMB,
    Draw,
    PoseComposer,
)
from hf_handdiff.hand.pose_limits import open_hand_frames
from hf_handdiff.hand.recorded_poses import NUM_NEIGHBOURS, recorded_angles, recorded_neighbours
from hf_handdiff.hand.topology import MANO_FINGERS, NUM_ROTATIONS, NUM_SHAPE
from hf_handdiff.hand.touching_poses import TouchingPoses

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
_RARE_KINDS = ("curled",)
"""Kinds that are drawn only where they are asked for."""
_OVERSAMPLING = {"fist": 3.5, "counting": 2.4, "pinch": 1.6, "curled": 2.0}
"""Candidates drawn for each pose that is wanted; see ``MAX_OVERLAP_M``."""
MAX_OVERLAP_M = 0.006
"""Poses whose fingers run deeper into each other or into the palm (:meth:`PoseSampler.overlap`) are rejected."""
_MAX_ROUNDS = 12


class PoseSampler:
    """Draws hand poses: vectorised, on the generator's device, tens of thousands a second on one CPU core.

    Args:
        frames: ``(16, 3, 3)`` joint frames of the hand; None takes the open hand's.
        layer: the hand whose mean shape decides what touches; None takes the open hand.
    """

    def __init__(self, frames=None, layer: HandLayer | None = None):
        self.layer = HandLayer.open_hand() if layer is None else layer
        self.frames = open_hand_frames() if frames is None else torch.tensor(np.asarray(frames, np.float32))
        self._composer = PoseComposer(self.frames)
        self._touching = TouchingPoses(self.layer, self._composer)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        recorded_share: float = 0.3,
        split: str = "train",
        kinds: dict[str, float] | None = None,
    ) -> torch.Tensor:
        """Draw poses; those whose fingers run through each other are rejected and drawn again.

        Args:
            count: how many.
            generator: source of randomness; its device is the device of the result.
            recorded_share: share of the poses that come from the prior over recorded hands.
            split: whose recordings that prior knows, see ``RECORDED_SPLITS``.
            kinds: shares of the kinds among the others, which sum to 1: coordinated, independent, counting, fist,
                flat, grasp, pinch, curled; None: a mixture of all but the last.

        Returns:
            ``(count, 16, 3)`` axis-angle, radians, within ``POSE_LIMITS``; the global rotation is 0.

        Raises:
            InputError: there is no such kind.
        """
        shares = _KINDS if kinds is None else kinds
        unknown = set(shares) - set(_KINDS) - set(_RARE_KINDS)
        if unknown:
            known = ", ".join([*_KINDS, *_RARE_KINDS])
            raise InputError(f"kinds must be some of {known}, got {', '.join(sorted(unknown))}")
        draw = Draw(generator)
        if count == 0:
            return torch.zeros(0, NUM_ROTATIONS, 3, device=draw.device)
        chances = torch.tensor([recorded_share] + [(1 - recorded_share) * share for share in shares.values()])
        drawn = torch.multinomial(chances.to(draw.device), count, replacement=True, generator=generator)
        poses = torch.empty(count, NUM_ROTATIONS, 3, device=draw.device)
        for number, kind in enumerate(["recorded", *shares]):
            rows = (drawn == number).nonzero()[:, 0]
            if len(rows):
                poses[rows] = self._sample_kind(kind, len(rows), draw, split)
        return poses

    def _sample_kind(self, kind: str, count: int, draw: Draw, split: str) -> torch.Tensor:
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

    def _recorded(self, count: int, draw: Draw, split: str) -> torch.Tensor:
        """The prior over recorded hands: somewhere between one of them and one of its likes, a little off."""
        bank = recorded_angles(split).to(draw.device)
        neighbours = recorded_neighbours(split).to(draw.device)
        first = draw.integers(len(bank), count)
        second = neighbours[first, draw.integers(NUM_NEIGHBOURS, count)]
        angles = torch.lerp(bank[first], bank[second], draw.uniform(count, 1, 1))
        noise = draw.normal(count, NUM_ROTATIONS - 1, 3, std=0.06) * draw.uniform(count, 1, 1)
        poses = torch.zeros(count, NUM_ROTATIONS, 3, device=draw.device)
        poses[:, 1:] = self._composer.bounded_pose(angles + noise, slice(1, NUM_ROTATIONS))
        return poses

    def _coordinated(self, count: int, draw: Draw) -> torch.Tensor:
        """All fingers curl together, a little more on one side of the hand."""
        slope = draw.normal(count, 1, std=0.15) * ACROSS_HAND.to(draw.device)
        curl = draw.uniform(count, 1, low=-0.05, high=1.0) + slope
        knuckle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        middle = curl + draw.normal(count, 1, std=0.15) + draw.normal(count, 4, std=0.07)
        thumb = (RELAXED_THUMB, ANY_THUMB, OPPOSED_THUMB)
        return self._composer.compose(knuckle, middle, (-0.7, 0.8), thumb, draw)

    def _independent(self, count: int, draw: Draw) -> torch.Tensor:
        """Every finger for itself, with some pull on its neighbours."""
        knuckle, middle = draw.uniform(count, 4, low=-0.1), draw.uniform(count, 4)
        follows = draw.uniform(count, 4) < 0.6
        middle = torch.where(follows, knuckle + draw.normal(count, 4, std=0.12), middle)
        knuckle = 0.75 * knuckle + 0.25 * knuckle[:, [1, 3, 3, 1]]
        thumb = (ANY_THUMB, RELAXED_THUMB, EXTENDED_THUMB)
        return self._composer.compose(knuckle, middle, (-0.5, 1.0), thumb, draw)

    def _counting(self, count: int, draw: Draw) -> torch.Tensor:
        """Any set of fingers straight and the others closed: pointing, counting, letters."""
        straight = draw.uniform(count, 4) < 0.45
        only_index = torch.tensor([True, False, False, False], device=draw.device)
        straight = torch.where(draw.uniform(count, 1) < 0.25, only_index, straight)
        opened = draw.normal(count, 4, std=0.06).abs()
        closed = draw.normal(count, 4, mean=0.93, std=0.08)
        knuckle = torch.where(straight, opened + draw.normal(count, 1, std=0.08), closed - 0.1)
        middle = torch.where(straight, opened, closed + draw.normal(count, 4, std=0.05))
        thumb = (ACROSS_THUMB, EXTENDED_THUMB, ADDUCTED_THUMB)
        poses = self._composer.compose(knuckle, middle, (-0.8, 0.8), thumb, draw)
        on_middle = ~straight[:, 1] & (straight[:, 0] | (draw.uniform(count) < 0.3))
        on_index = ~straight[:, 0] & ~on_middle
        rests = (on_middle | on_index) & (draw.uniform(count) < 0.5)
        self._rest_thumb(poses, rests, on_middle.long(), draw)
        return poses

    def _fist(self, count: int, draw: Draw) -> torch.Tensor:
        closed = draw.normal(count, 1, mean=0.93, std=0.07)
        knuckle, middle = (closed + draw.normal(count, 4, std=0.05) for _ in range(2))
        thumb = (ACROSS_THUMB, EXTENDED_THUMB, ADDUCTED_THUMB)
        poses = self._composer.compose(knuckle, middle, (-0.9, -0.2), thumb, draw)
        self._rest_thumb(poses, draw.uniform(count) < 0.7, draw.integers(2, count), draw)
        return poses

    def _curled(self, count: int, draw: Draw) -> torch.Tensor:
        """Hooks, claws and half-closed fists: the middle joints bent more than the knuckles, or the other way."""
        middle = draw.uniform(count, 1, low=0.45, high=1.0) + draw.normal(count, 4, std=0.08)
        knuckle = draw.uniform(count, 1, low=-0.1, high=0.95) + draw.normal(count, 4, std=0.06)
        thumb = (ACROSS_THUMB, ANY_THUMB, RELAXED_THUMB)
        return self._composer.compose(knuckle, middle, (-0.9, 0.4), thumb, draw)

    def _flat(self, count: int, draw: Draw) -> torch.Tensor:
        """An open hand, the fingers close together or spread."""
        knuckle = draw.normal(count, 1, std=0.1) + draw.normal(count, 4, std=0.05)
        middle = draw.normal(count, 1, std=0.06).abs() + draw.normal(count, 4, std=0.03).abs()
        thumb = (EXTENDED_THUMB, ADDUCTED_THUMB, RELAXED_THUMB)
        return self._composer.compose(knuckle, middle, (-0.9, 1.3), thumb, draw)

    def _grasp(self, count: int, draw: Draw) -> torch.Tensor:
        """Fingers around an object of some size, the thumb on its other side."""
        tightness = draw.uniform(count, 1, low=0.2, high=0.75)
        form = draw.normal(count, 1, std=0.18)  # bent more at the knuckles or at the middle joints
        knuckle = tightness + form + draw.normal(count, 4, std=0.05)
        middle = tightness - form + draw.normal(count, 4, std=0.05)
        return self._composer.compose(knuckle, middle, (-0.5, 0.9), (OPPOSED_THUMB,), draw)

    def _pinch(self, count: int, draw: Draw) -> torch.Tensor:
        """The thumb's pulp on a finger's; the other fingers follow that finger or do as they like."""
        table = self._touching.pinches().to(draw.device)  # (4, K, 6, 3)
        chances = torch.tensor(_PINCH_CHANCES, device=draw.device)
        finger = torch.multinomial(chances, count, replacement=True, generator=draw.generator)
        chosen = table[finger, draw.integers(table.shape[1], count)]  # (count, 6, 3)
        own_curl = chosen[:, 4].norm(dim=-1, keepdim=True) / FULL_CURL[1]
        follows = draw.uniform(count, 1) < 0.5
        curl = torch.where(follows, own_curl, draw.uniform(count, 1)) + draw.normal(count, 4, std=0.08)
        curl = curl + draw.normal(count, 1, std=0.1) * ACROSS_HAND.to(draw.device)
        poses = self._composer.compose(curl, curl, (-0.5, 0.8), (RELAXED_THUMB,), draw)
        poses[:, list(MANO_FINGERS["thumb"])] = chosen[:, :3]
        first = torch.tensor([MANO_FINGERS[name][0] for name in LONG_FINGERS], device=draw.device)[finger]
        rows = torch.arange(count, device=draw.device)
        for bone in range(3):
            poses[rows, first + bone] = chosen[:, 3 + bone]
        return poses

    # -- what touches --

    def overlap(self, poses: torch.Tensor) -> torch.Tensor:
        """How deep fingers run into each other or into the palm, see `overlap_of_joints`.

        Args:
            poses: ``(N, 16, 3)`` axis-angle.

        Returns:
            ``(N,)`` metres.
        """
        with torch.no_grad():
            layer = self.layer.to(poses.device)
            joints = layer.pose_joints(poses, poses.new_zeros(len(poses), NUM_SHAPE))
        return overlap_of_joints(joints)

    def _rest_thumb(self, poses, where: torch.Tensor, number: torch.Tensor, draw: Draw) -> None:
        """Lay the thumb on a closed finger (0 index, 1 middle) in the rows ``where``, in place."""
        table = self._touching.resting_thumbs().to(draw.device)
        chosen = table[number, draw.integers(table.shape[1], len(poses))]
        poses[:, 13:] = torch.where(where[:, None, None], chosen, poses[:, 13:])


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
