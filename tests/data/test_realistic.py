"""The committed realistic test set: what its labels say is what is there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import LOADED_FEATURES
from hf_handdiff.hand.layer import HandLayer

FOLDER = Path(__file__).parents[2] / "data" / "realistic_test"
FILE = FOLDER / "test-00000-of-00001.parquet"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the realistic test set is not in this checkout")


@pytest.fixture(scope="module")
def corpus():
    return load_corpus(FOLDER, "test")


@pytest.fixture(scope="module")
def rows(corpus):
    return corpus.remove_columns("image").with_format("numpy")[:]


def test_schema_and_size(corpus):
    assert corpus.features == LOADED_FEATURES
    assert 30 <= len(corpus) <= 300
    assert FILE.stat().st_size <= 12e6
    assert len(set(corpus["sample_id"])) == len(corpus)


def test_images_are_crops_with_something_on_them(corpus):
    for image in corpus["image"]:
        pixels = np.asarray(image.convert("RGB"), np.float32)
        assert pixels.shape == (224, 224, 3)
        assert 8.0 < pixels.mean() < 247.0
        assert pixels.std() > 8.0


def test_keypoints_are_projected_joints(rows):
    homogeneous = np.einsum("nij,nkj->nki", rows["intrinsics_px"], rows["joints_m"])
    np.testing.assert_allclose(homogeneous[..., :2] / homogeneous[..., 2:], rows["keypoints_2d_px"], atol=0.02)
    assert (rows["joints_m"][..., 2] > 0.1).all()


def test_mesh_and_joints_are_the_layers(rows):
    with torch.no_grad():
        mesh = HandLayer.open_hand()(torch.from_numpy(rows["pose_rad"]), torch.from_numpy(np.stack(rows["shape"])))
    translation = np.stack(rows["translation_m"])[:, None]
    np.testing.assert_allclose(mesh.vertices.numpy() + translation, rows["vertices_m"], atol=2e-5)
    np.testing.assert_allclose(mesh.joints.numpy() + translation, rows["joints_m"], atol=2e-5)


def test_a_joint_outside_the_image_is_not_visible(rows):
    inside = ((rows["keypoints_2d_px"] >= 0) & (rows["keypoints_2d_px"] < 224)).all(-1)
    assert not (np.stack(rows["keypoints_visible"]) & ~inside).any()


def test_hands_are_of_every_tone_hidden_and_not(rows):
    assert rows["has_hand"].all()
    tones = np.histogram(rows["skin_tone"], bins=5, range=(0.0, 1.0))[0]
    assert tones.min() >= 0.5 * len(rows["skin_tone"]) / 5
    share = rows["visible_share"]
    assert ((share > 0.03) & (share <= 1.0)).all()
    assert (share > 0.9).mean() > 0.4
    assert (share < 0.9).mean() > 0.15
    visible = np.stack(rows["keypoints_visible"]).mean()
    assert 0.45 < visible < 0.95
