"""Poses whose fingers touch: pinches, and thumbs that rest on a closed finger. Found once, by trying many."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

from hf_handdiff.hand.finger_contact import ball_centres, distance_to_segments, overlap_of_joints
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_composition import (
    ACROSS_THUMB,
    ANY_THUMB,
    LONG_FINGERS,
    OPPOSED_THUMB,
    Draw,
    PoseComposer,
)
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS, NUM_SHAPE

_CONTACT_GAP_M = 0.0135
"""Distance between the centres of two fingertips' pulps that touch."""


class TouchingPoses:
    """Tables of poses of single fingers that touch another, on the hand of mean shape.

    Args:
        layer: the hand.
        composer: of its poses.
    """

    def __init__(self, layer: HandLayer, composer: PoseComposer):
        self.layer, self.composer = layer, composer
        self._pinches: torch.Tensor | None = None
        self._rests: torch.Tensor | None = None

    def pinches(self) -> torch.Tensor:
        """``(4, K, 6, 3)`` rotations of the thumb and of one long finger whose pulps touch."""
        if self._pinches is None:
            self._pinches = self._find_pinches()
        return self._pinches

    def _find_pinches(self, tries: int = 12000, keep: int = 1500) -> torch.Tensor:
        """Match random poses of the thumb with random poses of each finger by the places of their pulps."""
        draw = Draw(torch.Generator().manual_seed(100))
        knuckle = draw.uniform(tries, 4)
        middle = 0.6 * knuckle + 0.4 * draw.uniform(tries, 4) + draw.normal(tries, 4, std=0.1)
        poses = self.composer.compose(knuckle, middle, (-1.0, 0.6), (ANY_THUMB, OPPOSED_THUMB), draw)
        joints, backs = self._joints_and_backs(poses)
        centres = {finger: ball_centres(joints, (chain[3],))[:, 0] for finger, chain in FINGERS.items()}
        tree = cKDTree(centres["thumb"].numpy())
        table = []
        for finger in LONG_FINGERS:
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

    def resting_thumbs(self) -> torch.Tensor:
        """``(2, K, 3, 3)`` rotations of a thumb that rests on the closed index or middle finger."""
        if self._rests is None:
            self._rests = self._find_resting_thumbs()
        return self._rests

    def _find_resting_thumbs(self, tries: int = 16000, keep: int = 400) -> torch.Tensor:
        draw = Draw(torch.Generator().manual_seed(101))
        closed = torch.full((tries, 4), 0.92) + draw.normal(tries, 4, std=0.03)
        poses = self.composer.compose(closed, closed, (-0.7, -0.3), (ANY_THUMB, ACROSS_THUMB), draw)
        joints, backs = self._joints_and_backs(poses)
        pulp = ball_centres(joints, (FINGERS["thumb"][3],))
        rests = []
        for finger in ("index", "middle"):
            start, end = (joints[:, [FINGERS[finger][k]]] for k in (1, 2))
            gap = distance_to_segments(pulp, start, end)[:, 0, 0]
            outwards = pulp[:, 0] - (start + end)[:, 0] / 2
            fits = (gap > 0.013) & (gap < 0.0185) & ((outwards * backs["thumb"]).sum(-1) > 0.5 * gap)
            fits &= overlap_of_joints(joints) < 0.012
            found = poses[fits][:, list(MANO_FINGERS["thumb"])]
            rests.append(found[draw.integers(len(found), keep)])
        return torch.stack(rests)

    def _joints_and_backs(self, poses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The joints ``(N, 21, 3)`` and for each finger the direction ``(N, 3)`` in which its nail looks."""
        rest = poses.new_zeros(len(poses), NUM_SHAPE)
        layer = self.layer.to(poses.device)
        with torch.no_grad():
            world, _ = layer.kinematics(poses, rest)
            joints = layer.pose_joints(poses, rest)
        return joints, {f: world[:, chain[2]] @ self.composer.frames[chain[2], 1] for f, chain in MANO_FINGERS.items()}
