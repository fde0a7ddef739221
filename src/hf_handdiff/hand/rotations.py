"""Rotations as stateless, batched, differentiable functions.

A rotation acts on column vectors: ``rotated = matrix @ vector``.  An axis-angle vector points along the
axis of the rotation and its length is the angle in radians.  Quaternions are ``(w, x, y, z)``.
"""

from __future__ import annotations

import torch

_SMALL_ANGLE = 1e-2
"""Below this angle (radians) series replace the closed forms; their error is then below 1e-15."""


def _sine_terms(squared_angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``sin(a) / a`` and ``(1 - cos(a)) / a**2`` from ``a**2``, smooth at 0."""
    small = squared_angle < _SMALL_ANGLE**2
    near = torch.where(small, squared_angle, torch.zeros_like(squared_angle))
    far = torch.where(small, torch.ones_like(squared_angle), squared_angle)
    angle = far.sqrt()
    # 1 - cos(a) = 2 sin(a / 2)^2 loses no digits.
    sine = torch.where(small, 1 - near / 6 + near**2 / 120 - near**3 / 5040, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - near / 24 + near**2 / 720, 2 * (angle / 2).sin() ** 2 / far)
    return sine, cosine


def cross_matrix(vector: torch.Tensor) -> torch.Tensor:
    """The matrices that take the cross product with ``vector``: ``cross_matrix(v) @ x == v x x``.

    Args:
        vector: ``(..., 3)``.

    Returns:
        ``(..., 3, 3)``.
    """
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: torch.Tensor) -> torch.Tensor:
    """Rodrigues' formula, with exact derivatives at the zero rotation too.

    Args:
        axis_angle: ``(..., 3)``, radians.

    Returns:
        ``(..., 3, 3)`` rotation matrices.
    """
    squared_angle = (axis_angle**2).sum(-1)[..., None, None]
    sine, cosine = _sine_terms(squared_angle)
    cross = cross_matrix(axis_angle)
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    # cross @ cross == outer - squared_angle * identity
    return identity + sine * cross + cosine * (outer - squared_angle * identity)


def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Unit quaternions ``(w, x, y, z)`` with ``w >= 0`` of rotation matrices.

    The matrix ``4 q q^T`` is linear in the rotation matrix; its longest row is ``q`` up to scale and sign,
    and never short, so that there is no bad angle.

    Args:
        matrix: ``(..., 3, 3)`` rotation matrices.

    Returns:
        ``(..., 4)``.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], dim=-1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], dim=-1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], dim=-1),
            torch.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], dim=-1),
        ],
        dim=-2,
    )
    longest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, longest[..., None, None].expand(*longest.shape, 1, 4)).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_axis_angle(quaternion: torch.Tensor) -> torch.Tensor:
    """Rotation vectors, with angles in [0, pi], of unit quaternions with ``w >= 0``.

    Args:
        quaternion: ``(..., 4)``, ``(w, x, y, z)``.

    Returns:
        ``(..., 3)``, radians.
    """
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared_sine = (imaginary**2).sum(-1, keepdim=True)
    small = squared_sine < _SMALL_ANGLE**2 / 4
    near = torch.where(small, squared_sine / real.clamp(min=0.5) ** 2, torch.zeros_like(squared_sine))
    sine = torch.where(small, torch.ones_like(squared_sine), squared_sine).sqrt()
    # angle / sin(angle / 2): by the series of atan(t) / t, t = tan(angle / 2), where the angle is small
    series = 2 * (1 - near / 3 + near**2 / 5 - near**3 / 7) / real.clamp(min=0.5)
    scale = torch.where(small, series, 2 * torch.atan2(sine, real) / sine)
    return imaginary * scale


def axis_angle_to_quaternion(axis_angle: torch.Tensor) -> torch.Tensor:
    """Unit quaternions of rotation vectors.

    Args:
        axis_angle: ``(..., 3)``, radians.

    Returns:
        ``(..., 4)``, ``(w, x, y, z)``; ``w >= 0`` up to an angle of pi.
    """
    half = axis_angle / 2
    squared_angle = (half**2).sum(-1, keepdim=True)
    sine, cosine = _sine_terms(squared_angle)
    return torch.cat([1 - squared_angle * cosine, half * sine], dim=-1)


def quaternion_multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The product of quaternions: first ``right`` turns, then ``left``.

    Args:
        left, right: ``(..., 4)``, ``(w, x, y, z)``.

    Returns:
        ``(..., 4)``.
    """
    w, x, y, z = left.unbind(-1)
    a, b, c, d = right.unbind(-1)
    entries = [
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    ]
    return torch.stack(entries, dim=-1)


def quaternion_to_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    """Rotation matrices of quaternions, which need not be of unit length.

    Args:
        quaternion: ``(..., 4)``, ``(w, x, y, z)``, not zero.

    Returns:
        ``(..., 3, 3)``.
    """
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: torch.Tensor) -> torch.Tensor:
    """Rotation vectors of rotation matrices, safe at 0 and at pi.

    At an angle of exactly pi both signs of the axis are right and one of them is returned.

    Args:
        matrix: ``(..., 3, 3)`` rotation matrices.

    Returns:
        ``(..., 3)``, radians, of length at most pi.
    """
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def random_rotations(count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Rotations drawn uniformly from all rotations (normal quaternions, Shoemake 1992).

    Args:
        count: how many.
        generator: source of randomness; its device is the device of the result.

    Returns:
        ``(count, 3, 3)`` float32 rotation matrices.
    """
    device = generator.device if generator is not None else None
    return quaternion_to_matrix(torch.randn(count, 4, generator=generator, device=device))


def rotation_between(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The smallest rotations that turn the directions ``source`` into ``target``.

    Args:
        source, target: ``(..., 3)`` unit vectors, not opposite to each other.

    Returns:
        ``(..., 3, 3)`` rotation matrices.
    """
    real = 1 + (source * target).sum(-1, keepdim=True)
    return quaternion_to_matrix(torch.cat([real, torch.linalg.cross(source, target, dim=-1)], dim=-1))
