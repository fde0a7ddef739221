"""A second hand that touches the first: laid or pressed against it, or closed around it."""

from dataclasses import dataclass

import numpy as np
import torch

from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler
from hf_handdiff.synthetic.finger_closing import close_hand
from hf_handdiff.synthetic.flesh import distance_to_balls, flesh_balls, slide_to_contact
from hf_handdiff.synthetic.hand_mesh import RenderHand
from hf_handdiff.synthetic.placement import axis_rotation, random_rotation

WAY_SHARES = {"clasp": 0.5, "press": 0.15, "touch": 0.35}
SINK_M = 0.002
MAX_GAP_M = 0.004  # between the hands themselves: else it was the arms that met
CONTACT_TRIES = 10
MAX_CLASP_OVERLAP_M = 2.0 * MAX_OVERLAP_M
MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass
class Contact:
    """A hand that touches another.

    pose_rad (16, 3) without global rotation, as a right hand's; mirrored: whether it is a left hand, mirrored across
    its x; rotation (3, 3) and offset_m (3,) from its own axes, mirrored where it is, to those of the hand it touches.
    """

    pose_rad: np.ndarray
    mirrored: bool
    rotation: np.ndarray
    offset_m: np.ndarray

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the hand's own axes, as of a right hand, in those of the other hand."""
        return (points @ MIRROR if self.mirrored else points) @ self.rotation.T + self.offset_m


def sample_contact(
    hand: RenderHand, joints: np.ndarray, own_pose: np.ndarray, pose: np.ndarray, shape: np.ndarray, left: bool, rng
) -> Contact | None:
    """How another hand of `shape` (10,) touches the one of `joints` (21, 3) m and `own_pose` (16, 3), wrist at 0.

    pose (16, 3): of the other hand, where the way in which they touch asks for no other. left: whether it is a left
    one. None where every way that was tried fails.
    """
    own_balls, own_hand = flesh_balls(joints), flesh_balls(joints, forearm=False)
    for _ in range(CONTACT_TRIES):
        way = str(rng.choice(list(WAY_SHARES), p=list(WAY_SHARES.values())))
        flat = np.zeros((16, 3), np.float32)
        other = {"clasp": flat, "press": own_pose, "touch": pose}[way]
        contact = _approach(way, hand, joints, own_balls, other, shape, left, rng)
        if contact is None:
            continue
        other_joints = hand.joints(other, shape)
        if way == "clasp":
            centres = (own_hand[0] - contact.offset_m) @ contact.rotation
            centres = centres @ MIRROR if left else centres
            loose = rng.uniform(0.0, 0.1) if rng.random() < 0.6 else rng.uniform(0.0, 0.7)
            around = close_hand(other_joints, lambda p, c=centres: distance_to_balls(p, c, own_hand[1]), loose, rng)
            if float(default_sampler().overlap(torch.from_numpy(around)[None])[0]) > MAX_CLASP_OVERLAP_M:
                continue
            contact.pose_rad = around
            other_joints = hand.joints(around, shape)
        there, radii = flesh_balls(other_joints, forearm=False)
        if (distance_to_balls(contact.placed(there), *own_hand) - radii).min() < MAX_GAP_M:
            return contact
    return None


def _approach(
    way: str,
    hand: RenderHand,
    joints: np.ndarray,
    own_balls: tuple[np.ndarray, np.ndarray],
    pose: np.ndarray,
    shape: np.ndarray,
    left: bool,
    rng: np.random.Generator,
) -> Contact | None:
    """Turn the other hand and move it until it touches; None where it passes by."""
    other_joints = hand.joints(pose, shape)
    if way == "touch":
        rotation, direction = random_rotation(rng), rng.normal(size=3)
        target, grip = joints[rng.integers(1, 21)], other_joints[rng.integers(1, 21)]
    elif way == "press":  # palm against palm, the fingers about along each other's
        over = axis_rotation(2 if left else 0, np.pi)
        rotation = axis_rotation(1, rng.normal(0.0, 0.4)) @ axis_rotation(0, rng.normal(0.0, 0.2)) @ over
        direction = np.array([0.0, 1.0, 0.0])
        target = joints[9] + rng.normal(0.0, 0.012, 3) * [1.0, 0.0, 1.0]
        grip = other_joints[9]
    else:
        rotation = random_rotation(rng)
        direction = rotation @ [0.0, -1.0, 0.0]
        target = joints[[0, 5, 9, 13, 17, 6, 10, 14]][rng.integers(8)] + rng.normal(0.0, 0.01, 3)
        palm = other_joints[[5, 9, 13, 17]].mean(0)
        grip = palm + rng.uniform(-0.02, 0.035) * np.array([1.0, 0.0, 0.0])
    direction = direction / np.linalg.norm(direction)
    grip = MIRROR @ grip if left else grip
    contact = Contact(pose, left, rotation, target - rotation @ grip)
    centres, radii = flesh_balls(other_joints)
    way_m = slide_to_contact((contact.placed(centres), radii), own_balls, direction)
    if way_m is None:
        return None
    contact.offset_m = contact.offset_m + (way_m + SINK_M) * direction
    return contact
