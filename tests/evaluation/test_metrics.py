"""Every metric against an independent plain-numpy version and against cases counted by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hf_handdiff.evaluation import groups, metrics, uncertainty
from hf_handdiff.pipelines.aggregation import (
    AGGREGATIONS,
    aggregate,
    calibrated_std,
    geometric_median_weights,
    medoid_index,
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


# -- aggregation -------------------------------------------------------------------------------------------


def test_aggregates_of_known_hypotheses():
    offsets = torch.tensor([0.0, 0.0, 0.0, 1.0])  # three agree, one is far away
    joints = offsets[:, None, None].expand(4, 21, 3).clone()
    vertices = 10 * offsets[:, None, None].expand(4, 7, 3)
    mean, mean_vertices = aggregate(joints, vertices, "mean")
    assert mean.unique().item() == 0.25 and mean_vertices.unique().item() == 2.5
    median, median_vertices = aggregate(joints, vertices, "median")
    assert median.abs().max() < 1e-5 and median_vertices.abs().max() < 1e-4
    medoid, medoid_vertices = aggregate(joints, vertices, "medoid")
    assert torch.equal(medoid, joints[0]) and torch.equal(medoid_vertices, vertices[0])
    with pytest.raises(ValueError, match="mean, median, medoid, aligned"):
        aggregate(joints, method="mode")


def test_medoid_is_one_hypothesis_bit_for_bit():
    joints, vertices = random_hands(3, 9, 21).float(), random_hands(3, 9, 50, seed=4).float()
    index = medoid_index(joints)
    expected = [
        min(range(9), key=lambda i: sum(np.linalg.norm(hands[i] - hands[j]) for j in range(9)))
        for hands in joints.numpy()
    ]
    assert index.tolist() == expected
    picked, picked_vertices = aggregate(joints, vertices, "medoid")
    for sample, choice in enumerate(expected):
        assert torch.equal(picked[sample], joints[sample, choice])
        assert torch.equal(picked_vertices[sample], vertices[sample, choice])


def test_geometric_median_has_no_slope():
    joints = random_hands(2, 11, 21)
    median, _ = aggregate(joints, method="median")
    offsets = (joints - median.unsqueeze(1)).flatten(2)
    slope = (offsets / offsets.norm(dim=-1, keepdim=True)).sum(dim=1)
    assert slope.abs().max() < 1e-6  # the unit vectors towards the hypotheses cancel out
    weights = geometric_median_weights(joints)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_one_hypothesis_is_the_answer(method):
    joints, vertices = random_hands(2, 1, 21), random_hands(2, 1, 30)
    answer, answer_vertices = aggregate(joints, vertices, method)
    torch.testing.assert_close(answer, joints[:, 0])
    torch.testing.assert_close(answer_vertices, vertices[:, 0])
    assert aggregate(joints, method=method)[1] is None


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_the_rest_of_a_batch_changes_nothing(method):
    joints = random_hands(4, 6, 21).float()
    torch.testing.assert_close(
        aggregate(joints, method=method)[0][2], aggregate(joints[2], method=method)[0], atol=1e-7, rtol=0
    )


def test_spread_by_hand():
    hypotheses = torch.zeros(2, 1, 3)
    hypotheses[1, 0, 0] = 2.0  # two hypotheses, each 1 away from their mean
    assert spread(hypotheses).tolist() == [1.0]
    assert spread(hypotheses[:1]).tolist() == [0.0]
    assert calibrated_std(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([4.0])).tolist() == [5.0]


# -- several hypotheses ------------------------------------------------------------------------------------


def test_best_of_n_is_chosen_per_sample():
    errors = torch.tensor([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]])
    assert uncertainty.best_of_n(errors, 1).tolist() == [3, 5]
    assert uncertainty.best_of_n(errors, 2).tolist() == [1, 5]
    assert uncertainty.best_of_n(errors, 3).tolist() == [1, 4]
    for n in (0, 4):
        with pytest.raises(ValueError, match=r"1\.\.3"):
            uncertainty.best_of_n(errors, n)


def test_truth_ranks_by_hand():
    hypotheses = torch.zeros(4, 1, 3)
    hypotheses[:, 0, 0] = torch.tensor([-2.0, -1.0, 1.0, 2.0])  # the median is 0
    for position, rank in [(0.5, 0), (1.5, 2), (3.0, 4), (1.0, 1.0)]:
        truth = torch.tensor([[position, 0.0, 0.0]])
        assert uncertainty.truth_ranks(hypotheses, truth).item() == rank
    assert torch.isnan(uncertainty.truth_ranks(hypotheses, torch.full((1, 3), math.nan)))
    with pytest.raises(ValueError, match="median"):
        uncertainty.truth_ranks(hypotheses, truth, center="mode")


def test_pooled_ranks_equal_a_plain_count():
    hypotheses, truth = random_hands(2, 6, 21, seed=1), random_hands(2, 21, seed=2)
    ranks = uncertainty.truth_ranks(hypotheses, truth, center="pooled").numpy()
    for sample, joint in itertools.product(range(2), range(21)):
        points = np.vstack([hypotheses[sample, :, joint], truth[sample, joint][None]])
        distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
        assert ranks[sample, joint] == (distances[:-1] < distances[-1]).sum()


def test_ece_of_one_hypothesis_is_unknown():
    ranks = uncertainty.truth_ranks(random_hands(5, 1, 21), random_hands(5, 21, seed=1))
    assert torch.isnan(uncertainty.quantile_ece(ranks, 1)).all()


def test_coverage_of_even_ranks_is_the_level():
    ranks = torch.arange(21.0).unsqueeze(1)  # every rank of N = 20 once
    levels = torch.tensor([0.5, 0.8, 0.9])
    torch.testing.assert_close(uncertainty.coverage(ranks, 20, levels)[:, 0], levels)
    assert uncertainty.quantile_ece(ranks, 20).item() < 1e-6
    assert uncertainty.quantile_ece(torch.full((5, 1), 20.0), 20).item() == pytest.approx(0.5, abs=0.03)
    assert uncertainty.quantile_ece(torch.zeros(5, 1), 20).item() == pytest.approx(0.5, abs=0.03)


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


# -- uncertainty against error -----------------------------------------------------------------------------


def test_correlations_equal_scipy():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 8, (60, 2), generator=generator).double()  # with ties
    y = x + 3 * torch.rand(60, 2, generator=generator).double()
    for column in range(2):
        pearson = stats.pearsonr(x[:, column], y[:, column]).statistic
        spearman = stats.spearmanr(x[:, column], y[:, column]).statistic
        assert uncertainty.pearson_correlation(x, y)[column].item() == pytest.approx(pearson, abs=1e-12)
        assert uncertainty.spearman_correlation(x, y)[column].item() == pytest.approx(spearman, abs=1e-12)
    assert uncertainty.pearson_correlation(torch.ones(5), torch.arange(5.0)) == 0
    assert uncertainty.pearson_correlation(torch.ones(1), torch.ones(1)) == 0


def test_sparsification_by_hand():
    error = torch.tensor([4.0, 1.0, 3.0, 2.0])
    removed, curve, oracle = uncertainty.sparsification(error, error, num_steps=4)
    assert removed.tolist() == [0, 0.25, 0.5, 0.75]
    torch.testing.assert_close(curve, torch.tensor([2.5, 2.0, 1.5, 1.0]) / 2.5)
    assert torch.equal(curve, oracle)
    assert uncertainty.ause(error, error, num_steps=4) == 0
    backwards = uncertainty.ause(-error, error, num_steps=4)  # keeps 2.5, 3, 3.5, 4
    assert backwards.item() == pytest.approx((0 + 1 + 2 + 3) / 2.5 / 4)
    with pytest.raises(ValueError, match="at least one"):
        uncertainty.sparsification(torch.empty(0), torch.empty(0))


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


def test_ranks_coverage_and_ece_equal_plain_loops():
    hypotheses, truth = random_hands(12, 6, 4, seed=1), random_hands(12, 4, seed=2)
    ranks = uncertainty.truth_ranks(hypotheses, truth)
    for sample, joint in itertools.product(range(12), range(4)):
        points = hypotheses[sample, :, joint].numpy()
        middle = np.median(points, axis=0)
        distance = np.linalg.norm(truth[sample, joint].numpy() - middle)
        assert ranks[sample, joint] == (np.linalg.norm(points - middle, axis=1) < distance).sum()
    levels = np.linspace(0, 1, 101)
    expected = np.empty((101, 4))
    for number, level in enumerate(levels):
        for joint in range(4):
            # rank r is spread evenly over the quantiles r / 7 to (r + 1) / 7
            expected[number, joint] = np.mean(np.clip(7 * level - ranks[:, joint].numpy(), 0, 1))
    covered = uncertainty.coverage(ranks, 6, torch.from_numpy(levels))
    np.testing.assert_allclose(covered.numpy(), expected, atol=1e-12)
    ece = np.abs(expected - levels[:, None]).mean(axis=0)
    np.testing.assert_allclose(uncertainty.quantile_ece(ranks, 6).numpy(), ece, atol=1e-12)


def test_unknown_ranks_are_left_out():
    ranks = torch.tensor([[0.0], [math.nan], [4.0]])
    torch.testing.assert_close(uncertainty.coverage(ranks, 4, [0.5]), uncertainty.coverage(ranks[[0, 2]], 4, [0.5]))


def test_best_of_n_equals_numpy_and_shows_nan():
    errors = torch.rand(5, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for n in (1, 5, 10, 20, 50):
        np.testing.assert_array_equal(uncertainty.best_of_n(errors, n).numpy(), errors.numpy()[:, :n].min(axis=1))
    errors[2, 3] = math.nan  # a hypothesis that failed is not passed over in silence
    assert torch.isnan(uncertainty.best_of_n(errors, 5)).tolist() == [False, False, True, False, False]
    assert torch.equal(uncertainty.best_of_n(errors[:, :1], 1), errors[:, 0])


def test_spread_equals_numpy():
    hypotheses = random_hands(2, 7, 21, seed=3)
    points = hypotheses.numpy()
    offsets = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=3)
    np.testing.assert_allclose(spread(hypotheses).numpy(), np.sqrt((offsets**2).mean(axis=1)), atol=1e-12)


def test_energy_score_shows_nan_where_it_is():
    hypotheses, truth = random_hands(2, 5, 21, seed=1), random_hands(2, 21, seed=2)
    clean = uncertainty.energy_score(hypotheses, truth)
    hypotheses[1, 2, 7] = math.nan
    spoilt = uncertainty.energy_score(hypotheses, truth)
    assert torch.isnan(spoilt[1, 7]) and torch.isnan(spoilt).sum() == 1
    torch.testing.assert_close(spoilt[0], clean[0])


def test_sparsification_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(37, dtype=torch.float64, generator=generator)
    uncertainty = error + 0.5 * torch.rand(37, dtype=torch.float64, generator=generator)
    _, curve, oracle = uncertainty.sparsification(uncertainty, error, num_steps=10)
    for order, values in ((uncertainty, curve), (error, oracle)):
        sure_first = error.numpy()[np.argsort(order.numpy(), kind="stable")]
        for step in range(10):
            kept = math.ceil(round(37 * (1 - step / 10), 9))
            assert values[step].item() == pytest.approx(sure_first[:kept].mean() / error.mean().item(), rel=1e-9)
    assert uncertainty.ause(uncertainty, error, 10).item() == pytest.approx((curve - oracle).mean().item())


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


def test_aligned_hypotheses_keep_the_hand_that_a_plain_mean_shrinks():
    generator = torch.Generator().manual_seed(0)
    hand = 0.1 * torch.randn(21, 3, generator=generator, dtype=torch.float64)
    hand = hand - hand[:1]
    vertices = 0.1 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    turns = Rotation.from_rotvec(0.6 * torch.randn(12, 3, generator=generator).numpy()).as_matrix()
    turns = torch.from_numpy(turns)
    joints, mesh = aggregate(hand @ turns, vertices @ turns, "aligned")
    plain, _ = aggregate(hand @ turns)
    size = torch.cdist(hand, hand)
    torch.testing.assert_close(torch.cdist(joints, joints), size)
    torch.testing.assert_close(torch.cdist(mesh, joints), torch.cdist(vertices, hand))
    assert torch.cdist(plain, plain).sum() < 0.98 * size.sum()
    turn, _ = orthogonal_procrustes(joints.numpy(), plain.numpy())
    assert np.trace(turn) > 1 + 2 * math.cos(math.radians(5))  # turned as the plain mean is
