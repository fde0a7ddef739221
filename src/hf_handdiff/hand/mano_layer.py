"""The hand layer of an official MANO file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_files import load_mano_file
from hf_handdiff.hand.mesh_joints import fit_mesh_to_joints
from hf_handdiff.hand.topology import NUM_JOINTS


def load_mano_layer(path: str | Path) -> HandLayer:
    """A layer from an official ``MANO_RIGHT.pkl`` or from an npz file with the same arrays.

    What reads the joints off a mesh is fitted, where the file does not bring it.

    Args:
        path: the file; pickles are read without running anything in them.

    Raises:
        ValueError: the file is not a MANO hand; the message names what was wrong.
    """
    arrays = load_mano_file(path)
    shape = (NUM_JOINTS, len(arrays["v_template"]))
    if np.shape(arrays.get("mesh_to_joints")) == shape:
        return HandLayer.from_arrays(arrays)
    layer = HandLayer.from_arrays(arrays, mesh_to_joints=np.zeros(shape))
    layer.mesh_to_joints.copy_(torch.as_tensor(fit_mesh_to_joints(layer)))
    return layer
