"""Joint orders, the tree and mirroring."""

import numpy as np
import torch

from hf_handdiff.hand import topology


def test_order_is_freihands():
    assert len(topology.JOINT_NAMES) == topology.NUM_JOINTS == 21
    assert topology.JOINT_NAMES[0] == "wrist"
    assert topology.JOINT_NAMES[5] == "index_1"
    assert topology.JOINT_NAMES[20] == "little_4"
    assert topology.FINGERS["middle"] == (9, 10, 11, 12)


def test_tree_has_twenty_bones_towards_the_tips():
    assert len(topology.BONES) == 20
    assert all(topology.JOINT_PARENTS[child] == parent for parent, child in topology.BONES)
    assert topology.JOINT_PARENTS[0] == -1
    assert [topology.JOINT_PARENTS[j] for j in (1, 5, 9, 13, 17)] == [0] * 5


def test_mano_order_is_a_permutation_with_tips_of_their_fingers():
    assert sorted(topology.MANO_TO_JOINTS) == list(range(21))
    ours = np.arange(21)[list(topology.MANO_TO_JOINTS)]
    assert np.array_equal(ours[list(topology.JOINTS_TO_MANO)], np.arange(21))
    for finger, joints in topology.MANO_FINGERS.items():
        assert [topology.MANO_TO_JOINTS[j] for j in topology.FINGERS[finger][:3]] == list(joints)
        assert topology.MANO_PARENTS[joints[0]] == 0
    tips = [topology.MANO_TO_JOINTS[tip] for tip in topology.FINGERTIPS]
    assert tips == [16, 17, 18, 19, 20]


def test_mirroring_is_its_own_inverse_and_leaves_the_input():
    points = torch.randn(2, 21, 3)
    before = points.clone()
    assert torch.equal(topology.mirror_points(topology.mirror_points(points)), points)
    assert torch.equal(points, before)
    pixels = np.array([[0.0, 3.0], [10.0, 4.0]])
    assert np.array_equal(topology.mirror_pixels(pixels, 10), [[10.0, 3.0], [0.0, 4.0]])
