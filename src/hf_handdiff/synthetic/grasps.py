"""Hands that hold things: fingers closed around a solid, or a thin thing between the tips of thumb and finger."""

import numpy as np

from hf_handdiff.hand.topology import FINGERS, FINGERTIPS
from hf_handdiff.synthetic.finger_closing import close_hand
from hf_handdiff.synthetic.flesh import PALM_RADIUS_M, flesh_balls
from hf_handdiff.synthetic.materials import Material, random_object_material
from hf_handdiff.synthetic.mesh import Mesh, ball, box
from hf_handdiff.synthetic.placement import random_rotation
from hf_handdiff.synthetic.solids import PALM_THINGS, Solid, lathe_thing, random_solid

PALM_FLESH_M = 0.014  # from the knuckles' centres to the skin of the palm
PALM_GIVES_M = 0.002
AT_FINGERTIPS_SHARE = 0.35  # held by the fingers' ends, away from the palm
PULP_RADIUS_M = 0.0072
MAX_PINCHED_M = 0.09
PINCH_TRIES = 6
MAX_PINCH_SINK_M = 0.005


def sample_grasp(rest_joints: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Mesh]:
    """A pose and what it holds, in the palm or at the fingertips.

    rest_joints (21, 3) m: the flat hand of the right shape, wrist at 0 (fingers -x, back +y, thumb +z).
    Returns the pose (16, 3) without global rotation and the held mesh in the same axes.
    """
    solid = random_solid(rng, random_object_material(rng), PALM_THINGS)
    rotation, centre = place_in_palm(solid, rest_joints, rng)
    away = rotation[:, 2]
    palm, radius = flesh_balls(rest_joints, forearm=False)
    in_palm = radius == PALM_RADIUS_M
    for _ in range(3):  # out of the ball of the thumb and the heel of the hand
        sunk = (radius - solid.distance((palm - centre) @ rotation))[in_palm].max()
        centre = centre + away * max(sunk - PALM_GIVES_M, 0.0)
    if rng.random() < AT_FINGERTIPS_SHARE:
        toward_tips = rng.uniform(0.1, 0.5) * (rest_joints[12] - rest_joints[9])
        centre = centre + toward_tips - np.array([0.0, rng.uniform(0.01, 0.045), 0.0])
    loose = rng.uniform(0.0, 0.12) if rng.random() < 0.7 else rng.uniform(0.0, 0.6)
    pose = close_hand(rest_joints, lambda points: solid.distance((points - centre) @ rotation), loose, rng)
    return pose, solid.mesh.moved(rotation, centre)


