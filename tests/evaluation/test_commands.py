"""`handdiff evaluate` and `handdiff benchmark` from end to end, with untrained small networks."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_handdiff.cli.evaluate import pipeline_predictor
from hf_handdiff.cli.main import main
from hf_handdiff.cli.pipeline_arguments import checkpoint_digest
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.evaluation.batches import collate
from hf_handdiff.evaluation.benchmark import fit_cost, measure_pipeline, render_benchmark, watch_calls


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    zeros = {"pose_rad": np.zeros((16, 3)), "shape": [0.0] * 10, "translation_m": [0.0] * 3, "skin_tone": 0.5}
    complete = [{**row, **zeros} for row in rows[:14]]
    Dataset.from_list(complete, features=CORPUS_FEATURES).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


def evaluate(checkpoint, corpus, out, *more):
    arguments = ["--checkpoint", checkpoint, "--data", corpus, "--out", out, "--num-hypotheses", 3]
    return main(["evaluate", *map(str, arguments), "--pictures", "1", *map(str, more)])


def test_evaluate_writes_everything(checkpoint, corpus, tmp_path, capsys):
    assert evaluate(checkpoint, corpus, tmp_path) == 0
    printed = capsys.readouterr().out
    assert "best of 3 prior random hands" in printed and "calibration fitted" in printed
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["num_samples"] == 14 and results["settings"]["num_hypotheses"] == 3
    assert results["accuracy"]["pa_mpvpe_mm"] > 0
    calibration = json.loads((tmp_path / "calibration.json").read_text())
    assert [len(calibration[name]) for name in ("scale", "floor_m", "single_m")] == [21, 21, 21]
    plots = ("reliability.png", "visible_share.png", "best_of_n.png", "sparsification.png")
    for name in ("report.md", "best.jpg", "worst.jpg", *plots):
        assert (tmp_path / name).stat().st_size > 0
    assert all(f"]({name})" in (tmp_path / "report.md").read_text() for name in plots)


def test_a_calibration_changes_the_radius_that_is_kept(tiny_pipeline, corpus, tmp_path):
    from hf_handdiff import CascadedHandPipeline

    tiny_pipeline.save_pretrained(tmp_path / "checkpoint")
    before = checkpoint_digest(str(tmp_path / "checkpoint"))
    assert evaluate(tmp_path / "checkpoint", corpus, tmp_path / "out", "--write-calibration") == 0
    assert checkpoint_digest(str(tmp_path / "checkpoint")) != before
    reloaded = CascadedHandPipeline.from_pretrained(tmp_path / "checkpoint")
    kept = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert reloaded.config["joint_std_calibration"] == {**kept, "aggregation": "fitted"}
    assert evaluate(tmp_path / "checkpoint", corpus, tmp_path / "checked") == 0
    results = json.loads((tmp_path / "checked" / "results.json").read_text())
    assert results["joint_std"]["mean_square_ratio"] == pytest.approx(1, abs=0.05)


def test_bad_arguments_get_one_line(checkpoint, corpus, tmp_path, capsys):
    assert evaluate(checkpoint, tmp_path / "nowhere", tmp_path / "a") == 1
    assert "--data" in capsys.readouterr().err
    assert evaluate(tmp_path / "no" / "such" / "checkpoint", corpus, tmp_path / "b") == 1
    assert "--checkpoint" in capsys.readouterr().err
    assert evaluate(checkpoint, corpus, tmp_path / "c", "--split", "validation") == 1
    assert "--data: split" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate(checkpoint, corpus, tmp_path / "d", "--batch-size", 0)


def test_true_keypoints_replace_the_estimate(tiny_pipeline, rows):
    batch = collate(rows[:2], 0, seed=0)
    given = pipeline_predictor(tiny_pipeline, 2, "mean", true_keypoints=True)(batch)
    torch.testing.assert_close(given.keypoints_2d, batch.keypoints_px)
    estimated = pipeline_predictor(tiny_pipeline, 2, "mean", true_keypoints=False)(batch)
    assert (estimated.keypoints_2d - batch.keypoints_px).abs().max() > 1


def test_the_encoder_runs_once_an_image(tiny_pipeline, photo):
    figures = measure_pipeline(tiny_pipeline, photo, [1, 4], repeats=1)
    assert figures["encoder_calls_per_image"] == 1
    assert set(figures["ms_per_image"]) == {"1", "4"}
    assert "one more hypothesis" in render_benchmark(figures)
    assert "one more hypothesis" not in render_benchmark(measure_pipeline(tiny_pipeline, photo, [2], repeats=1))


def test_watched_calls_are_counted_and_let_go():
    module = torch.nn.Linear(2, 2)
    with watch_calls(module) as log:
        module(torch.zeros(1, 2))
        module(torch.zeros(1, 2))
    module(torch.zeros(1, 2))
    assert len(log.seconds) == 2 and min(log.seconds) > 0


def test_the_cost_of_one_more():
    fixed, each = fit_cost([1, 5, 20], [32.0, 40.0, 70.0])
    assert fixed == pytest.approx(30) and each == pytest.approx(2)
    assert np.isnan(fit_cost([5], [40.0])[1])


@pytest.mark.slow
def test_benchmark_writes_its_figures(checkpoint, tmp_path, capsys):
    path = tmp_path / "figures.json"
    arguments = ["--checkpoint", checkpoint, "--num-hypotheses", "1,2", "--repeats", 1, "--json", path]
    assert main(["benchmark", *map(str, arguments)]) == 0
    figures = json.loads(path.read_text())
    assert figures["fresh_process"]["total_s"] > figures["fresh_process"]["load_s"] > 0
    assert figures["fresh_process"]["peak_memory_mib"] > 50
    assert "image encoder runs per image" in capsys.readouterr().out


def test_the_commands_load_nothing_heavy():
    code = "import sys, hf_handdiff.cli.evaluate, hf_handdiff.cli.benchmark; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
