"""Answers are posed hands: their parameters give the mesh again, also of left hands and of every hypothesis."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from glb_reading import Glb
from PIL import Image

from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline, MeshLDMPipeline
from hf_handdiff import camera as cameras
from hf_handdiff.cli.main import main
from hf_handdiff.errors import InputError
from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.models.keypoint_distribution import KeypointDistribution
from hf_handdiff.pipelines.fitted_answer import HYPOTHESIS_STD_M, fit_answer, fit_hypotheses
from hf_handdiff.viz import rig_of_output, write_glb

PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")
MIRROR = np.array([-1, 1, 1])


def posed(layer, values, handedness="right"):
    """Joints and vertices of parameters by their names."""
    mesh = posed_hand(layer, *(torch.as_tensor(values[name]) for name in PARAMETERS), handedness=handedness)
    return mesh.joints.numpy(), mesh.vertices.numpy()


def some_joints(layer, count=2, hypotheses=4, off=0.003):
    """(count, hypotheses, 21, 3) m near posed hands, and those hands (count, 21, 3)."""
    generator = torch.Generator().manual_seed(0)
    pose = 0.25 * torch.randn(count, 16, 3, generator=generator)
    pose[:, 0] *= 4
    truth = layer.pose_joints(pose, torch.randn(count, 10, generator=generator))
    truth = truth - truth[:, :1]
    joints = truth[:, None] + off * torch.randn(count, hypotheses, 21, 3, generator=generator)
    return joints - joints[:, :, :1], truth


@pytest.mark.parametrize("name", ["tiny_pipeline", "distribution_pipeline"])
def test_parameters_give_the_answer(request, name, photo, hand_layer):
    pipe = request.getfixturevalue(name)
    out = pipe([photo, photo], handedness=["right", "left"], num_hypotheses=3, generator=0)
    shapes = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "betas": (2, 10), "hand_scale": (2,)}
    assert {name: out[name].shape for name in PARAMETERS} == shapes
    joints, vertices = posed(hand_layer, out, ["right", "left"])
    np.testing.assert_allclose(vertices, out.mean_vertices, atol=1e-5)
    np.testing.assert_allclose(joints, out.mean_joints, atol=1e-5)
    assert np.abs(out.mean_joints[:, 0]).max() == 0 and out.hypothesis_parameters is None
    plain = pipe(photo, num_hypotheses=3, generator=0, aggregation="mean")
    assert all(plain.get(name) is None for name in PARAMETERS)
    np.testing.assert_allclose(plain.joints[0], out.joints[0], atol=5e-5)


@pytest.mark.parametrize("name", ["tiny_pipeline", "distribution_pipeline"])
def test_autocast_is_for_networks_alone(request, name, photo, hand_layer):
    pipe = request.getfixturevalue(name)
    with torch.autocast("cpu", torch.bfloat16):
        out = pipe(
            photo, num_hypotheses=2, generator=0, intrinsics=np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])
        )
    assert out.joints.dtype == out.mean_joints.dtype == out.translation.dtype == np.float32
    np.testing.assert_allclose(posed(hand_layer, out)[1], out.mean_vertices, atol=1e-5)
    read = hand_layer.mesh_to_joints.numpy() @ out.vertices
    np.testing.assert_allclose(read - read[:, :, :1], out.joints, atol=1e-5)


def test_bones_are_those_of_the_hand(tiny_pipeline, photo, hand_layer):
    out = tiny_pipeline(photo, num_hypotheses=3, generator=0)
    flat = posed_hand(hand_layer, np.zeros((1, 3)), np.zeros((1, 15, 3)), out.betas, out.hand_scale).joints.numpy()
    for first in (1, 5, 9, 13, 17):  # along the finger; the tip lies on the skin
        for joint in (first, first + 1):
            lengths = [np.linalg.norm(hand[0, joint + 1] - hand[0, joint]) for hand in (out.mean_joints, flat)]
            assert lengths[0] == pytest.approx(lengths[1], rel=0.02), joint  # read off the skin, which bends


def test_a_mirrored_photo_of_a_left_hand_has_the_mirrored_parameters(distribution_pipeline, photo):
    right = distribution_pipeline(photo, num_hypotheses=3, generator=1, fit="all")
    left = distribution_pipeline(photo[:, ::-1], handedness="left", num_hypotheses=3, generator=1, fit="all")
    np.testing.assert_allclose(left.mean_vertices, right.mean_vertices * MIRROR, atol=1e-5)
    for one, other in ((left, right), (left.hypothesis_parameters, right.hypothesis_parameters)):
        np.testing.assert_allclose(one["global_orient"], other["global_orient"] * -MIRROR, atol=1e-3)
        np.testing.assert_allclose(one["hand_pose"], other["hand_pose"] * -MIRROR, atol=1e-3)
        np.testing.assert_allclose(one["betas"], other["betas"], atol=1e-3)
        np.testing.assert_allclose(one["hand_scale"], other["hand_scale"], atol=1e-4)
    sign = np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(left.keypoint_cov, right.keypoint_cov * sign, rtol=1e-3, atol=1e-3)
    assert np.abs(right.keypoint_cov[..., 0, 1]).max() > 1


@pytest.mark.parametrize("output_type", ["np", "pt"])
def test_every_hypothesis_has_parameters_on_request(tiny_pipeline, photo, output_type):
    out = tiny_pipeline([photo, photo], num_hypotheses=3, generator=0, fit="all", output_type=output_type)
    kind = np.ndarray if output_type == "np" else torch.Tensor
    shapes = {"global_orient": (2, 3, 3), "hand_pose": (2, 3, 15, 3), "betas": (2, 3, 10), "hand_scale": (2, 3)}
    assert {name: tuple(values.shape) for name, values in out.hypothesis_parameters.items()} == shapes
    assert all(isinstance(values, kind) for values in out.hypothesis_parameters.values())
    mean = tiny_pipeline(photo, num_hypotheses=3, generator=0, fit="all", aggregation="mean")
    assert mean.global_orient is None and set(mean.hypothesis_parameters) == set(shapes)
    with pytest.raises(InputError, match="^fit: expected 'all' or None, got 'some'"):
        tiny_pipeline(photo, fit="some")


def test_fitted_hypotheses_are_near_theirs(hand_layer):
    joints, _ = some_joints(hand_layer, hypotheses=3, off=0.0)
    hands = fit_hypotheses(hand_layer, joints)
    assert (hands.joints - joints.flatten(0, 1)).norm(dim=-1).mean() < HYPOTHESIS_STD_M
    first = fit_hypotheses(hand_layer, joints[:, :1])
    torch.testing.assert_close(first.joints, hands.joints[::3], atol=1e-4, rtol=0)


def view_of(truth):
    place = torch.tensor([0.02, -0.01, 0.6])
    intrinsics = torch.tensor([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]]).expand(len(truth), 3, 3)
    points = cameras.project(truth + place, intrinsics)
    return cameras.view_from_keypoints(points, torch.ones(len(truth), 21), intrinsics)


def test_the_answer_follows_the_mean_and_the_2d_points(hand_layer):
    joints, truth = some_joints(hand_layer, count=6, off=0.02)
    alone = fit_answer(hand_layer, joints)
    mean_error = (joints.mean(1) - truth).norm(dim=-1).mean()
    assert (alone.joints - truth).norm(dim=-1).mean() < mean_error  # a hand, which the mean is not
    view = view_of(truth)
    turned = joints @ view.rotation[:, None].mT
    exact = KeypointDistribution.independent(torch.zeros(6, 21))
    vague = KeypointDistribution.independent(torch.full((6, 21), 3.0))
    errors = []
    for distribution in (exact, vague):
        hands = fit_answer(hand_layer, turned, view, distribution).to_camera(
            view.rotation, torch.zeros(6, dtype=torch.bool)
        )
        errors.append((hands.joints - truth).norm(dim=-1).mean())
    assert errors[0] < 0.8 * errors[1]
    assert errors[1] == pytest.approx((alone.joints - truth).norm(dim=-1).mean().item(), rel=0.1)


def test_points_that_are_not_seen_do_not_count(hand_layer):
    joints, truth = some_joints(hand_layer)
    view = view_of(truth)
    joints = joints @ view.rotation[:, None].mT
    distribution = KeypointDistribution(0.1 * torch.randn(2, 21, 2, 3), torch.full((2, 21), 0.01))
    view.scores[:, 8] = 0
    expected = fit_answer(hand_layer, joints, view, distribution)
    view.points[:, 8] += 5
    found = fit_answer(hand_layer, joints, view, distribution)
    torch.testing.assert_close(found.joints, expected.joints, atol=1e-5, rtol=0)


def test_joints_alone_have_a_fitted_answer(tiny_pipeline, hand_layer):
    joints, _ = some_joints(hand_layer)
    pipe = MeshLDMPipeline.from_pipe(tiny_pipeline)
    pipe.set_progress_bar_config(disable=True)
    out = pipe(joints=joints, handedness=["left", "right"], num_mesh_inference_steps=2, generator=0, fit="all")
    read, vertices = posed(hand_layer, out, ["left", "right"])
    np.testing.assert_allclose(vertices, out.mean_vertices, atol=1e-5)
    np.testing.assert_allclose(read, out.mean_joints, atol=1e-5)
    assert out.keypoint_cov is None and out.hypothesis_parameters["betas"].shape == (2, 4, 10)


def test_stage_1_alone_has_parameters_and_no_mesh(tiny_pipeline, photo, hand_layer):
    pipe = JointDiffusionPipeline.from_pipe(tiny_pipeline)
    pipe.set_progress_bar_config(disable=True)
    out = pipe(photo, num_hypotheses=2, generator=0)
    assert out.mean_vertices is None
    np.testing.assert_allclose(posed(hand_layer, out)[0], out.mean_joints, atol=1e-5)


# ------------------------------------------------------------------------------------------------ other hands


@pytest.fixture
def other_topology(tiny_pipeline):
    """A checkpoint whose meshes are another hand's."""
    autoencoder = copy.deepcopy(tiny_pipeline.mesh_autoencoder)
    autoencoder.faces.copy_(autoencoder.faces.roll(1, dims=0))
    pipe = CascadedHandPipeline(**{**tiny_pipeline.components, "mesh_autoencoder": autoencoder})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_hand(path, faces=None):
    """A hand in MANO's format: the open hand, a little larger."""
    arrays = load_open_hand_arrays()
    arrays["v_template"] = 1.1 * arrays["v_template"]
    if faces is not None:
        arrays["f"] = faces.numpy().astype(arrays["f"].dtype)
    np.savez(path, **arrays)
    return path


