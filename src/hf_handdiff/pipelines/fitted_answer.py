"""One posed hand for a distribution of hands: what `aggregation="fitted"` answers.

The mean of hypotheses is no hand: bones that point different ways average to shorter ones. The hand layer is fitted to
that mean and to the 2D points under their joint distribution, with a prior
over poses and shapes (`hand.pose_fitting`).
"""

from dataclasses import dataclass
from functools import lru_cache

import roma
import torch

from hf_handdiff.camera import KeypointView
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_fitting import fit_posed_hand
from hf_handdiff.hand.posed_points import PointModel
from hf_handdiff.hand.topology import mirror_rotations
from hf_handdiff.models.keypoint_distribution import KeypointDistribution

JOINT_STD_M = 0.01
"""How far a joint of the hypotheses' mean may be off: chosen on validation renders."""
HYPOTHESIS_STD_M = 0.003
"""How far a fitted hypothesis may be from its joints."""
KEYPOINT_STD = 0.03
"""The same of 2D points, in half extents of the hand: followed closer, the hand bends to the errors of the detector."""


@dataclass
class PosedHands:
    """Parameters of B hands, right ones until `to_camera` mirrors them.

    Attributes:
        global_orient: (B, 3) axis-angle.
        hand_pose: (B, 15, 3) axis-angle, MANO's order, flat hand at zero.
        betas: (B, 10).
        hand_scale: (B,).
        joints: (B, 21, 3) m, wrist at 0.
        vertices: (B, V, 3) m, wrist at 0.
    """

    global_orient: torch.Tensor
    hand_pose: torch.Tensor
    betas: torch.Tensor
    hand_scale: torch.Tensor
    joints: torch.Tensor
    vertices: torch.Tensor

    def to_camera(self, rotation: torch.Tensor, left: torch.Tensor) -> "PosedHands":
        """From the view frame to the camera's, left hands mirrored back: rotation (B, 3, 3) leads to the view."""
        turn = rotation.transpose(-1, -2) @ roma.rotvec_to_rotmat(self.global_orient)
        pose = torch.cat([roma.rotmat_to_rotvec(turn)[:, None], self.hand_pose], dim=1)
        pose = torch.where(left[:, None, None], mirror_rotations(pose), pose)
        sign = torch.where(left[:, None, None], torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
        joints, vertices = (sign * (points @ rotation) for points in (self.joints, self.vertices))
        return PosedHands(pose[:, 0], pose[:, 1:], self.betas, self.hand_scale, joints, vertices)


@torch.no_grad()
def fit_answer(
    layer: HandLayer,
    joints: torch.Tensor,
    view: KeypointView | None = None,
    distribution: KeypointDistribution | None = None,
) -> PosedHands:
    """The hand that is nearest to the mean of hypotheses and to the 2D points.

    Args:
        layer: the right hand to pose.
        joints: (B, N, 21, 3) m, wrist at 0, view frame.
        view: 2D points; None: there are none.
        distribution: theirs, in the units of `view.points`.

    Returns:
        B right hands, view frame.
    """
    mean = joints.mean(1)
    information = mean.new_full((len(mean), 21), JOINT_STD_M**-2)
    return _fit(layer, mean, information, view, distribution)


@torch.no_grad()
def fit_hypotheses(
    layer: HandLayer,
    joints: torch.Tensor,
    view: KeypointView | None = None,
    distribution: KeypointDistribution | None = None,
) -> PosedHands:
    """A posed hand for each hypothesis, B N rows: near its joints, and near the 2D points as far as they are sure.

    Arguments are those of `fit_answer`.

    Returns:
        B N right hands, those of an image in a row, view frame.
    """
    count = joints.shape[1]
    if view is not None:
        view = KeypointView(**{name: value.repeat_interleave(count, 0) for name, value in vars(view).items()})
        distribution = KeypointDistribution(*(x.repeat_interleave(count, 0) for x in vars(distribution).values()))
    flat = joints.flatten(0, 1)
    return _fit(layer, flat, flat.new_full((len(flat), 21), HYPOTHESIS_STD_M**-2), view, distribution)


def _fit(layer, target, information, view, distribution) -> PosedHands:
    eye = torch.eye(3)
    rays = ray_information = None
    if view is not None:
        rays, ray_information = _ray_target(view, distribution)
    fitted = fit_posed_hand(
        layer,
        target,
        information[..., None, None] * eye,
        rays,
        ray_information,
        model=_joint_model(layer),
    )
    pose, shape, size = fitted.pose, fitted.betas, fitted.hand_scale
    mesh = layer(pose, shape)
    vertices, joints = ((points - mesh.joints[:, :1]) * size[:, None, None] for points in (mesh.vertices, mesh.joints))
    return PosedHands(pose[:, 0], pose[:, 1:], shape, size, joints, vertices)


def _ray_target(view: KeypointView, distribution: KeypointDistribution) -> tuple[torch.Tensor, torch.Tensor]:
    """Tangents (B, 21, 2) and the information on all of them together (B, 42, 42); zeros where a point is not seen."""
    seen = view.scores > 0
    noise = (distribution.noise.square() + KEYPOINT_STD**2).sqrt()
    covariance = KeypointDistribution(distribution.factors, noise).scaled(view.scale).full_covariance()
    both = seen.repeat_interleave(2, dim=1).to(covariance)
    # what is not seen is cut off from the rest, and its own information is zero
    covariance = covariance * both[:, None] * both[:, :, None] + torch.diag_embed(1 - both)
    information = torch.linalg.inv(covariance.double()).to(covariance)
    return view.rays_of(view.points), information * both[:, None] * both[:, :, None]


@lru_cache(maxsize=2)
def _joint_model(layer: HandLayer) -> PointModel:
    return PointModel.of_joints(layer, torch.float32)


@lru_cache(maxsize=1)
def open_hand() -> HandLayer:
    """The hand of this package, made once."""
    return HandLayer.open_hand().eval()
