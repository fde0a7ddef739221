"""Official answers and scores: against plain numpy, cases counted by hand, and synthetic downloads from end to end."""

import json
import math
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from official_trees import MANO_ORDER, OPENGL, make_hands, write_freihand, write_ho3d, write_mano_file

from hf_handdiff.cli.main import main
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.data.freihand import import_freihand
from hf_handdiff.data.ho3d import import_ho3d
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.batches import collate
from hf_handdiff.evaluation.measures import PA_JOINT_ERROR
from hf_handdiff.evaluation.official import (
    FREIHAND,
    HO3D,
    absolute_answers,
    official_layout,
    official_scores,
    score_answers,
    write_official_answer,
)
from hf_handdiff.evaluation.protocol import CHUNK_SIZE, read_answers, run_protocol
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays, mesh_of_faces, mesh_of_points
from hf_handdiff.hand.topology import MANO, OPEN_HAND

NUM_EVALUATION = 3


# -- an implementation of its own --------------------------------------------------------------------------


def plain_align(true, predicted):
    """As the official scripts: centred, divided by the Frobenius norm, orthogonal Procrustes with scale."""
    true_centre, predicted_centre = true.mean(0), predicted.mean(0)
    a, b = true - true_centre, predicted - predicted_centre
    size_a, size_b = np.linalg.norm(a) + 1e-8, np.linalg.norm(b) + 1e-8
    rotation, scale = orthogonal_procrustes(a / size_a, b / size_b)
    return (b / size_b) @ rotation.T * scale * size_a + true_centre


