"""A known length sets the size of all that is in metres, and the picture stays as it is."""

import numpy as np
import pytest
import torch

from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline, MeshLDMPipeline
from hf_handdiff.camera import project
from hf_handdiff.errors import InputError
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.models import HandDetector, HandDetectorConfig
from hf_handdiff.models.hand_search import BuiltinHandDetector, DetectedHand

CAMERA = np.array([[300.0, 5, 100], [0, 320, 75], [0, 0, 1]], np.float32)
CAMERAS = np.stack([CAMERA, CAMERA])
SIDES = ["right", "left"]
PLACED = ("joints", "vertices", "joint_hypotheses")
OF_ANSWER = ("mean_joints", "mean_vertices", "joint_std", "mean_translation", "translation", "hand_scale")
MIDDLE = [0, 9, 10, 11, 12]


def ask(pipe, photo, **more):
    """A right and a left hand."""
    options = {"num_hypotheses": 3, "generator": 0, "intrinsics": CAMERAS, **more}
    return pipe([photo, photo], handedness=SIDES, **options)


@pytest.fixture(scope="module")
def plain(tiny_pipeline, photo):
    return ask(tiny_pipeline, photo, fit="all")


def flat_lengths(layer, out):
    """(B,) m by the layer alone."""
    flat = posed_hand(layer, np.zeros((2, 3)), np.zeros((2, 15, 3)), out.betas, out.hand_scale, SIDES).joints
    return (flat[:, 12] - flat[:, 0]).norm(dim=-1).numpy()


def pixels(out, points, places):
    """(B, ..., K, 2) px of wrist-relative points that stand at places."""
    placed = torch.as_tensor(points + places[..., None, :])
    cameras = torch.from_numpy(CAMERAS)
    return project(placed, cameras[:, None] if placed.ndim == 4 else cameras).numpy()


def check_scaled(out, plain):
    """All lengths grew by `metric_scale`, nothing else changed, and every hand looks the same."""
    for name in PLACED + OF_ANSWER:
        if plain.get(name) is not None:
            factor = out.metric_scale.reshape(-1, *[1] * (plain[name].ndim - 1))
            np.testing.assert_allclose(out[name], factor * plain[name], rtol=2e-5, atol=1e-7, err_msg=name)
    for name in ("global_orient", "hand_pose", "betas", "keypoints_2d", "keypoint_cov", "hand_score", "crops"):
        if plain.get(name) is not None:
            np.testing.assert_array_equal(out[name], plain[name], err_msg=name)
    if plain.translation is not None:
        for points, places in (
            ("joints", "translation"),
            ("vertices", "translation"),
            ("mean_joints", "mean_translation"),
            ("mean_vertices", "mean_translation"),
        ):
            if plain.get(points) is not None:
                before, after = (pixels(some, some[points], some[places]) for some in (plain, out))
                seen = plain[points][..., 2] + plain[places][..., None, 2] > 0.02  # networks are not trained
                assert seen.mean() > 0.9
                np.testing.assert_allclose(after[seen], before[seen], rtol=1e-4, atol=0.01)


def test_without_a_known_length_the_factor_is_one(plain, tiny_pipeline, photo):
    np.testing.assert_array_equal(plain.metric_scale, [1, 1])
    assert plain.mean_translation.shape == (2, 3)
    out = tiny_pipeline(photo, num_hypotheses=2, generator=0, output_type="pt")
    assert out.mean_translation is None and out.metric_scale.tolist() == [1]
    assert np.abs(plain.mean_translation - plain.translation.mean(1)).max() < 0.5 * plain.translation[..., 2].max()


@pytest.mark.parametrize("given", [0.19, [0.19, 0.1], np.array([0.1, 0.21]), torch.tensor([0.2, 0.15])])
def test_hand_length_is_that_of_the_flat_hand(tiny_pipeline, photo, hand_layer, plain, given):
    out = ask(tiny_pipeline, photo, hand_length_m=given, fit="all")
    np.testing.assert_allclose(flat_lengths(hand_layer, out), np.broadcast_to(given, 2), rtol=1e-5)
    check_scaled(out, plain)
    grown = out.metric_scale[:, None] * plain.hypothesis_parameters["hand_scale"]
    np.testing.assert_allclose(out.hypothesis_parameters["hand_scale"], grown, rtol=1e-5)
    parameters = [out[name] for name in ("global_orient", "hand_pose", "betas", "hand_scale")]
    again = posed_hand(hand_layer, *parameters, handedness=SIDES).vertices.numpy()
    np.testing.assert_allclose(again, out.mean_vertices, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["fitted", "mean"])
def test_wrist_depth_is_where_the_answer_stands(tiny_pipeline, photo, aggregation):
    plain = ask(tiny_pipeline, photo, aggregation=aggregation)
    depths = plain.mean_translation[:, 2] * [1.2, 1.1]
    out = ask(tiny_pipeline, photo, aggregation=aggregation, wrist_depth_m=depths)
    np.testing.assert_allclose(out.mean_translation[:, 2], depths, rtol=1e-5)
    np.testing.assert_allclose(out.metric_scale, [1.2, 1.1], rtol=1e-5)
    check_scaled(out, plain)


