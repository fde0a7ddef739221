"""Which joints a camera sees, and how much of the hand: read off the visibility buffer."""

import numpy as np

from hf_handdiff.hand.topology import FINGERTIPS, NUM_JOINTS
from hf_handdiff.synthetic.hand_mesh import KNUCKLES, RenderHand
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.rasterizer import NO_FACE, project_points, rasterize, screen_points
from hf_handdiff.synthetic.renderer import VisibilityBuffer
from hf_handdiff.synthetic.shading import SUPERSAMPLING

# The unoccluded hand is counted on a coarse grid that reaches one image size beyond the image on every side.
COUNTING_SCALE, COARSE_SCALE = 0.5, 0.25
TIP_RETREAT = 0.25  # tips lie on the silhouette: look this share of the last bone farther in
SAMPLE_OFFSETS_PX = np.array([[0.0, 0.0], [0.8, 0.0], [-0.8, 0.0], [0.0, 0.8], [0.0, -0.8]])


def joint_visibility(
    hand: RenderHand,
    joints_m: np.ndarray,
    intrinsics_px: np.ndarray,
    buffer: VisibilityBuffer,
    hand_object: int,
    image_size: int,
    covered: np.ndarray | None = None,
) -> np.ndarray:
    """Whether each of `joints_m` (21, 3), in camera axes, can be seen: (21,) bool.

    A joint lies inside the flesh. It counts as seen when the first surface at its pixel is flesh of its own
    bones and no farther in front of it than that flesh is thick; most of five samples around the pixel
    decide. `covered` (H, W) bool marks pixels that something flat hides.
    """
    size = buffer.face_ids.shape[0]
    first_face = buffer.first_face[hand_object]
    visible = np.zeros(NUM_JOINTS, bool)
    probes_m = probe_points(joints_m)
    keypoints_px, probes_px = project_points(joints_m, intrinsics_px), project_points(probes_m, intrinsics_px)
    thickness_m = hand.flesh_depth_m * hand_scale(hand, joints_m)
    for joint in range(NUM_JOINTS):
        x, y = keypoints_px[joint]
        if not (0.0 <= x < image_size and 0.0 <= y < image_size):
            continue
        if covered is not None and covered[int(y), int(x)]:
            continue
        samples = np.floor((probes_px[joint] + SAMPLE_OFFSETS_PX) * SUPERSAMPLING).astype(int)
        columns, rows = np.clip(samples, 0, size - 1).T
        faces = buffer.face_ids[rows, columns] - first_face
        own = (faces >= 0) & (faces < len(hand.faces))
        own[own] = hand.joint_faces[joint, faces[own]]
        gap = probes_m[joint, 2] - 1.0 / np.maximum(buffer.inverse_depth[rows, columns], 1e-6)
        visible[joint] = (own & (gap < thickness_m[joint])).sum() >= 3
    return visible


def probe_points(joints_m: np.ndarray) -> np.ndarray:
    """Points (21, 3) well inside the flesh: the joints, and for the tips a point a little down the finger."""
    probes = joints_m.copy()
    tips = np.array(FINGERTIPS)
    probes[tips] += TIP_RETREAT * (joints_m[tips - 1] - joints_m[tips])
    return probes


def hand_scale(hand: RenderHand, joints_m: np.ndarray) -> float:
    """How large this hand is, by the length of its palm, against the mean shape."""
    return float(np.linalg.norm(joints_m[KNUCKLES] - joints_m[0], axis=1).mean() / hand.palm_length_m)


def visible_share(
    hand: RenderHand,
    vertices_m: np.ndarray,
    intrinsics_px: np.ndarray,
    buffer: VisibilityBuffer,
    hand_object: int,
    image_size: int,
    covered: np.ndarray | None = None,
) -> float:
    """Share of the hand's own silhouette, as if nothing hid it and the image had no border, that is seen:
    0..1.

    vertices_m (V, 3): the hand without its forearm, in camera axes.
    """
    size = int(3 * image_size * COUNTING_SCALE)
    wide = intrinsics_px.copy()
    wide[:2, 2] += image_size
    depth, faces = np.zeros((size, size), np.float32), np.full((size, size), NO_FACE, np.int32)
    screen = screen_points(vertices_m, wide, COUNTING_SCALE)
    rasterize(screen, hand.faces[: hand.num_hand_faces], False, depth, faces)
    whole = np.count_nonzero(faces != NO_FACE) / COUNTING_SCALE**2
    first = buffer.first_face[hand_object]
    seen = (buffer.face_ids >= first) & (buffer.face_ids < first + hand.num_hand_faces)
    if covered is not None:
        seen &= ~np.repeat(np.repeat(covered, SUPERSAMPLING, 0), SUPERSAMPLING, 1)
    return float(min(np.count_nonzero(seen) / SUPERSAMPLING**2 / max(whole, 1.0), 1.0))


def coarse_visible_share(hand: RenderHand, meshes: list[Mesh], intrinsics_px: np.ndarray, image_size: int) -> float:
    """About which share of the hand, `meshes[0]`, is not hidden by the others or by its own arm: 0..1, quickly.

    meshes: in camera axes. The image's border does not count.
    """
    size = int(image_size * COARSE_SCALE)
    counts = []
    for others in ([], meshes):
        depth, faces = np.zeros((size, size), np.float32), np.full((size, size), NO_FACE, np.int32)
        for number, mesh in enumerate(others or meshes[:1]):
            own, before = number == 0, depth.copy()
            triangles = mesh.faces if others or not own else hand.faces[: hand.num_hand_faces]
            rasterize(screen_points(mesh.points, intrinsics_px, COARSE_SCALE), triangles, True, depth, faces)
            if not own:
                faces[depth > before] = len(hand.faces)
        counts.append(np.count_nonzero((faces != NO_FACE) & (faces < hand.num_hand_faces)))
    return counts[1] / max(counts[0], 1)
