"""Every metric against an independent plain-numpy version and against cases counted by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree

from hf_handdiff.evaluation import groups, metrics, uncertainty
from hf_handdiff.pipelines.aggregation import (
    spread,
)


def random_hands(*shape, seed=0, scale=0.05):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, 3, generator=generator, dtype=torch.float64)


def rotation_matrix(axis, angle):
    axis = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def official_align(truth, prediction):
    """What FreiHAND's evaluation does, in numpy and scipy; reflections allowed."""
    truth_mean, prediction_mean = truth.mean(0), prediction.mean(0)
    truth, prediction = truth - truth_mean, prediction - prediction_mean
    truth_norm = np.linalg.norm(truth) + 1e-8
    prediction_norm = np.linalg.norm(prediction) + 1e-8
    rotation, scale = orthogonal_procrustes(truth / truth_norm, prediction / prediction_norm)
    return (prediction / prediction_norm) @ rotation.T * scale * truth_norm + truth_mean


def kabsch_align(truth, prediction):
    """Umeyama's closed form with the determinant corrected: rotations only."""
    truth_mean, prediction_mean = truth.mean(0), prediction.mean(0)
    truth, prediction = truth - truth_mean, prediction - prediction_mean
    u, s, vt = np.linalg.svd(truth.T @ prediction)
    correction = np.array([1, 1, np.linalg.det(u @ vt)])
    rotation = u @ np.diag(correction) @ vt
    scale = (s * correction).sum() / (prediction**2).sum()
    return scale * prediction @ rotation.T + truth_mean


# -- alignment and accuracy --------------------------------------------------------------------------------


@pytest.mark.parametrize("num_points", [21, 778])
@pytest.mark.parametrize("allow_reflections, reference", [(True, official_align), (False, kabsch_align)])
def test_aligned_error_equals_the_numpy_version(num_points, allow_reflections, reference):
    prediction, truth = random_hands(6, num_points, seed=1), random_hands(6, num_points, seed=2)
    expected = [
        np.linalg.norm(reference(t, p) - t, axis=1).mean()
        for t, p in zip(truth.numpy(), prediction.numpy(), strict=True)
    ]
    errors = metrics.pa_error(prediction, truth, allow_reflections=allow_reflections)
    np.testing.assert_allclose(errors.numpy(), expected, atol=1e-9)


def test_a_similarity_transform_costs_nothing():
    truth = random_hands(4, 21)
    turn = torch.from_numpy(rotation_matrix([1, 2, 3], 2.5))
    prediction = 0.3 * truth @ turn.T + torch.tensor([0.4, -1.0, 2.0], dtype=torch.float64)
    assert metrics.pa_error(prediction, truth, allow_reflections=False).max() < 1e-9
    assert metrics.pa_error(prediction.float(), truth.float()).max() < 1e-6


def test_a_mirrored_hand_is_right_only_where_reflections_are_allowed():
    truth = random_hands(3, 21)
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert metrics.pa_error(mirrored, truth).max() < 1e-9
    assert metrics.pa_error(mirrored, truth, allow_reflections=False).min() > 0.005


def test_degenerate_predictions_are_safe():
    truth = random_hands(21)
    to_centroid = (truth - truth.mean(0)).norm(dim=1).mean()
    for point in (0.0, 0.7):  # all joints in one place land on the centroid, as in the official script
        collapsed = torch.full_like(truth, point)
        for reflections in (True, False):
            error = metrics.pa_error(collapsed, truth, allow_reflections=reflections)
            assert error.item() == pytest.approx(to_centroid.item(), abs=1e-12)
    line = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2, 3]).double()
    flat = truth * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    for degenerate in (line, flat):
        assert torch.isfinite(metrics.procrustes_align(degenerate, truth, allow_reflections=False)).all()
        assert torch.isfinite(metrics.procrustes_align(truth, degenerate)).all()


