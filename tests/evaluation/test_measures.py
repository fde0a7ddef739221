"""The table of metrics and the schema of the results: one entry makes a metric, and results.json is what it says."""

import math
import types
import typing
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_protocol import KnownPredictor, run, settings

from hf_handdiff.evaluation import measures, uncertainty
from hf_handdiff.evaluation.comparison import Comparison
from hf_handdiff.evaluation.measures import METRICS, PA_JOINT_ERROR, Unit
from hf_handdiff.evaluation.prior import sample_prior_baseline
from hf_handdiff.evaluation.report import render_report
from hf_handdiff.evaluation.results import Results
from hf_handdiff.evaluation.scores import Scores
from hf_handdiff.evaluation.summary import summarise


@pytest.fixture(scope="module")
def scores(rows, tmp_path_factory):
    return run(KnownPredictor(), rows[:12], tmp_path_factory.mktemp("run"), sample_prior_baseline(size=64))


def check(value, kind, place="results"):
    """Raise where a value of the results is not what the schema says."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        assert set(value) <= set(hints) and kind.__required_keys__ <= set(value), (place, set(value) ^ set(hints))
        for key, part in value.items():
            check(part, hints[key], f"{place}.{key}")
    elif origin is dict:
        for key, part in value.items():
            check(part, arguments[1], f"{place}.{key}")
    elif origin is list:
        for part in value:
            check(part, arguments[0], place)
    elif origin in (types.UnionType, typing.Union):
        if value is not None:
            check(value, next(part for part in arguments if part is not type(None)), place)
    elif kind is not typing.Any:
        assert type(value) is kind, (place, value, kind)


def test_results_have_the_schema(scores, rows, tmp_path):
    results = summarise(scores, settings())
    check(results, Results)
    assert set(METRICS) == set(scores.measures), "the known predictor has all that a metric takes"
    with pytest.raises(AssertionError, match="spread"):
        check({**results, "distribution": {"stage1": {"spread": 1.0}}}, Results)
    check(summarise(run(KnownPredictor(1, meshes=False), rows[:3], tmp_path, num_hypotheses=1), settings(1)), Results)


def test_every_measure_has_the_shape_that_its_entry_names(scores):
    sizes = {"joint": 21, "hypothesis": 6}
    for name, metric in METRICS.items():
        assert scores.measures[name].shape == (len(scores), *(sizes[dimension] for dimension in metric.per)), name


def test_keypoints_are_measured_by_what_is_told_of_them(scores, rows):
    hands = scores.select(scores.has_hand)
    visible = torch.tensor([row["keypoints_visible"] for row in rows[: len(scores)] if row["has_hand"]])
    torch.testing.assert_close(hands[measures.KEYPOINT_SCORE], torch.where(visible, 0.9, 0.1))
    distance = hands[measures.KEYPOINT_DISTANCE]  # one standard deviation along x, two along y
    torch.testing.assert_close(distance, torch.full_like(distance, math.sqrt(5)), atol=1e-3, rtol=0)


def test_keypoint_distance_reads_the_whole_covariance():
    truth = torch.tensor([[3.0, 4.0]]).expand(1, 21, 2)
    covariance = torch.tensor([[4.0, 1.5], [1.5, 1.0]]).expand(1, 21, 2, 2).clone()
    covariance[0, 2] = torch.nan
    predicted = types.SimpleNamespace(keypoints_2d=truth + torch.tensor([1.0, -0.5]), keypoint_cov=covariance)
    batch = types.SimpleNamespace(keypoints_px=truth)
    distance = Comparison(predicted, batch).keypoint_distance[0]
    offset = np.array([1.0, -0.5])
    expected = math.sqrt(offset @ np.linalg.inv(covariance[0, 0].double().numpy()) @ offset)
    assert torch.isnan(distance).nonzero().tolist() == [[2]]
    assert distance[0].item() == pytest.approx(expected, rel=1e-5)
    silent = Comparison(types.SimpleNamespace(keypoints_2d=truth), batch)
    assert silent.keypoint_distance is None and silent.keypoint_scores is None


def test_one_entry_adds_a_metric(rows, tmp_path):
    metric = measures._metric(
        "thumb_length",
        Unit.METRES,
        (),
        lambda c: (c.mean_joints[:, 4] - c.mean_joints[:, 1]).norm(dim=-1),
        figure="thumb_length_mm",
        title="length of the thumb",
    )
    try:
        scores = run(KnownPredictor(off=0, std=0), rows[:4], tmp_path)
        results = summarise(scores, settings())
        true = [np.linalg.norm(row["joints_m"][4] - row["joints_m"][1]) for row in rows[:4]]
        assert results["accuracy"]["thumb_length_mm"] == pytest.approx(1000 * np.mean(true), rel=1e-5)
        assert "| length of the thumb" in render_report(results)
        with pytest.raises(ValueError, match="'thumb_length' twice"):
            measures._metric("thumb_length", Unit.METRES, (), metric.measure)
    finally:
        del METRICS["thumb_length"]


def test_scores_survive_their_file(scores, tmp_path):
    scores.save(tmp_path / "scores.npz")
    again = Scores.load(tmp_path / "scores.npz").to_arrays()
    assert set(again) == set(scores.to_arrays())
    for name, values in scores.to_arrays().items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_files_of_earlier_versions_are_read(scores):
    """Without what came later, and with what has gone."""
    arrays = {**scores.to_arrays(), "measured_once": np.zeros(len(scores))}
    del arrays["found"], arrays["skin_tone"]
    read = Scores.from_arrays(arrays)
    assert read.found.all() and (read.skin_tone == -1).all() and "measured_once" not in read.to_arrays()
    assert summarise(read, settings())["by_skin_tone"] == {}


def test_parts_join_and_rows_are_chosen(scores):
    first, last = scores.select(np.arange(len(scores)) < 5), scores.select(np.arange(5, len(scores)))
    np.testing.assert_array_equal(Scores.join([first, last])[PA_JOINT_ERROR], scores[PA_JOINT_ERROR])
    without = replace(last, measures={"joint_std": last.measures["joint_std"]})
    assert set(Scores.join([first, without]).measures) == {"joint_std"}


def test_area_under_roc_equals_a_plain_count():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(2, 8, 40) / 10, rng.integers(0, 6, 25) / 10  # with ties
    pairs = np.sign(positive[:, None] - negative)
    assert uncertainty.area_under_roc(positive, negative) == pytest.approx((1 + pairs.mean()) / 2)
    assert math.isnan(uncertainty.area_under_roc(positive, negative[:0]))


def test_nothing_is_measured_where_there_is_no_hand(rows, tmp_path):
    scores = run(KnownPredictor(), rows[-4:], tmp_path)
    for metric in METRICS.values():
        if metric in scores:
            assert torch.isnan(scores[metric][-2:].double()).all(), metric.name
