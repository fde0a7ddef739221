"""The weights that come with the package: size, accuracy on images nobody has seen, spread, speed of the whole."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from PIL import Image

import hf_handdiff
from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.rotations import random_rotations

EXAMPLES = Path(__file__).parents[1] / "examples"
NEVER_TRAINED_ON = 4711  # seed of the renders below


@pytest.fixture(scope="module")
def pipe():
    pipeline = hf_handdiff.CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def renders():
    """The hands of 100 fresh renders: images, cameras, labels."""
    pytest.importorskip("numba")
    from hf_handdiff.synthetic import SceneAssets, generate_sample

    assets = SceneAssets.load("test")
    rows = [generate_sample(NEVER_TRAINED_ON, index, assets) for index in range(100)]
    rows = [row for row in rows if row["has_hand"]]
    images = [np.array(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows]
    labels = {
        name: torch.from_numpy(np.stack([np.asarray(row[name], np.float32) for row in rows]))
        for name in ("joints_m", "vertices_m", "intrinsics_px", "keypoints_2d_px", "keypoints_visible")
    }
    return images, labels


@pytest.fixture(scope="module")
def answers(pipe, renders):
    """What the weights say of the renders."""
    images, labels = renders
    return pipe(images, intrinsics=labels["intrinsics_px"], num_hypotheses=20, generator=0, output_type="pt")


def test_folder_is_small_and_whole():
    files = [path for path in Path(hf_handdiff.DEFAULT_CHECKPOINT).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]  # safetensors only


def test_weights_are_loaded_in_float32(pipe):
    assert {p.dtype for p in pipe.joint_denoiser.parameters()} == {torch.float32}


def test_autoencoder_is_under_a_millimetre(pipe, hand_layer):
    generator = torch.Generator().manual_seed(NEVER_TRAINED_ON)
    pose = roma.rotvec_to_rotmat(sample_poses(300, generator))
    pose[:, 0] = random_rotations(300, generator)
    mesh = hand_layer(pose, torch.randn(300, 10, generator=generator).clamp(-2.5, 2.5))
    vertices = mesh.vertices - mesh.joints[:, :1]
    with torch.no_grad():
        error = (pipe.mesh_autoencoder(vertices) - vertices).norm(dim=-1)
    assert error.mean() < 1.0e-3


def test_accuracy_on_renders_never_seen(answers, renders):
    (_, labels), out = renders, answers
    truth = labels["joints_m"] - labels["joints_m"][:, :1]
    mean = 1000 * pa_error(out.mean_joints, truth)
    samples = 1000 * pa_error(out.joints, truth[:, None].expand_as(out.joints))
    assert mean.mean() < 12, "PA-MPJPE of the mean hand, mm"
    assert samples.amin(1).mean() < mean.mean() < samples.mean()
    meshes = labels["vertices_m"] - labels["joints_m"][:, :1]
    assert 1000 * pa_error(out.mean_vertices, meshes).mean() < 12, "PA-MPVPE of the mean hand, mm"
    assert (out.hand_score > 0.5).float().mean() > 0.9


def test_hidden_joints_are_less_sure(answers, renders):
    (_, labels), out = renders, answers
    visible = labels["keypoints_visible"].bool()
    finger_tips = torch.zeros(21, dtype=torch.bool)
    finger_tips[[4, 8, 12, 16, 20]] = True
    hidden_tips, visible_tips = out.joint_std[~visible & finger_tips], out.joint_std[visible & finger_tips]
    assert hidden_tips.mean() > 1.1 * visible_tips.mean()


def test_masking_fingers_in_the_keypoints_spreads_the_hypotheses(pipe, renders):
    _, labels = renders
    points = labels["keypoints_2d_px"].clone()
    hidden = points.clone()
    hidden[:, 5:13] = torch.nan  # index and middle finger
    spreads = []
    for keypoints in (points, hidden):
        joints = pipe(
            keypoints_2d=keypoints,
            intrinsics=labels["intrinsics_px"],
            num_hypotheses=20,
            generator=0,
            output_type="pt",
        ).joints
        offsets = joints - joints.mean(1, keepdim=True)
        spreads.append(offsets.square().sum(-1).mean(1).sqrt()[:, 6:13].mean())
    assert spreads[1] > 1.2 * spreads[0]


def test_blank_images_have_no_hand(pipe):
    examples = [str(path) for path in sorted(EXAMPLES.glob("*.jpg"))]
    assert len(examples) >= 2
    blank = np.full((224, 224, 3), 127, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    scores = pipe([*examples, blank, noise], num_hypotheses=1, generator=0).hand_score
    assert scores[: len(examples)].min() > 0.9
    assert scores[len(examples) :].max() < 0.5


def test_the_calibration_is_part_of_the_checkpoint():
    index = json.loads((Path(hf_handdiff.DEFAULT_CHECKPOINT) / "model_index.json").read_text())
    calibration = index["joint_std_calibration"]
    assert {len(calibration[name]) for name in ("scale", "floor_m", "single_m")} == {21}
    assert len(calibration["regions"]) == 41 and calibration["regions"] == sorted(calibration["regions"])


def test_regions_grow_with_their_share(pipe):
    out = pipe([str(path) for path in sorted(EXAMPLES.glob("*.jpg"))], num_hypotheses=5, generator=0)
    half, most = pipe.joint_region(out.joint_std, 0.5), pipe.joint_region(out.joint_std, 0.9)
    assert half.shape == (len(out.joint_std), 21)
    assert (most[:, 1:] > half[:, 1:]).all() and half[:, 1:].min() > 0.001 and most.max() < 0.3


def test_stage_1_spreads_with_its_noise(pipe):
    photo, tuned = str(sorted(EXAMPLES.glob("*.jpg"))[0]), pipe.config.joint_noise_scale
    spreads = []
    try:
        for scale in (0.5 * tuned, tuned, 2.0 * tuned):
            pipe.register_to_config(joint_noise_scale=scale)
            spreads.append(pipe(photo, num_hypotheses=20, generator=0).joint_hypotheses.std(axis=1).mean())
    finally:
        pipe.register_to_config(joint_noise_scale=tuned)
    assert spreads[0] < spreads[1] < spreads[2]
