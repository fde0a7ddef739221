"""How deep meshes go into each other, on spheres whose depth is known and on the open hand."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from hf_handdiff.scene.penetration import ClosedFaces, Skin, boxes_meet, penetration_depth, winding_number

RADIUS = 0.02


def outward(points, faces):
    corners = points[faces]
    inwards = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(-1) < 0
    return np.where(inwards[:, None], faces[:, ::-1], faces)


@pytest.fixture(scope="module")
def ball():
    """Vertices and faces of a fine sphere round 0."""
    k = np.arange(900) + 0.5
    height, angle = 1 - 2 * k / len(k), np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - height**2)
    points = RADIUS * np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=-1)
    return points, outward(points, ConvexHull(points).simplices)


@pytest.mark.parametrize("depth", [0.001, 0.004, 0.012])
@pytest.mark.parametrize("mirrored", [False, True])
def test_depth_of_two_balls(ball, depth, mirrored):
    points, faces = ball
    closed = ClosedFaces.of(faces, len(points))
    assert len(closed.caps) == 0
    first = Skin.of(points * ([-1.0, 1, 1] if mirrored else 1.0), closed)
    direction = np.array([0.6, 0.0, 0.8])
    second = first.moved(1.0, (2 * RADIUS - depth) * direction)
    assert penetration_depth(first, second) == pytest.approx(depth, abs=5e-4)
    assert penetration_depth(second, first) == pytest.approx(depth, abs=5e-4)
    apart = first.moved(1.0, (2 * RADIUS + 0.001) * direction)
    assert penetration_depth(first, apart) == 0.0
    # a ball that is half as large sinks in by as much
    small = first.moved(0.5, (1.5 * RADIUS - depth) * direction)
    assert penetration_depth(first, small) == pytest.approx(depth, abs=5e-4)


def test_enough_says_whether_it_is_deeper(ball):
    points, faces = ball
    first = Skin.of(points, ClosedFaces.of(faces, len(points)))
    for depth in (0.002, 0.006):
        second = first.moved(1.0, [0.0, 0.0, 2 * RADIUS - depth])
        assert (penetration_depth(first, second, enough=0.004) > 0.004) == (depth > 0.004)
        assert penetration_depth(first, second, enough=0.004) <= penetration_depth(first, second)


def test_the_open_hand_is_closed_at_its_wrist(hand_layer):
    vertices, faces = hand_layer.template.double().numpy(), hand_layer.faces.numpy()
    closed = ClosedFaces.of(faces, len(vertices))
    (loop,) = closed.loops
    assert len(closed.caps) == len(loop) == 16
    everywhere = np.random.default_rng(0).uniform(vertices.min(0), vertices.max(0), (400, 3))
    whole = np.vstack([vertices, vertices[loop].mean(axis=0)])
    turns = winding_number(everywhere, whole, np.concatenate([closed.faces, closed.caps]))
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)  # an open mesh has fractions
    assert set(np.round(turns).astype(int)) == {0, 1}
    open_turns = winding_number(everywhere, vertices, faces)
    assert np.abs(open_turns - np.round(open_turns)).max() > 0.1


def test_hands_that_lie_on_each_other(hand_layer):
    vertices = hand_layer.template.double().numpy()
    hand = Skin.of(vertices, ClosedFaces.of(hand_layer.faces.numpy(), len(vertices)))
    thickness = np.ptp(vertices[:, 1])
    over = hand.moved(1.0, [0.0, 1.01 * thickness, 0.0])
    assert not boxes_meet(hand, over) and penetration_depth(hand, over) == 0.0
    sunk = [penetration_depth(hand, hand.moved(1.0, [0.0, up, 0.0])) for up in (0.024, 0.02, 0.016)]
    assert sunk[0] < sunk[1] and 0.001 < max(sunk) < 0.02
    grown, moved = hand.moved(1.3, 0.5), hand.moved(1.3).moved(1.0, 0.5)
    np.testing.assert_allclose(grown.vertices, 1.3 * vertices + 0.5)
    np.testing.assert_allclose(moved.vertices, grown.vertices)
    np.testing.assert_allclose(grown.bounds, [grown.vertices.min(0), grown.vertices.max(0)])
