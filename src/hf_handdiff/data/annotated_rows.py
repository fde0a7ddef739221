"""Rows of the corpus schema from the annotations of other people's data sets.

What a data set does not tell is NaN, never zero: a measure of it is then NaN, which reports leave out or show as
missing, and a loss on it is NaN at the first step, where zeros would pass for a hand at the camera.
"""

from __future__ import annotations

import numpy as np

from hf_handdiff.data.features import NUM_VERTICES, UNKNOWN_SKIN_TONE
from hf_handdiff.data.shards import BadSampleError
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

NO_TRUTH = "its published truth was not found, so it can be predicted on but not measured"


def annotated_row(
    sample_id: str,
    image: bytes,
    image_size: tuple[int, int],
    intrinsics_px: np.ndarray,
    joints_m: np.ndarray | None = None,
    vertices_m: np.ndarray | None = None,
    pose_rad: np.ndarray | None = None,
    shape: np.ndarray | None = None,
    translation_m: np.ndarray | None = None,
) -> dict:
    """A row of `CORPUS_FEATURES` that shows one right hand; None and NaN mean not known.

    `keypoints_2d_px` are the projected joints. `keypoints_visible` says which of them lie inside the image: that
    something hides a joint is annotated in neither FreiHAND nor HO3D, so a hidden joint is called visible, and the
    column is no truth to learn visibility from. `visible_share` is NaN and `skin_tone` -1, for the same reason.

    Args:
        sample_id: name of the sample.
        image: the bytes of the image file.
        image_size: (width, height) px of it.
        intrinsics_px: (3, 3) of the image.
        joints_m: (21, 3) m, our order, camera axes; rows may be NaN.
        vertices_m: (778, 3) m, camera axes, MANO's mesh.
        pose_rad: (16, 3) axis-angle relative to the flat hand, the global rotation into camera axes first.
        shape: (10,) MANO's.
        translation_m: (3,) layer(pose_rad, shape) + translation_m = vertices_m with the layer of a MANO file.

    Raises:
        BadSampleError: the camera is none, or joints are behind it.
    """
    intrinsics_px = check_camera(intrinsics_px, sample_id)
    joints_m = _or_nan(joints_m, (NUM_JOINTS, 3))
    known = np.isfinite(joints_m).all(-1)
    if (joints_m[known, 2] <= 0).any():
        raise BadSampleError(f"{sample_id}: its joints are behind the camera: are these the annotations of this image?")
    keypoints_px = project_joints(joints_m, intrinsics_px)
    with np.errstate(invalid="ignore"):
        inside = ((keypoints_px >= 0) & (keypoints_px <= image_size)).all(-1)
    return {
        "image": {"bytes": image, "path": None},
        "has_hand": True,
        "keypoints_2d_px": keypoints_px.astype(np.float32),
        "keypoints_visible": (known & inside).tolist(),
        "joints_m": joints_m.astype(np.float32),
        "vertices_m": _or_nan(vertices_m, (NUM_VERTICES, 3)).astype(np.float32),
        "intrinsics_px": intrinsics_px.astype(np.float32),
        "pose_rad": _or_nan(pose_rad, (NUM_ROTATIONS, 3)).astype(np.float32),
        "shape": _or_nan(shape, (NUM_SHAPE,)).tolist(),
        "translation_m": _or_nan(translation_m, (3,)).tolist(),
        "visible_share": float("nan"),
        "skin_tone": UNKNOWN_SKIN_TONE,
        "sample_id": sample_id,
    }


def check_camera(intrinsics_px: np.ndarray, source: str) -> np.ndarray:
    """The matrix (3, 3) of a pinhole camera, px, in float64; raises BadSampleError that names `source` otherwise."""
    matrix = np.asarray(intrinsics_px, np.float64)
    finite = np.isfinite(matrix).all()
    if not (finite and min(matrix[0, 0], matrix[1, 1]) > 0 and np.allclose(matrix[2], [0, 0, 1], atol=1e-6)):
        raise BadSampleError(f"{source}: expected a camera matrix, got {matrix.tolist()}")
    return matrix


def project_joints(joints_m: np.ndarray, intrinsics_px: np.ndarray) -> np.ndarray:
    """Pinhole projection: (..., 3) m, camera axes, (3, 3) px -> (..., 2) px."""
    homogeneous = joints_m @ intrinsics_px.T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def _or_nan(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, np.nan) if values is None else np.asarray(values, np.float64).reshape(shape)
