"""Writing all hands of a photo as one GLB file, each in its place before the camera."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_handdiff.files import replace_file
from hf_handdiff.viz.colors import uncertainty_colors, vertex_uncertainty
from hf_handdiff.viz.glb import camera_to_gltf, check_rig
from hf_handdiff.viz.gltf import GltfDocument
from hf_handdiff.viz.rig import HandRig
from hf_handdiff.viz.skinned_nodes import add_material, add_mesh_node, add_rig_nodes


@dataclass(frozen=True)
class StandingHand:
    """A hand to be written.

    Attributes:
        name: of its node, such as "hand_0_right".
        vertices: (V, 3) m in the camera frame, OpenCV axes.
        joints: (21, 3) m likewise.
        joint_std: (21,) m, expected error of the joints: its colours.
        rig: in the same place; None: a mesh without bones is written.
    """

    name: str
    vertices: np.ndarray
    joints: np.ndarray
    joint_std: np.ndarray
    rig: HandRig | None


def write_scene_glb(path: str | os.PathLike, hands: Sequence[StandingHand], faces: np.ndarray) -> Path:
    """Write hands to a GLB file, y up, metres, the camera at the origin; it looks along -z.

    Each hand is a skinned mesh, called by its name, bound in its pose to the 16 bones under the node ``NAME_rig``, and
    coloured by its expected error.  Without hands the scene is empty.  The file appears under its name only when it is
    complete.

    Args:
        path: the file to write; an older one is replaced.
        hands: what stands where.
        faces: (F, 3) vertex numbers; the winding is turned for left hands.

    Returns:
        The path.

    Raises:
        InputError: a rig does not give the vertices of its hand.
    """
    document = GltfDocument()
    skin = add_material(document, "expected error", (255, 255, 255)) if hands else None
    for hand in hands:
        colors = uncertainty_colors(vertex_uncertainty(hand.vertices, hand.joints, hand.joint_std))
        vertices = camera_to_gltf(hand.vertices)
        if hand.rig is None:
            add_mesh_node(document, hand.name, vertices, np.asarray(faces), skin, colors)
        else:
            check_rig(hand.rig, hand.vertices)
            add_rig_nodes(document, hand.name, hand.rig, skin, colors, posed=vertices)
    path = Path(path)
    with replace_file(path) as temporary:
        temporary.write_bytes(document.to_bytes())
    return path
