"""What a fitted hand is asked for: its terms, each a cost with gradient and Gauss-Newton Hessian.

A term of points gives ``(B, P + 1, P + 1)`` products of the rows of ``[Jacobian; residual]`` under its information:
Hessian, half the gradient (last row) and cost (corner) in one.  Points are held as ``(B, 3, K)``: first all x,
then y, then z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from hf_handdiff.hand.pose_limits import limits_table, open_hand_frames
from hf_handdiff.hand.pose_prior import PosePrior
from hf_handdiff.hand.posed_points import HandState, PosedPoints

NUM_POSED, NUM_PLACED = 59, 62
"""Entries of a step without and with the place of the wrist."""
FINGERS, SHAPE, SIZE = slice(3, 48), slice(48, 58), 58

SIZE_STD = 0.1
"""Of the prior on the logarithm of the hand's scale."""
LIMIT_STD_RAD = 0.05
"""How far beyond a joint limit costs as much as one standard deviation of anything else."""
OUTLIER_SIGMAS = 5.0
"""2D points much farther off than this have next to no say (Geman and McClure)."""
NEAREST_M = 0.05
_LEAST_COSINE = 0.1


def coordinates_first(information: torch.Tensor, size: int) -> torch.Tensor:
    """Information on K points, from the callers' order (point, coordinate) to (coordinate, point).

    Args:
        information: ``(B, K, size, size)`` of each point, or full ``(B, K size, K size)``.
        size: coordinates of a point.

    Returns:
        ``(B, size K, size K)``.
    """
    if information.ndim == 4:
        blocks = torch.diag_embed(information.permute(0, 2, 3, 1))  # (B, size, size, K, K)
        return blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    points = information.shape[1] // size
    return information.view(-1, points, size, points, size).permute(0, 2, 1, 4, 3).reshape(information.shape)


class JointTerm:
    """Distance of points from their targets.

    Args:
        target: ``(B, 3, K)`` metres; finite everywhere.
        information: ``(B, 3 K, 3 K)`` 1/m², or a number for all.
    """

    def __init__(self, target: torch.Tensor, information):
        self.target, self.information = target, information

    def rows(self, rows: torch.Tensor) -> JointTerm:
        """The term of some hands."""
        each = isinstance(self.information, torch.Tensor)
        return JointTerm(self.target[rows], self.information[rows] if each else self.information)

    def products(self, posed: PosedPoints) -> torch.Tensor:
        """``(B, 60, 60)``."""
        rows = torch.cat([posed.jacobian, (posed.points - self.target)[:, None]], dim=1).flatten(2)  # (B, 60, 3 K)
        if isinstance(self.information, torch.Tensor):
            return (rows @ self.information) @ rows.mT
        return self.information * (rows @ rows.mT)


