"""Official answers, and whose vertices they have."""

import json
import math
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from official_runs import NUM_EVALUATION, Known, official_truth, run
from official_trees import MANO_ORDER, OPENGL, make_hands, write_mano_file

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.batches import collate
from hf_handdiff.evaluation.measures import PA_JOINT_ERROR
from hf_handdiff.evaluation.official import (
    FREIHAND,
    HO3D,
    absolute_answers,
    official_layout,
    score_answers,
    write_official_answer,
)
from hf_handdiff.evaluation.protocol import CHUNK_SIZE, read_answers, run_protocol
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.mesh_kinds import mesh_of_layer, mesh_of_truth
from hf_handdiff.hand.open_hand import mesh_of_faces, mesh_of_points
from hf_handdiff.hand.topology import MANO, OPEN_HAND


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


def test_the_meshes_of_hand_models_are_told_apart(hand_layer, rows):
    faces = hand_layer.faces.numpy()
    assert mesh_of_faces(faces) == OPEN_HAND
    assert mesh_of_faces(faces[::-1]) == MANO and mesh_of_faces(faces[:100]) == "other"
    vertices, joints = rows[0]["vertices_m"], rows[0]["joints_m"]
    assert mesh_of_points(vertices, joints) == OPEN_HAND
    assert mesh_of_points(vertices[::-1], joints) == MANO
    assert mesh_of_points(vertices[:500], joints) == "other"


def test_the_truth_is_told_by_the_hand_that_is_given(mano_file, hands, rows, hand_layer, tmp_path):
    """A file in MANO's format may hold the open hand: its meshes are the open hand's."""
    theirs = hands[1].vertices[0], hands[1].joints[0]
    ours = rows[0]["vertices_m"], rows[0]["joints_m"]
    layer = load_mano_layer(mano_file)
    in_a_file = load_mano_layer(write_mano_file(tmp_path / "MANO_RIGHT.pkl"))
    assert mesh_of_layer(layer) == MANO and mesh_of_layer(in_a_file) == OPEN_HAND
    assert mesh_of_truth(*theirs) == mesh_of_truth(*theirs, layer) == mesh_of_truth(*theirs, hand_layer) == MANO
    for given in (None, layer, hand_layer, in_a_file):
        assert mesh_of_truth(*ours, given) == OPEN_HAND
    third = theirs[0][::-1], theirs[1]  # as many vertices as the hand that is given, in other places
    assert mesh_of_truth(*third) == MANO and mesh_of_truth(*third, layer) == "other"
    sizes = {"predictor": "a", "data": "b", "split": "c", "num_hypotheses": 1}
    assert not EvaluationSettings(**sizes, predicted_mesh="other", true_mesh="other").same_vertices


def test_fingertips_belong_to_the_hand_model(mano_file, tmp_path):
    """Ring 555 and little 672 in MANO's mesh, as FreiHAND has them; 554 and 671 in the open hand, also of a file."""
    mano, ours = load_mano_layer(mano_file), HandLayer.open_hand()
    in_a_file = load_mano_layer(write_mano_file(tmp_path / "MANO_RIGHT.pkl"))
    assert mano.tip_vertices.tolist() == [744, 320, 443, 555, 672]
    assert ours.tip_vertices.tolist() == in_a_file.tip_vertices.tolist() == [744, 320, 443, 554, 671]
    for layer in (mano, ours, in_a_file):
        read = layer.mesh_to_joints[[4, 8, 12, 16, 20]]
        assert read.argmax(1).tolist() == layer.tip_vertices.tolist() and (read.max(1).values == 1).all()
