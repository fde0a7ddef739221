"""Which parts of a hand touch or run into each other, from its joints, by balls and capsules."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch

from hf_handdiff.hand.topology import FINGERS, FINGERTIPS

_PULP_DEPTH_M = 0.007
"""How far behind the tip vertex the centre of the pulp lies."""

_THUMB_RADIUS_M, _PALM_RADIUS_M = 0.0085, 0.012
_FINGER_RADII_M = (0.0085, 0.0075, 0.0065)
_SOFT_M = 0.003
"""How deep flesh gives way."""


def overlap_of_joints(joints: torch.Tensor) -> torch.Tensor:
    """How deep fingers run into each other or into the palm, roughly, by balls and capsules.

    Args:
        joints: ``(N, 21, 3)`` metres.

    Returns:
        ``(N,)`` metres, summed over the pairs; what soft tissue gives way is not counted.
    """
    total = joints.new_zeros(len(joints))
    for balls, ball_radius, starts, ends, radius in _contact_pairs():
        gap = distance_to_segments(ball_centres(joints, balls), joints[:, starts], joints[:, ends])
        depth = (ball_radius + radius.to(joints) - _SOFT_M - gap).clamp(min=0)
        total = total + depth.flatten(1).sum(1)
    return total


def ball_centres(joints: torch.Tensor, balls: tuple[int, ...]) -> torch.Tensor:
    """``(N, K, 3)`` centres of the balls around joints; at a fingertip, the centre of its pulp."""
    centres = joints[:, list(balls)]
    for place, joint in enumerate(balls):
        if joint in FINGERTIPS:
            back = joints[:, joint - 1] - joints[:, joint]
            centres[:, place] += _PULP_DEPTH_M * back / back.norm(dim=-1, keepdim=True)
    return centres


def distance_to_segments(points, starts, ends) -> torch.Tensor:
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
