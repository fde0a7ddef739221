"""Scenes: one length, hands that do not run into each other, and what is left alone."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from glb_reading import Glb

from hf_handdiff.camera import photo_intrinsics, project
from hf_handdiff.errors import InputError
from hf_handdiff.export.records import record_as_json
from hf_handdiff.export.scene_records import scene_record, write_scene_file
from hf_handdiff.hand import posed_hand
from hf_handdiff.json_files import parse_json
from hf_handdiff.pipelines import HandPipelineOutput
from hf_handdiff.pipelines.metric_size import flat_lengths
from hf_handdiff.scene import make_scene, predict_scene
from hf_handdiff.scene.candidates import Candidate
from hf_handdiff.scene.contact import TOLERANCE_M, Choices, choose_pair
from hf_handdiff.scene.penetration import ClosedFaces, penetration_depth

CAMERA = photo_intrinsics(480, 640)
SIDES = ["right", "left", "right"]


def pixels(points):
    return project(torch.from_numpy(points), torch.from_numpy(CAMERA)).numpy()


def made_output(layer, places, scales, hypotheses=6, spread=0.1, generator=0) -> HandPipelineOutput:
    """What a pipeline answers for hands with a palm towards the camera, at `places` (B, 3) m and of `scales`."""
    rng = np.random.default_rng(generator)
    count = len(places)
    own = {
        "global_orient": np.tile([0.0, 0.0, 0.3], (count, 1)) + 0.2 * rng.standard_normal((count, 3)),
        "hand_pose": 0.1 * rng.standard_normal((count, 15, 3)),
        "betas": 0.5 * rng.standard_normal((count, 10)),
        "hand_scale": np.array(scales, dtype=float),
    }
    around = {name: np.repeat(values[:, None], hypotheses, axis=1) for name, values in own.items()}
    around["hand_pose"] = around["hand_pose"] + spread * rng.standard_normal(around["hand_pose"].shape)
    places = np.array(places, dtype=np.float32)
    mesh = posed_hand(layer, *own.values(), handedness=SIDES[:count])
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in around.items()}
    many = posed_hand(layer, *flat.values(), handedness=[side for side in SIDES[:count] for _ in range(hypotheses)])
    joints, vertices = mesh.joints.numpy(), mesh.vertices.numpy()
    seen = [pixels((one + place).astype(np.float64)) for one, place in zip(joints, places, strict=True)]
    return HandPipelineOutput(
        joints=many.joints.numpy().reshape(count, hypotheses, 21, 3),
        vertices=many.vertices.numpy().reshape(count, hypotheses, -1, 3),
        mean_joints=joints,
        mean_vertices=vertices,
        joint_std=np.full((count, 21), 0.01, np.float32),
        keypoints_2d=np.array(seen, np.float32),
        keypoint_scores=np.ones((count, 21), np.float32),
        keypoint_cov=np.tile(4.0 * np.eye(2, dtype=np.float32), (count, 21, 1, 1)),
        translation=np.repeat(places[:, None], hypotheses, axis=1),
        mean_translation=places,
        faces=layer.faces.numpy(),
        handedness=SIDES[:count],
        metric_scale=np.ones(count, np.float32),
        hypothesis_parameters={name: values.astype(np.float32) for name, values in around.items()},
        **{name: values.astype(np.float32) for name, values in own.items()},
    )


@pytest.fixture(scope="module")
def pipeline(hand_layer):
    return SimpleNamespace(hand_layer=hand_layer.eval())


def lengths(layer, scene):
    rows = [torch.from_numpy(np.stack([hand.parameters[name] for hand in scene.hands])).float() for name in ("betas",)]
    return flat_lengths(layer, *rows, torch.tensor([float(hand.parameters["hand_scale"]) for hand in scene.hands]))


def check_parameters(layer, scene):
    """The parameters of every hand give it."""
    for hand in scene.hands:
        rows = [np.asarray(hand.parameters[name])[None] for name in ("global_orient", "hand_pose", "betas")]
        size = np.array([hand.parameters["hand_scale"]])
        mesh = posed_hand(layer, *rows, size, hand.handedness, hand.translation[None])
        np.testing.assert_allclose(mesh.vertices[0].numpy(), hand.vertices, atol=2e-6)
        np.testing.assert_allclose(mesh.joints[0].numpy(), hand.joints, atol=2e-6)
        np.testing.assert_allclose(hand.joints[0], hand.translation, atol=2e-6)


def test_all_hands_get_the_mean_length_and_are_seen_where_they_were(hand_layer, pipeline):
    output = made_output(hand_layer, [[-0.2, 0, 0.6], [0.2, 0.05, 0.5]], [1.0, 1.2])
    scene = make_scene(pipeline, output, CAMERA)
    before = flat_lengths(hand_layer, torch.from_numpy(output.betas), torch.from_numpy(output.hand_scale))
    np.testing.assert_allclose(lengths(hand_layer, scene), before.mean().expand(2), rtol=1e-5)
    check_parameters(hand_layer, scene)
    for k, hand in enumerate(scene.hands):
        np.testing.assert_allclose(hand.metric_scale, before.mean() / before[k], rtol=1e-5)
        own = output.mean_vertices[k] + output.mean_translation[k]
        np.testing.assert_allclose(pixels(hand.vertices), pixels(own.astype(np.float64)), atol=1e-2)
        assert hand.hypothesis is None and hand.penetration == 0.0
    assert [hand.handedness for hand in scene.hands] == ["right", "left"] and scene.contacts == []
    known = make_scene(pipeline, output, CAMERA, hand_length_m=0.18)
    np.testing.assert_allclose(lengths(hand_layer, known), [0.18, 0.18], rtol=1e-5)
    for wrong in (18.0, float("nan"), "long", True):
        with pytest.raises(InputError, match="^hand_length_m: "):
            make_scene(pipeline, output, CAMERA, hand_length_m=wrong)


def test_hands_apart_stay_as_they_are_bit_by_bit(hand_layer, pipeline):
    output = made_output(hand_layer, [[-0.2, 0, 0.6], [0.2, 0.05, 0.5]], [1.0, 1.2])
    own = output.mean_vertices + output.mean_translation[:, None].astype(np.float64)
    apart = make_scene(pipeline, output, CAMERA, one_person=False)
    np.testing.assert_array_equal(np.stack([hand.vertices for hand in apart.hands]), own)
    alone = make_scene(pipeline, output, CAMERA, rows=[1])
    np.testing.assert_array_equal(alone.hands[0].vertices, own[1])
    assert alone.hands[0].index == 1 and alone.hands[0].metric_scale == 1.0
    with_third = make_scene(pipeline, made_output(hand_layer, [[0, 0, 0.5]], [1.0]), CAMERA)
    assert len(with_third.hands) == 1 and with_third.contacts == []


@pytest.fixture(scope="module")
def crossed(hand_layer):
    """Two hands that stand nearly in the same place, and one that stands elsewhere."""
    places = [[0.08, 0.0, 0.5], [-0.08, -0.045, 0.505], [0.5, 0.1, 0.6]]
    return made_output(hand_layer, places, [1.0, 1.0, 1.0])


def test_hands_that_run_into_each_other_come_apart(hand_layer, pipeline, crossed):
    scene = make_scene(pipeline, crossed, CAMERA)
    (contact,) = scene.contacts
    assert contact.hands == (0, 1) and contact.penetration_before > 0.006
    assert contact.penetration <= TOLERANCE_M and contact.depth_ratio != 1.0
    check_parameters(hand_layer, scene)
    closed = ClosedFaces.of(crossed.faces, 778)
    hands = [Candidate(hand.joints, hand.vertices, hand.translation, closed) for hand in scene.hands]
    assert penetration_depth(hands[0].skin, hands[1].skin) == pytest.approx(contact.penetration, abs=1e-9)
    assert [hand.penetration for hand in scene.hands] == [contact.penetration, contact.penetration, 0.0]
    for k, hand in enumerate(scene.hands):
        if hand.hypothesis is None:  # shifts do not move it in the picture
            own = (crossed.mean_joints[k] + crossed.mean_translation[k]).astype(np.float64)
            np.testing.assert_allclose(pixels(hand.joints), pixels(own), atol=1e-2)
        else:  # the hypothesis of that number, as its parameters say
            turns = crossed.hypothesis_parameters["hand_pose"][k, hand.hypothesis]
            np.testing.assert_allclose(hand.parameters["hand_pose"], turns, atol=1e-7)


def test_hands_that_are_not_to_be_parted_tell_how_deep_they_go(pipeline, crossed):
    scene = make_scene(pipeline, crossed, CAMERA, part_hands=False)
    (contact,) = scene.contacts
    assert contact.penetration == contact.penetration_before > TOLERANCE_M and contact.depth_ratio == 1.0
    assert [hand.hypothesis for hand in scene.hands] == [None] * 3
    assert scene.hands[0].penetration == contact.penetration


def test_a_length_that_is_given_is_kept_by_hands_that_are_moved(hand_layer, pipeline, crossed):
    scene = make_scene(pipeline, crossed, CAMERA, hand_length_m=0.19)
    assert scene.contacts[0].penetration <= TOLERANCE_M < scene.contacts[0].penetration_before
    assert scene.contacts[0].depth_ratio != 1.0
    np.testing.assert_allclose(lengths(hand_layer, scene), [0.19] * 3, rtol=1e-5)
    check_parameters(hand_layer, scene)
    given = HandPipelineOutput(**{**crossed, "metric_scale": np.full(3, 1.1, np.float32)})  # the pipeline was told it
    told = make_scene(pipeline, given, CAMERA)
    assert lengths(hand_layer, told) == pytest.approx([float(lengths(hand_layer, told)[0])] * 3, rel=1e-5)
    assert told.hands[2].metric_scale == pytest.approx(
        1.1 * make_scene(pipeline, crossed, CAMERA).hands[2].metric_scale
    )


def test_without_parameters_meshes_of_stage_2_are_chosen(hand_layer, pipeline, crossed, tmp_path):
    bare = {name: value for name, value in crossed.items() if name not in ("hypothesis_parameters", "hand_pose")}
    bare = {name: value for name, value in bare.items() if name not in ("global_orient", "betas", "hand_scale")}
    scene = make_scene(SimpleNamespace(), HandPipelineOutput(**bare), CAMERA)
    assert scene.contacts[0].penetration <= TOLERANCE_M < scene.contacts[0].penetration_before
    assert all(hand.parameters is None and hand.rig(hand_layer) is None for hand in scene.hands)
    write_scene_file(tmp_path / "scene.glb", SimpleNamespace(), scene)
    assert Glb(tmp_path / "scene.glb").names == ["hand_0_right", "hand_1_left", "hand_2_right"]
    assert scene_record(scene)[0]["hand_pose"] is None


def test_the_least_likely_move_is_not_made(hand_layer, crossed):
    """Of candidates that all pass, the likeliest; without any that passes, the least deep; a lone one stays."""
    closed = ClosedFaces.of(crossed.faces, 778)

    def hand(k, cost, aside):
        move = crossed.mean_translation[k] + np.array([aside, 0.0, 0.0])
        return Candidate(crossed.mean_joints[k] + move, crossed.mean_vertices[k] + move, move, closed, cost)

    first, second = hand(0, 0.0, 0.0), hand(1, 0.0, 0.0)
    far = [hand(1, 0.02, -0.5), replace(hand(1, 0.01, -0.6), hypothesis=7)]
    pair = choose_pair(first, second, lambda: Choices([first], [second, *far]))
    assert pair.second.hypothesis == 7 and pair.penetration == 0.0 and pair.first is not second
    np.testing.assert_array_equal(pair.second.vertices, far[1].vertices)
    np.testing.assert_array_equal(pair.first.vertices, first.vertices)
    stuck = choose_pair(first, second, lambda: Choices([first], [second]))
    assert stuck.first is first and stuck.second is second
    assert stuck.penetration == stuck.penetration_before > TOLERANCE_M
    assert choose_pair(first, far[0], lambda: pytest.fail("asked though boxes do not meet")) is None


def test_files_of_a_scene(hand_layer, pipeline, crossed, tmp_path):
    scene = make_scene(pipeline, crossed, CAMERA)
    path = tmp_path / "scene.glb"
    write_scene_file(path, pipeline, scene)
    glb = Glb(path)
    records = parse_json(record_as_json(scene_record(scene)), "scene")
    assert [record["name"] for record in records] == ["hand_0_right", "hand_1_left", "hand_2_right"]
    for hand, record in zip(scene.hands, records, strict=True):
        skinned = glb.skinned_vertices(record["name"]) * [1, -1, -1]
        np.testing.assert_allclose(skinned, hand.vertices, atol=2e-5)
        np.testing.assert_allclose(glb.rest_vertices(record["name"]) * [1, -1, -1], hand.vertices, atol=2e-6)
        assert len(glb.bones_of(record["name"])) == 16
        np.testing.assert_allclose(record["vertices_m"], hand.vertices, atol=1e-7)
        np.testing.assert_allclose(record["joints_m"], hand.joints, atol=1e-7)
        np.testing.assert_allclose(record["wrist_frame"]["position_m"], record["mean_translation_m"])
        np.testing.assert_allclose(record["intrinsics_px"], CAMERA, atol=1e-6)
        corners = np.array(record["vertices_m"])[np.array(record["faces"])]
        volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum()
        assert volume > 0  # outwards, of left hands too
        assert record["penetration_m"] == pytest.approx(hand.penetration, abs=1e-7)
        assert record["hypothesis"] == hand.hypothesis and record["handedness"] == hand.handedness


def test_no_hands_and_no_camera(pipeline, hand_layer, tmp_path):
    output = made_output(hand_layer, [[0, 0, 0.5]], [1.0])
    empty = make_scene(pipeline, output, CAMERA, rows=[])
    assert empty.hands == [] and scene_record(empty) == []
    write_scene_file(tmp_path / "empty.glb", pipeline, empty)
    assert Glb(tmp_path / "empty.glb").names == []
    with pytest.raises(InputError, match="^output: "):
        make_scene(pipeline, HandPipelineOutput(**{**output, "mean_translation": None}), CAMERA)
    for wrong in (None, np.eye(2), np.full((3, 3), np.nan), "camera"):
        with pytest.raises(InputError, match="^intrinsics: "):
            make_scene(pipeline, output, wrong)


def test_a_photo_has_one_camera(tiny_pipeline, photo):
    boxes = np.array([[20.0, 30, 90, 100], [100, 30, 150, 100]])
    scene = predict_scene(
        tiny_pipeline, photo, boxes=boxes, handedness=["left", "right"], num_hypotheses=2, generator=0
    )
    height, width = photo.shape[:2]
    np.testing.assert_allclose(scene.intrinsics[:2, 2], [width / 2, height / 2])
    corner = np.array([0.0, 0.0, 1.0]) @ np.linalg.inv(scene.intrinsics).T
    assert np.degrees(np.arccos(corner[2] / np.linalg.norm(corner))) == pytest.approx(30.0)
    assert [hand.handedness for hand in scene.hands] == ["left", "right"]
    cameras = np.stack([scene.intrinsics] * 2)
    out = tiny_pipeline([photo] * 2, ["left", "right"], boxes, intrinsics=cameras, num_hypotheses=2, generator=0)
    ratio = scene.hands[0].translation / out.mean_translation[0]
    np.testing.assert_allclose(ratio, scene.hands[0].metric_scale, rtol=1e-4)
    with pytest.raises(InputError, match="^boxes: 'detect'"):
        predict_scene(tiny_pipeline, Path(__file__).parents[2] / "examples" / "hand_1.jpg")
