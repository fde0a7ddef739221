"""The contract of the cascade: shapes, seeds, sides, keypoints, frames, precision, saving."""

import random

import numpy as np
import pytest
import torch

from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline, MeshLDMPipeline
from hf_handdiff.camera import project
from hf_handdiff.errors import InputError

INTRINSICS = np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])
FIELDS = ("joints", "vertices", "joint_hypotheses", "mean_joints", "mean_vertices", "joint_std")


def test_shapes_and_types(tiny_pipeline, photo):
    out = tiny_pipeline([photo, photo[:, :150]], num_hypotheses=3, intrinsics=np.stack([INTRINSICS] * 2), generator=0)
    shapes = {
        "joints": (2, 3, 21, 3),
        "vertices": (2, 3, 778, 3),
        "joint_hypotheses": (2, 3, 21, 3),
        "mean_joints": (2, 21, 3),
        "mean_vertices": (2, 778, 3),
        "joint_std": (2, 21),
        "keypoints_2d": (2, 21, 2),
        "keypoint_scores": (2, 21),
        "translation": (2, 3, 3),
        "hand_score": (2,),
        "faces": (1538, 3),
    }
    for name, shape in shapes.items():
        value = getattr(out, name)
        assert isinstance(value, np.ndarray) and value.shape == shape, name
        assert np.isfinite(value).all(), name
    assert np.issubdtype(out.faces.dtype, np.integer)
    assert np.abs(out.joints[:, :, 0]).max() < 1e-6  # wrist-relative
    tensors = tiny_pipeline(photo, num_hypotheses=2, generator=0, output_type="pt")
    assert isinstance(tensors.joints, torch.Tensor) and tensors.translation is None


def test_joints_are_read_off_the_meshes(tiny_pipeline, photo, hand_layer):
    out = tiny_pipeline(photo, num_hypotheses=2, generator=0, output_type="pt")
    read = hand_layer.mesh_to_joints @ out.vertices
    assert torch.allclose(read - read[:, :, :1], out.joints, atol=1e-5)


def test_same_seed_same_hypothesis_whatever_n_and_batch(tiny_pipeline, photo):
    alone = tiny_pipeline(photo, num_hypotheses=2, generator=5)
    more = tiny_pipeline(photo, num_hypotheses=7, generator=5)
    batch = tiny_pipeline([photo[::-1].copy(), photo], num_hypotheses=3, generator=5)
    for name in ("joints", "vertices", "joint_hypotheses"):
        one = getattr(alone, name)[0]
        np.testing.assert_allclose(getattr(more, name)[0, :2], one, atol=5e-5)
        np.testing.assert_allclose(getattr(batch, name)[1, :2], one, atol=5e-5)
    other = tiny_pipeline(photo, num_hypotheses=2, generator=6)
    assert np.abs(other.joints - alone.joints).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "generator"),
    {
        "a numpy Generator": np.random.default_rng(0),
        "a numpy RandomState": np.random.RandomState(0),
        "a random Random": random.Random(0),
        "a torch Tensor": torch.tensor(3),
        "float": 1.0,
        "bool": True,
        "str": "3",
    }.items(),
)
def test_a_generator_of_another_kind_is_named(tiny_pipeline, photo, kind, generator):
    for given in (generator, [generator]):
        with pytest.raises(InputError, match=f"generator: expected a torch.Generator, an int, .*, got {kind}$"):
            tiny_pipeline(photo, num_hypotheses=1, generator=given)


def test_a_generator_gives_what_its_seed_gives(tiny_pipeline, photo):
    first = tiny_pipeline(photo, num_hypotheses=2, generator=torch.Generator().manual_seed(3))
    again = tiny_pipeline([photo, photo], num_hypotheses=2, generator=[torch.Generator().manual_seed(3), 9])
    np.testing.assert_allclose(again.joints[0], first.joints[0], atol=1e-5)
    assert np.abs(again.joints[1] - first.joints[0]).max() > 1e-3