def test_another_hand_is_asked_for_before_anything_is_sampled(other_topology, photo):
    steps = []
    for asked in ({}, {"aggregation": "mean", "fit": "all"}):
        with pytest.raises(InputError, match=r"^aggregation: 'fitted' .* pipe.use_hand\('MANO_RIGHT.pkl'\)"):
            other_topology(photo, num_hypotheses=2, callback_on_step_end=lambda *args: steps.append(1), **asked)
    assert steps == []
    assert other_topology(photo, num_hypotheses=2, generator=0, aggregation="mean").global_orient is None


def test_answers_are_fitted_with_the_hand_that_is_given(other_topology, photo, tmp_path):
    path = write_hand(tmp_path / "MANO_RIGHT.npz", other_topology.mesh_autoencoder.faces)
    layer = load_mano_layer(path)
    for given in (str(path), layer):
        other_topology.use_hand(given)
        out = other_topology(photo, num_hypotheses=2, generator=0)
        np.testing.assert_allclose(posed(layer, out)[1], out.mean_vertices, atol=1e-5)
        np.testing.assert_array_equal(out.faces, layer.faces)


def test_the_users_hand_goes_with_from_pipe(other_topology, photo, tmp_path):
    layer = load_mano_layer(write_hand(tmp_path / "MANO_RIGHT.npz", other_topology.mesh_autoencoder.faces))
    other_topology.use_hand(layer)
    for kind in (MeshLDMPipeline, JointDiffusionPipeline):
        pipe = kind.from_pipe(other_topology)
        pipe.set_progress_bar_config(disable=True)
        out = pipe(photo, num_hypotheses=2, generator=0)
        assert pipe.hand_layer is other_topology.hand_layer
        np.testing.assert_allclose(posed(layer, out)[0], out.mean_joints[0:1], atol=1e-5)