def plain_f(true, predicted, threshold):
    precision = (cKDTree(true).query(predicted)[0] < threshold).mean()
    recall = (cKDTree(predicted).query(true)[0] < threshold).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def plain_auc(errors):
    thresholds = np.linspace(0, 0.05, 100)
    areas = []
    for joint in range(errors.shape[1]):
        curve = np.array([(errors[:, joint] <= threshold).mean() for threshold in thresholds])
        areas.append(((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum() / 0.05)
    return np.mean(areas)


def plain_scores(xyz, verts, true_xyz, true_verts, middle_mcp=None):
    def errors(predicted, true, align=None):
        moved = [p if align is None else align(t, p) for t, p in zip(true, predicted, strict=True)]
        return np.stack([np.linalg.norm(t - p, axis=1) for t, p in zip(true, moved, strict=True)])

    def scale_translation(true, predicted):
        scale = np.linalg.norm(true[middle_mcp] - true[0]) / np.linalg.norm(predicted[middle_mcp] - predicted[0])
        return (predicted - predicted[0]) * scale + true[0]

    measured = {
        "mpjpe": errors(xyz, true_xyz),
        "pa_mpjpe": errors(xyz, true_xyz, plain_align),
        "mpvpe": errors(verts, true_verts),
        "pa_mpvpe": errors(verts, true_verts, plain_align),
    }
    if middle_mcp is not None:
        measured["mpjpe_scale_translation"] = errors(xyz, true_xyz, scale_translation)
    figures = {}
    for name, values in measured.items():
        figures[f"{name}_mm"] = 1000 * values.mean(axis=0).mean()
        figures[f"{name}_auc"] = plain_auc(values)
    for threshold in (0.005, 0.015):
        pairs = list(zip(true_verts, verts, strict=True))
        figures[f"f_score_{1000 * threshold:.0f}mm"] = np.mean([plain_f(t, p, threshold) for t, p in pairs])
        aligned = [plain_f(t, plain_align(t, p), threshold) for t, p in pairs]
        figures[f"f_score_{1000 * threshold:.0f}mm_aligned"] = np.mean(aligned)
    return figures


# -- synthetic downloads -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mano_file(tmp_path_factory):
    return write_mano_file(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl")


@pytest.fixture(scope="module")
def hands(mano_file):
    """(train, evaluation)."""
    with torch.no_grad():
        return make_hands(3, mano_file), make_hands(NUM_EVALUATION, mano_file, seed=1)


def make_tree(name, folder, hands, truth=True):
    folder.mkdir(exist_ok=True)
    if name == "freihand":
        return write_freihand(folder, *hands, load_open_hand_arrays()["hands_mean"].reshape(15, 3), truth=truth)
    return write_ho3d(folder, *hands, truth=truth)


def import_tree(name, root, out, **options):
    if name == "freihand":
        import_freihand(root, out, splits=["evaluation"], progress=False, **options)
    else:
        import_ho3d(root, out, "v2", splits=["evaluation"], progress=False, **options)
    return out


@pytest.fixture(scope="module")
def trees(hands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    return {name: make_tree(name, folder / name, hands) for name in ("freihand", "ho3d")}


@pytest.fixture(scope="module")
def corpora(trees, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {name: import_tree(name, root, folder / name) for name, root in trees.items()}


@pytest.fixture(scope="module")
def unpublished(hands, tmp_path_factory):
    """The same, without the truth of the evaluation split."""
    folder = tmp_path_factory.mktemp("unpublished")
    return {
        name: import_tree(name, make_tree(name, folder / f"{name}_tree", hands, truth=False), folder / name)
        for name in ("freihand", "ho3d")
    }


def official_truth(root):
    return [np.array(json.loads((root / f"evaluation_{kind}.json").read_text())) for kind in ("xyz", "verts")]


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return folder


def evaluate(checkpoint, corpus, out, *more):
    arguments = ["--checkpoint", checkpoint, "--data", corpus, "--out", out, "--num-hypotheses", 2, "--pictures", 0]
    return main(["evaluate", *map(str, arguments), *map(str, more)])


class Known:
    """Answers with the truth turned into `change(points)`, where it knows it; wrist-relative."""

    def __init__(self, hands, change=lambda points: points, fail_at=None):
        self.hands, self.change, self.fail_at = hands, change, fail_at
        self.seen = []

    def __call__(self, batch):
        self.seen += batch.indices
        if self.fail_at in batch.indices:
            raise KeyboardInterrupt
        wrist = self.hands.joints[batch.indices][:, :1]
        joints, vertices = (
            torch.from_numpy(self.change(points[batch.indices] - wrist)).float()
            for points in (self.hands.joints, self.hands.vertices)
        )
        return SimpleNamespace(
            joints=joints.unsqueeze(1),
            vertices=vertices.unsqueeze(1),
            joint_hypotheses=None,
            mean_joints=joints,
            mean_vertices=vertices,
            joint_std=torch.full(joints.shape[:2], 0.01),
            keypoints_2d=torch.zeros(len(batch), 21, 2),
            hand_score=torch.ones(len(batch)),
            translation=torch.from_numpy(wrist).float(),
        )


def run(predict, corpus, out, layout, **options):
    from hf_handdiff.data.corpus import load_corpus

    settings = EvaluationSettings("known", "made up", "evaluation", 1, true_mesh=MANO)
    dataset = load_corpus(corpus, "evaluation")
    return run_protocol(predict, dataset, settings, out, answers_for=layout, show_progress=False, **options)


# -- scores ------------------------------------------------------------------------------------------------


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


# -- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layout"), [("freihand", FREIHAND), ("ho3d", HO3D)])
@pytest.mark.parametrize("published", [True, False])
def test_the_truth_predicted_is_the_official_truth(
    trees, corpora, unpublished, hands, tmp_path, name, layout, published
):
    corpus = (corpora if published else unpublished)[name]
    assert official_layout(json.loads((corpus / "evaluation.json").read_text())) is layout
    scores = run(Known(hands[1]), corpus, tmp_path, layout, batch_size=2)
    assert (PA_JOINT_ERROR in scores) == published and len(scores) == NUM_EVALUATION
    json_path, zip_path = write_official_answer(lambda: read_answers(tmp_path, NUM_EVALUATION), layout, tmp_path)
    xyz, verts = json.loads(json_path.read_text())
    true_xyz, true_verts = official_truth(trees[name])
    np.testing.assert_allclose(xyz, true_xyz, atol=1e-6)
    np.testing.assert_allclose(verts, true_verts, atol=1e-6)
    with zipfile.ZipFile(zip_path) as archive:
        assert archive.namelist() == ["pred.json"]
        assert archive.read("pred.json") == json_path.read_bytes()
    figures = score_answers(read_answers(tmp_path, NUM_EVALUATION), layout, same_vertices=True)
    assert (figures is None) == (not published)
    if published:
        assert figures["mpjpe_mm"] == pytest.approx(0, abs=1e-3) and figures["mpvpe_mm"] == pytest.approx(0, abs=1e-3)


def test_ho3d_order_and_axes(hands):
    joints = hands[1].joints
    np.testing.assert_array_equal(HO3D.joints(joints), (joints * OPENGL)[:, MANO_ORDER])
    assert HO3D.middle_mcp == 4 and FREIHAND.middle_mcp == 9
    np.testing.assert_array_equal(FREIHAND.joints(joints), joints)


def test_freihand_stands_where_the_pipeline_says(corpora, hands, tmp_path):
    """Its data set does not give the root: known truth must not creep into the answer."""

    class Moved(Known):
        def __call__(self, batch):
            prediction = super().__call__(batch)
            prediction.translation = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.7]]).expand(len(batch), 2, 3)
            return prediction

    run(Moved(hands[1]), corpora["freihand"], tmp_path, FREIHAND)
    (answer,) = read_answers(tmp_path, NUM_EVALUATION)
    np.testing.assert_allclose(answer.joints[:, 0], [[0, 0, 0.6]] * NUM_EVALUATION, atol=1e-6)


def test_predictions_that_are_not_finite_stand_at_the_wrist(rows):
    batch = collate(rows[:2], 0, seed=0)
    joints, vertices = torch.zeros(2, 21, 3), torch.zeros(2, 778, 3)
    joints[1, 3, 0] = math.nan
    prediction = SimpleNamespace(mean_joints=joints, mean_vertices=vertices)
    answer = absolute_answers(prediction, batch, HO3D)
    assert answer.failed.tolist() == [False, True]
    np.testing.assert_allclose(answer.joints[1], batch.wrist[1:].expand(21, 3), atol=1e-6)
    prediction.mean_vertices = None
    with pytest.raises(InputError, match="expected meshes"):
        absolute_answers(prediction, batch, HO3D)
    prediction.mean_vertices = vertices
    with pytest.raises(InputError, match="expected a translation"):
        absolute_answers(prediction, batch, FREIHAND)


def test_a_stopped_run_keeps_its_answers(mano_file, tmp_path):
    count = CHUNK_SIZE + 4
    with torch.no_grad():
        many = make_hands(count, mano_file, seed=3)
    camera = np.array([[300.0, 0, 32], [0, 300.0, 32], [0, 0, 1]])
    rows = [
        {
            "image": np.zeros((64, 64, 3), np.uint8),
            "intrinsics_px": camera,
            "keypoints_2d_px": np.random.default_rng(i).uniform(0, 64, (21, 2)),
            "joints_m": many.joints[i],
            "vertices_m": many.vertices[i],
        }
        for i in range(count)
    ]
    settings = EvaluationSettings("known", "made up", "evaluation", 1)
    options = {"answers_for": HO3D, "show_progress": False}
    with pytest.raises(KeyboardInterrupt):
        run_protocol(Known(many, fail_at=CHUNK_SIZE + 1), rows, settings, tmp_path, **options)
    resumed = Known(many)
    run_protocol(resumed, rows, settings, tmp_path, **options)
    assert min(resumed.seen) == CHUNK_SIZE
    joints = np.concatenate([answer.joints for answer in read_answers(tmp_path, count)])
    np.testing.assert_allclose(joints, many.joints, atol=1e-6)


# -- whose vertices ----------------------------------------------------------------------------------------


def test_the_meshes_of_hand_models_are_told_apart(hand_layer, rows):
    faces = hand_layer.faces.numpy()
    assert mesh_of_faces(faces) == OPEN_HAND
    assert mesh_of_faces(faces[::-1]) == MANO and mesh_of_faces(faces[:100]) == "other"
    vertices, joints = rows[0]["vertices_m"], rows[0]["joints_m"]
    assert mesh_of_points(vertices, joints) == OPEN_HAND
    assert mesh_of_points(vertices[::-1], joints) == MANO
    assert mesh_of_points(vertices[:500], joints) == "other"


def test_fingertips_belong_to_the_hand_model(mano_file):
    """Ring 555 and little 672 in MANO's mesh, as FreiHAND annotates them; 554 and 671 in the open hand."""
    mano, ours = load_mano_layer(mano_file), HandLayer.open_hand()
    assert mano.tip_vertices.tolist() == [744, 320, 443, 555, 672]
    assert ours.tip_vertices.tolist() == [744, 320, 443, 554, 671]
    for layer in (mano, ours):
        read = layer.mesh_to_joints[[4, 8, 12, 16, 20]]
        assert read.argmax(1).tolist() == layer.tip_vertices.tolist() and (read.max(1).values == 1).all()


# -- the command -------------------------------------------------------------------------------------------


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


def test_a_checkpoint_of_another_mesh_is_compared_vertex_by_vertex(tiny_pipeline, corpora, tmp_path):
    faces = tiny_pipeline.mesh_autoencoder.faces
    faces.copy_(faces.flip(0))
    tiny_pipeline.save_pretrained(tmp_path / "mano")
    faces.copy_(faces.flip(0))  # other tests share the pipeline
    assert evaluate(tmp_path / "mano", corpora["freihand"], tmp_path / "out", "--split", "evaluation") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["accuracy"]["pa_mpvpe_mm"] == pytest.approx(results["official"]["scores"]["pa_mpvpe_mm"], abs=1e-3)
    assert results["settings"]["predicted_mesh"] == MANO == results["settings"]["true_mesh"]


@pytest.mark.parametrize("name", ["freihand", "ho3d"])
def test_without_published_truth_only_predictions_are_written(checkpoint, unpublished, tmp_path, capsys, name):
    assert evaluate(checkpoint, unpublished[name], tmp_path, "--split", "evaluation") == 0
    assert "only predictions were written" in capsys.readouterr().out
    xyz, verts = json.loads((tmp_path / "pred.json").read_text())
    assert np.shape(xyz) == (NUM_EVALUATION, 21, 3) and np.shape(verts) == (NUM_EVALUATION, 778, 3)
    assert np.isfinite(xyz).all() and not (tmp_path / "results.json").exists()


def write_rows(rows, folder, leave_out=()):
    folder.mkdir()
    rest = {"pose_rad": np.zeros((16, 3)), "shape": [0.0] * 10, "translation_m": [0.0] * 3, "skin_tone": 0.5}
    kept = {name: feature for name, feature in CORPUS_FEATURES.items() if name not in leave_out}
    complete = {name: [{**row, **rest}[name] for row in rows] for name in kept}
    Dataset.from_dict(complete, features=Features(kept)).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


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


# -- the baseline ------------------------------------------------------------------------------------------


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
