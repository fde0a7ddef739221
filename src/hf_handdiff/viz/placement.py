"""Hands stood before the camera of their photo, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hf_handdiff import camera
from hf_handdiff.hand.mesh_kinds import known_faces


@dataclass
class PlacedHand:
    """One hand in the camera frame of its photo (OpenCV axes, metres), ready to be drawn.

    Attributes:
        vertices: (V, 3) the answer's mesh.
        joints: (21, 3) the answer's joints.
        faces: (F, 3) vertex numbers.
        intrinsics: (3, 3) px, the camera that it is drawn with.
        hypotheses: (N, 21, 3) the joints of every hypothesis, may be empty.
        joint_std: (21,) expected error of the answer's joints, or None.
        keypoints_px: (21, 2) 2D keypoints, NaN where not seen, or None.
        keypoint_scores: (21,) 0..1, or None.
        hand_score: 0..1, or None.
        handedness: "right" or "left".
    """

    vertices: np.ndarray
    joints: np.ndarray
    faces: np.ndarray
    intrinsics: np.ndarray
    hypotheses: np.ndarray = field(default_factory=lambda: np.zeros((0, 21, 3)))
    joint_std: np.ndarray | None = None
    keypoints_px: np.ndarray | None = None
    keypoint_scores: np.ndarray | None = None
    hand_score: float | None = None
    handedness: str = "right"


def place_prediction(
    image_size: tuple[int, int],
    output: Any,
    index: int = 0,
    handedness: str = "right",
    intrinsics: np.ndarray | None = None,
    box: np.ndarray | None = None,
) -> PlacedHand:
    """Stand one image's wrist-relative answer before the camera.

    With intrinsics the answer and the hypotheses stand where their 2D keypoints say under that camera;
    without, under a camera with the default field of view round the crop, which is good for drawing only.

    Args:
        image_size: (height, width) px.
        output: what `CascadedHandPipeline` returned, as numpy arrays or tensors.
        index, handedness, intrinsics, box: see `draw_prediction`.
    """
    mean_joints, mean_vertices = _array(output.mean_joints[index]), _array(output.mean_vertices[index])
    hypotheses = _array(output.joints[index])
    keypoints, scores = _array(output.keypoints_2d[index]), _array(output.keypoint_scores[index])
    if intrinsics is None:
        crop = camera.crop_of_image(*image_size) if box is None else camera.crop_of_box(box)
        intrinsics = camera.default_intrinsics(torch.from_numpy(crop)[None])[0].numpy()
    intrinsics = _array(intrinsics)
    points = np.concatenate([mean_joints[None], hypotheses])
    translations = camera.fit_translation(
        torch.from_numpy(points),
        torch.from_numpy(keypoints),
        torch.from_numpy(intrinsics),
        torch.from_numpy(_weights(scores)),
    ).numpy()
    of_hypotheses = translations[1:] if output.translation is None else _array(output.translation[index])
    return PlacedHand(
        vertices=mean_vertices + translations[0],
        joints=mean_joints + translations[0],
        faces=known_faces(output.faces).astype(np.int64),
        intrinsics=intrinsics,
        hypotheses=hypotheses + of_hypotheses[:, None],
        joint_std=_array(output.joint_std[index]),
        keypoints_px=keypoints,
        keypoint_scores=scores,
        hand_score=float(output.hand_score[index]),
        handedness=handedness,
    )


def place_hand(
    vertices: np.ndarray,
    joints: np.ndarray,
    faces: np.ndarray,
    keypoints_px: np.ndarray,
    scores: np.ndarray,
    intrinsics: np.ndarray | None = None,
    **shown: Any,
) -> PlacedHand:
    """Stand a wrist-relative hand where its 2D keypoints say that it is.

    Args:
        vertices: (V, 3) m.
        joints: (21, 3) m.
        faces: (F, 3) vertex numbers.
        keypoints_px: (21, 2).
        scores: (21,) 0..1, of the keypoints.
        intrinsics: (3, 3) px; None: a camera with the default field of view round the keypoints.
        **shown: further attributes of the `PlacedHand`.
    """
    if intrinsics is None:
        crop = camera.crop_of_box([*keypoints_px.min(axis=0), *keypoints_px.max(axis=0)])
        intrinsics = camera.default_intrinsics(torch.from_numpy(crop)[None])[0].numpy()
    rows = (torch.from_numpy(values)[None] for values in (joints, keypoints_px, intrinsics, _weights(scores)))
    place = camera.fit_translation(*rows)[0].numpy()
    return PlacedHand(vertices + place, joints + place, faces, intrinsics, **shown)


def project_to_pixels(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """(..., K, 3) m, (3, 3) px -> (..., K, 2) px of the photo; `camera.project` in numpy, quicker for few points."""
    homogeneous = points @ intrinsics.T
    return homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-6)


def _weights(scores: np.ndarray) -> np.ndarray:
    """Of keypoints in a fit; none of them 0."""
    return np.clip(np.nan_to_num(scores), 0.0, 1.0) + 1e-3


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().float().numpy()
    return np.array(values, dtype=np.float64)
