"""Official scores: against plain numpy, and cases counted by hand."""

import math

import numpy as np
import pytest
from official_runs import official_truth
from plain_scores import plain_scores

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.official import (
    FREIHAND,
    HO3D,
    official_scores,
)


@pytest.mark.parametrize(("name", "layout", "middle"), [("freihand", FREIHAND, None), ("ho3d", HO3D, 4)])
def test_scores_equal_plain_numpy(trees, name, layout, middle):
    xyz, verts = official_truth(trees[name])
    rng = np.random.default_rng(0)
    predicted = xyz + 0.01 * rng.normal(size=xyz.shape), 1.1 * verts + 0.004 * rng.normal(size=verts.shape)
    scores = official_scores([points.tolist() for points in predicted], xyz, verts, layout=layout)
    expected = plain_scores(*predicted, xyz, verts, middle)
    assert {key for key in scores if "rotation" not in key} == set(expected)
    for key, value in expected.items():
        assert scores[key] == pytest.approx(value, abs=1e-6), key
    assert ("mpjpe_scale_translation_mm" in scores) == (layout is HO3D)


def test_all_zeros_predicted(trees):
    """Unaligned, the distance of each point from the camera; aligned, from the middle of the hand."""
    xyz, verts = official_truth(trees["freihand"])
    scores = official_scores([np.zeros_like(xyz), np.zeros_like(verts)], xyz, verts)
    assert scores["mpjpe_mm"] == pytest.approx(1000 * np.linalg.norm(xyz, axis=2).mean(), abs=1e-6)
    from_middle = np.linalg.norm(xyz - xyz.mean(1, keepdims=True), axis=2).mean()
    assert scores["pa_mpjpe_mm"] == pytest.approx(1000 * from_middle, abs=1e-6)
    assert scores["f_score_15mm"] == 0 and scores["mpjpe_auc"] == 0
    for key, value in plain_scores(np.zeros_like(xyz), np.zeros_like(verts), xyz, verts).items():
        assert scores[key] == pytest.approx(value, abs=1e-6), key


def test_a_constant_offset(trees):
    """6 mm off: the curve is 0 below and 1 above it, and alignment takes it away."""
    xyz, verts = official_truth(trees["ho3d"])
    away = np.array([0.0, 0.006, 0.0])
    scores = official_scores([xyz + away, verts + away], xyz, verts, layout=HO3D)
    assert scores["mpjpe_mm"] == pytest.approx(6, abs=1e-6) and scores["mpvpe_mm"] == pytest.approx(6, abs=1e-6)
    for key in ("pa_mpjpe_mm", "pa_mpvpe_mm", "mpjpe_scale_translation_mm"):
        assert scores[key] == pytest.approx(0, abs=1e-6)
    first = math.ceil(0.006 / (0.05 / 99))  # threshold that 6 mm does not exceed
    assert scores["mpjpe_auc"] == pytest.approx((99 - first + 0.5) / 99, abs=1e-6)
    assert scores["f_score_15mm"] == 1 and scores["f_score_5mm_aligned"] == 1


def test_a_mirrored_hand(trees):
    """The official alignment forgives a mirror, rotations alone do not."""
    xyz, verts = official_truth(trees["freihand"])
    mirror = np.array([-1.0, 1, 1])
    scores = official_scores([xyz * mirror, verts * mirror], xyz, verts)
    for points in ("pa_mpjpe", "pa_mpvpe"):
        assert scores[f"{points}_mm"] == pytest.approx(0, abs=1e-6)
        assert scores[f"{points}_rotation_only_mm"] > 3


def test_other_vertices_are_aligned_by_the_joints(trees):
    """A mesh of the same surface whose vertices come in another order: no vertex errors, the same F-scores."""
    xyz, verts = official_truth(trees["freihand"])
    moved = [1.3 * points @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) + 0.1 for points in (xyz, verts[:, ::-1])]
    scores = official_scores(moved, xyz, verts, same_vertices=False)
    assert not any("mpvpe" in key for key in scores)
    assert scores["f_score_5mm_aligned"] == pytest.approx(1, abs=1e-6)
    assert official_scores(moved, xyz, verts)["f_score_5mm_aligned"] < 0.9  # taken for the same vertices
    fewer = official_scores([xyz, verts[:, :700]], xyz, verts)  # the number of vertices gives it away
    assert not any("mpvpe" in key for key in fewer) and fewer["f_score_15mm"] > 0.9


def test_joints_only(trees):
    xyz, _ = official_truth(trees["freihand"])
    scores = official_scores([xyz, []], xyz)
    assert scores["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6) and "f_score_5mm" not in scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xyz, verts: [xyz], r"expected \[xyz_list, verts_list\], got 1"),
        (lambda xyz, verts: [xyz[:1], verts], r"pred\[0\] 1, truth_xyz 3"),
        (lambda xyz, verts: [xyz[:, :20], verts], r"pred\[0\]: expected shape \(images, 21, 3\)"),
        (lambda xyz, verts: [xyz, [[[0.0]]]], r"pred\[1\]: expected shape"),
        (lambda xyz, verts: [xyz, [[[0.0] * 3], [[0.0] * 3] * 2]], r"pred\[1\]: expected lists of points"),
    ],
)
def test_answers_that_do_not_fit(trees, change, message):
    xyz, verts = official_truth(trees["freihand"])
    with pytest.raises(InputError, match=message):
        official_scores(change(xyz, verts), xyz, verts)
