"""`handdiff evaluate` on official corpora, on incomplete ones, and beside the MediaPipe baseline."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from official_runs import NUM_EVALUATION, evaluate, import_tree, make_tree, official_truth, write_rows
from official_trees import make_hands, write_mano_file

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.evaluation.official import (
    HO3D,
    official_scores,
)
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.topology import MANO, OPEN_HAND
from hf_handdiff.models import MeshAutoencoder


def test_evaluate_on_an_official_corpus(checkpoint, corpora, trees, tmp_path, capsys):
    assert evaluate(checkpoint, corpora["ho3d"], tmp_path, "--split", "evaluation", "--num-samples", 2) == 0
    printed = capsys.readouterr().out
    assert "holds 2 of the 3 images" in printed and "open hand's, not MANO's" in printed
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["accuracy"]["pa_mpvpe_mm"] is None and results["accuracy"]["f_score_15mm"] is not None
    assert results["best_of"]["1"]["prior_pa_mpvpe_mm"] is None
    pred = json.loads((tmp_path / "pred.json").read_text())
    xyz, verts = (values[:2] for values in official_truth(trees["ho3d"]))
    np.testing.assert_allclose(np.array(pred[0])[:, 0], xyz[:, 0], atol=1e-6)  # the given root
    for name, value in official_scores(pred, xyz, verts, layout=HO3D, same_vertices=False).items():
        assert results["official"]["scores"][name] == pytest.approx(value, abs=1e-3), name
    assert results["official"]["scores"]["pa_mpjpe_mm"] == pytest.approx(results["accuracy"]["pa_mpjpe_mm"], abs=1e-3)
    assert "Official scores (HO3D v2)" in (tmp_path / "report.md").read_text()


@pytest.fixture(scope="module")
def checkpoint_of_mano(tiny_pipeline, mano_file, tmp_path_factory):
    """The same networks, with meshes of the hand in `mano_file`."""
    autoencoder = MeshAutoencoder.of_hand(load_mano_layer(mano_file), encoder_hidden_size=32)
    parts = {**tiny_pipeline.components, "mesh_autoencoder": autoencoder.eval()}
    folder = tmp_path_factory.mktemp("mano") / "checkpoint"
    CascadedHandPipeline(**parts).save_pretrained(folder)
    return folder


def test_a_checkpoint_of_another_mesh_is_compared_vertex_by_vertex(
    checkpoint_of_mano, corpora, mano_file, tmp_path, capsys
):
    run = (checkpoint_of_mano, corpora["freihand"])
    assert evaluate(*run, tmp_path / "refused", "--split", "evaluation", "--aggregation", "mean") == 1
    assert "--hand: expected the file of the hand" in capsys.readouterr().err
    assert evaluate(*run, tmp_path / "out", "--split", "evaluation", "--hand", mano_file) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["accuracy"]["pa_mpvpe_mm"] == pytest.approx(results["official"]["scores"]["pa_mpvpe_mm"], abs=1e-3)
    assert results["best_of"]["1"]["prior_pa_mpvpe_mm"] > 0
    assert results["settings"]["predicted_mesh"] == MANO == results["settings"]["true_mesh"]
    assert re.search(r"hand MANO_RIGHT.pkl [0-9a-f]{8}", results["settings"]["options"])


def test_an_official_corpus_of_the_open_hand_is_compared_vertex_by_vertex(checkpoint, tmp_path, capsys):
    """The layout is the data set's; whose vertices the meshes have is told by the meshes."""
    path = write_mano_file(tmp_path / "MANO_RIGHT.pkl")
    with torch.no_grad():
        hands = make_hands(1, path), make_hands(2, path, seed=1)
    corpus = import_tree("ho3d", make_tree("ho3d", tmp_path / "tree", hands), tmp_path / "corpus")
    assert evaluate(checkpoint, corpus, tmp_path / "out", "--split", "evaluation", "--hand", path) == 0
    assert "not MANO's" not in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["settings"]["predicted_mesh"] == OPEN_HAND == results["settings"]["true_mesh"]
    assert results["official"]["same_vertices"] and results["best_of"]["1"]["prior_pa_mpvpe_mm"] > 0
    assert results["accuracy"]["pa_mpvpe_mm"] == pytest.approx(results["official"]["scores"]["pa_mpvpe_mm"], abs=1e-3)


@pytest.mark.parametrize("name", ["freihand", "ho3d"])
def test_without_published_truth_only_predictions_are_written(checkpoint, unpublished, tmp_path, capsys, name):
    assert evaluate(checkpoint, unpublished[name], tmp_path, "--split", "evaluation") == 0
    assert "only predictions were written" in capsys.readouterr().out
    xyz, verts = json.loads((tmp_path / "pred.json").read_text())
    assert np.shape(xyz) == (NUM_EVALUATION, 21, 3) and np.shape(verts) == (NUM_EVALUATION, 778, 3)
    assert np.isfinite(xyz).all() and not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("streaming", [False, True])
