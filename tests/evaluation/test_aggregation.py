"""From hypotheses to one answer: aggregates and spread of known hypotheses."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation
from test_metrics import random_hands

from hf_handdiff.pipelines.aggregation import (
    aggregate,
    calibrated_std,
    geometric_median_weights,
    medoid_index,
    spread,
)
from hf_handdiff.pipelines.defaults import MEANS


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


@pytest.mark.parametrize("method", MEANS)
def test_one_hypothesis_is_the_answer(method):
    joints, vertices = random_hands(2, 1, 21), random_hands(2, 1, 30)
    answer, answer_vertices = aggregate(joints, vertices, method)
    torch.testing.assert_close(answer, joints[:, 0])
    torch.testing.assert_close(answer_vertices, vertices[:, 0])
    assert aggregate(joints, method=method)[1] is None


@pytest.mark.parametrize("method", MEANS)
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


def test_spread_equals_numpy():
    hypotheses = random_hands(2, 7, 21, seed=3)
    points = hypotheses.numpy()
    offsets = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=3)
    np.testing.assert_allclose(spread(hypotheses).numpy(), np.sqrt((offsets**2).mean(axis=1)), atol=1e-12)


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
