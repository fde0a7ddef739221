"""Results by joint and by visible share, and the plots, from synthetic scores whose figures are known."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from hf_handdiff.evaluation import groups
from hf_handdiff.evaluation.plots import PLOTS, write_plots
from hf_handdiff.evaluation.report import render_report
from hf_handdiff.evaluation.scores import Scores
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.summary import summarise
from hf_handdiff.hand.topology import JOINT_NAMES

NUM_SAMPLES, NUM_HYPOTHESES = 400, 20


@pytest.fixture(scope="module")
def scores():
    """Joint j is off by a Gaussian of radius j mm, which joint_std knows; ranks are uniform, as when calibrated."""
    rng = np.random.default_rng(0)
    radius = np.tile(np.arange(21) / 1000, (NUM_SAMPLES, 1)) * rng.uniform(0.5, 2, (NUM_SAMPLES, 1))
    error = np.linalg.norm(rng.normal(size=(NUM_SAMPLES, 21, 3)), axis=2) * radius / math.sqrt(3)
    hypotheses = rng.uniform(0.01, 0.02, (NUM_SAMPLES, NUM_HYPOTHESES))
    made = {
        "pa_joint_error": error,
        "pa_joint_error_rotation": 2 * error,
        "joint_error": error,
        "joint_std": radius,
        "scale_translation_error": error,
        "hypothesis_pa_joints": hypotheses,
        "hypothesis_joint_error": hypotheses,
        "prior_pa_joints": 3 * hypotheses,
        "stage1_hypothesis_pa_joints": 2 * hypotheses,
        "single_pa_joint_error": 3 * error,
        "best_pa_joint_error": 0.5 * error,
        "prior_best_pa_joint_error": 4 * error,
        "keypoint_error": error,
        "keypoint_error_px": error,
        "keypoints_visible": np.tile(np.arange(21) % 2 == 0, (NUM_SAMPLES, 1)),
        "index": np.arange(NUM_SAMPLES),
        "sample_id": np.arange(NUM_SAMPLES).astype(str),
        "visible_share": np.linspace(0, 1, NUM_SAMPLES),
        "has_hand": np.ones(NUM_SAMPLES, bool),
        "hand_score": np.ones(NUM_SAMPLES),
        "seconds": np.ones(NUM_SAMPLES),
    }
    for stage in ("stage1", "stage2"):
        made[f"spread_{stage}"] = radius
        made[f"energy_{stage}"] = error
        made[f"energy_hand_{stage}"] = error.mean(axis=1)
        made[f"rank_{stage}"] = rng.integers(0, NUM_HYPOTHESES + 1, (NUM_SAMPLES, 21)).astype(float)
        made[f"rank_median_{stage}"] = made[f"rank_{stage}"]
    return made


@pytest.fixture(scope="module")
def results(scores):
    return summarise(Scores.from_arrays(scores), EvaluationSettings("made up", "none", "test", NUM_HYPOTHESES))


def test_every_joint_has_its_own_figures(scores, results):
    tip = results["by_joint"][JOINT_NAMES[20]]
    error_mm = 1000 * scores["pa_joint_error"][:, 20].mean()
    assert tip["pa_error_mm"] == pytest.approx(error_mm)
    assert tip["single_sample_pa_error_mm"] == pytest.approx(3 * error_mm)
    assert tip["best_of_all_pa_error_mm"] == pytest.approx(error_mm / 2)
    assert tip["prior_best_of_all_pa_error_mm"] == pytest.approx(4 * error_mm)
    assert tip["keypoint_error_percent_of_box"] == pytest.approx(error_mm / 10)
    assert tip["pa_auc_0_to_50mm"] == pytest.approx(1 - error_mm / 50, abs=0.01)
    assert tip["coverage_stage2"]["80%"] == pytest.approx(0.8, abs=0.06) and tip["ece_stage2"] < 0.05
    assert tip["joint_std_coverage"]["90%"] == pytest.approx(0.9, abs=0.05) and tip["joint_std_ece"] < 0.04
    expected = np.corrcoef(scores["joint_std"][:, 20], scores["joint_error"][:, 20])[0, 1]
    assert tip["joint_std_correlation"] == pytest.approx(expected)
    wrist = results["by_joint"][JOINT_NAMES[0]]
    assert "ece_stage2" not in wrist and "joint_std_ece" not in wrist


def test_the_radius_is_checked_overall_and_by_visible_share(results):
    for group in (results, *results["by_visible_share"].values()):
        figures = group["joint_std"]
        assert figures["ece"] < 0.02
        for level, share in (("50%", 0.5), ("80%", 0.8), ("90%", 0.9)):
            assert figures["coverage"][level] == pytest.approx(share, abs=0.03)


def test_pck_is_counted(scores, results):
    errors = 1000 * scores["pa_joint_error"]
    assert results["accuracy"]["pa_pck_10mm"] == pytest.approx((errors <= 10).mean())


def test_curves_begin_and_end_where_they_must(scores, results):
    curves = results["curves"]
    for name in ("stage1", "stage2", "joint_std"):
        line = curves["reliability"][name]
        assert line[0] == pytest.approx(0, abs=1e-9) and line[-1] == pytest.approx(1)
        np.testing.assert_allclose(line, curves["reliability"]["nominal"], atol=0.03)
    best = curves["best_of"]
    assert best["n"][-1] == NUM_HYPOTHESES
    assert best["stage2"][0] == pytest.approx(1000 * scores["hypothesis_pa_joints"][:, 0].mean())
    assert best["prior"][-1] == pytest.approx(3 * best["stage2"][-1])
    removed = curves["sparsification"]
    assert removed["joint_std_mm"][0] == pytest.approx(removed["oracle_mm"][0])
    assert removed["joint_std_mm"][0] == pytest.approx(1000 * scores["joint_error"][:, 1:].mean())
    assert all(a >= b - 1e-9 for a, b in zip(removed["joint_std_mm"], removed["oracle_mm"], strict=True))
    share = curves["visible_share"]
    assert sum(share["num_samples"]) == NUM_SAMPLES and len(share["center"]) == 10


def test_the_report_shows_every_group_and_joint(results):
    report = render_report(results)
    for words in ("## By joint", "little_4", "joint_std: covered at 80%", "best of 20 prior random hands", "PA-PCK"):
        assert words in report
    shown = [name for name in groups.VISIBLE_GROUPS if name in report]
    assert shown == list(groups.VISIBLE_GROUPS)
    json.dumps(results, allow_nan=False)


def test_skin_tones_are_told_apart(scores, results):
    assert results["by_skin_tone"] == {} and "## By skin tone" not in render_report(results), "not measured"
    tones = np.tile([0.1, 0.5, 0.9, -1.0], NUM_SAMPLES // 4)
    error = scores["pa_joint_error"] * np.where(tones == 0.9, 3.0, 1.0)[:, None]
    settings = EvaluationSettings("made up", "none", "test", NUM_HYPOTHESES)
    told = summarise(Scores.from_arrays({**scores, "pa_joint_error": error, "skin_tone": tones}), settings)
    by_tone = told["by_skin_tone"]
    assert list(by_tone) == list(groups.SKIN_TONE_GROUPS)
    assert [group["num_samples"] for group in by_tone.values()] == [NUM_SAMPLES // 4] * 3, "unknown tones are in none"
    light, _, dark = (group["accuracy"]["pa_mpjpe_mm"] for group in by_tone.values())
    assert dark == pytest.approx(1000 * error[tones == 0.9].mean()) and dark > 2 * light
    assert "dark (> 2/3)" in render_report(told).split("## By skin tone")[1].split("## By joint")[0]


def test_plots_are_written(results, tmp_path):
    written = write_plots(results, tmp_path)
    assert [path.name for path in written] == [f"{name}.png" for name in PLOTS]
    for path in written:
        picture = np.asarray(Image.open(path))
        assert picture.shape[1] == 800 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    # results.json is enough to draw them again
    again = write_plots(json.loads(json.dumps(results)), tmp_path)
    assert again == written


def test_what_cannot_be_told_is_not_drawn(scores, tmp_path):
    single = {name: values for name, values in scores.items() if "stage1" not in name and "prior" not in name}
    single["visible_share"] = np.full(NUM_SAMPLES, math.nan)
    single["joint_std"] = np.full((NUM_SAMPLES, 21), math.nan)
    single["hypothesis_pa_joints"] = scores["hypothesis_pa_joints"][:, :1]
    results = summarise(Scores.from_arrays(single), EvaluationSettings("made up", "none", "test", 1))
    assert write_plots(results, tmp_path) == [] and list(tmp_path.iterdir()) == []
    assert "## By joint" in render_report(results)
    json.dumps(results, allow_nan=False)