def place_in_palm(solid: Solid, joints: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and centre (3,) of the solid against the palm, mostly with its long axis across it."""
    knuckles = joints[[5, 9, 13, 17]].mean(0)
    across = joints[5] - joints[17]
    turn = np.arctan2(across[0], across[2]) + rng.normal(0.0, 0.2)
    if rng.random() < 0.2:
        turn += 0.5 * np.pi
    long_axis = np.array([np.sin(turn), rng.normal(0.0, 0.1), np.cos(turn)])
    long_axis /= np.linalg.norm(long_axis)
    away = np.array([0.0, -1.0, 0.0]) - long_axis * -long_axis[1]
    away /= np.linalg.norm(away)
    rotation = np.stack([np.cross(long_axis, away), long_axis, away], 1)
    thickness = solid.half_extent[2] if solid.kind == "box" else solid.half_extent[0]
    toward_wrist = np.array([rng.uniform(-0.01, 0.025), 0.0, 0.0])
    slide = long_axis * rng.normal(0.0, 0.25) * solid.half_extent[1]
    return rotation, knuckles + toward_wrist + slide + away * (thickness + PALM_FLESH_M)


def sample_pinched(joints: np.ndarray, rng: np.random.Generator) -> Mesh | None:
    """Something between the pulps of the thumb and of the finger nearest to it, in the hand's axes.

    joints (21, 3) m of the posed hand, without global rotation. None where thumb and fingers are too far apart, or
    where whatever is tried would run through the hand.
    """
    thumb = _pulp(joints, FINGERTIPS[0])
    others = np.stack([_pulp(joints, tip) for tip in FINGERTIPS[1:]])
    nearest = int(np.argmin(np.linalg.norm(others - thumb, axis=1)))
    between = others[nearest] - thumb
    gap = float(np.linalg.norm(between))
    thickness = gap - 2.0 * PULP_RADIUS_M
    if thickness > MAX_PINCHED_M:
        return None
    material = random_object_material(rng)
    solid = _thing_of_thickness(max(thickness, 0.0008), material, rng)
    through = between / gap
    grip = thumb + 0.5 * between
    keep_out = _balls_but_the_pinching(joints, FINGERTIPS[1 + nearest])
    for _ in range(PINCH_TRIES):
        rotation, centre = _hang(solid, joints, grip, through, rng)
        nearest_m = solid.distance((keep_out[0] - centre) @ rotation) - keep_out[1]
        if nearest_m.min() > -MAX_PINCH_SINK_M:
            return solid.mesh.moved(rotation, centre)
    return None


def _pulp(joints: np.ndarray, tip: int) -> np.ndarray:
    back = joints[tip - 1] - joints[tip]
    return joints[tip] + PULP_RADIUS_M * back / np.linalg.norm(back)


def _balls_but_the_pinching(joints: np.ndarray, tip: int) -> tuple[np.ndarray, np.ndarray]:
    """The balls of the hand that are not at the two pinching tips."""
    centres, radii = flesh_balls(joints, forearm=False)
    pinching = np.stack([_pulp(joints, FINGERTIPS[0]), _pulp(joints, tip)])
    far = np.linalg.norm(centres[:, None] - pinching[None], axis=2).min(1) > 0.016
    return centres[far], radii[far]


def _thing_of_thickness(thickness: float, material: Material, rng: np.random.Generator) -> Solid:
    """A sheet, card, pen, box, ball or cup that is `thickness` m through, along its z."""
    if thickness < 0.004:
        kind = "sheet"
    elif thickness < 0.02:
        kind = str(rng.choice(["pen", "box", "ball", "tool"], p=[0.35, 0.35, 0.15, 0.15]))
    else:
        kind = str(rng.choice(["box", "ball", "round"], p=[0.5, 0.25, 0.25]))
    if kind == "sheet":
        size = rng.uniform([0.04, 0.06, 0.0], [0.15, 0.22, 0.0]) if rng.random() < 0.6 else [0.054, 0.086, 0.0]
        size = np.array([size[0], size[1], thickness])
    elif kind == "box":
        size = np.append(rng.uniform(0.02, 0.14, 2), thickness)
    elif kind == "ball":
        return Solid(ball(0.5 * thickness, material), "ball", np.full(3, 0.5 * thickness))
    else:
        return lathe_thing({"pen": "pen", "tool": "can"}.get(kind, "bottle"), 0.5 * thickness, material, rng)
    return Solid(box(size, material), "box", 0.5 * size)


def _hang(
    solid: Solid, joints: np.ndarray, grip: np.ndarray, through: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and centre (3,) of the solid, held at `grip` (3,) across `through` (3,), most of it away from
    the palm."""
    if solid.kind == "ball":
        return random_rotation(rng), grip
    palm = joints[[0, *(chain[0] for chain in FINGERS.values())]].mean(0)
    outward = grip - palm + rng.normal(0.0, 0.03, 3)
    outward -= through * (outward @ through)
    outward /= np.linalg.norm(outward) + 1e-9
    side = np.cross(outward, through)
    turn = rng.uniform(-np.pi, np.pi)
    long_axis = np.cos(turn) * outward + np.sin(turn) * side
    rotation = np.stack([np.cross(long_axis, through), long_axis, through], 1)
    reach = np.abs(rotation[:, :2].T @ outward) @ solid.half_extent[:2] if solid.kind == "box" else 0.0
    if solid.kind == "round":
        centre = grip + long_axis * rng.uniform(-0.8, 0.8) * solid.half_extent[1]
    else:
        centre = grip + outward * max(reach - rng.uniform(0.006, 0.02), 0.0)
    return rotation, centre
