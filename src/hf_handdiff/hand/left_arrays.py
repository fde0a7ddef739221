"""The left hand of a right one, in MANO's file format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hf_handdiff.hand.topology import NUM_ROTATIONS, mirror_points, mirror_rotations

_SHARED = ("J_regressor", "weights", "kintree_table", "tips", "mesh_to_joints")


def left_hand_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the left hand that is the mirror image, by the plane x = 0, of a right one.

    Saved as ``MANO_LEFT.npz`` they are what smplx and others read for left hands.  Posed by mirrored rotations
    (``topology.mirror_rotations``) and the same shape, it is the mirrored right hand: the parameters that this package
    gives for left hands are those of this hand.

    Args:
        arrays: the right hand's, under MANO's names, as :func:`hf_handdiff.hand.open_hand.load_open_hand_arrays` or
            :func:`hf_handdiff.hand.mano_files.load_mano_file` gives them.

    Returns:
        New arrays under MANO's names; others, such as texture coordinates, are left out.
    """
    left = {name: np.array(arrays[name]) for name in _SHARED if name in arrays}
    left["v_template"] = mirror_points(np.asarray(arrays["v_template"]))
    left["f"] = np.ascontiguousarray(np.asarray(arrays["f"])[:, ::-1])
    directions = np.array(arrays["shapedirs"])
    directions[:, 0] *= -1
    left["shapedirs"] = directions
    if "posedirs" in arrays:
        sign = np.array([-1.0, 1.0, 1.0])
        # entry (i, j) of a mirrored rotation is that of the rotation times the signs of both axes
        entries = np.tile(np.outer(sign, sign).ravel(), NUM_ROTATIONS - 1)
        posed = np.asarray(arrays["posedirs"])
        left["posedirs"] = (posed * sign[:, None] * entries).astype(posed.dtype)
    for name in ("hands_mean", "hands_components"):
        if name in arrays:
            values = np.asarray(arrays[name])
            left[name] = mirror_rotations(values.reshape(-1, 3)).reshape(values.shape)
    return left