def test_commands_fit_with_the_hand_that_is_given(other_topology, photo, tmp_path, capsys):
    other_topology.save_pretrained(tmp_path / "checkpoint")
    Image.fromarray(photo).save(tmp_path / "photo.png")
    path = write_hand(tmp_path / "MANO_RIGHT.npz", other_topology.mesh_autoencoder.faces)
    words = ["predict", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out"), "--write", "json"]
    words += ["--num-hypotheses", "2", "--checkpoint", str(tmp_path / "checkpoint")]
    assert main([*words, "--hand", str(path), "--hand", "right"]) == 0
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    parameters = [torch.tensor([record[name]]) for name in PARAMETERS]
    hand = posed_hand(load_mano_layer(path), *parameters, "right")
    np.testing.assert_allclose(hand.vertices[0], record["mean_vertices_m"], atol=1e-5)
    for flag in ("--hand", "--hand-model"):  # the second is its former name
        assert main([*words, flag, str(write_hand(tmp_path / "open.npz"))]) != 0
        assert "--hand: expected a hand with the topology of the checkpoint's meshes" in capsys.readouterr().err
    assert main(words) != 0
    assert "--hand: expected the file of the hand that the checkpoint's meshes are of" in capsys.readouterr().err


def test_answers_with_the_users_hand_are_rigged(other_topology, photo, tmp_path):
    arrays = load_open_hand_arrays()
    arrays["posedirs"] = np.random.default_rng(0).normal(0, 5e-4, arrays["posedirs"].shape).astype(np.float32)
    arrays["f"] = other_topology.mesh_autoencoder.faces.numpy().astype(arrays["f"].dtype)
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    other_topology.use_hand(str(tmp_path / "MANO_RIGHT.npz"))
    out = other_topology([photo] * 2, handedness=["right", "left"], num_hypotheses=2, generator=0)
    for index in range(2):
        rig = rig_of_output(other_topology, out, index)
        glb = Glb(write_glb(tmp_path / "hand.glb", out.mean_vertices[index], out.faces, rig=rig))
        answer = out.mean_vertices[index] * [1, -1, -1]
        assert np.linalg.norm(glb.skinned_vertices("answer") - answer, axis=-1).max() < 1e-4


def test_a_wrong_hand_is_one_sentence(other_topology, hand_layer, tmp_path):
    (tmp_path / "text.pkl").write_text("not a hand")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"a": 1}))
    for given in (tmp_path / "text.pkl", str(tmp_path / "other.pkl"), tmp_path / "nowhere.pkl"):
        with pytest.raises(InputError, match=r"^hand: [^\n]+$"):
            other_topology.use_hand(given)
    for given in (hand_layer, write_hand(tmp_path / "open.npz"), HandLayer.open_hand()):
        with pytest.raises(InputError, match="^hand: expected a hand with the topology of the checkpoint's meshes"):
            other_topology.use_hand(given)
    with pytest.raises(InputError, match="^aggregation: 'fitted'"):
        other_topology.check_fit("fitted", None)  # nothing was taken over
