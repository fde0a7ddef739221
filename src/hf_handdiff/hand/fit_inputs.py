"""What callers hand to ``fitting.fit_hand``: checked, and turned into targets and information for right hands."""

from __future__ import annotations

import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import NUM_JOINTS, mirror_points

LEAST_SEEN = 4
"""Joints or 2D points that a hand must show to be fitted."""
EXACT_JOINT_STD_M, ESTIMATED_JOINT_STD_M = 0.0007, 0.01
"""Taken where the caller gives no ``joint_std``: joints alone are followed, joints beside 2D points are an estimate."""
KEYPOINT_STD = 0.02
"""Of 2D points, as a share of the longer side of the box round them, where the caller gives no covariance."""

_DTYPE = torch.float64


def as_tensor(value, name: str, shape: tuple, device) -> torch.Tensor:
    """An argument as a float64 tensor of a shape; None in ``shape`` is any length.

    Raises:
        InputError: it is not numbers of that shape.
    """
    expected = "(" + ", ".join("B" if size is None else str(size) for size in shape) + ")"
    try:
        tensor = torch.as_tensor(value).to(device=device, dtype=_DTYPE)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be numbers of shape {expected}: {error}") from error
    matches = tensor.ndim == len(shape) and all(
        want is None or want == size for want, size in zip(shape, tensor.shape, strict=True)
    )
    if not matches:
        raise InputError(f"{name} must be of shape {expected}, got {tuple(tensor.shape)}")
    if not len(tensor):
        raise InputError(f"{name} must hold at least one hand, got none")
    if tensor.isinf().any():
        raise InputError(f"{name} must be finite, or NaN where not seen; it holds infinities")
    return tensor


def left_rows(handedness, count: int, device) -> torch.Tensor:
    """``(B,)`` bool: which hands are left ones.

    Raises:
        InputError: ``handedness`` is neither "left" nor "right" nor one of them a hand.
    """
    sides = [handedness] * count if isinstance(handedness, str) else list(handedness)
    if len(sides) != count or any(side not in ("left", "right") for side in sides):
        raise InputError(f'handedness must be "left" or "right", or one of them for each of {count} hands')
    return torch.tensor([side == "left" for side in sides], device=device)


def mirror_where(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Points ``(B, ..., 2 or 3)`` with the sign of x changed in the ``rows`` ``(B,)``."""
    return torch.where(rows.view(-1, *[1] * (points.ndim - 1)), mirror_points(points), points)


def enough_seen(seen: torch.Tensor, name: str) -> None:
    """Refuse hands ``(B, 21)`` of which hardly anything was seen.

    Raises:
        InputError: a hand has fewer than ``LEAST_SEEN``.
    """
    few = (seen.sum(1) < LEAST_SEEN).nonzero()
    if len(few):
        row = int(few[0])
        raise InputError(
            f"{name} must show at least {LEAST_SEEN} of {NUM_JOINTS} joints of every hand, "
            f"hand {row} shows {int(seen[row].sum())}"
        )


def joint_target(joints: torch.Tensor, std, default_std: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and information of 3D joints, wherever in space they are.

    A free place of the whole hand is taken out of the information (its Schur complement), so that no joint, not even
    the wrist, is taken to be exact or seen.

    Args:
        joints: ``(B, 21, 3)`` metres, NaN where not seen.
        std: None, a number, or ``(B, 21)`` metres.
        default_std: for None.

    Returns:
        ``(B, 21, 3)`` metres about the mean of the seen joints, zeros where not seen, and ``(B, 63, 63)`` 1/m².
    """
    seen = joints.isfinite().all(-1)
    enough_seen(seen, "joints")
    std = default_std if std is None else std
    if isinstance(std, (int, float)):
        std = torch.full(joints.shape[:2], float(std), dtype=joints.dtype, device=joints.device)
    else:
        std = as_tensor(std, "joint_std", (len(joints), NUM_JOINTS), joints.device)
    if not (std[seen] > 0).all():
        raise InputError("joint_std must be above 0 m, of every joint that was seen")
    weights = torch.where(seen, std**-2, 0.0)
    total = weights.sum(1, keepdim=True)
    each = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None] / total[..., None]  # (B, 21, 21)
    eye = torch.eye(3, dtype=joints.dtype, device=joints.device)
    information = torch.einsum("bij,xy->bixjy", each, eye).flatten(3, 4).flatten(1, 2)
    target = torch.where(seen[..., None], joints, 0.0)
    middle = (weights[..., None] * target).sum(1, keepdim=True) / total[..., None]
    return torch.where(seen[..., None], target - middle, 0.0), information


