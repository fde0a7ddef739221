"""The hand as it is rendered: full resolution, with a forearm, and what its surface needs to look like
skin."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from hf_handdiff.hand.forearm import extend_forearm, forearm_topology
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS, NUM_JOINTS
from hf_handdiff.synthetic.materials import Material
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.rasterizer import vertex_normals
from hf_handdiff.synthetic.shading import (
    ATTRIBUTE_CREASE,
    ATTRIBUTE_FLUSH,
    ATTRIBUTE_NAIL,
    ATTRIBUTE_PALM,
    NUM_ATTRIBUTES,
)

FOREARM_PART = 16  # part numbers 0..15 are the rotations of the hand (0: the palm)
NO_CREASE_M = 0.05
SHARE_TO_BELONG = 0.2
KNUCKLES = [FINGERS[finger][0] for finger in ("index", "middle", "ring", "little")]


@dataclass
class PosedHand:
    """A posed right hand in its own axes with the wrist joint at the origin and no global rotation.

    vertices (V, 3) and joints (21, 3) of the full mesh, m.
    """

    vertices: np.ndarray
    joints: np.ndarray


@dataclass
class ForearmShape:
    """How a forearm goes on from the wrist; the arguments of `hf_handdiff.hand.forearm.extend_forearm`."""

    flexion_rad: float = 0.0
    deviation_rad: float = 0.0
    length_m: float = 0.25
    widening: float = 1.4


def bare_skin_attributes(count: int) -> np.ndarray:
    """Attributes (count, NUM_ATTRIBUTES) of skin that is no hand: without palm, nails, flush and creases."""
    attributes = np.zeros((count, NUM_ATTRIBUTES), np.float32)
    attributes[:, ATTRIBUTE_CREASE] = NO_CREASE_M
    return attributes


class RenderHand:
    """The full-resolution open hand: poses it, gives it a forearm and knows which part a face belongs to.

    Attributes:
        faces: (F + A, 3) int32, the hand's faces followed by the forearm's.
        num_hand_vertices, num_hand_faces: how many of them are the hand's.
        rest: (V, 3) m, hand and straight forearm of the mean shape in the rest pose, wrist at 0.
        joint_faces: (21, F + A) bool, whether a face is flesh around the joint.
        flesh_depth_m: (21,) how deep each joint of the mean shape lies under its own flesh at most.
        palm_length_m: mean distance from the wrist to the knuckles of the mean shape.
    """

    def __init__(self):
        arrays = load_open_hand_arrays("full")
        topology = forearm_topology()
        self.layer, self.standard_layer = HandLayer.open_hand("full"), HandLayer.open_hand("standard")
        self.faces = topology.faces.astype(np.int32)
        self.num_hand_vertices, self.num_hand_faces = topology.num_hand_vertices, len(arrays["f"])
        self.ring_size = len(arrays["wrist_loop"])
        rest = self.pose(np.zeros((16, 3), np.float32), np.zeros(10, np.float32))
        joints = rest.joints - rest.joints[0]
        self.rest = self.with_forearm(rest.vertices - rest.joints[0], ForearmShape())
        nail = _vertex_values(arrays["nail_mask"], arrays["uv"], arrays["faces_uv"], arrays["f"].astype(int))
        self.attributes = self._attributes(joints, arrays["weights"], nail)
        self.joint_faces = self._joint_faces(arrays["weights"])
        self.palm_length_m = float(np.linalg.norm(joints[KNUCKLES] - joints[0], axis=1).mean())
        self.flesh_depth_m = self._flesh_depth(joints)

    def pose(self, pose_rad: np.ndarray, shape: np.ndarray) -> PosedHand:
        """The full mesh and its joints under `pose_rad` (16, 3) and `shape` (10,); no translation."""
        return _run_layer(self.layer, pose_rad, shape)

    def joints(self, pose_rad: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """The joints (21, 3) m alone, with the wrist at the origin: much quicker than the mesh."""
        with torch.no_grad():
            joints = self.standard_layer.pose_joints(
                torch.from_numpy(np.asarray(pose_rad, np.float32)).reshape(1, 16, 3),
                torch.from_numpy(np.asarray(shape, np.float32)).reshape(1, 10),
            )[0].numpy()
        return joints - joints[0]

    def standard(self, pose_rad: np.ndarray, shape: np.ndarray) -> PosedHand:
        """The 778-vertex mesh and its joints under the same parameters: what labels are made of."""
        return _run_layer(self.standard_layer, pose_rad, shape)

    def with_forearm(self, vertices: np.ndarray, forearm: ForearmShape) -> np.ndarray:
        """Posed `vertices` (V, 3) m, without global rotation, followed by those of a forearm."""
        extended = extend_forearm(
            torch.from_numpy(vertices)[None],
            torch.eye(3)[None],
            forearm.flexion_rad,
            forearm.deviation_rad,
            forearm.length_m,
            forearm.widening,
        )
        return extended[0].numpy()

    def forearm_rings(self, points: np.ndarray) -> np.ndarray:
        """The rings (K, L, 3) of the forearm in what `with_forearm` returned."""
        return points[self.num_hand_vertices : -1].reshape(-1, self.ring_size, 3)

    def skin_mesh(self, points: np.ndarray, material: Material) -> Mesh:
        """Hand and forearm as one mesh from what `with_forearm` returned."""
        return Mesh(points, self.faces, self.rest, material, self.attributes)

    def _attributes(self, joints: np.ndarray, weights: np.ndarray, nail: np.ndarray) -> np.ndarray:
        """Per-vertex palm-ness, nail mask, flush and distance to the nearest crease, from the rest hand."""
        normals = vertex_normals(self.rest, self.faces)
        attributes = np.zeros((len(self.rest), NUM_ATTRIBUTES), np.float32)
        attributes[:, ATTRIBUTE_PALM] = np.clip(0.5 - 0.9 * normals[:, 1], 0.0, 1.0)
        attributes[self.num_hand_vertices :, ATTRIBUTE_PALM] *= 0.3
        attributes[: self.num_hand_vertices, ATTRIBUTE_NAIL] = nail
        finger_joints = np.array([joint for ids in FINGERS.values() for joint in ids])
        distance = np.linalg.norm(self.rest[:, None] - joints[finger_joints][None], axis=-1)
        attributes[:, ATTRIBUTE_FLUSH] = np.exp(-((distance.min(1) / 0.011) ** 2))
        attributes[:, ATTRIBUTE_CREASE] = NO_CREASE_M
        vertices = self.rest[: self.num_hand_vertices]
        for finger, rotations in MANO_FINGERS.items():
            ids = FINGERS[finger]
            on_finger = weights[:, list(rotations)].sum(1) > 0.6
            for joint in ids[1:3]:
                axis = joints[joint + 1] - joints[joint - 1]
                along = np.abs((vertices - joints[joint]) @ (axis / np.linalg.norm(axis)))
                crease = attributes[: self.num_hand_vertices, ATTRIBUTE_CREASE]
                crease[on_finger] = np.minimum(crease, along)[on_finger]
        return attributes

    def _joint_faces(self, weights: np.ndarray) -> np.ndarray:
        """Which faces are flesh around each joint, by their skinning weights."""
        parts = np.zeros((len(self.rest), 17), np.float32)
        parts[: self.num_hand_vertices, :16] = weights
        parts[self.num_hand_vertices :, FOREARM_PART] = 1.0
        face_parts = parts[self.faces].mean(1)
        allowed = np.zeros((NUM_JOINTS, len(self.faces)), bool)
        allowed[0] = face_parts[:, [0, FOREARM_PART]].sum(1) > SHARE_TO_BELONG
        for finger, rotations in MANO_FINGERS.items():
            around = [(0, rotations[0]), rotations[:2], rotations[1:], rotations[2:]]
            for joint, own in zip(FINGERS[finger], around, strict=True):
                allowed[joint] = face_parts[:, list(own)].sum(1) > SHARE_TO_BELONG
        return allowed

    def _flesh_depth(self, joints: np.ndarray) -> np.ndarray:
        """The largest distance (21,) from a joint to the nearest of its own flesh on either side, plus
        slack."""
        depth = np.empty(NUM_JOINTS)
        centres = self.rest[self.faces].mean(1)
        for joint in range(NUM_JOINTS):
            offset = centres[self.joint_faces[joint]] - joints[joint]
            beside = np.hypot(offset[:, 0], offset[:, 2]) < 0.006
            depth[joint] = np.abs(offset[beside, 1]).max() if beside.any() else 0.008
        return np.clip(1.5 * depth + 0.004, 0.012, 0.036)


def _run_layer(layer: HandLayer, pose_rad: np.ndarray, shape: np.ndarray) -> PosedHand:
    with torch.no_grad():
        mesh = layer(
            torch.from_numpy(np.asarray(pose_rad, np.float32)).reshape(1, 16, 3),
            torch.from_numpy(np.asarray(shape, np.float32)).reshape(1, 10),
        )
    return PosedHand(mesh.vertices[0].numpy(), mesh.joints[0].numpy())


def _vertex_values(texture: np.ndarray, uv: np.ndarray, faces_uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Values 0..1 (V,) of a uint8 texture (H, W) at the vertices, by their texture coordinates (v down)."""
    height, width = texture.shape
    smooth = cv2.GaussianBlur(texture, (0, 0), 1.5).astype(np.float32) / 255.0
    columns = np.clip(np.rint(uv[:, 0] * width - 0.5).astype(int), 0, width - 1)
    rows = np.clip(np.rint(uv[:, 1] * height - 0.5).astype(int), 0, height - 1)
    values = np.zeros(faces.max() + 1, np.float32)
    np.maximum.at(values, faces.reshape(-1), smooth[rows, columns][faces_uv.astype(int).reshape(-1)])
    return values