def test_hypotheses_differ_in_both_stages(tiny_pipeline, photo):
    out = tiny_pipeline(photo, num_hypotheses=4, generator=0)
    for values in (out.joint_hypotheses, out.joints):
        distance = np.abs(values[0, :, None] - values[0, None]).max(axis=(-1, -2))
        assert (distance[~np.eye(4, dtype=bool)] > 1e-3).all()
    same_joints = np.repeat(out.joint_hypotheses[:, :1], 4, axis=1)
    stage2 = MeshLDMPipeline(
        tiny_pipeline.image_encoder,
        tiny_pipeline.mesh_autoencoder,
        tiny_pipeline.mesh_latent_denoiser,
        tiny_pipeline.mesh_scheduler,
    )
    stage2.set_progress_bar_config(disable=True)
    meshes = stage2(photo, joints=same_joints, generator=0).joints[0]
    assert np.abs(meshes[0] - meshes[1]).max() > 1e-4


def test_a_mirrored_image_of_a_left_hand_gives_the_mirrored_answer(tiny_pipeline, photo):
    mirrored_camera = INTRINSICS.copy()
    mirrored_camera[0, 2] = photo.shape[1] - INTRINSICS[0, 2]
    box = np.array([[20.0, 10, 150, 140]])
    mirrored_box = np.array([[photo.shape[1] - 150.0, 10, photo.shape[1] - 20, 140]])
    right = tiny_pipeline(photo, boxes=box, intrinsics=INTRINSICS, num_hypotheses=2, generator=1)
    left = tiny_pipeline(
        photo[:, ::-1],
        handedness="left",
        boxes=mirrored_box,
        intrinsics=mirrored_camera,
        num_hypotheses=2,
        generator=1,
    )
    flip = np.array([-1, 1, 1])
    for name in ("joints", "vertices", "joint_hypotheses", "mean_joints", "mean_vertices", "translation"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name) * flip, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(left.keypoints_2d[..., 0], photo.shape[1] - right.keypoints_2d[..., 0], atol=1e-3)
    np.testing.assert_allclose(left.joint_std, right.joint_std, atol=1e-6)


def test_keypoints_replace_the_estimate(tiny_pipeline, photo, hand_layer):
    joints = hand_layer.pose_joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))
    camera = torch.from_numpy(INTRINSICS).float()[None]
    points = project(joints + torch.tensor([0.05, 0.0, 0.5]), camera).numpy()
    points[0, 4] = np.nan
    out = tiny_pipeline(photo, keypoints_2d=points, intrinsics=INTRINSICS, num_hypotheses=2, generator=0)
    np.testing.assert_allclose(out.keypoints_2d, points, atol=1e-3)
    assert out.keypoint_scores[0, 4] == 0 and (np.delete(out.keypoint_scores[0], 4) == 1).all()
    own = tiny_pipeline(photo, intrinsics=INTRINSICS, num_hypotheses=2, generator=0)
    assert np.abs(own.joint_hypotheses - out.joint_hypotheses).max() > 1e-3
    no_image = tiny_pipeline(keypoints_2d=points, intrinsics=INTRINSICS, num_hypotheses=2, generator=0)
    np.testing.assert_allclose(no_image.joint_hypotheses, out.joint_hypotheses, atol=1e-5)
    assert np.isnan(no_image.hand_score).all()


def test_the_image_encoder_runs_once_per_image(tiny_pipeline, photo):
    rows = []
    handle = tiny_pipeline.image_encoder.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))
    try:
        tiny_pipeline([photo, photo, photo], num_hypotheses=9, generator=0)
    finally:
        handle.remove()
    assert sum(rows) == 3


def test_callbacks_see_every_step_and_may_change_the_sample(tiny_pipeline, photo):
    seen = []

    def note(pipeline, step, timestep, tensors):
        seen.append((*tensors, step))
        return {"joints": torch.zeros_like(tensors["joints"])} if "joints" in tensors else None

    out = tiny_pipeline(photo, num_hypotheses=2, generator=0, callback_on_step_end=note)
    assert seen == [("joints", s) for s in range(4)] + [("latents", s) for s in range(3)]
    assert np.abs(out.joint_hypotheses).max() == 0


@pytest.mark.parametrize("aggregation", ["mean", "median", "medoid"])
def test_aggregations(tiny_pipeline, photo, aggregation):
    out = tiny_pipeline(photo, num_hypotheses=5, generator=0, aggregation=aggregation)
    if aggregation == "mean":
        np.testing.assert_allclose(out.mean_vertices, out.vertices.mean(1), atol=1e-6)
    if aggregation == "medoid":
        assert (np.abs(out.vertices[0] - out.mean_vertices[0]).max(axis=(-1, -2)) < 1e-7).sum() == 1
    assert np.isfinite(out.mean_joints).all()