def test_a_hand_that_is_not_finite_spoils_no_other():
    prediction, truth = random_hands(3, 21, seed=1), random_hands(3, 21, seed=2)
    clean = metrics.pa_error(prediction, truth)
    prediction[1, 4, 0] = math.nan
    spoilt = metrics.pa_error(prediction, truth)
    assert torch.isnan(spoilt[1]) and torch.equal(spoilt[[0, 2]], clean[[0, 2]])
    prediction[1, 4, 0] = math.inf
    assert torch.isnan(metrics.pa_error(prediction, truth)[1])
    assert torch.isnan(metrics.f_score(prediction, truth, 0.01)[1])


def test_masked_points_take_no_part():
    prediction, truth = random_hands(2, 21, seed=1), random_hands(2, 21, seed=2)
    mask = torch.ones(2, 21, dtype=torch.bool)
    mask[0, 15:] = False
    truth[0, 15:] = math.nan
    errors = metrics.pa_error(prediction, truth, mask=mask)
    alone = metrics.pa_error(prediction[0, :15], truth[0, :15])
    torch.testing.assert_close(errors[0], alone)
    per_point = metrics.pa_error(prediction, truth, mask=mask, per_point=True)
    assert torch.isnan(per_point[0, 15:]).all() and torch.isfinite(per_point[0, :15]).all()
    assert torch.isnan(metrics.pa_error(prediction, truth, mask=torch.zeros(2, 21).bool())).all()


def test_slices_change_nothing(monkeypatch):
    prediction, truth = random_hands(5, 7, 30, seed=1), random_hands(5, 1, 30, seed=2)
    whole = metrics.pa_error(prediction, truth)
    f_whole = metrics.f_score(prediction, truth, 0.04)
    monkeypatch.setattr(metrics, "_POINTS_PER_CHUNK", 60)
    assert whole.shape == (5, 7)
    torch.testing.assert_close(metrics.pa_error(prediction, truth), whole)
    torch.testing.assert_close(metrics.f_score(prediction, truth, 0.04), f_whole)
    per_point = metrics.pa_error(prediction, truth, per_point=True)
    torch.testing.assert_close(per_point.mean(-1), whole)


def test_half_precision_is_measured_in_single():
    truth = random_hands(2, 21).half()
    assert metrics.pa_error(truth, truth).dtype == torch.float32
    assert metrics.pa_error(truth, truth).max() < 1e-6


def test_root_relative_error_by_hand():
    truth = torch.zeros(1, 3, 3)
    prediction = torch.tensor([[[1.0, 1, 1], [1, 1, 1], [4, 5, 1]]])  # off by (1, 1, 1), then one point by 5
    assert metrics.root_relative_error(prediction, truth).tolist() == [[0, 0, 5]]
    assert metrics.mpjpe(prediction, truth).item() == pytest.approx(5 / 3)
    assert metrics.mpjpe(prediction, truth, mask=torch.tensor([[True, True, False]])).item() == 0


def test_scale_translation_alignment_by_hand():
    truth = random_hands(2, 21)
    prediction = 3 * truth + 0.2
    assert metrics.scale_translation_aligned_error(prediction, truth).max() < 1e-9
    numpy_prediction, numpy_truth = random_hands(21, seed=5).numpy(), truth[0].numpy()
    scaled = numpy_prediction / np.linalg.norm(numpy_prediction[9] - numpy_prediction[0])
    scaled = scaled * np.linalg.norm(numpy_truth[9] - numpy_truth[0])
    expected = np.linalg.norm(scaled - scaled[0] + numpy_truth[0] - numpy_truth, axis=1)
    errors = metrics.scale_translation_aligned_error(torch.from_numpy(numpy_prediction), truth[0])
    np.testing.assert_allclose(errors.numpy(), expected, atol=1e-12)
    assert torch.isfinite(metrics.scale_translation_aligned_error(torch.zeros(21, 3), truth[0])).all()


def test_f_score_equals_a_kd_tree():
    prediction, truth = random_hands(3, 200, seed=1), random_hands(3, 150, seed=2)
    for threshold in (0.005, 0.015):
        expected = []
        for p, t in zip(prediction.numpy(), truth.numpy(), strict=True):
            precision = (cKDTree(t).query(p)[0] < threshold).mean()
            recall = (cKDTree(p).query(t)[0] < threshold).mean()
            both = precision + recall
            expected.append(2 * precision * recall / both if both > 0 else 0)
        np.testing.assert_allclose(metrics.f_score(prediction, truth, threshold).numpy(), expected, atol=1e-9)
    both = metrics.f_score(prediction, truth, (0.005, 0.015))
    assert both.shape == (3, 2) and torch.equal(both[:, 1], metrics.f_score(prediction, truth, 0.015))


