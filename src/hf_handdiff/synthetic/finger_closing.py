"""Closing a hand: each finger is bent from the palm outwards until it touches something."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.pose_limits import POSE_LIMITS
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS
from hf_handdiff.synthetic.flesh import FINGER_RADII_M

ANGLE_STEPS = 25
POINTS_PER_BONE = 4
MAX_SINK_M = 0.0015
OPEN_ANGLE = -0.15  # from where fingers are bent
THUMB_TURNS = (0.0, 0.4, 0.8, 1.2)  # how far the thumb may be turned back from before the palm


def close_hand(
    rest_joints: np.ndarray,
    clearance: Callable[[np.ndarray], np.ndarray],
    loose: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The pose (16, 3), without global rotation, of a hand whose fingers close around something.

    rest_joints (21, 3) m: the flat hand of the right shape, wrist at 0 (fingers -x, back +y, thumb +z). clearance:
    signed distance (N,) m of points (N, 3) to what it closes around. loose: 0 to 1, by how much of its bend at
    most a joint stays open.
    """
    pose = np.zeros((16, 3), np.float32)
    frames = load_open_hand_arrays()["joint_frames"]
    for finger in FINGERS:
        start = starting_turn(finger, frames, rng)
        if finger == "thumb":
            start = _free_thumb(start, rest_joints, frames, clearance)
        pose[list(MANO_FINGERS[finger])] = close_finger(finger, start, rest_joints, frames, clearance, loose, rng)
    return pose


def starting_turn(finger: str, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rotation (3, 3) of a finger's first joint before it closes: some spread, and the thumb opposed."""
    first = MANO_FINGERS[finger][0]
    if finger == "thumb":
        opposition = _axis_rotation(np.array([1.0, 0.0, 0.0]), rng.uniform(0.5, 1.2))
        return opposition @ _axis_rotation(frames[first, 1], rng.normal(-0.1, 0.12))
    return _axis_rotation(frames[first, 1], rng.normal(0.0, 0.07))


def _free_thumb(
    start: np.ndarray, joints: np.ndarray, frames: np.ndarray, clearance: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`start` (3, 3), or where the open thumb would then be inside the thing, turned back beside the palm until it is
    not."""
    first = MANO_FINGERS["thumb"][0]
    bone = _points_along(joints, FINGERS["thumb"])
    low = np.radians(POSE_LIMITS["thumb"][0].flexion[0])
    opened = _axis_rotation(frames[first, 0], max(low, OPEN_ANGLE))
    most, best = -np.inf, start
    for turn_back in THUMB_TURNS:
        tried = _axis_rotation(np.array([1.0, 0.0, 0.0]), -turn_back) @ start
        free = clearance(joints[FINGERS["thumb"][0]] + bone @ (opened @ tried).T).min()
        if free > most:
            most, best = free, tried
        if free > FINGER_RADII_M["thumb"] - MAX_SINK_M:
            break
    return best


def close_finger(
    finger: str,
    start: np.ndarray,
    joints: np.ndarray,
    frames: np.ndarray,
    clearance,
    loose: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rotation vectors (3, 3) of a finger's joints, each bent from the palm outwards until something
    touches."""
    chain, rotations = FINGERS[finger], MANO_FINGERS[finger]
    radius = FINGER_RADII_M[finger]
    base, turn = joints[chain[0]], np.eye(3)
    result = np.empty((3, 3), np.float32)
    for bone in range(3):
        low, high = np.radians(POSE_LIMITS[finger][bone].flexion)
        angles = np.linspace(max(low, OPEN_ANGLE), high, ANGLE_STEPS)
        before = turn @ start if bone == 0 else turn
        bends = _axis_rotations(frames[rotations[bone], 0], angles)
        turned = before @ bends if bone else turn @ bends @ start
        beyond = _points_along(joints, chain[bone:])  # (P, 3) from this joint
        points = base + np.einsum("aij,pj->api", turned, beyond)
        free = clearance(points.reshape(-1, 3)).reshape(len(angles), -1).min(1) > radius - MAX_SINK_M
        stopped = np.flatnonzero(~free)
        last = (stopped[0] - 1 if len(stopped) else len(angles) - 1) if free.any() else 0
        angle = angles[max(last, 0)] * (1.0 - loose * rng.random())
        bend = _axis_rotations(frames[rotations[bone], 0], np.array([angle]))[0]
        local = bend @ start if bone == 0 else bend
        result[bone] = _rotation_vector(local)
        turn = turn @ local
        if bone < 2:
            base = base + turn @ (joints[chain[bone + 1]] - joints[chain[bone]])
    return result


def _points_along(joints: np.ndarray, chain: tuple[int, ...]) -> np.ndarray:
    """Points (P, 3) along the straight bones of `chain`, from its first joint, that joint left out."""
    share = (np.arange(POINTS_PER_BONE) + 1.0)[:, None] / POINTS_PER_BONE
    bones = [joints[a] + share * (joints[b] - joints[a]) for a, b in pairwise(chain)]
    return np.concatenate(bones) - joints[chain[0]]


def _axis_rotations(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotations (A, 3, 3) about a unit axis."""
    skew = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + np.sin(angles)[:, None, None] * skew + (1.0 - np.cos(angles))[:, None, None] * (skew @ skew)


def _axis_rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    return _axis_rotations(axis, np.array([angle]))[0]


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) of a rotation by less than half a turn."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine = 0.5 * np.linalg.norm(axis)
    angle = np.arctan2(sine, 0.5 * (np.trace(rotation) - 1.0))
    return axis * (0.5 * angle / sine) if sine > 1e-9 else 0.5 * axis
