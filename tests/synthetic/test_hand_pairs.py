"""Two hands in contact with the truth of both."""

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("cv2")

from hf_handdiff.hand.topology import BONES
from hf_handdiff.synthetic import SceneAssets, generate_hand_pair
from hf_handdiff.synthetic.rasterizer import project_points


@pytest.fixture(scope="module")
def pairs(assets):
    return [generate_hand_pair(5, index, assets, 160) for index in range(10)]


def test_truth_is_of_both_hands(pairs):
    for pair in pairs:
        assert pair.image.shape == (160, 160, 3) and pair.image.dtype == np.uint8
        first, other = pair.hands
        assert not first.is_left
        for hand in pair.hands:
            camera = pair.intrinsics_px.astype(np.float64)
            pixels = project_points(hand.joints_m.astype(np.float64), camera)
            np.testing.assert_allclose(pixels, hand.keypoints_2d_px, atol=0.01)
            assert hand.vertices_m.shape == (778, 3) and hand.keypoints_visible.shape == (21,)
            bones = np.linalg.norm(np.diff(hand.joints_m[np.array(BONES)], axis=1)[:, 0], axis=1)
            assert bones.min() > 0.01 and bones.max() < 0.13
        gap = np.linalg.norm(first.vertices_m[::3, None] - other.vertices_m[None, ::3], axis=2).min()
        assert gap < 0.03
    shares = np.array([[hand.visible_share for hand in pair.hands] for pair in pairs])
    assert (shares.min(1) >= 0.3).mean() > 0.7
    assert np.mean([pair.hands[1].is_left for pair in pairs]) > 0.6


def test_left_hands_are_mirrored(assets, pairs):
    """By the best rotation, without reflection, from the palm of a right hand to each."""
    palm = [0, 1, 2, 5, 9, 13, 17]
    flat = assets.hand.joints(np.zeros((16, 3)), np.zeros(10))[palm]
    flat = flat - flat.mean(0)

    def error(points, mirrored):
        points = points - points.mean(0)
        source = flat * ([-1.0, 1.0, 1.0] if mirrored else 1.0)
        u, _, vt = np.linalg.svd(source.T @ points)
        u[:, 2] *= np.sign(np.linalg.det(u @ vt))
        return np.linalg.norm(source @ u @ vt - points)

    told = [
        (hand.is_left, error(hand.joints_m[palm], True) < error(hand.joints_m[palm], False))
        for p in pairs
        for hand in p.hands
    ]
    assert np.mean([a == b for a, b in told]) >= 0.9


def test_pairs_are_the_same_from_the_same_seed(assets, pairs):
    again = generate_hand_pair(5, 7, SceneAssets.load("train"), 160)
    np.testing.assert_array_equal(again.image, pairs[7].image)
    np.testing.assert_array_equal(again.hands[1].vertices_m, pairs[7].hands[1].vertices_m)
    with pytest.raises(ValueError, match="image_size"):
        generate_hand_pair(5, 7, assets, 0)
