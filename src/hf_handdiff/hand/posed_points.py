"""Points of a posed hand and their exact derivatives, by matrix products alone.

Linear blend skinning on a kinematic chain makes every point a sum over the 16 bones, ``v = sum_m W_m y_vm``: ``W_m`` is
the world rotation of bone m and ``y_vm`` is linear in shape and pose blend shapes.  A turn of joint j turns the part
``q_vj``, the sum over j and its descendants, and nothing else, so that the derivative is a cross product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.topology import MANO_PARENTS, MANO_TO_JOINTS, NUM_ROTATIONS, NUM_SHAPE

NUM_FINGERS, NUM_BONES = 5, 3


@dataclass
class HandState:
    """Parameters of hands.

    Attributes:
        turn: ``(B, 3, 3)`` global rotations.
        fingers: ``(B, 15, 3)`` axis-angle of the finger rotations in MANO's order, radians.
        shape: ``(B, 10)``.
        log_size: ``(B, 1)``, the logarithm of the hand's scale about its wrist.
        place: ``(B, 3)`` metres, the wrist in the camera frame.
    """

    turn: torch.Tensor
    fingers: torch.Tensor
    shape: torch.Tensor
    log_size: torch.Tensor
    place: torch.Tensor

    def stepped(self, step: torch.Tensor) -> HandState:
        """The state after a step ``(B, 59)`` or, with a place, ``(B, 62)``.

        A step is a turn in the world (3), then additions to fingers (45), shape (10), logarithm of the size (1) and
        place (3).
        """
        rotation, _ = rotation_and_jacobian(step[:, :3])
        return HandState(
            turn=rotation @ self.turn,
            fingers=self.fingers + step[:, 3:48].unflatten(1, (15, 3)),
            shape=self.shape + step[:, 48:58],
            log_size=self.log_size + step[:, 58:59],
            place=self.place + step[:, 59:] if step.shape[1] > 59 else self.place,
        )


def orthonormal(rotation: torch.Tensor) -> torch.Tensor:
    """Rotations without the rounding errors of a product: one step of Newton's iteration."""
    return 1.5 * rotation - 0.5 * rotation @ (rotation.mT @ rotation)


_CROSS = torch.zeros(3, 3, 3)  # [w]x is the sum over a of w_a _CROSS[a]
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _CROSS[_a, _c, _b], _CROSS[_a, _b, _c] = 1.0, -1.0
_CROSS = _CROSS.flatten(1)


def skew(vectors: torch.Tensor) -> torch.Tensor:
    """The matrices ``(..., 3, 3)`` of the cross products with ``(..., 3)``."""
    return (vectors @ _CROSS.to(vectors)).unflatten(-1, (3, 3))


