"""Meshes and rigged hands as nodes of a glTF document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hf_handdiff.hand.topology import MANO_PARENTS
from hf_handdiff.viz.colors import srgb_to_linear
from hf_handdiff.viz.gltf import INDICES, VERTICES, GltfDocument
from hf_handdiff.viz.raster import outward_faces, vertex_normals
from hf_handdiff.viz.rig import BONE_NAMES, HandRig

CAMERA_TO_GLTF = [1.0, 0.0, 0.0, 0.0]
"""The rotation, as glTF's quaternion (x, y, z, w), from OpenCV axes to glTF's: half a turn about x."""


@dataclass(frozen=True)
class RigNodes:
    """Numbers of the nodes of a rigged hand: its mesh, the rig, which stands in glTF's axes, and the 16 bones in it."""

    mesh: int
    rig: int
    bones: list[int]


def add_material(
    document: GltfDocument, name: str, color: tuple[int, int, int], opacity: float = 1.0, roughness: float = 0.65
) -> int:
    """Add a material: color in sRGB 0..255, opacity 0..1; what is opaque is seen from both sides."""
    return document.add(
        "materials",
        name=name,
        pbrMetallicRoughness={
            "baseColorFactor": [*np.round(srgb_to_linear(np.array(color)), 6).tolist(), round(opacity, 4)],
            "metallicFactor": 0.0,
            "roughnessFactor": roughness,
        },
        alphaMode="BLEND" if opacity < 1 else None,
        doubleSided=True if opacity == 1 else None,
    )


def add_mesh_node(
    document: GltfDocument,
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    material: int,
    colors: np.ndarray | None = None,
) -> int:
    """Show a mesh.

    Args:
        document: what it is added to.
        name: of mesh and node.
        vertices: (V, 3) m, glTF axes.
        faces: (F, 3).
        material: of `add_material`.
        colors: (V, 3) sRGB 0..255.

    Returns:
        The node.
    """
    node = document.add("nodes", name=name, mesh=_mesh(document, name, vertices, faces, material, colors))
    document.show(node)
    return node


def add_rig_nodes(
    document: GltfDocument,
    name: str,
    rig: HandRig,
    material: int,
    colors: np.ndarray | None = None,
    posed: np.ndarray | None = None,
) -> RigNodes:
    """Show a rigged hand as it is in its first frame.

    Args:
        document, name, material, colors: as for `add_mesh_node`; the rig's own node is called NAME_rig.
        rig: the hand.
        posed: (V, 3) m, glTF axes, the vertices of that frame: the mesh is stored and bound as it is there, for
            readers that know nothing of bones. None: it is bound flat.
    """
    more = {}
    for number in range(rig.bones.shape[1] // 4):
        columns = slice(4 * number, 4 * number + 4)
        more[f"JOINTS_{number}"] = document.accessor(rig.bones[:, columns], "VEC4", VERTICES)
        more[f"WEIGHTS_{number}"] = document.accessor(rig.weights[:, columns], "VEC4", VERTICES)
    if posed is None:
        vertices, binds = rig.vertices, _inverse_binds(np.eye(3), rig.joints)
    else:
        vertices, binds = posed, _inverse_binds(*_bones_in_gltf(rig))
    mesh = _mesh(document, name, vertices, rig.faces, material, colors, more, rig)
    quaternions = rotations_to_gltf(rig.rotations[0])
    bones = [
        document.add("nodes", name=bone, rotation=turn.tolist(), translation=place.tolist())
        for bone, turn, place in zip(BONE_NAMES, quaternions, rig.places[0], strict=True)
    ]
    for bone, number in enumerate(bones):
        children = [bones[child] for child, parent in enumerate(MANO_PARENTS) if parent == bone]
        if children:
            document.item("nodes", number)["children"] = children
    skin = document.add(
        "skins", name=name, joints=bones, inverseBindMatrices=document.accessor(binds.reshape(-1, 16), "MAT4")
    )
    root = document.add("nodes", name=f"{name}_rig", rotation=CAMERA_TO_GLTF, children=bones[:1])
    node = document.add("nodes", name=name, mesh=mesh, skin=skin)
    document.show(root)
    document.show(node)
    return RigNodes(node, root, bones)


def _bones_in_gltf(rig: HandRig) -> tuple[np.ndarray, np.ndarray]:
    """How bones are turned (16, 3, 3) and where they begin (16, 3) m in the first frame, glTF axes."""
    turns, places = rig.bones_in_camera()
    to_gltf = Rotation.from_quat(CAMERA_TO_GLTF).as_matrix()
    return to_gltf @ turns[0], places[0] @ to_gltf.T


def _inverse_binds(turns: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Inverses (16, 4, 4) of bones that are turned (16, 3, 3) and begin at (16, 3), by columns as glTF stores them."""
    binds = np.tile(np.eye(4), (len(places), 1, 1))
    binds[:, :3, :3] = turns  # the inverse is the transpose, and columns are stored as rows
    binds[:, 3, :3] = -np.einsum("bx,bxy->by", places, np.broadcast_to(turns, (len(places), 3, 3)))
    return binds


def rotations_to_gltf(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) as unit quaternions (..., 4) in glTF's order, x, y, z, w."""
    quaternions = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat()
    return quaternions.reshape(*rotations.shape[:-2], 4)


def _mesh(document, name, vertices, faces, material, colors, more=None, rig: HandRig | None = None) -> int:
    """A mesh of one primitive; `more`: further attributes; the morph targets are those of a rig."""
    faces = outward_faces(vertices, faces)
    attributes = {
        "POSITION": document.accessor(vertices, "VEC3", VERTICES, bounds=True),
        "NORMAL": document.accessor(vertex_normals(vertices, faces), "VEC3", VERTICES),
    }
    if colors is not None:
        linear = np.round(srgb_to_linear(colors) * 255).astype(np.uint8)
        opaque = np.full((len(linear), 1), 255, np.uint8)
        colors = np.concatenate([linear, opaque], axis=-1)
        attributes["COLOR_0"] = document.accessor(colors, "VEC4", VERTICES, normalized=True)
    primitive = {
        "attributes": {**attributes, **(more or {})},
        "indices": document.accessor(_small(faces).reshape(-1), "SCALAR", INDICES),
        "material": material,
    }
    morphed = rig is not None and len(rig.morphs) > 0
    if morphed:
        primitive["targets"] = [
            {"POSITION": document.accessor(morph, "VEC3", VERTICES, bounds=True)} for morph in rig.morphs
        ]
    weights = rig.morph_weights[0].tolist() if morphed else None
    return document.add("meshes", name=name, primitives=[primitive], weights=weights)


def _small(faces: np.ndarray) -> np.ndarray:
    return faces.astype(np.uint16 if faces.max() < 65_535 else np.uint32)
