"""The frame of the wrist is the hand layer's own; operators' axes are the same for both sides."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hf_handdiff.errors import InputError
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.topology import FINGERTIPS
from hf_handdiff.hand.wrist_frame import operator_axes, wrist_frame

SIDES = ("right", "left")
MIRROR = torch.tensor([-1.0, 1.0, 1.0])
INDEX, MIDDLE, LITTLE = 5, 9, 17  # knuckles
LARGEST_ANGLE_DEG = 10.0


def hands(layer, side, turn=None, count=6, bent=0.3):
    """(count, 21, 3) m, and their global rotations (count, 3); the same hands, mirrored, for the other side."""
    generator = torch.Generator().manual_seed(0)
    pose = bent * torch.randn(count, 15, 3, generator=generator)
    shape = torch.randn(count, 10, generator=generator)
    turn = 1.5 * torch.randn(count, 3, generator=generator) if turn is None else turn.expand(count, 3)
    pose = pose * (-MIRROR if side == "left" else 1)
    place = torch.tensor([[0.1, -0.2, 0.6]]).expand(count, 3)
    return posed_hand(layer, turn, pose, shape, handedness=side, translation=place).joints, turn


@pytest.mark.parametrize("side", SIDES)
def test_joints_in_the_frame_do_not_depend_on_how_the_hand_is_turned(hand_layer, side):
    joints, turn = hands(hand_layer, side)
    still, _ = hands(hand_layer, side, torch.zeros(1, 3))
    frame = wrist_frame(turn.numpy(), joints.numpy(), np.ones((6, 3)))
    torch.testing.assert_close(frame.joints, still - still[:, :1], atol=1e-6, rtol=0)
    back = frame.joints @ frame.rotation.mT + joints[:, :1]
    torch.testing.assert_close(back, joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(frame.rotation), torch.ones(6), atol=1e-5, rtol=0)
    assert frame.position.tolist() == np.ones((6, 3)).tolist()
    assert wrist_frame(turn, joints).position is None


def test_axes_are_those_of_the_table(hand_layer):
    (right, turn), (left, left_turn) = hands(hand_layer, "right"), hands(hand_layer, "left")
    right, left = wrist_frame(turn, right).joints, wrist_frame(left_turn, left).joints
    torch.testing.assert_close(left, right * MIRROR, atol=1e-6, rtol=0)
    for joints, fingers in ((right, -1), (left, 1)):
        assert (fingers * joints[:, MIDDLE, 0] > 0.05).all()
        assert (joints[:, INDEX, 2] > joints[:, LITTLE, 2] + 0.03).all()  # the thumb's side
    flat, bent = torch.zeros(1, 15, 3), torch.zeros(1, 15, 3)
    bent[:, :12, 2] = 0.5  # the fingers close
    tips = [posed_hand(hand_layer, torch.zeros(1, 3), pose, torch.zeros(1, 10)).joints for pose in (flat, bent)]
    assert (tips[1] - tips[0])[0, FINGERTIPS[1:], 1].max() < -0.02  # away from the back


# What dex-retargeting documents: from its wrist frame to the operator's axes.
OPERATOR = {"right": [[0, 0, -1], [-1, 0, 0], [0, 1, 0]], "left": [[0, 0, -1], [1, 0, 0], [0, -1, 0]]}


def palm_frame(joints):
    """dex-retargeting's wrist frame of (21, 3): x from middle knuckle to wrist, z towards the index, y = z cross x."""
    x = joints[0] - joints[MIDDLE]
    x = x / np.linalg.norm(x)
    aside = joints[INDEX] - joints[MIDDLE]
    z = aside - (aside @ x) * x
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


@pytest.mark.parametrize("side", SIDES)
def test_operators_axes_are_near_those_that_dex_retargeting_takes_from_the_palm(hand_layer, side):
    joints, turn = hands(hand_layer, side)
    ours = operator_axes(wrist_frame(turn, joints).joints, side)
    for hand, points in zip(joints.double().numpy(), ours, strict=True):
        theirs = (hand - hand[0]) @ palm_frame(hand) @ np.array(OPERATOR[side])
        assert np.allclose(np.linalg.norm(theirs, axis=-1), np.linalg.norm(points, axis=-1), atol=1e-6)
        between, _ = Rotation.align_vectors(theirs[1:], points[1:])
        assert np.degrees(between.magnitude()) < LARGEST_ANGLE_DEG
    assert np.linalg.det(operator_axes(np.eye(3), side)) == pytest.approx(1)
    with pytest.raises(InputError, match="^handedness: expected 'left' or 'right', got 'both'"):
        operator_axes(points, "both")


def test_shapes_that_do_not_fit_are_one_sentence():
    for turn, joints in ((np.zeros(3), np.zeros((1, 21, 3))), (np.zeros((2, 3)), np.zeros((1, 21, 3)))):
        with pytest.raises(InputError, match=r"^(global_orient|joints): expected an array of shape"):
            wrist_frame(turn, joints)
