"""Hands made on the fly: poses, shapes and rotations sampled anew for every batch."""

import roma
import torch

from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.rotations import random_rotations


class PosedHands:
    """Samples posed hands in uniformly random rotations, wrist at the origin."""

    def __init__(self, layer: HandLayer):
        self.layer = layer.eval()

    def parameters(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations (n, 16, 3, 3), the global one first, and shapes (n, 10)."""
        pose = roma.rotvec_to_rotmat(sample_poses(count, generator))
        pose[:, 0] = random_rotations(count, generator)
        shape = torch.randn(count, 10, generator=generator).clamp(-2.5, 2.5)
        return pose, shape

    @torch.no_grad()
    def vertices(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(n, V, 3) m, wrist-relative."""
        return self.meshes(count, generator)[0]

    @torch.no_grad()
    def meshes(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (n, V, 3) and joints (n, 21, 3), m, wrist-relative."""
        mesh = self.layer(*self.parameters(count, generator))
        wrist = mesh.joints[:, :1]
        return mesh.vertices - wrist, mesh.joints - wrist

    @torch.no_grad()
    def joints(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(n, 21, 3) m, wrist-relative; much faster than meshes."""
        joints = self.layer.pose_joints(*self.parameters(count, generator))
        return joints - joints[:, :1]