def test_f_score_threshold_is_strict():
    prediction, truth = torch.zeros(1, 3), torch.tensor([[0.0, 0.25, 0.0]])
    assert metrics.f_score(prediction, truth, 0.25) == 0
    assert metrics.f_score(prediction, truth, 0.2500001) == 1


def test_pck_and_auc_equal_numpy():
    errors = torch.rand(40, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.08
    thresholds = np.linspace(0, 0.05, 100)
    curves = np.stack([(errors.numpy() <= t).mean(axis=0) for t in thresholds])
    np.testing.assert_allclose(metrics.pck(errors, torch.from_numpy(thresholds)).numpy(), curves)
    expected = (trapezoid(curves, thresholds, axis=0) / 0.05).mean()
    assert metrics.auc(errors).item() == pytest.approx(expected, abs=1e-12)
    assert metrics.auc(torch.zeros(4, 21)).item() == pytest.approx(1.0)
    assert metrics.auc(torch.ones(4, 21)).item() == 0.0


def test_pck_counts_a_tie_and_leaves_unknown_points_out():
    errors = torch.tensor([[0.5, math.nan], [1.0, 2.0]])
    assert metrics.pck(errors, 0.5).tolist() == [[0.5, 0.0]]
    errors[:, 1] = math.nan
    assert torch.isnan(metrics.pck(errors, 0.5)[0, 1])
    assert torch.isfinite(metrics.auc(errors))


def test_keypoint_error_2d_by_hand():
    truth = torch.tensor([[[0.0, 0.0], [100.0, 50.0]]])  # the box's longer side is 100 px
    prediction = truth + torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    assert metrics.keypoint_error_2d(prediction, truth).item() == pytest.approx(0.025)
    hidden_first = torch.tensor([[False, True]])
    assert metrics.keypoint_error_2d(prediction, truth, mask=hidden_first).item() == 0
    assert metrics.keypoint_error_2d(prediction, truth, per_point=True).tolist() == [[pytest.approx(0.05), 0.0]]
    assert torch.isnan(metrics.keypoint_error_2d(prediction * 0, truth * 0)).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="prediction must have shape"):
        metrics.pa_error(torch.zeros(21, 2), torch.zeros(21, 3))
    with pytest.raises(ValueError, match="prediction has 20 points and truth has 21"):
        metrics.pa_error(torch.zeros(20, 3), torch.zeros(21, 3))
    with pytest.raises(ValueError, match="mask"):
        metrics.pa_error(torch.zeros(21, 3), torch.zeros(21, 3), mask=torch.ones(20).bool())


def test_energy_score_equals_plain_loops():
    hypotheses, truth = random_hands(2, 5, 21, seed=1), random_hands(2, 21, seed=2)
    scores = uncertainty.energy_score(hypotheses, truth).numpy()
    whole = uncertainty.energy_score(hypotheses, truth, whole_hand=True).numpy()
    for sample in range(2):
        points, answer = hypotheses[sample].numpy(), truth[sample].numpy()
        pairs = list(itertools.permutations(range(5), 2))
        for joint in range(21):
            error = np.mean([np.linalg.norm(points[i, joint] - answer[joint]) for i in range(5)])
            between = np.mean([np.linalg.norm(points[i, joint] - points[j, joint]) for i, j in pairs])
            assert scores[sample, joint] == pytest.approx(error - between / 2, abs=1e-12)
        error = np.mean([np.linalg.norm(points[i] - answer) for i in range(5)])
        between = np.mean([np.linalg.norm(points[i] - points[j]) for i, j in pairs])
        assert whole[sample] == pytest.approx((error - between / 2) / math.sqrt(21), abs=1e-12)
    single = uncertainty.energy_score(hypotheses[:, :1], truth)
    torch.testing.assert_close(single, metrics.point_distance(hypotheses[:, 0], truth))


