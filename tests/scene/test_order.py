"""Which hand is in front, by how sure the points are that lie on the other one."""

import numpy as np
import pytest

from hf_handdiff.camera import photo_intrinsics
from hf_handdiff.scene.candidates import Candidate
from hf_handdiff.scene.order import order_costs

CAMERA = photo_intrinsics(480, 640)
RATIOS = np.linspace(-0.2, 0.2, 9)


@pytest.fixture(scope="module")
def hand(hand_layer):
    """A flat hand whose back is towards the camera."""
    turned = [[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]
    joints = hand_layer.pose_joints(hand_layer.template.new_zeros(1, 16, 3), hand_layer.template.new_zeros(1, 10))[0]
    vertices = hand_layer.template.double().numpy() @ np.array(turned)
    return joints.double().numpy() @ np.array(turned), vertices


def placed(hand, *place):
    return Candidate(hand[0] + place, hand[1] + place, np.array(place), None)


def test_the_hand_whose_points_are_surer_is_in_front(hand):
    first, second = placed(hand, 0.0, 0, 0.5), placed(hand, 0.02, 0, 0.5)
    sure, unsure = np.full(21, 2.0), np.full(21, 6.0)
    costs = order_costs((first, second), (sure, unsure), CAMERA, RATIOS)
    assert costs[-1] < 0.5 < 2 < costs[0]  # the second farther away, and nearer
    np.testing.assert_allclose(order_costs((second, first), (unsure, sure), CAMERA, -RATIOS), costs, atol=1e-6)
    turned = order_costs((first, second), (unsure, sure), CAMERA, RATIOS)
    assert turned[0] < 0.5 < 2 < turned[-1]
    assert np.ptp(order_costs((first, second), (sure, sure), CAMERA, RATIOS)) < 0.02


def test_hands_that_do_not_overlap_or_are_not_seen_have_no_order(hand):
    first, aside = placed(hand, 0.0, 0, 0.5), placed(hand, 0.3, 0, 0.5)
    sure = np.full(21, 2.0)
    assert np.ptp(order_costs((first, aside), (sure, 3 * sure), CAMERA, RATIOS)) == 0
    unseen = np.full(21, np.nan)
    assert np.ptp(order_costs((first, placed(hand, 0.02, 0, 0.5)), (sure, unseen), CAMERA, RATIOS)) == 0