def test_wrist_depth_by_the_default_camera(tiny_pipeline, photo):
    """Whose matrix, given by the caller, makes no difference but that places are told."""
    centre, side = np.array([100.0, 75.0]), max(photo.shape[:2]) * 1.0
    focal = side / (2 * np.tan(np.radians(25.0) / 2))
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    told = tiny_pipeline(photo, num_hypotheses=2, generator=0, intrinsics=camera)
    depth = 1.1 * float(told.mean_translation[0, 2])
    out = tiny_pipeline(photo, num_hypotheses=2, generator=0, wrist_depth_m=depth)
    np.testing.assert_allclose(out.metric_scale, [1.1], rtol=1e-3)
    assert out.mean_translation is None and out.translation is None


def test_without_parameters_the_bones_of_the_middle_finger_add_up_to_the_length(tiny_pipeline, photo):
    for aggregation in ("mean", "medoid"):
        out = ask(tiny_pipeline, photo, aggregation=aggregation, hand_length_m=0.18)
        bones = np.linalg.norm(np.diff(out.mean_joints[:, MIDDLE], axis=1), axis=-1).sum(-1)
        np.testing.assert_allclose(bones, 0.18, rtol=1e-5)
        check_scaled(out, ask(tiny_pipeline, photo, aggregation=aggregation))


def test_bones_of_a_hand_are_little_longer_than_the_flat_hand(hand_layer):
    flat = hand_layer.pose_joints(torch.zeros(20, 16, 3), torch.randn(20, 10, generator=torch.manual_seed(0)))
    bones = flat[:, MIDDLE].diff(dim=1).norm(dim=-1).sum(-1)
    ratio = bones / (flat[:, 12] - flat[:, 0]).norm(dim=-1)
    assert (ratio >= 1).all() and ratio.max() < 1.005


def test_both_stages_by_themselves(tiny_pipeline, photo, hand_layer):
    stage1, stage2 = (kind.from_pipe(tiny_pipeline) for kind in (JointDiffusionPipeline, MeshLDMPipeline))
    for pipe in (stage1, stage2):
        pipe.set_progress_bar_config(disable=True)
        out = ask(pipe, photo, hand_length_m=0.17)
        np.testing.assert_allclose(flat_lengths(hand_layer, out), 0.17, rtol=1e-5)
        check_scaled(out, ask(pipe, photo))
    joints = ask(stage1, photo).joints
    alone = stage2(joints=joints, handedness=SIDES, generator=0, hand_length_m=0.17)
    np.testing.assert_allclose(flat_lengths(hand_layer, alone), 0.17, rtol=1e-5)
    np.testing.assert_allclose(alone.joint_hypotheses, alone.metric_scale[:, None, None, None] * joints, atol=1e-6)
    with pytest.raises(InputError, match="^wrist_depth_m: expected only together with images or keypoints_2d"):
        stage2(joints=joints, handedness=SIDES, wrist_depth_m=0.5)


def test_detected_hands_take_the_length_of_their_image(tiny_pipeline, photo, hand_layer, monkeypatch):
    config = HandDetectorConfig(image_size=64, hand_size=64, widths=(4, 4, 8, 8, 8), blocks_per_stage=2)
    pipe = CascadedHandPipeline(**{**tiny_pipeline.components, "hand_detector": HandDetector(config).eval()})
    pipe.set_progress_bar_config(disable=True)
    hands = [
        DetectedHand(np.array([20.0, 30, 90, 100]), "left", 0.9, np.zeros((21, 2))),
        DetectedHand(np.array([100.0, 30, 150, 100]), "right", 0.8, np.zeros((21, 2))),
    ]
    monkeypatch.setattr(BuiltinHandDetector, "detect", lambda self, image: hands if image.max() else [])
    images = [np.zeros_like(photo), photo]
    out = pipe(images, boxes="detect", num_hypotheses=2, generator=0, hand_length_m=[0.12, 0.2])
    assert out.handedness == ["left", "right"]
    np.testing.assert_allclose(flat_lengths(hand_layer, out), 0.2, rtol=1e-5)
    with pytest.raises(InputError, match="^hand_length_m: .* one for each of 2 images, got shape"):
        pipe(images, boxes="detect", num_hypotheses=2, hand_length_m=[0.12, 0.2, 0.2])


@pytest.mark.parametrize("name", ["hand_length_m", "wrist_depth_m"])
@pytest.mark.parametrize("value", [0, -0.18, np.nan, np.inf, 300, "0.18", [0.18], [0.18, None], True, [[0.1, 0.2]]])
def test_lengths_that_are_none_are_refused_before_anything_is_sampled(tiny_pipeline, photo, name, value):
    steps = []
    with pytest.raises(InputError, match=rf"^{name}: expected metres from 0\.0\d to (0\.4|100), [^\n]+ got ") as error:
        ask(tiny_pipeline, photo, **{name: value}, callback_on_step_end=lambda *args: steps.append(1))
    assert "\n" not in str(error.value) and steps == []


def test_a_hand_of_three_metres_is_refused(tiny_pipeline, photo, plain):
    with pytest.raises(InputError, match=r"^hand_length_m: expected metres from 0.03 to 0.4, .* got 3$"):
        ask(tiny_pipeline, photo, hand_length_m=3)
    with pytest.raises(InputError, match=r"^wrist_depth_m: .* at 90 m hand 1 would be [\d.]+ m long, which"):
        ask(tiny_pipeline, photo, wrist_depth_m=[float(plain.mean_translation[0, 2]), 90])


def test_one_of_both_is_enough(tiny_pipeline, photo):
    with pytest.raises(InputError, match="^hand_length_m, wrist_depth_m: expected one of them, .* got both$"):
        ask(tiny_pipeline, photo, hand_length_m=0.18, wrist_depth_m=0.5)
