"""Which joints of a synthetic sample are seen, against scenes whose answer is known and against exact rays."""

import numpy as np
import pytest
from checked_samples import NUM_SAMPLES
from exact_rays import visible_by_rays

pytest.importorskip("numba")
pytest.importorskip("cv2")


from hf_handdiff.synthetic.environment import studio_lighting
from hf_handdiff.synthetic.generator import generate_scene
from hf_handdiff.synthetic.hand_mesh import ForearmShape
from hf_handdiff.synthetic.materials import Material
from hf_handdiff.synthetic.mesh import box
from hf_handdiff.synthetic.placement import (
    fit_translation,
)
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.renderer import render
from hf_handdiff.synthetic.visibility import joint_visibility, visible_share


def flat_hand_scene(assets, extra=()):
    """An open hand, its palm to the camera, 0.5 m away, fingers up, with `extra` meshes in camera axes."""
    hand = assets.hand
    posed = hand.pose(np.zeros((16, 3)), np.zeros(10))
    rotation = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    points = hand.with_forearm(posed.vertices, ForearmShape())
    intrinsics = np.array([[400.0, 0.0, 112.0], [0.0, 400.0, 112.0], [0.0, 0.0, 1.0]])
    translation = fit_translation(posed.vertices @ rotation.T, intrinsics, np.array([112.0, 112.0]), 150.0)
    skin = hand.skin_mesh(points, Material()).moved(rotation, translation)
    joints = posed.joints @ rotation.T + translation
    meshes = [skin, *[make(joints) for make in extra]]
    lighting = studio_lighting(np.random.default_rng(0))
    background = np.zeros((224, 224, 3), np.float32)
    image, buffer = render(meshes, intrinsics, background, lighting, joints.mean(0), assets.noise)
    return image, buffer, joints, intrinsics, skin.points[: hand.num_hand_vertices]


def test_all_joints_of_an_open_hand_are_visible(assets):
    image, buffer, joints, intrinsics, vertices = flat_hand_scene(assets)
    assert joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224).all()
    assert visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224) > 0.97
    assert image[100:130, 100:130].max() > 0.05


def test_a_box_in_front_hides_the_fingers_behind_it(assets):
    def before_the_fingertips(joints):
        tips = joints[[8, 12, 16, 20]].mean(0)
        return box(np.array([0.16, 0.04, 0.01]), Material()).moved(np.eye(3), tips * 0.8)

    _, buffer, joints, intrinsics, vertices = flat_hand_scene(assets, [before_the_fingertips])
    visible = joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224)
    assert not visible[[12, 16]].any()
    assert visible[[0, 1, 2, 5, 9, 13, 17]].all()
    assert 0.5 < visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224) < 0.95


def test_a_box_behind_hides_nothing_and_a_patch_does(assets):
    def behind(joints):
        return box(np.array([0.3, 0.3, 0.01]), Material()).moved(np.eye(3), joints.mean(0) + [0.0, 0.0, 0.1])

    _, buffer, joints, intrinsics, vertices = flat_hand_scene(assets, [behind])
    assert joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224).all()
    covered = np.zeros((224, 224), bool)
    covered[112:] = True
    below = project_points(joints, intrinsics)[:, 1] >= 112
    visible = joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224, covered)
    np.testing.assert_array_equal(visible, ~below)
    whole = visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224)
    assert visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224, covered) < 0.8 * whole


def test_a_fist_seen_from_behind_hides_its_fingertips(assets):
    hand = assets.hand
    pose = np.zeros((16, 3), np.float32)
    for first in (1, 4, 7, 10):
        pose[first : first + 3, 2] = [1.4, 1.7, 1.0]  # bend toward the palm (-y) about +z
    posed = hand.pose(pose, np.zeros(10))
    assert posed.joints[12, 1] < 0.0
    rotation = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # back to the camera
    intrinsics = np.array([[400.0, 0.0, 112.0], [0.0, 400.0, 112.0], [0.0, 0.0, 1.0]])
    translation = fit_translation(posed.vertices @ rotation.T, intrinsics, np.array([112.0, 112.0]), 120.0)
    points = hand.with_forearm(posed.vertices, ForearmShape())
    skin = hand.skin_mesh(points, Material()).moved(rotation, translation)
    lighting = studio_lighting(np.random.default_rng(0))
    black = np.zeros((224, 224, 3), np.float32)
    _, buffer = render([skin], intrinsics, black, lighting, translation, assets.noise)
    joints = posed.joints @ rotation.T + translation
    visible = joint_visibility(hand, joints, intrinsics, buffer, 0, 224)
    assert visible[[0, 5, 9, 13, 17]].all() and not visible[[8, 12, 16]].any()


def test_visibility_agrees_with_a_ray_cast(assets):
    """The depth buffer against exact rays through the same scenes, with all that hides the hand in them."""
    agree = []
    index = 0
    while len(agree) < NUM_SAMPLES:
        scene = generate_scene(9, index, assets)
        index += 1
        if scene.row["has_hand"]:
            agree.append(np.array(scene.row["keypoints_visible"]) == visible_by_rays(assets.hand, scene))
    print(f"rays and depth buffer agree on {np.mean(agree):.4f} of the joints of {len(agree)} hands")
    assert np.mean(agree) >= 0.99
