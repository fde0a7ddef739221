"""The parameters of hands from joints, 2D points or meshes, in MANO's terms, and from parameters back to hands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import roma
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.fit_inputs import (
    ESTIMATED_JOINT_STD_M,
    EXACT_JOINT_STD_M,
    as_tensor,
    joint_target,
    left_rows,
    mirror_where,
    ray_target,
)
from hf_handdiff.hand.fit_starts import best_of, starts_from_rays
from hf_handdiff.hand.fit_terms import JointTerm, LimitTerm, PriorTerm, RayTerm, coordinates_first
from hf_handdiff.hand.layer import HandLayer, HandMesh
from hf_handdiff.hand.pose_fitting import NUM_POSED, FitProblem, FittedHand, fit_posed_hand
from hf_handdiff.hand.pose_prior import load_pose_prior
from hf_handdiff.hand.posed_points import HandState, PointModel, orthonormal
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE, mirror_rotations

LARGEST_MESH_RESIDUAL_MM = 10.0
"""A mesh that the layer cannot come nearer to has its vertices elsewhere on the skin."""

_COARSE_STD_M = 0.01
_COARSE_ITERATIONS = 8
_MISFIT_SHARE = 0.2
_RAY_STARTS = 6
_LIMIT_STD_RAD = 0.01
_MESH_JOINT_STD_M, _MESH_STD_M = 0.002, 0.0002
_MESH_LIMIT_STD_RAD = 0.3
_MESH_PRIOR_STRENGTH = 0.05
_MESHES_AT_ONCE = 32


@dataclass
class HandParameters:
    """Parameters of hands, right or left, float32.

    Attributes:
        global_orient: ``(B, 3)`` axis-angle of the whole hand, radians.
        hand_pose: ``(B, 15, 3)`` axis-angle of the fingers in MANO's order (index, middle, little, ring, thumb),
            radians, zero for the flat hand.
        betas: ``(B, 10)`` shape.
        hand_scale: ``(B,)``: the size of the hand about its wrist; 1 is the layer's.
        translation: ``(B, 3)`` metres, the wrist: in the camera frame with 2D points, else in that of the joints or
            mesh that were given.
        joints: ``(B, 21, 3)`` metres, relative to the wrist.
        vertices: ``(B, V, 3)`` metres, relative to the wrist.
        residual_mm: ``(B,)`` root mean square distance from what was given: the vertices of a mesh, the seen joints, or
            else the seen 2D points, at the depth of the hand.
        is_left: ``(B,)`` bool.
    """

    global_orient: torch.Tensor
    hand_pose: torch.Tensor
    betas: torch.Tensor
    hand_scale: torch.Tensor
    translation: torch.Tensor
    joints: torch.Tensor
    vertices: torch.Tensor
    residual_mm: torch.Tensor
    is_left: torch.Tensor


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def fit_hand(
    joints=None,
    keypoints_2d=None,
    vertices=None,
    *,
    intrinsics=None,
    layer: HandLayer | None = None,
    handedness="right",
    joint_std=None,
    keypoint_scores=None,
    keypoint_cov=None,
    num_iterations: int = 30,
) -> HandParameters:
    """Pose and shape of hands whose joints, 2D points or meshes are known.

    Joints and 2D points may be given together.  What is not seen follows from the rest and from what hands mostly do.
    From 2D points alone, depth is a guess: the distance rests on the hand being of usual size.

    Args:
        joints: ``(B, 21, 3)`` metres, in the order of ``topology.JOINT_NAMES``, from any origin, in any axes (with 2D
            points: the camera's); NaN where not seen.
        keypoints_2d: ``(B, 21, 2)`` px; NaN where not seen; wants ``intrinsics``.
        vertices: ``(B, V, 3)`` metres, meshes of the layer's topology, alone.
        intrinsics: ``(B, 3, 3)`` px.
        layer: the right hand to fit; None: the open hand.
        handedness: "left" or "right", or one of them for each hand.
        joint_std: metres, how far off ``joints`` may be, a number or ``(B, 21)``; None: 0.7 mm, with 2D points 1 cm,
            and more where they are far from those of any hand.
        keypoint_scores: ``(B, 21)`` 0..1, how much a 2D point counts.
        keypoint_cov: ``(B, 21, 2, 2)`` px², the covariance of the 2D points; None: 2 % of the hand's size in the image.
        num_iterations: at the most.

    Returns:
        :class:`HandParameters`; :func:`posed_hand` goes back from them to the hand.

    Raises:
        InputError: an argument is missing, of a wrong shape or out of range, fewer than 4 joints of a hand were seen,
            or ``vertices`` are not a mesh of the layer.
    """
    given = next((value for value in (vertices, joints, keypoints_2d) if value is not None), None)
    if given is None:
        raise InputError("one of joints, keypoints_2d and vertices must be given")
    if vertices is not None and (joints is not None or keypoints_2d is not None):
        raise InputError("vertices must be given alone, without joints or keypoints_2d")
    if layer is None:
        layer = _open_hand(str(given.device) if isinstance(given, torch.Tensor) else "cpu")
    device = layer.template.device
    if vertices is not None:
        meshes = as_tensor(vertices, "vertices", (None, layer.num_vertices, 3), device)
        left = left_rows(handedness, len(meshes), device)
        state, place, residual = _fit_meshes(layer, mirror_where(meshes, left), num_iterations)
        return _parameters(layer, state, place, residual, left)
    if joints is not None:
        joints = as_tensor(joints, "joints", (None, NUM_JOINTS, 3), device)
    if keypoints_2d is not None:
        count = None if joints is None else len(joints)
        keypoints_2d = as_tensor(keypoints_2d, "keypoints_2d", (count, NUM_JOINTS, 2), device)
    left = left_rows(handedness, len(keypoints_2d if joints is None else joints), device)
    rays = None
    if keypoints_2d is not None:
        rays = ray_target(keypoints_2d, intrinsics, keypoint_scores, keypoint_cov, left)
    if joints is None:
        fitted = _fit_rays(layer, *rays, num_iterations)
        return _parameters(layer, fitted.state, fitted.translation, _ray_residual_mm(fitted, *rays), left)
    joints = mirror_where(joints, left)
    fitted = _fit_joints(layer, joints, joint_std, rays, num_iterations)
    place, residual = _joint_residual(fitted, joints)
    place = place if rays is None else fitted.translation
    return _parameters(layer, fitted.state, place, 1000 * residual, left)


def posed_hand(
    layer: HandLayer, global_orient, hand_pose, betas, hand_scale=None, handedness="right", translation=None
) -> HandMesh:
    """Hands from their parameters, as :func:`fit_hand` gives them.

    Args:
        layer: the right hand.
        global_orient: ``(B, 3)`` axis-angle, radians.
        hand_pose: ``(B, 15, 3)``.
        betas: ``(B, 10)``.
        hand_scale: ``(B,)`` about the wrist; None: 1.
        handedness: "left" or "right", or one of them for each hand, or ``(B,)`` bool, true for left ones.
        translation: ``(B, 3)`` metres, where the wrist shall be; None: at 0.

    Returns:
        Vertices and joints.

    Raises:
        InputError: an argument is of a wrong shape.
    """
    like = layer.template
    tensors = []
    shapes = {"global_orient": (3,), "hand_pose": (NUM_ROTATIONS - 1, 3), "betas": (NUM_SHAPE,)}
    for value, (name, shape) in zip((global_orient, hand_pose, betas), shapes.items(), strict=True):
        count = len(tensors[0]) if tensors else None
        tensors.append(as_tensor(value, name, (count, *shape), like.device).to(like))
    turn, fingers, shape = tensors
    if isinstance(handedness, torch.Tensor):
        left = handedness.to(like.device)
    else:
        left = left_rows(handedness, len(turn), like.device)
    pose = torch.cat([turn[:, None], fingers], dim=1)
    mesh = layer(torch.where(left[:, None, None], mirror_rotations(pose), pose), shape)
    wrist, size = mesh.joints[:, :1], torch.ones_like(turn[:, 0])
    if hand_scale is not None:
        size = as_tensor(hand_scale, "hand_scale", (len(turn),), like.device).to(like)
    vertices, joints = ((points - wrist) * size[:, None, None] for points in (mesh.vertices, mesh.joints))
    vertices, joints = mirror_where(vertices, left), mirror_where(joints, left)
    if translation is not None:
        place = as_tensor(translation, "translation", (len(turn), 3), like.device).to(like)[:, None]
        vertices, joints = vertices + place, joints + place
    return HandMesh(vertices=vertices, joints=joints)


@lru_cache(maxsize=2)
def _open_hand(device: str) -> HandLayer:
    return HandLayer.open_hand().to(device)


def _fit_joints(layer, joints, joint_std, rays, num_iterations: int) -> FittedHand:
    """Right hands from joints and, where ``rays`` is (tangents, information), 2D points."""
    default = EXACT_JOINT_STD_M if rays is None else ESTIMATED_JOINT_STD_M
    target, information = joint_target(joints, joint_std, default)
    rays, ray_information = (None, None) if rays is None else rays
    model = PointModel.of_joints(layer, target.dtype)
    # first loosely: where the joints are followed to the millimetre at once, some fingers get stuck
    largest = information.diagonal(dim1=1, dim2=2).amax(1)
    loose = information * (_COARSE_STD_M**-2 / largest).clamp(max=1)[:, None, None]
    first = fit_posed_hand(
        layer, target, loose, rays, ray_information, num_iterations=min(_COARSE_ITERATIONS, num_iterations), model=model
    )
    if joint_std is None:  # joints that are not those of a hand are not followed to the millimetre
        misfit = _MISFIT_SHARE * _joint_residual(first, joints)[1]
        information = information * (default / misfit).square().clamp(max=1)[:, None, None]
    return fit_posed_hand(
        layer,
        target,
        information,
        rays,
        ray_information,
        initial=first,
        num_iterations=num_iterations,
        limit_std=_LIMIT_STD_RAD,
        model=model,
    )


def _joint_residual(fitted: FittedHand, joints) -> tuple[torch.Tensor, torch.Tensor]:
    """Wrists ``(B, 3)`` that bring the hands upon the seen joints, and what is left ``(B,)``, metres."""
    offset = joints - fitted.joints
    place = offset.nanmean(1)
    return place, (offset - place[:, None]).square().sum(-1).nanmean(1).sqrt()


def _fit_rays(layer, rays, information, num_iterations: int) -> FittedHand:
    """Right hands from 2D points alone: the best of a few starts."""
    model, prior = PointModel.of_joints(layer, rays.dtype), load_pose_prior()
    term = RayTerm(rays.mT, coordinates_first(information, 2))
    start = starts_from_rays(model, prior, term, _RAY_STARTS)
    several = [value.repeat_interleave(_RAY_STARTS, 0) for value in (rays, information)]
    options = dict(num_iterations=num_iterations, limit_std=_LIMIT_STD_RAD, model=model)
    tried = fit_posed_hand(layer, rays=several[0], ray_information=several[1], initial=start, **options)
    best = best_of(tried.state, tried.cost, _RAY_STARTS)
    return fit_posed_hand(layer, rays=rays, ray_information=information, initial=best, **options)


def _ray_residual_mm(fitted: FittedHand, rays, information) -> torch.Tensor:
    placed = fitted.joints + fitted.translation[:, None]
    off = (placed[..., :2] / placed[..., 2:] - rays) * placed[..., 2:]
    seen = (information.diagonal(dim1=2, dim2=3) > 0).any(-1)
    return 1000 * ((off.square().sum(-1) * seen).sum(1) / seen.sum(1)).sqrt()


def _fit_meshes(layer, meshes, num_iterations: int) -> tuple[HandState, torch.Tensor, torch.Tensor]:
    """Right hands from meshes; also the places ``(B, 3)`` of their wrists and the residuals ``(B,)`` in mm."""
    if not meshes.isfinite().all():
        raise InputError("vertices must be finite")
    model = PointModel.of_vertices(layer, torch.float32, centred=True)
    states = [_fit_some_meshes(layer, model, some, num_iterations) for some in meshes.split(_MESHES_AT_ONCE)]
    state = HandState(**{name: torch.cat([getattr(one, name) for one in states]) for name in vars(states[0])})
    pose = torch.cat([state.turn[:, None], roma.rotvec_to_rotmat(state.fingers)], dim=1).to(layer.template)
    mesh = layer(pose, state.shape.to(layer.template))
    points = (mesh.vertices - mesh.joints[:, :1]) * state.log_size.exp()[..., None]
    place = (meshes - points).mean(1)
    residual = 1000 * (points + place[:, None] - meshes).square().sum(-1).mean(1).sqrt()
    bad = (~(residual <= LARGEST_MESH_RESIDUAL_MM)).nonzero()[:, 0]
    if len(bad):
        raise InputError(
            f"vertices must be meshes of the layer's topology in metres; the layer comes no nearer to mesh "
            f"{int(bad[0])} than {residual[bad[0]]:.1f} mm on average"
        )
    return state, place, residual


def _fit_some_meshes(layer, model, meshes, num_iterations: int) -> HandState:
    """From the joints that are read off the meshes to all vertices."""
    first = _fit_joints(layer, layer.read_joints(meshes), _MESH_JOINT_STD_M, None, num_iterations)
    target = (meshes - meshes.mean(1, keepdim=True)).mT.float().contiguous()
    problem = FitProblem(
        model=model,
        joints=JointTerm(target, _MESH_STD_M**-2),
        rays=None,
        prior=PriorTerm(load_pose_prior(), NUM_POSED, target, _MESH_PRIOR_STRENGTH),
        limits=LimitTerm(target, _MESH_LIMIT_STD_RAD),
    )
    start = HandState(**{name: value.float() for name, value in vars(first.state).items()})
    state, _ = problem.solve(start, num_iterations)
    state.turn = orthonormal(state.turn)
    return state


def _parameters(layer, state: HandState, place, residual_mm, left) -> HandParameters:
    """Parameters of right hands brought back to their own side, as float32."""
    pose = torch.cat([roma.rotmat_to_rotvec(state.turn)[:, None], state.fingers], dim=1)
    if (pose.norm(dim=-1) > torch.pi).any():
        pose = roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(pose))
    pose = torch.where(left[:, None, None], mirror_rotations(pose), pose).float()
    shape, size = state.shape.float(), state.log_size[:, 0].exp().float()
    mesh = posed_hand(layer, pose[:, 0], pose[:, 1:], shape, size, left)
    return HandParameters(
        global_orient=pose[:, 0],
        hand_pose=pose[:, 1:],
        betas=shape,
        hand_scale=size,
        translation=mirror_where(place, left).float(),
        joints=mesh.joints.float(),
        vertices=mesh.vertices.float(),
        residual_mm=residual_mm.float(),
        is_left=left,
    )
