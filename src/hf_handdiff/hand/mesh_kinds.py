"""Whose vertices a mesh has: the open hand's, or those of a hand whose file the user has.

A hand's triangles are its topology.  Those of the open hand may be kept anywhere; those of a user's file, such as
MANO_RIGHT.pkl, stay in that file, and what must recognise them keeps a digest.  Nothing heavy is
imported: a push asks here too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.hand.open_hand import agrees_with_joints, load_open_hand_arrays, mesh_of_faces, mesh_of_points
from hf_handdiff.hand.topology import OPEN_HAND, OTHER, USERS_HAND

if TYPE_CHECKING:
    from hf_handdiff.hand.layer import HandLayer


def topology_digest(faces: Any) -> str:
    """SHA-256 of the triangles (F, 3) as little-endian int64, in hexadecimal: the same for the same vertex numbers."""
    return hashlib.sha256(np.ascontiguousarray(np.asarray(faces), dtype="<i8").tobytes()).hexdigest()


def is_open_topology(faces: Any) -> bool:
    """Whether triangles (F, 3) are the open hand's."""
    return np.array_equal(np.asarray(faces), load_open_hand_arrays()["f"])


def mesh_of_layer(layer: HandLayer) -> str:
    """Whose vertices the meshes of a layer are: `topology.OPEN_HAND`, `topology.MANO` or `topology.USERS_HAND`.

    A file of MANO's format whose triangles are the open hand's holds the open hand's vertices.
    """
    name = mesh_of_faces(layer.faces.cpu().numpy())
    return USERS_HAND if name == OTHER else name


def mesh_of_truth(vertices: np.ndarray, joints: np.ndarray, layer: HandLayer | None = None) -> str:
    """Whose vertices those of an annotated hand are, told by the joints that are read off them.

    Args:
        vertices: ``(V, 3)`` metres.
        joints: ``(21, 3)`` metres, the same frame.
        layer: the hand that predictions are of, if it is known; without it, 778 vertices that are not the open hand's
            count as MANO's.

    Returns:
        `topology.OPEN_HAND`, the name of `layer`'s mesh (see `mesh_of_layer`), `topology.MANO` or `topology.OTHER`.
    """
    name = mesh_of_points(vertices, joints)
    if name == OPEN_HAND or layer is None:
        return name
    own = mesh_of_layer(layer)
    if agrees_with_joints(layer.mesh_to_joints.cpu(), vertices, joints):
        return own
    return OTHER if name == own else name


def known_faces(faces: Any) -> np.ndarray:
    """The triangles (F, 3) of a pipeline's output, for what cannot do without.

    Raises:
        InputError: there are none: the checkpoint's meshes are of a hand whose file was not given.
    """
    if faces is None:
        raise InputError(
            "faces: the checkpoint's meshes are those of a hand whose triangles it does not hold; give the file of "
            "that hand to pipe.use_hand('MANO_RIGHT.pkl') or to --hand"
        )
    return np.asarray(faces)
