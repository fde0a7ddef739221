"""The hand layer: shape and pose in, vertices and joints out.

It computes what MANO ("Embodied Hands", Romero, Tzionas and Black, 2017) and smplx's MANO compute: shape
blend shapes, joints regressed from the shaped rest mesh, pose blend shapes, a kinematic chain of 16
rotations, and linear blend skinning.  The code is our own; the file that it loads may be the open hand of
this package or an official MANO file of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import nn

from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import (
    FINGERTIP_VERTICES,
    MANO_FINGERTIP_VERTICES,
    MANO_PARENTS,
    MANO_TO_JOINTS,
    NUM_ROTATIONS,
    NUM_SHAPE,
)


@dataclass
class HandMesh:
    """What the layer returns.

    Attributes:
        vertices: ``(B, V, 3)`` metres, the axes of the input rotations, the origin of the rest hand.
        joints: ``(B, 21, 3)`` metres, in the order of ``topology.JOINT_NAMES``; the tips are vertices.
    """

    vertices: torch.Tensor
    joints: torch.Tensor


def _levels_of(parents: tuple[int, ...]) -> list[list[int]]:
    """Joints of a tree grouped by their depth, the root's level left out."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [[j for j, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]


_LEVELS = _levels_of(MANO_PARENTS)


class HandLayer(nn.Module):
    """A right hand as a differentiable function of pose and shape.

    Build it by :meth:`open_hand` or ``mano_layer.load_mano_layer``.  It has no parameters; all arrays are
    persistent buffers, so that a model that carries a layer restores it whole.

    Args:
        template: ``(V, 3)`` rest vertices of the mean shape, metres.
        shape_directions: ``(V, 3, 10)`` metres per unit of shape.
        pose_directions: ``(V, 3, 135)`` metres per entry of ``R - I``; all zeros is the same as none and
            costs nothing.
        joint_regressor: ``(16, V)``, the joints of the *rest* mesh.
        skinning_weights: ``(V, 16)``, rows sum to 1.
        faces: ``(F, 3)`` vertex indices, counter-clockwise seen from outside.
        tip_vertices: the vertices at the tips of thumb, index, middle, ring and little finger.
        mesh_to_joints: ``(21, V)``, reads the 21 joints off a *posed* mesh.
    """

    def __init__(
        self,
        template,
        shape_directions,
        pose_directions,
        joint_regressor,
        skinning_weights,
        faces,
        tip_vertices,
        mesh_to_joints,
    ):
        super().__init__()
        template = np.asarray(template, np.float64)
        shape_directions = np.asarray(shape_directions, np.float64)
        joint_regressor = np.asarray(joint_regressor, np.float64)
        if pose_directions is None or not np.any(pose_directions):
            pose_directions = np.zeros((len(template), 3, 0))
        self._store("template", template)
        self._store("shape_directions", shape_directions)
        self._store("pose_directions", pose_directions)
        self._store("joint_template", joint_regressor @ template)
        self._store("joint_shape_directions", np.einsum("jv,vxs->jxs", joint_regressor, shape_directions))
        self._store("skinning_weights", skinning_weights)
        self._store("mesh_to_joints", mesh_to_joints)
        self.register_buffer("faces", torch.as_tensor(np.array(faces, np.int64)))
        self.register_buffer("tip_vertices", torch.as_tensor(np.array(tip_vertices, np.int64)))

    def _store(self, name: str, array) -> None:
        self.register_buffer(name, torch.as_tensor(np.array(array, np.float32)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], mesh_to_joints=None) -> HandLayer:
        """A layer from arrays under MANO's names (``v_template``, ``shapedirs``, ``f``, ...).

        Args:
            arrays: MANO's arrays; ``tips`` names other fingertip vertices than MANO's, as the open hand's do.  Without
                it they are MANO's, or the open hand's if the triangles are.
            mesh_to_joints: ``(21, V)``; without it ``arrays["mesh_to_joints"]`` is taken.
        """
        is_open = np.array_equal(arrays["f"], load_open_hand_arrays()["f"])
        tips = FINGERTIP_VERTICES if is_open else MANO_FINGERTIP_VERTICES
        tips = arrays.get("tips", tuple(tips.values()))
        return cls(
            template=arrays["v_template"],
            shape_directions=np.asarray(arrays["shapedirs"])[..., :NUM_SHAPE],
            pose_directions=arrays.get("posedirs"),
            joint_regressor=arrays["J_regressor"],
            skinning_weights=arrays["weights"],
            faces=arrays["f"],
            tip_vertices=tips,
            mesh_to_joints=arrays["mesh_to_joints"] if mesh_to_joints is None else mesh_to_joints,
        )

    @classmethod
    def open_hand(cls, resolution: str = "standard") -> HandLayer:
        """The open hand of this package.

        Args:
            resolution: ``"standard"`` has 778 vertices, as MANO; ``"full"`` has 1,609, for rendering, and
                follows the same pose and shape parameters with the same joints.
        """
        return cls.from_arrays(load_open_hand_arrays(resolution))

    @property
    def num_vertices(self) -> int:
        """Vertices of the mesh."""
        return self.template.shape[0]

    def rest_joints(self, shape: torch.Tensor) -> torch.Tensor:
        """MANO's 16 joints of the rest hand.

        Args:
            shape: ``(B, 10)``.

        Returns:
            ``(B, 16, 3)`` metres, in MANO's order.
        """
        return self.joint_template + torch.einsum("jxs,bs->bjx", self.joint_shape_directions, shape)

    def kinematics(self, pose: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """World rotations and positions of MANO's 16 joints, in MANO's order.

        Args:
            pose, shape: as for :meth:`forward`.

        Returns:
            ``(B, 16, 3, 3)`` rotations and ``(B, 16, 3)`` metres.
        """
        return self._chain(self._rotations(pose), self.rest_joints(shape))

    def _rotations(self, pose: torch.Tensor) -> torch.Tensor:
        if pose.shape[1:] == (NUM_ROTATIONS, 3, 3):
            return pose
        if pose.shape[1:] == (NUM_ROTATIONS, 3):
            return roma.rotvec_to_rotmat(pose)
        raise ValueError(f"pose must be (B, 16, 3) or (B, 16, 3, 3), got {tuple(pose.shape)}")

    @staticmethod
    def _chain(rotations: torch.Tensor, rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """World rotations ``(B, 16, 3, 3)`` and positions ``(B, 16, 3)`` of MANO's joints."""
        world: list[torch.Tensor] = [rotations[:, 0]] * NUM_ROTATIONS
        position: list[torch.Tensor] = [rest[:, 0]] * NUM_ROTATIONS
        for level in _LEVELS:
            parents = [MANO_PARENTS[joint] for joint in level]
            parent_rotation = torch.stack([world[p] for p in parents], dim=1)  # (B, 5, 3, 3)
            offset = (rest[:, level] - rest[:, parents]).unsqueeze(-1)  # (B, 5, 3, 1)
            moved = torch.stack([position[p] for p in parents], dim=1) + (parent_rotation @ offset)[..., 0]
            turned = parent_rotation @ rotations[:, level]
            for i, joint in enumerate(level):
                world[joint], position[joint] = turned[:, i], moved[:, i]
        return torch.stack(world, dim=1), torch.stack(position, dim=1)

    def _skin(self, rotations, shape, vertices: torch.Tensor | None):
        """Posed vertices ``(B, V, 3)``, or those of the index tensor ``vertices``, and MANO's joints."""
        pick = (lambda array: array) if vertices is None else (lambda array: array[vertices])
        rest = self.rest_joints(shape)  # (B, 16, 3)
        world, position = self._chain(rotations, rest)
        directions = pick(self.shape_directions)
        points = pick(self.template) + torch.einsum("vxs,bs->bvx", directions, shape)  # (B, V, 3)
        if self.pose_directions.shape[-1]:
            identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            bent = (rotations[:, 1:] - identity).flatten(1)  # (B, 135)
            points = points + torch.einsum("vxp,bp->bvx", pick(self.pose_directions), bent)
        # each bone as a (3, 4) matrix from the rest hand to the posed one, then one blend a vertex
        shift = position - (world @ rest.unsqueeze(-1))[..., 0]
        bones = torch.cat([world, shift.unsqueeze(-1)], dim=-1)  # (B, 16, 3, 4)
        blend = (pick(self.skinning_weights) @ bones.flatten(2)).unflatten(-1, (3, 4))  # (B, V, 3, 4)
        return (blend[..., :3] @ points.unsqueeze(-1))[..., 0] + blend[..., 3], position

    def forward(self, pose: torch.Tensor, shape: torch.Tensor) -> HandMesh:
        """Pose and shape the hand.

        Args:
            pose: ``(B, 16, 3)`` axis-angle in radians, or ``(B, 16, 3, 3)`` rotation matrices, the global
                rotation first (about the wrist joint), then MANO's index, middle, little, ring, thumb.
            shape: ``(B, 10)``, each component of unit normal spread.

        Returns:
            A :class:`HandMesh`, without translation.
        """
        vertices, joints = self._skin(self._rotations(pose), shape, None)
        joints = torch.cat([joints, vertices[:, self.tip_vertices]], dim=1)
        return HandMesh(vertices=vertices, joints=joints[:, list(MANO_TO_JOINTS)])

    def pose_joints(self, pose: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        """Only the 21 joints of :meth:`forward`, at a fraction of its cost.

        Args:
            pose, shape: as for :meth:`forward`.

        Returns:
            ``(B, 21, 3)`` metres.
        """
        tips, joints = self._skin(self._rotations(pose), shape, self.tip_vertices)
        return torch.cat([joints, tips], dim=1)[:, list(MANO_TO_JOINTS)]

    def read_joints(self, vertices: torch.Tensor) -> torch.Tensor:
        """The 21 joints of posed meshes by ``mesh_to_joints``.

        Args:
            vertices: ``(..., V, 3)`` metres.

        Returns:
            ``(..., 21, 3)`` metres.
        """
        return self.mesh_to_joints.to(vertices) @ vertices