def ray_target(points, intrinsics, scores, covariance, left) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and information of 2D points.

    Args:
        points: ``(B, 21, 2)`` px, NaN where not seen.
        intrinsics: ``(B, 3, 3)`` px.
        scores: ``(B, 21)`` 0..1 or None; what the information is multiplied by.
        covariance: ``(B, 21, 2, 2)`` px² or None.
        left: ``(B,)`` bool, which hands are mirrored.

    Returns:
        ``(B, 21, 2)`` tangents and ``(B, 21, 2, 2)`` 1/tangent²; zeros where not seen.
    """
    count, device = len(points), points.device
    seen = points.isfinite().all(-1)
    if scores is not None:
        scores = as_tensor(scores, "keypoint_scores", (count, NUM_JOINTS), device).nan_to_num(0.0)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise InputError("keypoint_scores must be between 0 and 1")
        seen = seen & (scores > 0)
    enough_seen(seen, "keypoints_2d")
    inverse = torch.linalg.inv(_checked_intrinsics(intrinsics, count, device))
    homogeneous = torch.nn.functional.pad(torch.where(seen[..., None], points, 0.0), (0, 1), value=1.0)
    rays = (homogeneous @ inverse.mT)[..., :2]
    if covariance is None:
        low = torch.where(seen[..., None], rays, torch.inf).amin(1)
        high = torch.where(seen[..., None], rays, -torch.inf).amax(1)
        std = KEYPOINT_STD * (high - low).amax(1).clamp_min(1e-6)
        information = torch.eye(2, dtype=rays.dtype, device=device) / std[:, None, None, None].square()
        information = information.expand(-1, NUM_JOINTS, -1, -1)
    else:
        linear = inverse[:, None, :2, :2]
        information = torch.linalg.inv(linear @ _checked_covariance(covariance, seen, device) @ linear.mT)
    information = information * (seen if scores is None else seen * scores)[..., None, None]
    sign = torch.where(left, -1.0, 1.0).to(rays)[:, None, None]
    flip = torch.cat([sign.expand(-1, NUM_JOINTS, 1), torch.ones_like(rays[..., 1:])], dim=-1)  # (B, 21, 2)
    return torch.where(seen[..., None], rays * flip, 0.0), information * flip[..., None] * flip[..., None, :]


def _checked_intrinsics(intrinsics, count: int, device) -> torch.Tensor:
    if intrinsics is None:
        raise InputError("intrinsics (B, 3, 3) must be given with keypoints_2d")
    matrix = as_tensor(intrinsics, "intrinsics", (count, 3, 3), device)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=matrix.dtype, device=device)
    focal = matrix.diagonal(dim1=1, dim2=2)[:, :2]
    if not (matrix.isfinite().all() and (focal > 0).all() and torch.equal(matrix[:, 2], last.expand(count, 3))):
        raise InputError("intrinsics must be finite, with focal lengths above 0 px and 0, 0, 1 as last row")
    return matrix


def _checked_covariance(covariance, seen: torch.Tensor, device) -> torch.Tensor:
    """Positive ``(B, 21, 2, 2)`` px²; the identity where a point was not seen."""
    matrix = as_tensor(covariance, "keypoint_cov", (len(seen), NUM_JOINTS, 2, 2), device)
    matrix = torch.where(seen[..., None, None], matrix, torch.eye(2, dtype=matrix.dtype, device=device))
    symmetric = (matrix - matrix.mT).abs() <= 1e-4 * matrix.abs().amax((-2, -1), keepdim=True)
    determinant = matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    if not (symmetric.all() and (matrix[..., 0, 0] > 0).all() and (determinant > 0).all()):
        raise InputError("keypoint_cov must be symmetric and positive definite, px², of every point that was seen")
    return matrix