def test_the_command_on_joints_alone(checkpoint, rows, tmp_path, streaming):
    without_column = write_rows(rows[:3], tmp_path / "a", leave_out=("vertices_m", "pose_rad", "skin_tone"))
    unknown = [{**row, "vertices_m": np.full((778, 3), np.nan)} for row in rows[:3]]
    for corpus in (without_column, write_rows(unknown, tmp_path / "b")):
        out = corpus / "out"
        assert evaluate(checkpoint, corpus, out, *(["--streaming"] if streaming else [])) == 0
        results = json.loads((out / "results.json").read_text())
        assert results["accuracy"]["pa_mpjpe_mm"] > 0
        for figure in ("pa_mpvpe_mm", "f_score_5mm", "pa_mpvpe_rotation_only_mm"):
            assert results["accuracy"][figure] is None
        assert "official" not in results and not (out / "pred.json").exists()


def test_whose_vertices_a_corpus_without_settings_has(checkpoint, rows, tmp_path):
    turned_round = [{**row, "vertices_m": row["vertices_m"][::-1]} for row in rows[:3]]
    for name, some, expected in (("a", rows[:3], OPEN_HAND), ("b", turned_round, MANO)):
        corpus = write_rows(some, tmp_path / name)
        assert evaluate(checkpoint, corpus, corpus / "out") == 0
        results = json.loads((corpus / "out" / "results.json").read_text())
        assert results["settings"]["true_mesh"] == expected
        assert (results["accuracy"]["pa_mpvpe_mm"] is None) == (expected == MANO)


def test_bad_data_and_checkpoints_get_one_line(checkpoint, rows, tmp_path, capsys):
    def refused(checkpoint, corpus):
        assert evaluate(checkpoint, corpus, tmp_path / "out") == 1
        error = capsys.readouterr().err.splitlines()
        return [line for line in error if line.startswith("handdiff: error:")][0]

    assert "the data set is empty" in refused(checkpoint, write_rows([], tmp_path / "empty"))
    assert "columns joints_m are missing" in refused(checkpoint, write_rows(rows[:2], tmp_path / "a", ("joints_m",)))
    no_hands = refused(checkpoint, write_rows(rows[-2:], tmp_path / "no_hands"))
    assert "at least one hand" in no_hands
    corpus = write_rows(rows[:2], tmp_path / "good")
    (tmp_path / "not_a_checkpoint").mkdir()
    assert "model_index.json" in refused(tmp_path / "not_a_checkpoint", corpus)


def test_a_missing_baseline_is_one_sentence(checkpoint, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.delitem(sys.modules, "mediapipe.python.solutions.hands", raising=False)
    corpus = write_rows(rows[:2], tmp_path / "corpus")
    assert evaluate(checkpoint, corpus, tmp_path / "out", "--baseline", "mediapipe") == 1
    error = capsys.readouterr().err
    assert "--baseline: " in error and "pip install 'hf_handdiff[mediapipe]'" in error
    assert not (tmp_path / "out").exists()


def test_the_baseline_beside_the_checkpoint(checkpoint, rows, tmp_path, capsys):
    """MediaPipe itself, on photos of which it finds the hand and noise in which it finds none."""
    pytest.importorskip("mediapipe.python.solutions.hands")
    from PIL import Image

    photo = np.asarray(Image.open(Path(__file__).parents[2] / "examples" / "hand_1.jpg").convert("RGB"))
    truth = rows[0] | {"keypoints_2d_px": np.random.default_rng(0).uniform(40, 180, (21, 2))}
    corpus = write_rows([{**truth, "image": photo}, rows[1], {**truth, "image": photo}], tmp_path / "corpus")
    assert evaluate(checkpoint, corpus, tmp_path / "out", "--baseline", "mediapipe") == 0
    baseline = json.loads((tmp_path / "out" / "results.json").read_text())["baseline"]
    assert (baseline["num_images_with_hand"], baseline["num_found"], baseline["num_compared"]) == (3, 2, 2)
    figures = baseline["on_found_images"]
    assert figures["baseline"]["pa_mpjpe_mm"] == pytest.approx(baseline["accuracy"]["pa_mpjpe_mm"], abs=1e-6)
    assert all(value > 0 for some in figures.values() for value in some.values())
    assert "found the hand in 2 of 3" in capsys.readouterr().out
    noise = write_rows(rows[:2], tmp_path / "noise")
    assert evaluate(checkpoint, noise, tmp_path / "none", "--baseline", "mediapipe") == 0
    baseline = json.loads((tmp_path / "none" / "results.json").read_text())["baseline"]
    assert baseline["num_found"] == 0 and baseline["on_found_images"]["baseline"]["pa_mpjpe_mm"] is None