def rotation_and_jacobian(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations of axis-angle vectors, and how they turn when the vectors change.

    Args:
        vectors: ``(..., 3)`` radians.

    Returns:
        ``(..., 3, 3)`` rotations; ``(..., 3, 3)`` left Jacobians J, ``exp(v + d) = exp(J d) exp(v)`` to first order.
    """
    flat = vectors.reshape(-1, 3)
    cross = skew(flat)
    square = cross.bmm(cross)
    squared_angle = (flat * flat).sum(-1)[:, None, None]
    angle = squared_angle.sqrt()
    first = torch.sinc(angle / torch.pi)  # sin a / a
    second = 0.5 * torch.sinc(angle / (2 * torch.pi)).square()  # (1 - cos a) / a^2
    third = (1 - first) / squared_angle.clamp_min(1e-8)  # (a - sin a) / a^3
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    shape = (*vectors.shape, 3)
    rotation, jacobian = eye + first * cross + second * square, eye + second * cross + third * square
    return rotation.view(shape), jacobian.view(shape)


@dataclass
class PosedPoints:
    """Where points of hands are, relative to the wrist joint or their mean, and how they move.

    Attributes:
        points: ``(B, 3, K)`` metres.
        jacobian: ``(B, 59, 3, K)``, by the entries of a step (see :meth:`HandState.stepped`).
        rotations: ``(B, 15, 3, 3)`` of the fingers.
        finger_jacobians: ``(B, 15, 3, 3)``, the left Jacobians of the finger rotations.
    """

    points: torch.Tensor
    jacobian: torch.Tensor
    rotations: torch.Tensor
    finger_jacobians: torch.Tensor


class PointModel:
    """Points of a hand layer as a function of its parameters.

    Build it by :meth:`of_joints` or :meth:`of_vertices`.  Pose blend shapes move the points and are left out of the
    derivatives: they are small, and iterations with exact residuals still end at the optimum.

    Args:
        layer: the hand.
        template: ``(K, 3)`` the points of the rest hand, metres.
        directions: ``(K, 3, 10)`` by shape.
        weights: ``(K, 16)`` of the bones.
        pose_directions: ``(K, 3, P)``, P being 135 or 0.
        centred: give the points relative to their mean instead of the wrist.
    """

    def __init__(self, layer: HandLayer, template, directions, weights, pose_directions, centred: bool = False):
        rest = torch.cat([layer.joint_template[..., None], layer.joint_shape_directions], -1)  # (16, 3, 11)
        rest = rest.to(template)
        points = torch.cat([template[..., None], directions], -1)  # (K, 3, 11)
        below = torch.eye(NUM_ROTATIONS).to(template)  # [j, k]: k is j or below it
        for joint in range(NUM_ROTATIONS - 1, 0, -1):
            below[MANO_PARENTS[joint]] += below[joint]
        # the vector from bone m's joint to the next joint, where point v follows that one or what is below it
        follow = weights @ below.T  # (K, 16) of joint a or below
        parts = weights[:, :, None, None] * (points[:, None] - rest)  # (K, 16, 3, 11)
        for joint in range(1, NUM_ROTATIONS):
            parent = MANO_PARENTS[joint]
            parts[:, parent] += follow[:, joint, None, None] * (rest[joint] - rest[parent])
        if centred:
            parts = parts - parts.mean(0)
        parts = parts.permute(3, 1, 2, 0).contiguous()  # (11, 16, 3, K)
        self._below = below
        self._constant = parts[0].flatten()
        self._directions = parts[1:].flatten(1)  # (10, 16*3*K)
        self._turned_directions = parts[1:].permute(1, 2, 0, 3).flatten(2).flatten(0, 1)  # (48, 10*K)
        self._weights = weights.T[:, None].contiguous() if pose_directions.shape[-1] else None  # (16, 1, K)
        self._centred_again = centred and self._weights is not None
        self._pose_directions = pose_directions.permute(2, 1, 0).flatten(1)  # (P, 3*K)

    @classmethod
    def of_joints(cls, layer: HandLayer, dtype: torch.dtype) -> PointModel:
        """The 21 joints, in the order of ``topology.JOINT_NAMES``."""
        order, tips = list(MANO_TO_JOINTS), layer.tip_vertices
        bones = torch.eye(NUM_ROTATIONS).to(layer.template)
        blend = layer.pose_directions
        return cls(
            layer,
            torch.cat([layer.joint_template, layer.template[tips]])[order].to(dtype),
            torch.cat([layer.joint_shape_directions, layer.shape_directions[tips]])[order].to(dtype),
            torch.cat([bones, layer.skinning_weights[tips]])[order].to(dtype),
            torch.cat([blend.new_zeros(NUM_ROTATIONS, *blend.shape[1:]), blend[tips]])[order].to(dtype),
        )

    @classmethod
    def of_vertices(cls, layer: HandLayer, dtype: torch.dtype, centred: bool = False) -> PointModel:
        """All vertices, relative to the wrist joint or to their mean."""
        arrays = (layer.template, layer.shape_directions, layer.skinning_weights, layer.pose_directions)
        return cls(layer, *(array.to(dtype) for array in arrays), centred=centred)

    def pose(self, state: HandState) -> PosedPoints:
        """Pose the points; see :class:`PosedPoints`."""
        count = len(state.turn)
        rotations, jacobians = rotation_and_jacobian(state.fingers)
        world, parents = self._world(state.turn, rotations)
        parts = torch.addmm(self._constant, state.shape, self._directions).view(count, NUM_ROTATIONS, 3, -1)
        if self._weights is not None:
            eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            bent = (rotations - eye).flatten(1) @ self._pose_directions  # (B, 3 K)
            parts = parts + self._weights * bent.view(count, 1, 3, -1)
        size = state.log_size.exp()[..., None]
        scaled = world * size[..., None]
        each = scaled.view(-1, 3, 3).bmm(parts.view(count * NUM_ROTATIONS, 3, -1))
        turned = self._below.expand(count, -1, -1).bmm(each.view(count, NUM_ROTATIONS, -1))  # (B, 16, 3 K)
        turned = turned.view(count, NUM_ROTATIONS, 3, -1)
        if self._centred_again:
            turned = turned - turned.mean(-1, keepdim=True)
        points = turned[:, 0]
        # what one radian along the entries of a step turns the points about
        eye = torch.eye(3, dtype=world.dtype, device=world.device).expand(count, 1, 3, 3)
        axes = torch.cat([eye, parents @ jacobians], dim=1)  # (B, 16, 3, 3), columns
        crosses = skew(axes.mT.reshape(-1, 3)).view(-1, 9, 3)
        by_turn = crosses.bmm(turned.view(count * NUM_ROTATIONS, 3, -1))  # (16 B, 9, K)
        by_shape = scaled.transpose(1, 2).reshape(count * 3, -1) @ self._turned_directions
        by_shape = by_shape.view(count, 3, NUM_SHAPE, -1).transpose(1, 2)
        jacobian = torch.cat([by_turn.view(count, 48, 3, -1), by_shape, points[:, None]], dim=1)
        return PosedPoints(points, jacobian, rotations, jacobians)

    @staticmethod
    def _world(turn: torch.Tensor, rotations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """World rotations of the 16 bones and of the parents of the last 15."""
        chain = rotations.unflatten(1, (NUM_FINGERS, NUM_BONES))
        root = turn[:, None]
        first = root @ chain[:, :, 0]
        second = first @ chain[:, :, 1]
        third = second @ chain[:, :, 2]
        root_of_each = root.expand(-1, NUM_FINGERS, -1, -1)
        parents = torch.stack([root_of_each, first, second], dim=2).flatten(1, 2)
        world = torch.cat([root, torch.stack([first, second, third], dim=2).flatten(1, 2)], dim=1)
        return world, parents
