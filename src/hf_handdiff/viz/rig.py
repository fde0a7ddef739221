"""A hand as a rig: a flat hand, 16 bones in it, which vertices they carry, and how they are turned frame by frame.

Skinning a rig linearly gives the vertices of the hand layer.  Two things of the layer are no matter of bones: the pose
blend shapes of MANO (the open hand has none) and, where the frames of a video differ in shape or size, the rest mesh.
Of one frame both are baked into the rest mesh.  Of several, the rest mesh moves by morph targets, the principal
components of the frames' rest meshes: as many as keep every vertex within `MORPH_TOLERANCE_M`, none where it rests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hf_handdiff.errors import InputError
from hf_handdiff.hand.fit_inputs import as_tensor, left_rows
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.topology import (
    MANO_FINGERS,
    MANO_PARENTS,
    NUM_ROTATIONS,
    NUM_SHAPE,
    mirror_points,
    mirror_rotations,
)

if TYPE_CHECKING:
    from hf_handdiff.pipelines.answering import AnsweringPipeline
    from hf_handdiff.pipelines.outputs import HandPipelineOutput

BONE_NAMES = ("wrist", *(f"{finger}_{number}" for finger in MANO_FINGERS for number in (1, 2, 3)))
"""Of MANO's 16 joints, in its order: the names of the same joints in `topology.JOINT_NAMES`."""

MORPH_TOLERANCE_M = 2e-5
"""What the morph targets that are left out may move a vertex by."""

_SMALLEST_WEIGHT = 1e-5
"""Skinning weights below it are left out; together they move a vertex by some hundredths of a millimetre at most."""


@dataclass(frozen=True)
class HandRig:
    """A rigged hand and its poses in T frames; right or left, OpenCV axes once posed.

    Attributes:
        vertices: (V, 3) m, the rest mesh: the flat hand in MANO's axes, the wrist at 0.
        joints: (16, 3) m, where its bones begin, in MANO's order.
        tips: (5, 3) m, the fingertips of the rest mesh: thumb, index, middle, ring, little.
        faces: (F, 3), counter-clockwise from outside, for this side.
        bones: (V, 4 n) uint8, the bones that carry each vertex.
        weights: (V, 4 n) how much; 0 where there are fewer. Rows sum to 1.
        rotations: (T, 16, 3, 3) of each bone against its parent: MANO's parameters of this side as matrices, the
            wrist's against the camera.
        places: (T, 16, 3) m, of each bone in its parent's frame; the wrist's in the camera frame, 0 where not known.
        morphs: (K, V, 3) m, added to the rest mesh before it is skinned.
        morph_weights: (T, K) 0..1.
    """

    vertices: np.ndarray
    joints: np.ndarray
    tips: np.ndarray
    faces: np.ndarray
    bones: np.ndarray
    weights: np.ndarray
    rotations: np.ndarray
    places: np.ndarray
    morphs: np.ndarray
    morph_weights: np.ndarray

    def bones_in_camera(self) -> tuple[np.ndarray, np.ndarray]:
        """How bones are turned (T, 16, 3, 3) and where they begin (T, 16, 3) m, camera axes."""
        count = len(self.rotations)
        turns = np.zeros((count, NUM_ROTATIONS, 3, 3))
        places = np.zeros((count, NUM_ROTATIONS, 3))
        for bone, parent in enumerate(MANO_PARENTS):
            if parent < 0:
                turns[:, bone], places[:, bone] = self.rotations[:, bone], self.places[:, bone]
                continue
            turns[:, bone] = turns[:, parent] @ self.rotations[:, bone]
            places[:, bone] = places[:, parent] + np.einsum("txy,ty->tx", turns[:, parent], self.places[:, bone])
        return turns, places

    def posed_vertices(self) -> np.ndarray:
        """(T, V, 3) m, camera axes: what skinning gives."""
        turns, places = self.bones_in_camera()
        rest = self.vertices + np.tensordot(self.morph_weights, self.morphs, 1)  # (T, V, 3)
        posed = np.zeros_like(rest)
        for column in range(self.bones.shape[1]):
            bone = self.bones[:, column]
            moved = np.einsum("tvxy,tvy->tvx", turns[:, bone], rest - self.joints[bone]) + places[:, bone]
            posed += self.weights[:, column, None] * moved
        return posed


def make_rig(
    layer: HandLayer, global_orient, hand_pose, betas, hand_scale=None, handedness="right", translation=None
) -> HandRig:
    """The rig of one hand from its parameters in T frames.

    Args:
        layer: the right hand that the parameters are of.
        global_orient, hand_pose, betas, hand_scale, handedness, translation: as for `hand.posed_hand`, a row a frame,
            but "left" or "right" once for all frames.

    Raises:
        InputError: an argument is of a wrong shape, or not finite.
    """
    pose = _numbers("global_orient", global_orient, None, (3,))[:, None]
    count = len(pose)
    pose = np.concatenate([pose, _numbers("hand_pose", hand_pose, count, (NUM_ROTATIONS - 1, 3))], axis=1)
    betas = _numbers("betas", betas, count, (NUM_SHAPE,))
    size = np.ones(count) if hand_scale is None else _numbers("hand_scale", hand_scale, count, ())
    wrist = np.zeros((count, 3)) if translation is None else _numbers("translation", translation, count, (3,))
    if not isinstance(handedness, str):
        raise InputError('handedness must be "left" or "right"')
    left = bool(left_rows(handedness, 1, "cpu")[0])
    basis = _RestBasis.of(layer)
    coefficients = basis.coefficients(mirror_rotations(pose) if left else pose, betas, size)
    vertices, morphs, morph_weights = _morphed(coefficients, basis.vertices)
    joints = np.tensordot(coefficients[:, : len(basis.joints)], basis.joints, 1)  # (T, 16, 3)
    rest_joints = joints.mean(axis=0)
    tips = vertices[layer.tip_vertices.cpu().numpy()]
    faces = layer.faces.cpu().numpy()
    if left:
        vertices, morphs, joints, rest_joints, tips = map(mirror_points, (vertices, morphs, joints, rest_joints, tips))
        faces = faces[:, ::-1]
    rotations = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(count, NUM_ROTATIONS, 3, 3)
    bones, weights = _influences(_array(layer.skinning_weights))
    return HandRig(
        vertices=vertices,
        joints=rest_joints,
        tips=tips,
        faces=faces,
        bones=bones,
        weights=weights,
        rotations=rotations,
        places=_places(joints, rest_joints, rotations, wrist),
        morphs=morphs,
        morph_weights=morph_weights,
    )


