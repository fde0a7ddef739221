"""The hand layer of an official MANO file."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_files import load_mano_file
from hf_handdiff.hand.mesh_joints import fit_mesh_to_joints
from hf_handdiff.hand.topology import NUM_JOINTS


def load_mano_layer(path: str | Path, fit_reader: bool = False) -> HandLayer:
    """A layer from an official ``MANO_RIGHT.pkl`` or from an npz file with the same arrays.

    What reads the joints off a mesh is fitted to posed samples of the hand, where the file does not bring it.  That
    takes seconds, once a process and file.

    Args:
        path: the file; pickles are read without running anything in them.
        fit_reader: fit it even where the file brings it, for what must hold no array of the file.

    Raises:
        ValueError: the file is not a MANO hand; the message names what was wrong.
    """
    arrays = load_mano_file(path)
    shape = (NUM_JOINTS, len(arrays["v_template"]))
    if not fit_reader and np.shape(arrays.get("mesh_to_joints")) == shape:
        return HandLayer.from_arrays(arrays)
    layer = HandLayer.from_arrays(arrays, mesh_to_joints=np.zeros(shape))
    layer.mesh_to_joints.copy_(_fitted_reader(_Arrays(layer)))
    return layer


class _Arrays:
    """A layer as a key: equal to another one with the same arrays."""

    def __init__(self, layer: HandLayer):
        self.layer = layer
        self._content = sha256(b"".join(array.numpy().tobytes() for array in layer.buffers())).hexdigest()

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arrays) and self._content == other._content


@lru_cache(maxsize=4)
def _fitted_reader(hand: _Arrays) -> torch.Tensor:
    """``(21, V)`` of a layer whose own is all zeros; not to be changed."""
    return torch.as_tensor(fit_mesh_to_joints(hand.layer))