def test_visible_groups_part_the_samples():
    share = torch.tensor([0.0, 0.49, 0.5, 0.8, 0.81, 1.0])
    members = groups.visible_groups(share)
    assert list(members) == list(groups.VISIBLE_GROUPS)
    assert [mask.sum().item() for mask in members.values()] == [2, 2, 2]
    assert (sum(mask.int() for mask in members.values()) == 1).all()


# -- the same in plain numpy -------------------------------------------------------------------------------


def test_root_relative_error_equals_numpy():
    prediction, truth = random_hands(4, 21, seed=1).numpy(), random_hands(4, 21, seed=2).numpy()
    expected = np.linalg.norm((prediction - prediction[:, :1]) - (truth - truth[:, :1]), axis=2)
    errors = metrics.root_relative_error(torch.from_numpy(prediction), torch.from_numpy(truth))
    np.testing.assert_allclose(errors.numpy(), expected, atol=1e-12)


def test_hidden_joints_count_in_no_mean():
    prediction, truth = random_hands(3, 21, seed=1), random_hands(3, 21, seed=2)
    visible = torch.rand(3, 21, generator=torch.Generator().manual_seed(0)) > 0.4
    errors = metrics.root_relative_error(prediction, truth).numpy()
    expected = [row[seen].mean() for row, seen in zip(errors, visible.numpy(), strict=True)]
    np.testing.assert_allclose(metrics.mpjpe(prediction, truth, mask=visible).numpy(), expected)
    flat, flat_truth = prediction[..., :2], truth[..., :2]
    side = np.ptp(flat_truth.numpy(), axis=1).max(axis=1)  # the box holds hidden joints too
    distances = np.linalg.norm(flat.numpy() - flat_truth.numpy(), axis=2) / side[:, None]
    expected = [row[seen].mean() for row, seen in zip(distances, visible.numpy(), strict=True)]
    np.testing.assert_allclose(metrics.keypoint_error_2d(flat, flat_truth, mask=visible).numpy(), expected)


def test_masked_alignment_equals_the_numpy_version_on_the_rest():
    prediction, truth = random_hands(21, seed=1), random_hands(21, seed=2)
    mask = torch.arange(21) % 3 > 0
    aligned = official_align(truth[mask].numpy(), prediction[mask].numpy())
    expected = np.linalg.norm(aligned - truth[mask].numpy(), axis=1).mean()
    assert metrics.pa_error(prediction, truth, mask=mask).item() == pytest.approx(expected, abs=1e-9)


def test_one_sample_and_one_hypothesis():
    prediction, truth = random_hands(1, 1, 21, seed=1), random_hands(1, 21, seed=2)
    errors = metrics.pa_error(prediction, truth.unsqueeze(1))
    expected = np.linalg.norm(
        official_align(truth[0].numpy(), prediction[0, 0].numpy()) - truth[0].numpy(), axis=1
    ).mean()
    assert errors.shape == (1, 1) and errors.item() == pytest.approx(expected, abs=1e-9)
    assert spread(prediction).abs().max() == 0
    ranks = uncertainty.truth_ranks(prediction, truth)
    assert ((ranks == 0) | (ranks == 0.5) | (ranks == 1)).all()
    assert metrics.auc(metrics.root_relative_error(prediction[:, 0], truth)).isfinite()
    assert uncertainty.ause(torch.ones(1), torch.ones(1)) == 0


def test_a_mirrored_hand_in_the_other_alignments():
    truth = random_hands(2, 21)
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    expected = 2 * (truth[..., 0] - truth[:, :1, 0]).abs()
    torch.testing.assert_close(metrics.root_relative_error(mirrored, truth), expected)
    torch.testing.assert_close(metrics.scale_translation_aligned_error(mirrored, truth), expected)
    assert metrics.f_score(mirrored, truth, 0.001).max() < 0.1
    reference = np.linalg.norm(kabsch_align(truth[0].numpy(), mirrored[0].numpy()) - truth[0].numpy(), axis=1).mean()
    rotated_only = metrics.pa_error(mirrored, truth, allow_reflections=False)
    assert rotated_only[0].item() == pytest.approx(reference, abs=1e-9)