def test_half_precision(tiny_pipeline, photo, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    full = tiny_pipeline(photo, num_hypotheses=2, generator=0)
    half = CascadedHandPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert half.joint_denoiser.dtype == torch.bfloat16
    half.set_progress_bar_config(disable=True)
    out = half(photo, num_hypotheses=2, generator=0)
    assert out.vertices.dtype == np.float32
    assert np.abs(out.joints - full.joints).max() < 0.02


def test_save_and_reload_are_equal_to_the_bit(tiny_pipeline, photo, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    dirt = [torch.full((n,), float("nan")) for n in (63, 16338, 4614, 100_000) for _ in range(20)]
    del dirt  # freed memory full of NaN: a buffer that is not restored would show it
    again = CascadedHandPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    for name in ("image_encoder", "joint_denoiser", "mesh_autoencoder", "mesh_latent_denoiser"):
        before, after = getattr(tiny_pipeline, name), getattr(again, name)
        pairs = zip(before.named_parameters(), after.named_parameters(), strict=True)
        buffers = zip(before.named_buffers(), after.named_buffers(), strict=True)
        for (key, one), (other_key, other) in [*pairs, *buffers]:
            assert key == other_key and torch.equal(one, other), f"{name}.{key}"
    first, second = (p(photo, num_hypotheses=3, generator=0) for p in (tiny_pipeline, again))
    for field in FIELDS:
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


def test_single_stages_load_from_the_cascade(tiny_pipeline, photo, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    whole = tiny_pipeline(photo, num_hypotheses=3, generator=4)
    stage1 = JointDiffusionPipeline.from_pretrained(tmp_path)
    stage2 = MeshLDMPipeline.from_pretrained(tmp_path)
    for stage in (stage1, stage2):
        stage.set_progress_bar_config(disable=True)
    joints = stage1(photo, num_hypotheses=3, generator=4).joints
    np.testing.assert_allclose(joints, whole.joint_hypotheses, atol=1e-6)
    meshes = stage2(photo, joints=joints, generator=4)
    np.testing.assert_allclose(meshes.vertices, whole.vertices, atol=1e-5)
    assert stage2(photo, num_hypotheses=2, generator=4).vertices.shape == (1, 2, 778, 3)  # image alone
    assert stage2(joints=joints[:, 0], generator=4).vertices.shape == (1, 1, 778, 3)  # joints alone
    assert stage1(keypoints_2d=whole.keypoints_2d, num_hypotheses=2).joints.shape == (1, 2, 21, 3)


def test_model_index_names_our_library(tiny_pipeline, tmp_path):
    import json

    tiny_pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "CascadedHandPipeline"
    assert index["joint_denoiser"] == ["hf_handdiff", "JointDenoiser"]


def test_translation_puts_the_hand_under_its_keypoints(tiny_pipeline, hand_layer, photo):
    joints = hand_layer.pose_joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))
    camera = torch.from_numpy(INTRINSICS).float()[None]
    points = project(joints + torch.tensor([0.05, 0.02, 0.5]), camera)
    out = tiny_pipeline(
        photo, keypoints_2d=points.numpy(), intrinsics=INTRINSICS, num_hypotheses=3, generator=0, output_type="pt"
    )
    placed = out.joints + out.translation[:, :, None]
    middle = project(placed, camera[:, None].expand(1, 3, 3, 3)).mean(2)
    assert (placed[..., 2] > 0.049).all()
    assert (middle - points.mean(1, keepdim=True)).norm(dim=-1).max() < 100  # an untrained hand, but over there


def test_the_noise_of_stage_1_is_scaled_and_saved(tiny_pipeline, photo, tmp_path):
    plain = tiny_pipeline(photo, num_hypotheses=4, generator=0)
    tiny_pipeline.register_to_config(joint_noise_scale=2.0)
    try:
        tiny_pipeline.save_pretrained(tmp_path)
        wide = tiny_pipeline(photo, num_hypotheses=4, generator=0)
    finally:
        tiny_pipeline.register_to_config(joint_noise_scale=1.0)
    assert np.abs(wide.joint_hypotheses - plain.joint_hypotheses).max() > 1e-4
    for pipeline in (CascadedHandPipeline, JointDiffusionPipeline):
        again = pipeline.from_pretrained(tmp_path)
        assert again.config.joint_noise_scale == 2.0
