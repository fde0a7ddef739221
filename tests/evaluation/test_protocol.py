"""The protocol with predictors whose answers are known: the truth, the truth with known noise, nonsense."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset

from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.measures import PA_JOINT_ERROR
from hf_handdiff.evaluation.prior import PriorBaseline, sample_prior_baseline
from hf_handdiff.evaluation.protocol import CHUNK_SIZE, run_protocol
from hf_handdiff.evaluation.report import render_report, write_report
from hf_handdiff.evaluation.row_reading import RowReader
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.summary import summarise

NUM_ROWS = CHUNK_SIZE + 14  # of the fixture `rows`; the last two have no hand


def settings(num_hypotheses=6, **changes):
    return EvaluationSettings(predictor="known", data="made up", split="test", num_hypotheses=num_hypotheses, **changes)


@pytest.fixture(scope="module")
def prior():
    return sample_prior_baseline(size=64)


class KnownPredictor:
    """Draws a centre off the truth by `off` and hypotheses off that centre by `std` (metres a coordinate).

    Everything but the noise is the truth, so that every figure of the report can be foretold. Joints that are
    hidden have four times the noise.
    """

    def __init__(self, num_hypotheses=6, off=0.004, std=0.004, fail_at=None, nan_at=None, meshes=True):
        self.num_hypotheses, self.off, self.std = num_hypotheses, off, std
        self.fail_at, self.nan_at, self.meshes = fail_at, nan_at, meshes
        self.seen = []

    def __call__(self, batch):
        self.seen += batch.indices
        if self.fail_at is not None and self.fail_at in batch.indices:
            raise KeyboardInterrupt
        hands = [self.hypotheses(batch, row) for row in range(len(batch))]
        joints = torch.stack([joints for joints, _ in hands])
        vertices = torch.stack([vertices for _, vertices in hands]) if self.meshes else None
        if self.nan_at is not None and self.nan_at in batch.indices:
            joints[batch.indices.index(self.nan_at)] = math.nan
        return SimpleNamespace(
            joints=joints,
            vertices=vertices,
            joint_hypotheses=batch.joints.unsqueeze(1) + 2 * (joints - batch.joints.unsqueeze(1)),
            mean_joints=joints.mean(1),
            mean_vertices=None if vertices is None else vertices.mean(1),
            joint_std=torch.full((len(batch), 21), math.sqrt(3) * self.off),
            keypoints_2d=batch.keypoints_px + torch.tensor([0.3, 0.4]),  # half a pixel away
            keypoint_scores=torch.where(batch.keypoints_visible, 0.9, 0.1),
            keypoint_cov=torch.diag(torch.tensor([0.09, 0.04])).expand(len(batch), 21, 2, 2),
            hand_score=torch.where(batch.has_hand, 0.9, 0.2),
        )

    def hypotheses(self, batch, row):
        generator = torch.Generator().manual_seed(batch.seeds[row])
        scale = torch.where(batch.keypoints_visible[row], 1.0, 4.0)[:, None]
        scale[0] = 0  # the wrist is the origin
        center = batch.joints[row] + self.off * scale * torch.randn(21, 3, generator=generator)
        noise = torch.randn(self.num_hypotheses, 21, 3, generator=generator)
        joints = center + self.std * scale * noise
        return joints, batch.vertices[row] + (joints[:, 9:10] - batch.joints[row, 9])


def run(predict, rows, out, prior=None, num_hypotheses=6, **options):
    decided = settings(num_hypotheses)
    return run_protocol(predict, rows, decided, out, prior=prior, show_progress=False, **options)


def test_the_truth_scores_zero(rows, prior, tmp_path):
    scores = run(KnownPredictor(off=0, std=0), rows, tmp_path, prior)
    results = summarise(scores, settings())
    assert results["num_images"] == NUM_ROWS and results["num_samples"] == NUM_ROWS - 2
    for name, value in results["accuracy"].items():
        perfect = 1 if any(word in name for word in ("score", "auc", "pck")) else 0
        # PCK at threshold 0 sees rounding: half a step of the AUC
        assert value == pytest.approx(perfect, abs=0.006 if "auc" in name else 2e-4), name
    assert results["best_of"]["5"]["pa_mpvpe_mm"] < 1e-3
    assert results["best_of"]["1"]["prior_pa_mpjpe_mm"] > results["best_of"]["5"]["prior_pa_mpjpe_mm"] > 3
    assert results["keypoints_2d"]["error_px"] == pytest.approx(0.5, abs=1e-4)
    assert results["hand_score"]["area_under_roc"] == 1 and results["hand_score"]["accuracy_at_half"] == 1


def test_known_noise_gives_the_known_figures(rows, tmp_path):
    visible_rows = [{**row, "keypoints_visible": [True] * 21} for row in rows[:-2]] * 4
    noise = 0.004
    predict = KnownPredictor(num_hypotheses=20, off=noise, std=noise)
    scores = run(predict, visible_rows, tmp_path, num_hypotheses=20)
    results = summarise(scores, settings(20))
    stage1, stage2 = (results["distribution"][stage] for stage in ("stage1", "stage2"))
    expected_spread = 1000 * noise * math.sqrt(3 * 19 / 20)  # mean of the square roots is a little less
    assert stage2["spread_mm"] == pytest.approx(expected_spread, rel=0.02)
    assert stage1["spread_mm"] == pytest.approx(2 * stage2["spread_mm"], rel=1e-4)
    assert stage2["ece"] < 0.02 and stage2["coverage"]["80%"] == pytest.approx(0.8, abs=0.03)
    # the centre of the hypotheses is off by one noise, their mean by 1/20 more; joint_std promises just one
    assert results["joint_std"]["mean_square_ratio"] == pytest.approx(1.05, abs=0.05)
    assert results["single_sample"]["mpjpe_root_relative_mm"] > results["accuracy"]["mpjpe_root_relative_mm"]
    expected_error = 1000 * noise * math.sqrt(1.05 * 8 / math.pi) * 20 / 21  # mean of a chi of three axes
    assert results["accuracy"]["mpjpe_root_relative_mm"] == pytest.approx(expected_error, rel=0.03)
    best = [results["best_of"][n]["pa_mpjpe_mm"] for n in ("1", "5", "10", "20")]
    assert best == sorted(best, reverse=True) and best[-1] < best[0]


def test_spread_grows_where_joints_are_hidden(rows, tmp_path):
    results = summarise(run(KnownPredictor(), rows, tmp_path), settings())
    for stage in ("stage1", "stage2"):
        figures = results["spread_and_visibility"][stage]
        assert figures["hidden_over_visible_same_joint"] == pytest.approx(4, rel=0.1)
        assert figures["correlation_hidden_spread_same_joint"] > 0.8
        assert figures["correlation_hidden_share_spread_of_hand"] > 0.5
    groups = results["by_visible_share"]
    assert sum(group["num_samples"] for group in groups.values()) == NUM_ROWS - 2
    spreads = [group["distribution"]["stage2"]["spread_mm"] for group in groups.values()]
    assert spreads[2] > 2 * spreads[0]


def test_the_batch_size_changes_nothing(rows, prior, tmp_path):
    one = run(KnownPredictor(), rows, tmp_path / "a", prior, batch_size=1, num_samples=20).to_arrays()
    seven = run(KnownPredictor(), rows, tmp_path / "b", prior, batch_size=7, num_samples=20).to_arrays()
    assert set(one) == set(seven)
    for name in set(one) - {"seconds", "sample_id"}:
        np.testing.assert_allclose(one[name], seven[name], atol=1e-6, err_msg=name)


def test_a_stopped_run_goes_on(rows, tmp_path):
    whole = run(KnownPredictor(), rows, tmp_path / "whole").to_arrays()
    with pytest.raises(KeyboardInterrupt):
        run(KnownPredictor(fail_at=CHUNK_SIZE + 5), rows, tmp_path / "stopped")
    resumed = KnownPredictor()
    scores = run(resumed, rows, tmp_path / "stopped").to_arrays()
    assert min(resumed.seen) == CHUNK_SIZE  # the first chunk was not done again
    for name in set(whole) - {"seconds"}:
        np.testing.assert_array_equal(whole[name], scores[name], err_msg=name)
    finished = KnownPredictor()
    run(finished, rows, tmp_path / "stopped")
    assert finished.seen == []


def test_a_folder_belongs_to_one_setting(rows, tmp_path):
    run(KnownPredictor(), rows, tmp_path, num_samples=2)
    with pytest.raises(InputError, match="num_hypotheses 6, now 5"):
        run(KnownPredictor(5), rows, tmp_path, num_hypotheses=5, num_samples=2)


def test_data_without_meshes(rows, tmp_path, prior):
    joints_only = [{name: row[name] for name in row if name != "vertices_m"} for row in rows[:5]]

    class JointsOnly(KnownPredictor):
        def hypotheses(self, batch, row):
            count = self.num_hypotheses
            return batch.joints[row].expand(count, 21, 3), torch.zeros(count, 778, 3)

    results = summarise(run(JointsOnly(), joints_only, tmp_path, prior), settings())
    assert results["accuracy"]["pa_mpvpe_mm"] is None and results["accuracy"]["f_score_5mm"] is None
    assert results["accuracy"]["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert "-" in render_report(results)


def test_a_predictor_without_meshes_or_stages(rows, tmp_path):
    class OneStage(KnownPredictor):
        def __call__(self, batch):
            prediction = super().__call__(batch)
            prediction.joint_hypotheses = None
            return prediction

    results = summarise(run(OneStage(meshes=False), rows[:5], tmp_path), settings())
    assert results["distribution"]["stage1"] is None and results["stage1"]["pa_mpjpe_mm"] is None
    assert results["accuracy"]["pa_mpvpe_mm"] is None
    render_report(results)


def test_one_hypothesis(rows, tmp_path, prior):
    results = summarise(run(KnownPredictor(1), rows[:6], tmp_path, prior, num_hypotheses=1), settings(1))
    assert list(results["best_of"]) == ["1"]
    assert results["distribution"]["stage2"]["spread_mm"] is None
    assert results["distribution"]["stage2"]["ece"] is None
    single, answer = results["single_sample"], results["accuracy"]
    assert single["pa_mpjpe_mm"] == pytest.approx(answer["pa_mpjpe_mm"], rel=1e-5)
    render_report(results)


def test_predictions_that_are_not_finite_are_counted(rows, tmp_path):
    scores = run(KnownPredictor(nan_at=3), rows[:6], tmp_path)
    results = summarise(scores, settings())
    assert results["num_failed"] == 1 and results["num_samples"] == 5
    assert "1 predictions were not finite" in render_report(results)
    json.dumps(results, allow_nan=False)


def test_a_stream_of_unknown_length(rows, tmp_path):
    columns = {name: feature for name, feature in CORPUS_FEATURES.items() if name in rows[0]}
    dataset = Dataset.from_list(rows[:9], features=type(CORPUS_FEATURES)(columns))
    stored = run(KnownPredictor(), dataset, tmp_path / "stored")
    streamed = run(KnownPredictor(), dataset.to_iterable_dataset(), tmp_path / "streamed")
    plain = run(KnownPredictor(), rows[:9], tmp_path / "plain")
    for scores in (stored, streamed):
        np.testing.assert_allclose(scores[PA_JOINT_ERROR], plain[PA_JOINT_ERROR], atol=1e-6)


def test_a_stream_is_read_once():
    """Chunk after chunk, with gaps as a process that shares the work leaves them; only going back opens it anew."""
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield {"number": number}

    reader = RowReader(IterableDataset.from_generator(numbers))
    for start in (0, 10, 30, 60, 95):
        found = [row["number"] for row in reader.rows(start, start + 10)]
        assert found == list(range(start, min(start + 10, 100)))
    assert len(made) <= 101
    assert [row["number"] for row in reader.rows(5, 7)] == [5, 6]


def test_bad_data_gets_a_clear_answer(rows, tmp_path):
    with pytest.raises(InputError, match="the data set is empty"):
        run(KnownPredictor(), [], tmp_path)
    with pytest.raises(InputError, match="missing: joints_m"):
        run(KnownPredictor(), [{k: v for k, v in rows[0].items() if k != "joints_m"}], tmp_path)
    with pytest.raises(InputError, match="num_samples: expected at least 1"):
        run(KnownPredictor(), rows, tmp_path, num_samples=0)
    with pytest.raises(InputError, match=r"expected joints of shape \(3, 4, 21, 3\), got \(3, 6, 21, 3\)"):
        run(KnownPredictor(), rows[:3], tmp_path / "shapes", num_hypotheses=4)


def test_written_results(rows, prior, tmp_path):
    results = summarise(run(KnownPredictor(), rows, tmp_path, prior), settings())
    json_path, report_path = write_report(results, tmp_path)
    again = json.loads(json_path.read_text())
    assert again["accuracy"] == results["accuracy"] and len(again["by_joint"]) == 21
    report = report_path.read_text()
    for words in ("best of 5 prior random hands", "single sample", "mostly hidden", "geometric median"):
        assert words in report
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chunks",
        "report.md",
        "results.json",
        "settings.json",
    ]


def test_prior_hands_depend_on_the_seed_alone(prior):
    first, _ = prior.choose([7, 8], 4)
    again, vertices = prior.choose([8], 6)
    assert torch.equal(first[1], again[0, :4]) and vertices.shape == (1, 6, 778, 3)
    assert isinstance(prior, PriorBaseline) and prior.joints[:, 0].abs().max() == 0
