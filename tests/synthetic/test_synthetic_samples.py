"""The synthetic corpus: one sample is what its labels say, and the same whoever makes it."""

import io

import numpy as np
import pytest
import torch
from checked_samples import NUM_SAMPLES, SEED
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("cv2")


from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler, sample_poses
from hf_handdiff.hand.recorded_poses import RECORDED_SPLITS, SPLITS, recorded_angles
from hf_handdiff.synthetic import SceneAssets, generate_sample
from hf_handdiff.synthetic.environment import ENVIRONMENT_SPLITS
from hf_handdiff.synthetic.placement import (
    FIELD_OF_VIEW_DEG,
    MAX_CORNER_DEG,
    MIN_DEPTH_M,
    sample_intrinsics,
)
from hf_handdiff.synthetic.plan import ScenePlan
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.scene import sample_hand
from hf_handdiff.synthetic.shapes import BANDS, GAP_WIDTH, MAX_COEFFICIENT, PERIOD, band_position, sample_shape


def test_same_sample_twice_is_equal_to_the_byte(assets, samples):
    other = SceneAssets.load("train")
    for index in (NUM_SAMPLES - 1, 0, 7):  # in another order, with freshly loaded assets
        again = generate_sample(SEED, index, other)
        for name, value in samples[index].items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, again[name], err_msg=name)
            else:
                assert value == again[name], name


def test_samples_differ_by_index_seed_and_split(assets, samples):
    images = {row["image"]["bytes"] for row in samples}
    assert len(images) == NUM_SAMPLES
    assert generate_sample(SEED + 1, 0, assets)["image"] != samples[0]["image"]
    assert generate_sample(SEED, 0, SceneAssets.load("test"))["image"] != samples[0]["image"]


def test_rows_have_the_declared_features(samples):
    encoded = [CORPUS_FEATURES.encode_example(row) for row in samples]
    assert set(encoded[0]) == set(CORPUS_FEATURES)
    for row in samples:
        image = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert image.size == (224, 224) and image.mode == "RGB"
        for name in ("keypoints_2d_px", "joints_m", "vertices_m", "intrinsics_px", "pose_rad", "shape"):
            assert np.isfinite(np.asarray(row[name])).all(), name
            if isinstance(row[name], np.ndarray):
                assert row[name].dtype == np.float32, name
        assert 0.0 <= row["visible_share"] <= 1.0


def test_rows_without_hand_have_zero_labels(samples):
    empty = [row for row in samples if not row["has_hand"]]
    assert 1 <= len(empty) <= 10
    for row in empty:
        assert not np.any(row["joints_m"]) and not np.any(row["vertices_m"]) and not any(row["keypoints_visible"])
        assert row["intrinsics_px"][0, 0] > 0.0


def test_joints_project_on_keypoints(hands):
    for row in hands:
        pixels = project_points(row["joints_m"].astype(np.float64), row["intrinsics_px"].astype(np.float64))
        np.testing.assert_allclose(pixels, row["keypoints_2d_px"], atol=1e-2)
        assert row["joints_m"][:, 2].min() > 0.1


def test_vertices_and_joints_are_the_hand_layers(hands):
    layer = HandLayer.open_hand()
    pose = torch.tensor(np.stack([row["pose_rad"] for row in hands]))
    shape = torch.tensor([row["shape"] for row in hands])
    translation = torch.tensor([row["translation_m"] for row in hands])[:, None]
    mesh = layer(pose, shape)
    np.testing.assert_allclose(mesh.vertices + translation, np.stack([r["vertices_m"] for r in hands]), atol=1e-6)
    np.testing.assert_allclose(mesh.joints + translation, np.stack([r["joints_m"] for r in hands]), atol=1e-6)


def test_what_is_drawn_is_what_is_labelled(assets):
    """The full mesh that is rendered holds the standard mesh of the labels."""
    from hf_handdiff.hand.open_hand import load_open_hand_arrays

    rng = np.random.default_rng(0)
    pose, shape = assets.poses(3, 0).own.copy(), rng.normal(size=10)
    pose[0] = [0.3, -0.4, 0.5]
    full, standard = assets.hand.pose(pose, shape), assets.hand.standard(pose, shape)
    kept = load_open_hand_arrays("standard")["full_index"]
    np.testing.assert_allclose(full.vertices[kept], standard.vertices, atol=1e-6)
    np.testing.assert_allclose(full.joints, standard.joints, atol=1e-6)


