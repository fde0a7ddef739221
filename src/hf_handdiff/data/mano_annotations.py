"""MANO parameters of annotations as hands in camera axes, by the user's own MANO file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch

from hf_handdiff.data.shards import BadSampleError
from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_files import load_mano_file
from hf_handdiff.hand.topology import FINGERTIPS, NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

LARGEST_MEAN_DISTANCE_M = 0.01
"""Between the posed hand and the annotated joints; more than that is another hand model or another sample."""

_NOT_TIPS = [joint for joint in range(NUM_JOINTS) if joint not in FINGERTIPS]  # data sets differ in the tip vertices


@dataclass(frozen=True)
class ManoHand:
    """A right MANO hand from the user's file.

    Attributes:
        layer: the hand layer.
        mean_pose_rad: (15, 3) the fingers of MANO's mean pose, relative to the flat hand.
        digest: of the file.
    """

    layer: HandLayer
    mean_pose_rad: np.ndarray
    digest: str

    @classmethod
    def load(cls, path: str | Path) -> ManoHand:
        """Read an official `MANO_RIGHT.pkl`, or an npz file with the same arrays; nothing in it is run.

        Raises:
            InputError: it is missing or not a right MANO hand.
        """
        try:
            arrays = load_mano_file(path)
            mean = np.asarray(arrays["hands_mean"], np.float64).reshape(NUM_ROTATIONS - 1, 3)
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        except (OSError, ValueError) as error:
            raise InputError(f"mano: {error}") from None
        except KeyError:
            raise InputError(f"mano: {path} has no hands_mean, the mean pose of MANO_RIGHT.pkl") from None
        no_reader = np.zeros((NUM_JOINTS, len(arrays["v_template"])))  # joints are not read off meshes here
        return cls(HandLayer.from_arrays(arrays, mesh_to_joints=no_reader), mean, digest)

    def flat_pose(self, pose_rad: np.ndarray) -> np.ndarray:
        """A pose (16, 3) relative to MANO's mean pose, as the same pose relative to the flat hand."""
        return np.concatenate([pose_rad[:1], pose_rad[1:] + self.mean_pose_rad])

    def place(
        self,
        sample_id: str,
        pose_rad: np.ndarray,
        shape: np.ndarray,
        joints_m: np.ndarray,
        vertices_m: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mesh of a pose and where it stands: at the least squares of the annotated points.

        Args:
            sample_id: for messages.
            pose_rad: (16, 3) relative to the flat hand, the global rotation into camera axes first.
            shape: (10,).
            joints_m: (21, 3) m, our order, camera axes; the tips are not used.
            vertices_m: (778, 3) m, camera axes, used instead of the joints where known.

        Returns:
            (778, 3) m, camera axes: `vertices_m` itself where it was given; and (3,) m, the translation.

        Raises:
            BadSampleError: the posed hand and the annotated points are different hands.
        """
        with torch.no_grad():
            pose = torch.from_numpy(pose_rad.astype(np.float32)).reshape(1, NUM_ROTATIONS, 3)
            posed = self.layer(pose, torch.from_numpy(shape.astype(np.float32)).reshape(1, NUM_SHAPE))
        vertices, joints = (points[0].double().numpy() for points in (posed.vertices, posed.joints))
        away = joints_m[_NOT_TIPS] - joints[_NOT_TIPS] if vertices_m is None else vertices_m - vertices
        translation = away.mean(0)
        distance = np.linalg.norm(away - translation, axis=-1).mean()
        if not distance <= LARGEST_MEAN_DISTANCE_M:
            raise BadSampleError(
                f"{sample_id}: the MANO file posed by its parameters is {1000 * distance:.0f} mm off its annotated "
                "points: expected the official MANO_RIGHT, and parameters of this sample"
            )
        return (vertices + translation if vertices_m is None else vertices_m), translation


def turn_global_rotation(pose_rad: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A pose (16, 3) whose global rotation leads into the axes that `rotation` (3, 3) turns the old ones into."""
    turned = torch.from_numpy(rotation) @ roma.rotvec_to_rotmat(torch.from_numpy(pose_rad[0]))
    return np.concatenate([roma.rotmat_to_rotvec(turned).numpy()[None], pose_rad[1:]])