class RayTerm:
    """Distance of projected joints from 2D points, robust against outliers by weights that each iteration renews.

    Args:
        rays: ``(B, 2, 21)`` tangents x / z and y / z; finite everywhere.
        information: ``(B, 42, 42)`` 1/tangent²; zeros where a point was not seen.
    """

    def __init__(self, rays: torch.Tensor, information: torch.Tensor):
        self.rays, self.information = rays, information
        blocks = information.view(-1, 2, 21, 2, 21).diagonal(dim1=2, dim2=4)  # (B, 2, 2, 21)
        self._own = blocks.contiguous()

    def rows(self, rows: torch.Tensor) -> RayTerm:
        """The term of some hands."""
        return RayTerm(self.rays[rows], self.information[rows])

    def residuals(self, posed: PosedPoints, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(B, 2, 21)`` tangents, and the depths ``(B, 1, 21)`` metres."""
        placed = posed.points + place[..., None]
        depth = placed[:, 2:].clamp_min(NEAREST_M)
        return placed[:, :2] / depth - self.rays, depth

    def weights(self, residual: torch.Tensor) -> torch.Tensor:
        """Square roots ``(B, 1, 21)`` of the points' weights."""
        squared = (self._own * residual[:, :, None] * residual[:, None]).sum((1, 2))[:, None]
        return 1 / (1 + squared / OUTLIER_SIGMAS**2)

    def cost(self, residual: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """``(B,)`` under given weights."""
        weighted = (residual * weights).flatten(1)[:, None]
        return (weighted @ self.information @ weighted.mT)[:, 0, 0]

    def products(self, posed: PosedPoints, residual, depth, weights) -> torch.Tensor:
        """``(B, 63, 63)``."""
        seen_at = (residual + self.rays)[:, None]  # (B, 1, 2, 21)
        scale = (weights / depth)[:, None]
        by_pose = (posed.jacobian[:, :, :2] - seen_at * posed.jacobian[:, :, 2:]) * scale  # (B, 59, 2, 21)
        rows = torch.zeros(len(residual), NUM_PLACED + 1, 2, 21, dtype=residual.dtype, device=residual.device)
        rows[:, :NUM_POSED] = by_pose
        rows[:, 59, 0], rows[:, 60, 1] = scale[:, 0, 0], scale[:, 0, 0]
        rows[:, 61] = -(seen_at * scale)[:, 0]
        rows[:, 62] = residual * weights
        rows = rows.flatten(2)
        return (rows @ self.information) @ rows.mT


class PriorTerm:
    """Gaussian priors on the fingers, the shape and the size.

    Args:
        prior: on the fingers.
        size: entries of a step.
        like: a tensor whose dtype and device are used.
        strength: what the precision of the fingers is multiplied by.
    """

    def __init__(self, prior: PosePrior, size: int, like: torch.Tensor, strength: float = 1.0):
        self.mean = prior.mean.to(like)
        precision = torch.zeros(size, size, dtype=torch.float64)
        precision[FINGERS, FINGERS] = strength * prior.precision
        precision.diagonal()[SHAPE] = 1.0
        precision.diagonal()[SIZE] = SIZE_STD**-2
        self.precision = precision.to(like)

    def gradient(self, state: HandState) -> tuple[torch.Tensor, torch.Tensor]:
        """Half the gradient ``(B, P)`` and the cost ``(B,)``."""
        fingers = state.fingers.flatten(1) - self.mean
        off = torch.cat([torch.zeros_like(state.place), fingers, state.shape, state.log_size], dim=1)
        off = torch.nn.functional.pad(off, (0, len(self.precision) - NUM_POSED))
        gradient = off @ self.precision
        return gradient, (off * gradient).sum(1)


@dataclass
class LimitPenalty:
    """Cost ``(B,)``, half gradient ``(B, 45)`` and Hessian blocks ``(B, 15, 3, 3)`` of joints beyond their limits."""

    cost: torch.Tensor
    gradient: torch.Tensor
    hessian: torch.Tensor


@lru_cache(maxsize=4)
def _limits(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames ``(15, 3, 3)`` of the finger joints, lowest and highest angles ``(15, 3)``."""
    low, high = limits_table()[1:].to(device, dtype).unbind(-1)
    return open_hand_frames()[1:].to(device, dtype), low, high


class LimitTerm:
    """Nothing within the joint limits, and a square beyond.

    Args:
        like: a tensor whose dtype and device are used.
        std: radians, see ``LIMIT_STD_RAD``.
    """

    def __init__(self, like: torch.Tensor, std: float = LIMIT_STD_RAD):
        self.frames, self.low, self.high = _limits(like.dtype, like.device)
        self.precision = std**-2

    def penalty(self, posed: PosedPoints) -> LimitPenalty | None:
        """None where no joint of any hand is beyond its limits."""
        local = self.frames @ posed.rotations @ self.frames.mT
        sine = local[..., 0, 2].clamp(-1, 1)
        flexion = torch.atan2(-local[..., 1, 2], local[..., 2, 2])
        twist = torch.atan2(-local[..., 0, 1], local[..., 0, 0])
        angles = torch.stack([flexion, torch.asin(sine), twist], dim=-1)
        beyond = angles - torch.minimum(torch.maximum(angles, self.low), self.high)
        if not beyond.any():
            return None
        # rates of the angles when the rotation turns about the axes of the frame
        cosine = (1 - sine * sine).clamp_min(_LEAST_COSINE**2).sqrt()
        s, c, zero = flexion.sin(), flexion.cos(), torch.zeros_like(sine)
        rates = [zero + 1, sine / cosine * s, -sine / cosine * c, zero, c, s, zero, -s / cosine, c / cosine]
        rates = torch.stack(rates, dim=-1).unflatten(-1, (3, 3))
        by_vector = rates @ (self.frames @ posed.finger_jacobians)  # (B, 15, 3 angles, 3)
        active = by_vector * (beyond != 0)[..., None]
        return LimitPenalty(
            cost=self.precision * beyond.square().sum((1, 2)),
            gradient=self.precision * (active.mT @ beyond[..., None]).flatten(1),
            hessian=self.precision * (active.mT @ active),
        )