def test_most_hands_are_in_view_and_lit(hands):
    shares = np.array([row["visible_share"] for row in hands])
    assert (shares > 0.6).mean() > 0.6
    assert 0.3 < np.mean([row["keypoints_visible"] for row in hands]) < 0.9
    brightness = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).mean() for row in hands]
    assert 60 < np.mean(brightness) < 190


def test_splits_share_no_light_and_no_shape():
    names = [name for split in SPLITS for name in ENVIRONMENT_SPLITS[split]]
    assert len(names) == len(set(names)) == 8
    rng = np.random.default_rng(0)
    shapes = {split: np.stack([sample_shape(split, rng) for _ in range(400)]) for split in SPLITS}
    for split, own in shapes.items():
        assert own.dtype == np.float32 and np.abs(own).max() <= MAX_COEFFICIENT
        assert (own.std(0) > 0.9).all() and np.abs(own.mean(0)).max() < 0.25, "hands of all kinds in each split"
        position = band_position(own)
        assert ((position >= BANDS[split][0]) & (position < BANDS[split][1])).all()
    edges = sorted(BANDS.values())
    gaps = [after[0] - before[1] for before, after in zip(edges, [*edges[1:], (PERIOD, 0.0)], strict=True)]
    assert min(gaps) > GAP_WIDTH - 1e-9
    between = shapes["train"][:, None] - shapes["test"][None]
    assert np.linalg.norm(between, axis=2).min() > GAP_WIDTH


def test_rows_have_shapes_of_their_split(assets, hands):
    for split in ("train", "test"):
        rows = hands if split == "train" else [generate_sample(SEED, k, SceneAssets.load("test")) for k in range(3)]
        for row in rows:
            if row["has_hand"]:
                assert BANDS[split][0] <= band_position(np.float32(row["shape"])) < BANDS[split][1]


def test_splits_share_no_recorded_signer():
    parts = {split: recorded_angles(split) for split in SPLITS}
    assert sum(map(len, parts.values())) == len(recorded_angles())
    assert all(len(part) > 300 for part in parts.values()) and len(parts["train"]) > 3000
    languages = [code for codes in RECORDED_SPLITS.values() for code in codes]
    assert len(languages) == len(set(languages))
    train, test = (
        sample_poses(50, torch.Generator().manual_seed(0), recorded_share=1.0, split=s) for s in ("train", "test")
    )
    assert not torch.equal(train, test)
    with pytest.raises(ValueError, match="split must be one of"):
        recorded_angles("holiday")


def test_fingers_do_not_run_through_each_other(assets):
    sampler = default_sampler()
    poses = np.stack([assets.poses(4, index).own for index in range(0, 1000, 4)])
    assert sampler.overlap(torch.from_numpy(poses)).max() <= MAX_OVERLAP_M + 1e-6
    rng, holding = np.random.default_rng(0), ScenePlan(subject="held")
    held = [sample_hand(assets.hand, poses[0], "train", rng, plan=holding).pose_rad for _ in range(10)]
    overlap = sampler.overlap(torch.from_numpy(np.stack(held)))
    assert (overlap <= MAX_OVERLAP_M + 1e-6).float().mean() >= 0.8


def test_cameras_see_20_to_90_degrees_and_hands_are_not_too_near(hands):
    rng = np.random.default_rng(0)
    cameras = np.stack([sample_intrinsics(224, rng) for _ in range(500)])
    half = np.degrees(np.arctan(112.0 / cameras[:, 0, 0]))
    low, high = FIELD_OF_VIEW_DEG
    assert low <= 2 * half.min() < low + 2 and high - 6 < 2 * half.max() <= high
    corner = np.degrees(np.arctan((np.abs(cameras[:, :2, 2] - 112.0).max(1) + 112.0) / cameras[:, 0, 0]))
    assert corner.max() < MAX_CORNER_DEG + 1.0
    assert min(row["vertices_m"][:, 2].min() for row in hands) > MIN_DEPTH_M - 1e-4
