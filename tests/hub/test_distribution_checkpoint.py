"""A checkpoint whose encoder tells a distribution, and whose stage 1 moves joints towards rays, comes back whole."""

import json

import numpy as np
import pytest

from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline, MeshLDMPipeline

FIELDS = (
    "joints vertices joint_hypotheses mean_joints mean_vertices joint_std keypoints_2d keypoint_scores keypoint_cov "
    "global_orient hand_pose betas hand_scale"
).split()


@pytest.fixture(scope="module")
def answer(distribution_pipeline, photo):
    return distribution_pipeline(photo, num_hypotheses=3, generator=0)


@pytest.fixture(scope="module")
def folder(distribution_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    distribution_pipeline.save_pretrained(folder)
    return folder


def test_it_is_saved_and_loaded(answer, folder, photo):
    assert json.loads((folder / "image_encoder" / "config.json").read_text())["keypoint_factors"] == 3
    assert json.loads((folder / "joint_denoiser" / "config.json").read_text())["consistency"] is True
    again = CascadedHandPipeline.from_pretrained(folder)
    again.set_progress_bar_config(disable=True)
    out = again(photo, num_hypotheses=3, generator=0)
    for name in FIELDS:
        np.testing.assert_array_equal(out[name], answer[name], err_msg=name)


def test_from_pipe_answers_alike(distribution_pipeline, answer, photo):
    stage1 = JointDiffusionPipeline.from_pipe(distribution_pipeline)
    meshes = {name: getattr(distribution_pipeline, name) for name in ("mesh_autoencoder", "mesh_latent_denoiser")}
    back = CascadedHandPipeline.from_pipe(stage1, **meshes, mesh_scheduler=distribution_pipeline.mesh_scheduler)
    stage1.set_progress_bar_config(disable=True)
    back.set_progress_bar_config(disable=True)
    out = back(photo, num_hypotheses=3, generator=0)
    for name in FIELDS:
        np.testing.assert_array_equal(out[name], answer[name], err_msg=name)
    joints = stage1(photo, num_hypotheses=3, generator=0).joints
    np.testing.assert_allclose(joints, answer.joint_hypotheses, atol=1e-6)


def test_stages_load_from_it(answer, folder, photo):
    stage1, stage2 = JointDiffusionPipeline.from_pretrained(folder), MeshLDMPipeline.from_pretrained(folder)
    for stage in (stage1, stage2):
        stage.set_progress_bar_config(disable=True)
    joints = stage1(photo, num_hypotheses=3, generator=0).joints
    np.testing.assert_allclose(joints, answer.joint_hypotheses, atol=1e-6)
    meshes = stage2(photo, joints=joints, generator=0)
    np.testing.assert_allclose(meshes.vertices, answer.vertices, atol=1e-4)
