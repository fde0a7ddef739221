"""Random rotations; everything else about rotations is roma's.

A rotation acts on column vectors: ``rotated = matrix @ vector``. An axis-angle vector (roma's "rotvec") points along
the axis of the rotation and its length is the angle in radians. roma's quaternions are ``(x, y, z, w)``.
"""

from __future__ import annotations

import roma
import torch


def random_rotations(count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Rotations drawn uniformly from all rotations (normal quaternions, Shoemake 1992).

    Args:
        count: how many.
        generator: source of randomness; its device is the device of the result.

    Returns:
        ``(count, 3, 3)`` float32 rotation matrices.
    """
    device = generator.device if generator is not None else None
    quaternions = torch.randn(count, 4, generator=generator, device=device).roll(-1, dims=-1)
    return roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternions, dim=-1))
