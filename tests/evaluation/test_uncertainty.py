"""Metrics of several hypotheses and of uncertainties, against plain loops and cases counted by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from test_metrics import random_hands

from hf_handdiff.evaluation import uncertainty


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
    radius = error + 0.5 * torch.rand(37, dtype=torch.float64, generator=generator)
    _, curve, oracle = uncertainty.sparsification(radius, error, num_steps=10)
    for order, values in ((radius, curve), (error, oracle)):
        sure_first = error.numpy()[np.argsort(order.numpy(), kind="stable")]
        for step in range(10):
            kept = math.ceil(round(37 * (1 - step / 10), 9))
            assert values[step].item() == pytest.approx(sure_first[:kept].mean() / error.mean().item(), rel=1e-9)
    assert uncertainty.ause(radius, error, 10).item() == pytest.approx((curve - oracle).mean().item())
