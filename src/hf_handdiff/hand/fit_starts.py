"""Where a fit to 2D points alone may start: the mean hand, seen from all sides."""

from __future__ import annotations

import math

import torch

from hf_handdiff.hand.fit_terms import RayTerm
from hf_handdiff.hand.pose_fitting import mean_hands, placed
from hf_handdiff.hand.pose_prior import PosePrior
from hf_handdiff.hand.posed_points import HandState, PointModel

NUM_DIRECTIONS = 30


def _views(count: int, like: torch.Tensor) -> torch.Tensor:
    """``(count, 3, 3)`` rotations that bring directions spread evenly over the sphere (a spiral) upon the z axis."""
    index = torch.arange(count, dtype=like.dtype, device=like.device) + 0.5
    height, turn = 1 - 2 * index / count, index * math.pi * (3 - math.sqrt(5))
    radius = (1 - height.square()).sqrt()
    ahead = torch.stack([radius * turn.cos(), radius * turn.sin(), height], dim=-1)
    other = torch.zeros_like(ahead).scatter(1, ahead.abs().argmin(1, keepdim=True), 1.0)
    side = torch.nn.functional.normalize(torch.linalg.cross(other, ahead), dim=-1)
    return torch.stack([side, torch.linalg.cross(ahead, side), ahead], dim=1)


def starts_from_rays(model: PointModel, prior: PosePrior, rays: RayTerm, count: int) -> HandState:
    """The ``count`` views of the mean hand that look most like the 2D points, turned in the image plane upon them.

    Returns:
        ``(B count)`` states, those of one hand behind each other.
    """
    target = rays.rays  # (B, 2, 21)
    batch = len(target)
    weights = rays.information.diagonal(dim1=1, dim2=2).view(-1, 2, target.shape[-1]).mean(1)  # (B, 21)
    weights = (weights / weights.sum(1, keepdim=True))[:, None]  # (B, 1, 21)
    centred = torch.complex(*(target - (weights * target).sum(-1, keepdim=True)).unbind(1))[:, None]  # (B, 1, 21)
    views = _views(NUM_DIRECTIONS, target)
    seen = (views @ model.pose(mean_hands(prior, 1, target)).points)[:, :2]  # (N, 2, 21)
    seen = torch.complex(*seen.unbind(1))[None]  # (1, N, 21)
    seen = seen - (weights * seen).sum(-1, keepdim=True)
    product = (weights * seen.conj() * centred).sum(-1)  # (B, N)
    likeness = product.abs().square() / (weights * seen.abs().square()).sum(-1)
    best = likeness.topk(count, dim=1).indices  # (B, count)
    angle = product.gather(1, best).angle()
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    roll = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1], dim=-1).unflatten(-1, (3, 3))
    state = mean_hands(prior, batch * count, target)
    state.turn = (roll @ views[best]).flatten(0, 1)
    repeated = RayTerm(target.repeat_interleave(count, 0), rays.information.repeat_interleave(count, 0))
    return placed(state, model.pose(state).points, repeated)


def best_of(state: HandState, cost: torch.Tensor, count: int) -> HandState:
    """Of ``count`` states of every hand the one of the lowest cost ``(B count)``."""
    best = cost.nan_to_num(torch.inf).view(-1, count).argmin(1)
    rows = best + count * torch.arange(len(best), device=best.device)
    return HandState(**{name: value[rows] for name, value in vars(state).items()})
