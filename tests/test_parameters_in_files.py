"""What `handdiff predict` writes poses the hand again, tells its wrist's frame, and has the size that was asked for."""

import copy
import functools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.camera import BOX_MARGIN
from hf_handdiff.cli import loading
from hf_handdiff.cli.main import main
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.hand.fitting import posed_hand

PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")
ABSENT = (*PARAMETERS, "convention", "wrist_frame")
FRAME = {"rotation": (3, 3), "position_m": (3,), "joints_m": (21, 3)}
CAMERA = ("--intrinsics", "300,300,100,75")


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    """The untrained cascade in a folder, loaded once."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    original = loading.load_pipeline
    loading.load_pipeline = functools.cache(original)
    yield folder
    loading.load_pipeline = original


@pytest.fixture
def predict(checkpoint, photo, tmp_path):
    """Runs the command on one photo and returns what NAME.json holds."""

    def run(*more):
        Image.fromarray(photo).save(tmp_path / "photo.png")
        assert main(arguments(tmp_path / "photo.png", tmp_path / "out", checkpoint, *more)) == 0
        return json.loads((tmp_path / "out" / "photo.json").read_text())

    return run


def arguments(path, out, checkpoint, *more):
    words = ["predict", path, "--out", out, "--checkpoint", checkpoint, "--num-hypotheses", 2, *more]
    return [str(word) for word in words]


def posed(layer, values, side):
    """Joints (21, 3) and vertices (V, 3) of the parameters of a record."""
    mesh = posed_hand(layer, *(np.array(values[name])[None] for name in PARAMETERS), handedness=side)
    return mesh.joints[0].numpy(), mesh.vertices[0].numpy()


def check_wrist_frame(frame, joints):
    rotation = np.array(frame["rotation"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(np.array(frame["joints_m"]) @ rotation.T, joints, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_json_and_npz_pose_the_hand_again(predict, hand_layer, tmp_path, side):
    record = predict("--hand", side, "--save-vertices", *CAMERA)
    joints, vertices = posed(hand_layer, record, side)
    np.testing.assert_allclose(vertices, record["mean_vertices_m"], atol=1e-5)
    np.testing.assert_allclose(joints, record["mean_joints_m"], atol=1e-5)
    check_wrist_frame(record["wrist_frame"], record["mean_joints_m"])
    assert record["wrist_frame"]["position_m"] == record["mean_translation_m"]
    assert f"of a {side} hand, hand layer: the open hand" in record["convention"] and record["metric_scale"] == 1
    assert isinstance(record["faces"][0][0], int)
    mesh = trimesh.Trimesh(record["mean_vertices_m"], record["faces"], process=False)
    from_the_middle = mesh.vertices - mesh.vertices.mean(0)
    assert (mesh.vertex_normals * from_the_middle).sum(-1).mean() > 0  # outwards, of a left hand too
    arrays = np.load(tmp_path / "out" / "photo.npz", allow_pickle=False)
    for name in (*PARAMETERS, "faces"):
        np.testing.assert_allclose(arrays[name], record[name], atol=1e-6)
    assert arrays["convention"] == record["convention"]
    for name, shape in FRAME.items():
        assert arrays[f"wrist_frame_{name}"].shape == shape
        np.testing.assert_allclose(arrays[f"wrist_frame_{name}"], record["wrist_frame"][name], atol=1e-6)


def test_answers_without_parameters_say_null(predict, tmp_path):
    record = predict("--aggregation", "mean", "--save-vertices")
    assert all(record[name] is None for name in ABSENT) and record["mean_translation_m"] is None
    assert record["metric_scale"] == 1 and len(record["faces"]) == 1538
    arrays = np.load(tmp_path / "out" / "photo.npz", allow_pickle=False)
    assert not [name for name in arrays.files if name.startswith(ABSENT)]


def test_without_a_camera_the_wrist_has_no_place(predict):
    frame = predict()["wrist_frame"]
    assert frame["position_m"] is None and np.shape(frame["joints_m"]) == (21, 3)


def test_the_size_that_is_given_is_in_the_files(predict, hand_layer, capsys):
    plain, sized = predict(*CAMERA), predict(*CAMERA, "--hand-length", 0.2)
    flat = {**sized, "global_orient": np.zeros(3), "hand_pose": np.zeros((15, 3))}
    joints, _ = posed(hand_layer, flat, "right")
    assert np.linalg.norm(joints[12] - joints[0]) == pytest.approx(0.2, rel=1e-5)
    assert sized["metric_scale"] == pytest.approx(sized["hand_scale"] / plain["hand_scale"], rel=1e-5)
    for name in ("joints_m", "mean_vertices_m", "joint_std_m", "translation_m", "mean_translation_m"):
        np.testing.assert_allclose(sized[name], sized["metric_scale"] * np.array(plain[name]), rtol=1e-4, atol=1e-6)
    deeper = predict(*CAMERA, "--wrist-depth", 0.09)
    assert deeper["mean_translation_m"][2] == pytest.approx(0.09, abs=1e-6)


@pytest.mark.parametrize(
    "more, sentence",
    [
        (("--hand-length", "3"), "argument --hand-length: hand length: expected metres from 0.03 to 0.4, got '3'"),
        (("--hand-length", "nan"), "expected metres from 0.03 to 0.4, got 'nan'"),
        (("--wrist-depth", "0"), "argument --wrist-depth: wrist depth: expected metres from 0.05 to 100, got '0'"),
        (("--wrist-depth", "1", "--hand-length", "0.2"), "not allowed with argument --wrist-depth"),
    ],
)
def test_sizes_that_are_none_are_wrong_usage(checkpoint, tmp_path, capsys, more, sentence):
    with pytest.raises(SystemExit) as stop:
        main(arguments("photo.png", tmp_path, checkpoint, *more))
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


def test_runs_of_versions_without_sizes_are_taken_up():
    old = PredictionSettings(Path("out")).of_answers()
    assert not {"hand_length", "wrist_depth"} & set(old)
    assert PredictionSettings(Path("out"), hand_length=0.2).of_answers() == {**old, "hand_length": 0.2}


@pytest.fixture(scope="module")
def following(tiny_pipeline, checkpoint, tmp_path_factory):
    """The same with keypoints that fill what would be the box of the crop: a hand stays where it is looked for."""
    pipeline = CascadedHandPipeline(
        **{**tiny_pipeline.components, "image_encoder": copy.deepcopy(tiny_pipeline.image_encoder)}
    )
    ramp = torch.linspace(0.5 - 0.5 / BOX_MARGIN, 0.5 + 0.5 / BOX_MARGIN, 21)
    with torch.no_grad():
        pipeline.image_encoder.landmark_head.weight.zero_()
        points = torch.stack([ramp[torch.arange(21) * 8 % 21], ramp.flip(0)], dim=-1)
        pipeline.image_encoder.landmark_head.bias.copy_(points.flatten())
    folder = tmp_path_factory.mktemp("following")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(photo, tmp_path_factory):
    pytest.importorskip("av")
    from hf_handdiff.video.writing import VideoWriter

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, Fraction(25)) as writer:
        for number in range(3):
            writer.write(np.roll(photo, 2 * number, axis=1), number / 25)
    return path


def test_lines_of_a_video_hold_the_parameters_of_their_frames(clip, following, hand_layer, tmp_path, monkeypatch):
    """Which are not those of the smoothed joints."""
    monkeypatch.setattr("hf_handdiff.video.tracking.LOST_BELOW", 0.0)  # untrained networks see no hands
    more = ("--hand", "left", "--hand-length", 0.2, *CAMERA)
    assert main(arguments(clip, tmp_path, following, *more)) == 0
    lines = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    hands = [hand for line in lines for hand in line["hands"]]
    assert len(hands) == 3
    for hand in hands:
        own = hand["frame_parameters"]
        joints, _ = posed(hand_layer, own, "left")
        np.testing.assert_allclose(joints, hand["frame_joints_m"], atol=1e-5)
        check_wrist_frame(own["wrist_frame"], hand["frame_joints_m"])
        assert {name: np.shape(own["wrist_frame"][name]) for name in FRAME} == FRAME
        assert "of a left hand" in own["convention"] and own["metric_scale"] != 1 and "faces" not in own
        flat, _ = posed(hand_layer, {**own, "hand_pose": np.zeros((15, 3))}, "left")
        assert np.linalg.norm(flat[12]) == pytest.approx(0.2, rel=1e-5)
        assert not set(PARAMETERS) & set(hand)


def test_a_video_has_no_one_wrist_depth(clip, checkpoint, tmp_path, capsys):
    assert main(arguments(clip, tmp_path, checkpoint, "--wrist-depth", 0.5)) == 1
    assert "--wrist-depth: expected images" in capsys.readouterr().err and not list(tmp_path.glob("clip*"))