def rig_of_output(pipeline: AnsweringPipeline, output: HandPipelineOutput, index: int) -> HandRig | None:
    """The rig of one answer of a pipeline, with its wrist at 0; None where the answer has no parameters.

    Args:
        pipeline: what answered.
        output: its answers, those of `aggregation="fitted"` have parameters.
        index: which hand of them.
    """
    values = [output.global_orient, output.hand_pose, output.betas, output.hand_scale]
    if any(value is None for value in values):
        return None
    rows = (value[index][None] for value in values)
    return make_rig(pipeline.hand_layer, *rows, handedness=output.handedness[index])


@dataclass(frozen=True)
class _RestBasis:
    """What rest hands are sums of: (P, V, 3) and, of the first rows, (11, 16, 3) m; the wrist at 0."""

    vertices: np.ndarray
    joints: np.ndarray

    @classmethod
    def of(cls, layer: HandLayer) -> _RestBasis:
        joints = np.stack([_array(layer.joint_template), *np.moveaxis(_array(layer.joint_shape_directions), -1, 0)])
        shapes = np.stack([_array(layer.template), *np.moveaxis(_array(layer.shape_directions), -1, 0)])
        bends = np.moveaxis(_array(layer.pose_directions), -1, 0)
        return cls(np.concatenate([shapes - joints[:, :1], bends]), joints - joints[:, :1])

    def coefficients(self, pose: np.ndarray, betas: np.ndarray, size: np.ndarray) -> np.ndarray:
        """(T, P) of right hands: pose (T, 16, 3), betas (T, 10), size (T,)."""
        parts = [np.ones((len(size), 1)), betas]
        if len(self.vertices) > len(self.joints):
            matrices = Rotation.from_rotvec(pose[:, 1:].reshape(-1, 3)).as_matrix() - np.eye(3)
            parts.append(matrices.reshape(len(size), -1))
        return size[:, None] * np.concatenate(parts, axis=1)


def _morphed(coefficients: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest meshes (T, P) of a basis (P, V, 3) as one mesh (V, 3), morph targets (K, V, 3) and their weights (T, K)."""
    mean = coefficients.mean(axis=0)
    spread, mixed = np.linalg.qr(coefficients - mean)
    left, sizes, targets = np.linalg.svd(mixed @ basis.reshape(len(basis), -1), full_matrices=False)
    weights = spread @ left * sizes
    reach = np.abs(weights).max(axis=0) * np.linalg.norm(targets.reshape(len(targets), -1, 3), axis=-1).max(axis=-1)
    left_out = np.append(np.cumsum(reach[::-1])[::-1], 0.0)  # of the targets from each one on
    keep = int(np.argmax(left_out <= MORPH_TOLERANCE_M))
    weights, targets = weights[:, :keep], targets[:keep]
    # weights from 0 to 1: what viewers take without being told a range
    least, most = weights.min(axis=0), weights.max(axis=0)
    mesh = np.tensordot(mean, basis, 1) + (least @ targets).reshape(basis.shape[1:])
    return mesh, ((most - least)[:, None] * targets).reshape(keep, *mesh.shape), (weights - least) / (most - least)


def _places(joints: np.ndarray, rest: np.ndarray, rotations: np.ndarray, wrist: np.ndarray) -> np.ndarray:
    """Places (T, 16, 3) of bones in their parents.

    Where the joints (T, 16, 3) are not those of the rest hand, whose inverse binds do not change, a bone begins where
    the rest hand's joint would be carried by it: its vertices are then where they belong.
    """
    off = rest - joints  # (T, 16, 3)
    places = np.zeros_like(joints)
    places[:, 0] = wrist
    for bone, parent in enumerate(MANO_PARENTS):
        if parent >= 0:
            turned = np.einsum("txy,ty->tx", rotations[:, bone], off[:, bone])
            places[:, bone] = joints[:, bone] - joints[:, parent] - off[:, parent] + turned
    return places


def _influences(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skinning weights (V, 16) as bones and weights (V, 4 n), the strongest first, n as small as may be."""
    order = np.argsort(-weights, axis=1, kind="stable")
    sorted_weights = np.take_along_axis(weights, order, axis=1)
    count = int((sorted_weights > _SMALLEST_WEIGHT).sum(axis=1).max())
    count = -(-count // 4) * 4
    kept = np.where(sorted_weights > _SMALLEST_WEIGHT, sorted_weights, 0.0)[:, :count]
    bones = np.where(kept > 0, order[:, :count], 0).astype(np.uint8)
    return bones, kept / kept.sum(axis=1, keepdims=True)


def _numbers(name: str, value: Any, count: int | None, shape: tuple[int, ...]) -> np.ndarray:
    tensor = as_tensor(value, name, (count, *shape), "cpu")
    if not torch.isfinite(tensor).all():
        raise InputError(f"{name} must be finite")
    return tensor.numpy()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)
