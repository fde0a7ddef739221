"""What exact rays say of a scene: which joints are seen, and what is inside what."""

import numpy as np


def first_hit(triangles, target):
    """Number and depth of the first front face on the ray from the origin through `target` (3,); -1 for none.

    By Moeller and Trumbore (1997).
    """
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    normal = np.cross(target, second)
    determinant = (first * normal).sum(1)
    safe = np.where(np.abs(determinant) > 1e-14, determinant, 1.0)
    u = -(triangles[:, 0] * normal).sum(1) / safe
    cross = np.cross(-triangles[:, 0], first)
    v, distance = (cross * target).sum(1) / safe, (cross * second).sum(1) / safe
    front = (np.cross(first, second) * target).sum(1) < 0.0
    hit = front & (np.abs(determinant) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    if not hit.any():
        return -1, np.inf
    face = np.flatnonzero(hit)[np.argmin(distance[hit])]
    return face, distance[face] * target[2]


def visible_by_rays(hand, scene):
    """Which joints (21,) bool of a SceneSample exact rays from the camera through its meshes see."""
    from hf_handdiff.synthetic.visibility import hand_scale, probe_points

    joints = scene.row["joints_m"].astype(np.float64)
    triangles = np.concatenate([mesh.points[mesh.faces] for mesh in scene.meshes]).astype(np.float64)
    probes = probe_points(joints)
    visible = np.zeros(21, bool)
    for joint, (x, y) in enumerate(scene.row["keypoints_2d_px"]):
        if not (0 <= x < 224 and 0 <= y < 224) or scene.covered[int(y), int(x)]:
            continue
        face, depth = first_hit(triangles, probes[joint])
        if 0 <= face < len(hand.faces) and hand.joint_faces[joint, face]:
            visible[joint] = probes[joint, 2] - depth < hand.flesh_depth_m[joint] * hand_scale(hand, joints)
    return visible


def inside(points, mesh):
    """Which of `points` (N, 3) lie inside a closed mesh, by its winding number, after Van Oosterom and Strackee."""
    corners = mesh.points[mesh.faces].astype(np.float64)[None] - np.asarray(points, np.float64)[:, None, None]
    length = np.linalg.norm(corners, axis=-1)
    a, b, c = corners[:, :, 0], corners[:, :, 1], corners[:, :, 2]
    triple = np.einsum("nfi,nfi->nf", a, np.cross(b, c))
    rest = length.prod(-1) + (a * b).sum(-1) * length[..., 2]
    rest += (b * c).sum(-1) * length[..., 0] + (c * a).sum(-1) * length[..., 1]
    return np.arctan2(triple, rest).sum(1) / (2 * np.pi) > 0.5
