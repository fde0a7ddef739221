"""A body behind a hand: where the end of the forearm would be seen, it goes on into a dressed torso."""

import numpy as np

from hf_handdiff.synthetic.materials import random_cloth_material
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
