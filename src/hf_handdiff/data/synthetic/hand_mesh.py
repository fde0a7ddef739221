"""The hand as it is rendered: full resolution, with a forearm, and what its surface needs to look like skin."""

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from hf_handdiff.data.synthetic.materials import Material
from hf_handdiff.data.synthetic.mesh import Mesh, fan_faces, tube_faces
from hf_handdiff.data.synthetic.rasterizer import vertex_normals
from hf_handdiff.data.synthetic.shading import (
    ATTRIBUTE_CREASE,
    ATTRIBUTE_FLUSH,
    ATTRIBUTE_NAIL,
    ATTRIBUTE_PALM,
    NUM_ATTRIBUTES,
)
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS

NUM_FOREARM_RINGS = 10
FOREARM_PART = 16  # part numbers 0..15 are the rotations of the hand (0: the palm)
NO_CREASE_M = 0.05
SHARE_TO_BELONG = 0.2


@dataclass
class PosedHand:
    """A posed right hand in its own axes with the wrist joint at the origin and no global rotation.

    vertices (V, 3) and joints (21, 3) of the full mesh, m.
    """

    vertices: np.ndarray
    joints: np.ndarray


class RenderHand:
    """The full-resolution open hand: poses it, gives it a forearm and knows which part a face belongs to.

    Attributes:
        faces: (F + A, 3) int32, the hand's faces followed by the forearm's.
        num_hand_faces: F.
        joint_faces: (21, F + A) bool, whether a face is flesh around the joint.
        flesh_depth_m: (21,) how deep each joint lies under its own flesh at most.
    """

    def __init__(self, resolution: str = "full"):
        arrays = load_open_hand_arrays(resolution)
        self.layer = HandLayer.open_hand(resolution)
        self.standard_layer = HandLayer.open_hand("standard")
        template = np.asarray(arrays["v_template"], np.float32)
        weights = np.asarray(arrays["weights"], np.float32)
        hand_faces = np.asarray(arrays["f"], np.int32)
        self.num_hand_vertices, self.num_hand_faces = len(template), len(hand_faces)
        self.wrist_loop = boundary_loop(hand_faces)
        self.faces = np.concatenate([hand_faces, self._forearm_faces()]).astype(np.int32)
        rest_joints = self.pose(np.zeros((16, 3), np.float32), np.zeros(10, np.float32)).joints
        straight = self.forearm_points(template - rest_joints[0], np.array([1.0, 0.0, 0.0]), 0.22, 1.3)
        self.rest = np.concatenate([template - rest_joints[0], straight]).astype(np.float32)
        nail = _vertex_values(arrays["nail_mask"], arrays["uv"], arrays["faces_uv"], hand_faces)
        self.attributes = self._attributes(rest_joints - rest_joints[0], weights, nail)
        self.joint_faces = self._joint_faces(weights)
        self.flesh_depth_m = self._flesh_depth(rest_joints - rest_joints[0])

    def pose(self, pose_rad: np.ndarray, shape: np.ndarray) -> PosedHand:
        """The full mesh and its joints under `pose_rad` (16, 3) and `shape` (10,); no translation."""
        return _run_layer(self.layer, pose_rad, shape)

    def standard(self, pose_rad: np.ndarray, shape: np.ndarray) -> PosedHand:
        """The 778-vertex mesh and its joints under the same parameters: what labels are made of."""
        return _run_layer(self.standard_layer, pose_rad, shape)

    def skin_mesh(self, vertices: np.ndarray, forearm: np.ndarray, material: Material) -> Mesh:
        """Hand and forearm as one mesh from their points (V, 3) and (A, 3)."""
        points = np.concatenate([vertices, forearm]).astype(np.float32)
        return Mesh(points, self.faces, self.rest, material, self.attributes)

    def forearm_points(
        self, vertices: np.ndarray, direction: np.ndarray, length_m: float, widening: float
    ) -> np.ndarray:
        """Rings (NUM_FOREARM_RINGS * L + 1, 3) that carry on the wrist loop of posed `vertices`, m.

        The arm bends within the first centimetres from the hand's +x axis into `direction` (3,) and widens to
        `widening` times the wrist's size.
        """
        loop = vertices[self.wrist_loop]
        centre = loop.mean(0)
        straight = np.array([1.0, 0.0, 0.0])
        points, position, previous = [], centre, 0.0
        for ring in range(1, NUM_FOREARM_RINGS + 1):
            share = ring / NUM_FOREARM_RINGS
            travelled = length_m * share**1.3
            bend = 1.0 - np.exp(-travelled / 0.025)
            axis = straight * (1.0 - bend) + direction * bend
            axis /= np.linalg.norm(axis)
            position = position + axis * (travelled - previous)
            previous = travelled
            grow = 1.0 + (widening - 1.0) * np.sin(0.5 * np.pi * min(travelled / 0.2, 1.0)) ** 2
            points.append(position + (loop - centre) @ _rotation_between(straight, axis).T * grow)
        return np.concatenate([*points, position[None]]).astype(np.float32)

    def forearm_rings(self, forearm: np.ndarray) -> np.ndarray:
        """The rings (NUM_FOREARM_RINGS, L, 3) of what `forearm_points` returned."""
        return forearm[:-1].reshape(NUM_FOREARM_RINGS, len(self.wrist_loop), 3)

    def _forearm_faces(self) -> np.ndarray:
        count = len(self.wrist_loop)
        rings = [self.wrist_loop]
        rings += [self.num_hand_vertices + ring * count + np.arange(count) for ring in range(NUM_FOREARM_RINGS)]
        end = self.num_hand_vertices + NUM_FOREARM_RINGS * count
        return np.concatenate([tube_faces(rings), fan_faces(rings[-1], end)])

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
        allowed = np.zeros((21, len(self.faces)), bool)
        allowed[0] = face_parts[:, [0, FOREARM_PART]].sum(1) > SHARE_TO_BELONG
        for finger, rotations in MANO_FINGERS.items():
            around = [(0, rotations[0]), rotations[:2], rotations[1:], rotations[2:]]
            for joint, own in zip(FINGERS[finger], around):
                allowed[joint] = face_parts[:, list(own)].sum(1) > SHARE_TO_BELONG
        return allowed

    def _flesh_depth(self, joints: np.ndarray) -> np.ndarray:
        """The largest distance (21,) from a joint to the nearest of its own flesh on either side, plus slack."""
        depth = np.empty(21)
        centres = self.rest[self.faces].mean(1)
        for joint in range(21):
            offset = centres[self.joint_faces[joint]] - joints[joint]
            beside = np.hypot(offset[:, 0], offset[:, 2]) < 0.006
            depth[joint] = np.abs(offset[beside, 1]).max() if beside.any() else 0.008
        return np.clip(1.35 * depth + 0.003, 0.008, 0.032)


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


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """The vertices (L,) of the one open edge loop of `faces`, in the direction of its faces' edges."""
    edges = Counter((int(face[k]), int(face[(k + 1) % 3])) for face in faces for k in range(3))
    following = {start: end for start, end in edges if (end, start) not in edges}
    if not following:
        raise ValueError("expected a hand with an open wrist, got a closed mesh")
    loop = [next(iter(following))]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise ValueError(f"expected one open edge loop, got {len(following) - len(loop)} edges besides it")
    return np.array(loop, np.int32)


def _rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes unit `source` to unit `target`; they are not opposite."""
    cross, cosine = np.cross(source, target), float(source @ target)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)
