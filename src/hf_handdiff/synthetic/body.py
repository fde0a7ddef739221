"""A body behind a hand: where the end of the forearm would be seen, it goes on into a dressed torso."""

import numpy as np

from hf_handdiff.synthetic.hand_mesh import bare_skin_attributes
from hf_handdiff.synthetic.materials import Material, random_cloth_material
from hf_handdiff.synthetic.mesh import Mesh, capsule
from hf_handdiff.synthetic.placement import Placement, axis_rotation
from hf_handdiff.synthetic.rasterizer import project_points

BODY_SHARE = 0.75
MAX_TOWARD_CAMERA_M = 0.05
CLEARANCE_M = 0.04


def random_body(
    hand_m: np.ndarray, elbow_m: np.ndarray, placement: Placement, image_size: int, rng: np.random.Generator
) -> list[Mesh]:
    """A torso around the forearm's end `elbow_m` (3,), behind all of `hand_m` (V, 3), or nothing.

    There is none where the arm comes from the camera's side or its end lies outside the image.
    """
    if elbow_m[2] < hand_m[:, 2].mean() - MAX_TOWARD_CAMERA_M or rng.random() >= BODY_SHARE:
        return []
    pixel = project_points(elbow_m, placement.intrinsics_px)
    if not ((pixel > -0.1 * image_size) & (pixel < 1.1 * image_size)).all():
        return []
    radius, length = rng.uniform(0.12, 0.19), rng.uniform(0.4, 0.7)
    torso = capsule(radius, length, random_cloth_material(rng), rng.uniform(0.85, 1.1))
    rotation = axis_rotation(2, rng.normal(0.0, 0.5)) @ axis_rotation(0, rng.normal(0.0, 0.25))
    centre = elbow_m + rng.uniform(-0.7, 0.7, 3) * [radius, 0.5 * length, 0.0] + [0.0, 0.0, 0.7 * radius]
    torso = torso.moved(rotation, centre)
    step_back = hand_m[:, 2].max() + CLEARANCE_M - torso.points[:, 2].min()
    return [torso.moved(np.eye(3), np.array([0.0, 0.0, max(step_back, 0.0)]))]


def upper_arm(rings: np.ndarray, material: Material, rng: np.random.Generator) -> Mesh:
    """A bent elbow at the end of the forearm `rings` (K, L, 3) m and the upper arm from there, in the same axes."""
    elbow, along = rings[-1].mean(0), rings[-1].mean(0) - rings[-4].mean(0)
    along /= np.linalg.norm(along)
    radius = 1.02 * np.linalg.norm(rings[-1] - elbow, axis=1).mean()
    aside = np.cross(along, rng.normal(size=3))
    direction = aside / np.linalg.norm(aside) + rng.uniform(-0.2, 0.6) * along
    direction /= np.linalg.norm(direction)
    side = np.cross(direction, along)
    side /= np.linalg.norm(side)
    length = rng.uniform(0.25, 0.32)
    arm = capsule(radius, length, material, rng.uniform(1.0, 1.25))
    arm.attributes = bare_skin_attributes(len(arm.points))
    return arm.moved(np.stack([side, direction, np.cross(side, direction)], 1), elbow + 0.5 * length * direction)
