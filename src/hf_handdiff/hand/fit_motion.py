"""One hand through the frames of a video: its pose in each of them, its shape and size once for all."""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.fit_inputs import as_tensor, left_rows, mirror_where
from hf_handdiff.hand.fit_terms import NUM_POSED, SHAPE, SIZE, JointTerm, LimitTerm, PriorTerm
from hf_handdiff.hand.fitting import fit_hand
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_fitting import FitProblem
from hf_handdiff.hand.pose_prior import load_pose_prior
from hf_handdiff.hand.posed_points import HandState, PointModel, orthonormal
from hf_handdiff.hand.topology import NUM_JOINTS, mirror_rotations

JOINT_STD_M = 0.002
"""How far the joints of a frame may be from those of a hand whose shape is the same in all frames."""
_HELD_PRECISION = 1e8
_LIMIT_STD_RAD = 0.02
_FRAMES_AT_ONCE = 64


@dataclass
class HandMotion:
    """A hand in T frames, right or left, float64.

    Attributes:
        global_orient: ``(T, 3)`` axis-angle, radians.
        hand_pose: ``(T, 15, 3)`` axis-angle in MANO's order, zero for the flat hand.
        betas: ``(10,)``, the same in all frames.
        hand_scale: size of the hand about its wrist.
        residual_mm: ``(T,)`` root mean square distance from the joints that were given, the wrists upon each other.
    """

    global_orient: torch.Tensor
    hand_pose: torch.Tensor
    betas: torch.Tensor
    hand_scale: float
    residual_mm: torch.Tensor


@torch.no_grad()
def fit_motion(joints, handedness: str, layer: HandLayer, num_iterations: int = 30) -> HandMotion:
    """Pose, shape and size of one hand whose joints are known in each frame of a video.

    First every frame is fitted on its own; the means of the shapes and of the logarithms of the sizes are then held,
    and the poses are sought again.

    Args:
        joints: ``(T, 21, 3)`` metres, all of them seen, in any axes, relative to the wrist.
        handedness: "left" or "right".
        layer: the right hand.
        num_iterations: at the most, of each of the two.

    Returns:
        A :class:`HandMotion`.

    Raises:
        InputError: an argument is of a wrong shape or not finite.
    """
    device = layer.template.device
    joints = as_tensor(joints, "joints", (None, NUM_JOINTS, 3), device)
    if not joints.isfinite().all():
        raise InputError("joints must be finite")
    left = left_rows(handedness, 1, device)
    joints = mirror_where(joints, left.expand(len(joints)))
    joints = joints - joints[:, :1]
    parts = joints.split(_FRAMES_AT_ONCE)
    singles = [fit_hand(joints=part, layer=layer, num_iterations=num_iterations) for part in parts]
    shape = torch.cat([single.betas for single in singles]).double().mean(0)
    log_size = torch.cat([single.hand_scale for single in singles]).double().log().mean().view(1)
    model = PointModel.of_joints(layer, torch.float64)
    states = [
        _fit_held(model, part, single, shape, log_size, num_iterations)
        for part, single in zip(parts, singles, strict=True)
    ]
    points = torch.cat([model.pose(state).points.mT for state in states])
    turn = roma.rotmat_to_rotvec(torch.cat([state.turn for state in states]))
    fingers = torch.cat([state.fingers for state in states])
    if left:
        turn, fingers = mirror_rotations(turn), mirror_rotations(fingers)
    return HandMotion(
        global_orient=turn,
        hand_pose=fingers,
        betas=shape,
        hand_scale=float(log_size.exp()),
        residual_mm=1000 * (points - joints).square().sum(-1).mean(1).sqrt(),
    )


class _HeldShape(PriorTerm):
    """The prior on the fingers, and a shape ``(10,)`` and a size ``(1,)`` that hardly move."""

    def __init__(self, shape: torch.Tensor, log_size: torch.Tensor):
        super().__init__(load_pose_prior(), NUM_POSED, shape)
        self._shape, self._log_size = shape, log_size
        self.precision.diagonal()[SHAPE] = _HELD_PRECISION
        self.precision.diagonal()[SIZE] = _HELD_PRECISION

    def gradient(self, state: HandState) -> tuple[torch.Tensor, torch.Tensor]:
        off = HandState(
            state.turn, state.fingers, state.shape - self._shape, state.log_size - self._log_size, state.place
        )
        return super().gradient(off)


def _fit_held(model: PointModel, joints, single, shape, log_size, num_iterations: int) -> HandState:
    """Poses of right hands whose shape and size are given, from where the frames on their own led to."""
    count = len(joints)
    start = HandState(
        turn=roma.rotvec_to_rotmat(single.global_orient.double()),
        fingers=single.hand_pose.double(),
        shape=shape.expand(count, -1),
        log_size=log_size.expand(count, 1),
        place=joints.new_zeros(count, 3),
    )
    target = joints.mT.contiguous()
    problem = FitProblem(
        model=model,
        joints=JointTerm(target, JOINT_STD_M**-2),
        rays=None,
        prior=_HeldShape(shape, log_size),
        limits=LimitTerm(target, _LIMIT_STD_RAD),
    )
    state, _ = problem.solve(start, num_iterations)
    return HandState(orthonormal(state.turn), state.fingers, start.shape, start.log_size, start.place)
