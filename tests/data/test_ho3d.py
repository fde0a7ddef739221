"""HO3D's official layout becomes a corpus: axes, orders, crops, and bad files are named."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from official_trees import DOT_JOINTS, dot_centres, ho3d_annotation, project, python2_pickle, write_ho3d
from PIL import Image

from hf_handdiff.cli.main import main
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import LOADED_FEATURES
from hf_handdiff.data.ho3d import import_ho3d
from hf_handdiff.data.shards import BadSampleError
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.batches import collate
from hf_handdiff.evaluation.protocol import run_protocol
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.hand.mano_layer import load_mano_layer

TRAIN_SCRIPTS = Path(__file__).parents[2] / "train"
ANNOTATED = [0, 1, 3, 4]  # frame 2 of the train split has none


@pytest.fixture(scope="module", params=["v2", "v3"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory, train_hands, evaluation_hands, version):
    return write_ho3d(tmp_path_factory.mktemp(f"ho3d_{version}"), train_hands, evaluation_hands, version)


@pytest.fixture(scope="module")
def corpus(whole_tree, mano_file, tmp_path_factory, version):
    out = tmp_path_factory.mktemp("corpus")
    import_ho3d(whole_tree, out, version, mano=mano_file, shard_rows=2, progress=False)
    return out


@pytest.fixture(scope="module")
def whole_v2(tmp_path_factory, train_hands, evaluation_hands):
    return write_ho3d(tmp_path_factory.mktemp("ho3d"), train_hands, evaluation_hands)


@pytest.fixture
def tree(whole_v2, tmp_path):
    return Path(shutil.copytree(whole_v2, tmp_path / "HO3D_v2"))


def read(root, out, split="train", **options):
    import_ho3d(root, out, "v2", splits=[split], progress=False, **options)
    return load_corpus(out, split).with_format("numpy")


# ---- what is in the rows


def test_points_are_in_our_order_and_axes_and_frames_in_the_official_order(corpus, train_hands):
    dataset = load_corpus(corpus, "train")
    assert dataset.features == LOADED_FEATURES
    assert dataset["sample_id"] == ["SS1/0000", "ABF10/0001", "ABF10/0003", "SS1/0004"]
    joints = dataset.with_format("numpy")["joints_m"][:]
    np.testing.assert_allclose(joints, train_hands.joints[ANNOTATED], atol=1e-6)


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_projected_joints_lie_on_the_dots_of_the_crops(corpus, split):
    for row in load_corpus(corpus, split).with_format("numpy"):
        assert row["image"].shape == (224, 224, 3)
        keypoints = row["keypoints_2d_px"]
        np.testing.assert_allclose(project(row["joints_m"], row["intrinsics_px"]), keypoints, atol=1e-2)
        np.testing.assert_allclose(dot_centres(row["image"]), keypoints[list(DOT_JOINTS)], atol=0.6)
        assert row["keypoints_visible"].all() and np.isnan(row["visible_share"]) and row["skin_tone"] == -1
        longer = np.ptp(keypoints, axis=0).max()  # the evaluation split's boxes are whole pixels
        np.testing.assert_allclose(longer, 224 / 1.4, rtol=0.001 if split == "train" else 0.03)
        np.testing.assert_allclose((keypoints.min(0) + keypoints.max(0)) / 2, 112, atol=0.01 if split == "train" else 2)


def test_pose_turns_into_opencv_axes_and_gives_the_mesh(corpus, mano_file, train_hands):
    rows = load_corpus(corpus, "train").with_format("torch")[:]
    mesh = load_mano_layer(mano_file)(rows["pose_rad"], rows["shape"])
    placed = mesh.vertices + rows["translation_m"][:, None]
    np.testing.assert_allclose(placed, train_hands.vertices[ANNOTATED], atol=2e-5)
    np.testing.assert_allclose(rows["vertices_m"], train_hands.vertices[ANNOTATED], atol=2e-5)
    np.testing.assert_allclose(rows["pose_rad"][:, 1:], train_hands.pose[ANNOTATED, 1:], atol=1e-6)


def test_mesh_agrees_with_the_official_translation(corpus, whole_tree, mano_file):
    """By MANO's own formula in OpenGL axes, from handPose, handBeta and handTrans alone."""
    row = load_corpus(corpus, "train").with_format("numpy")[0]
    fields = pickle.loads((whole_tree / "train" / "SS1" / "meta" / "0000.pkl").read_bytes(), encoding="latin1")
    pose, shape = (torch.tensor(np.array(fields[name], np.float32))[None] for name in ("handPose", "handBeta"))
    vertices = load_mano_layer(mano_file)(pose.reshape(1, 16, 3), shape).vertices[0].numpy()
    np.testing.assert_allclose((vertices + fields["handTrans"]) * [1, -1, -1], row["vertices_m"], atol=2e-5)


def test_frames_without_annotation_are_counted_and_no_error(tree, tmp_path, capsys):
    arguments = ["data", "ho3d", "--root", str(tree), "--version", "v2", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--quiet", "--num-workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "train: 4 rows, 1 frames without annotation left out" in printed and "evaluation: 3 rows\n" in printed
    skipped = json.loads((tmp_path / "out" / "train-skipped.json").read_text())
    assert list(skipped["not_annotated"]) == ["SS1/0002"] and not skipped["bad"]
    assert not list((tmp_path / "out").glob(".*"))


def test_without_mano_file_meshes_are_nan(tree, tmp_path, train_hands):
    rows = read(tree, tmp_path / "out")
    assert np.isnan(rows["vertices_m"][:]).all() and np.isnan(rows["translation_m"][:]).all()
    np.testing.assert_allclose(rows["pose_rad"][:], train_hands.pose[ANNOTATED], atol=1e-5)
    np.testing.assert_allclose(rows["shape"][:], train_hands.shape[ANNOTATED], atol=1e-6)


def test_margin_and_size_of_the_crops(tree, tmp_path):
    rows = read(tree, tmp_path / "out", margin=2.0, crop_size=96)
    for row in rows:
        assert row["image"].shape == (96, 96, 3)
        np.testing.assert_allclose(np.ptp(row["keypoints_2d_px"], axis=0).max(), 48, rtol=1e-3)


def test_whole_sequences_are_held_out(tree, tmp_path):
    import_ho3d(tree, tmp_path, "v2", validation_share=0.3, progress=False)
    sequences = {
        split: {i.split("/")[0] for i in load_corpus(tmp_path, split)["sample_id"]} for split in ("train", "validation")
    }
    assert sequences == {"train": {"SS1"}, "validation": {"ABF10"}}


def test_a_shard_of_frames_without_annotation_is_empty(tree, tmp_path):
    assert len(read(tree, tmp_path / "out", shard_rows=1)) == 4
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) == 5


# ---- the evaluation split


def test_published_truth_is_used(corpus, evaluation_hands):
    rows = load_corpus(corpus, "evaluation").with_format("numpy")
    assert list(rows["sample_id"]) == ["SM1/0000", "AP11/0001", "SM1/0002"]
    np.testing.assert_allclose(rows["joints_m"][:], evaluation_hands.joints, atol=1e-6)
    np.testing.assert_allclose(rows["vertices_m"][:], evaluation_hands.vertices, atol=1e-6)
    assert np.isnan(rows["pose_rad"][:]).all()


def test_without_truth_only_the_wrist_is_known_and_crops_are_the_same(tree, tmp_path, evaluation_hands):
    with_truth = read(tree, tmp_path / "with", "evaluation")
    (tree / "evaluation_xyz.json").unlink()
    (tree / "evaluation_verts.json").unlink()
    rows = read(tree, tmp_path / "without", "evaluation")
    joints = rows["joints_m"][:]
    np.testing.assert_allclose(joints[:, 0], evaluation_hands.joints[:, 0], atol=1e-6)
    assert np.isnan(joints[:, 1:]).all() and np.isnan(rows["vertices_m"][:]).all()
    assert rows["keypoints_visible"][:].sum(1).tolist() == [1, 1, 1]
    for one, other in zip(rows, with_truth, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["intrinsics_px"], other["intrinsics_px"])
    settings = EvaluationSettings("nobody", "ho3d", "evaluation", num_hypotheses=1)
    with pytest.raises(InputError, match="sample SM1/0000 has NaN"):
        run_protocol(lambda batch: None, rows, settings, tmp_path / "results", show_progress=False)


def test_truth_in_another_order_is_noticed(tree, tmp_path):
    values = json.loads((tree / "evaluation_xyz.json").read_text())
    (tree / "evaluation_xyz.json").write_text(json.dumps(values[::-1]))
    with pytest.raises(BadSampleError, match=r"0000\.pkl: its root joint is .* mm off entry 0 of evaluation_xyz\.json"):
        import_ho3d(tree, tmp_path / "out", "v2", splits=["evaluation"], progress=False)


def test_training_and_evaluation_read_it(corpus, monkeypatch, evaluation_hands):
    monkeypatch.syspath_prepend(str(TRAIN_SCRIPTS))
    from handdiff_training.image_batches import CorpusBatches

    from hf_handdiff.data.augmentation import augment_batch

    batch = CorpusBatches(corpus, "train", with_vertices=True).rows(np.arange(4))
    assert batch["image"].shape == (4, 3, 224, 224)
    assert torch.isfinite(augment_batch(batch, torch.Generator().manual_seed(0))["keypoints"]).all()
    collated = collate(list(load_corpus(corpus, "evaluation")), 0, seed=0)
    np.testing.assert_allclose(collated.joints, evaluation_hands.joints - evaluation_hands.joints[:, :1], atol=1e-6)


# ---- bad downloads


class _RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def meta(tree, split="train", sequence="ABF10", frame="0001"):
    return tree / split / sequence / "meta" / f"{frame}.pkl"


def test_code_in_a_pickle_is_refused_and_not_run(tree, tmp_path):
    trace = tmp_path / "was_run"
    meta(tree).write_bytes(pickle.dumps({"handJoints3D": _RunsACommand(trace)}, 2))
    with pytest.raises(BadSampleError, match=r"0001\.pkl.*it asks for (posix|nt)\.system, which no HO3D annotation"):
        import_ho3d(tree, tmp_path / "out", "v2", progress=False)
    assert not trace.exists()


def changed(**fields):
    def change(tree, hands):
        annotation = ho3d_annotation(hands, 1, evaluation=False) | fields
        annotation = {name: value for name, value in annotation.items() if value is not Ellipsis}
        meta(tree).write_bytes(python2_pickle(annotation))

    return change


def written(content, path="train/ABF10/meta/0001.pkl"):
    return lambda tree, hands: (tree / path).write_bytes(content)


def truncated(path):
    return lambda tree, hands: (tree / path).write_bytes((tree / path).read_bytes()[:2000])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tree, hands: meta(tree).unlink(), r"0001\.pkl is missing"),
        (written(b""), r"0001\.pkl is not a readable HO3D annotation"),
        (written(pickle.dumps([1, 2])), "holds a list, expected a dictionary"),
        (truncated("train/ABF10/meta/0001.pkl"), r"0001\.pkl is not a readable"),
        (changed(camMat=...), r"0001\.pkl has no field camMat"),
        (changed(handJoints3D=...), r"0001\.pkl has no field handJoints3D"),
        (changed(handJoints3D=np.zeros(3)), r"handJoints3D has shape \(3,\), expected \(21, 3\)"),
        (changed(handJoints3D=np.full((21, 3), np.nan)), "handJoints3D holds numbers that are not finite"),
        (changed(handJoints3D=np.ones((21, 3))), "behind the camera"),  # OpenCV axes
        (changed(handPose=np.zeros(45)), r"handPose has shape \(45,\), expected \(48,\)"),
        (changed(handBeta="ten"), "handBeta does not hold numbers"),
        (changed(camMat=np.array([[614.0, 0, -900], [0, 614.0, 240], [0, 0, 1]])), "outside of the image"),
        (changed(camMat=np.zeros((3, 3))), r"0001\.pkl: camMat: expected a camera matrix"),
        (
            changed(camMat=np.diag([9e4, 9e4, 1.0]) + [[0, 0, 320], [0, 0, 240], [0, 0, 0]]),
            "far larger than the image|outside",
        ),
        (lambda tree, hands: (tree / "train/ABF10/rgb/0001.png").unlink(), r"0001\.png is missing"),
        (truncated("train/ABF10/rgb/0001.png"), r"0001\.png' is a truncated or damaged image"),
        (
            lambda tree, hands: Image.new("RGB", (320, 240)).save(tree / "train/ABF10/rgb/0001.png"),
            r"0001\.png is 320 x 240 px, expected 640 x 480",
        ),
    ],
)
def test_bad_frames_are_named_or_skipped(tree, tmp_path, train_hands, change, message):
    change(tree, train_hands)
    with pytest.raises(BadSampleError, match=message) as error:
        import_ho3d(tree, tmp_path / "out", "v2", progress=False)
    assert "\n" not in str(error.value) and not list((tmp_path / "out").glob(".*"))
    reports = import_ho3d(tree, tmp_path / "out", "v2", skip_bad=True, progress=False)
    assert list(reports[0].bad) == ["ABF10/0001"] and list(reports[0].not_annotated) == ["SS1/0002"]
    assert load_corpus(tmp_path / "out", "train")["sample_id"] == ["SS1/0000", "ABF10/0003", "SS1/0004"]


def test_a_bad_box_of_the_evaluation_split_is_named(tree, tmp_path, evaluation_hands):
    for box, message in (
        ([700, 10, 800, 90], "outside of the image"),
        ([90, 10, 20, 60], "is empty"),
        ([0, 1], "handBoundingBox has shape"),
        (None, None),
    ):
        annotation = ho3d_annotation(evaluation_hands, 1, evaluation=True) | {"handBoundingBox": box}
        meta(tree, "evaluation", "AP11").write_bytes(python2_pickle(annotation))
        if message is None:  # the published truth gives a box
            assert len(read(tree, tmp_path / "out", "evaluation")) == 3
            continue
        with pytest.raises(BadSampleError, match=message):
            import_ho3d(tree, tmp_path / "out", "v2", splits=["evaluation"], progress=False)


def text(name, make):
    return lambda tree: (tree / name).write_text(make((tree / name).read_text()))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tree: (tree / "train.txt").unlink(), r"train\.txt is missing"),
        (text("train.txt", lambda lines: ""), r"train\.txt is empty"),
        (text("train.txt", lambda lines: lines + "../../x/0001\n"), r"train\.txt, line 6: expected SEQ/ID"),
        (text("train.txt", lambda lines: lines + lines), r"train\.txt lists a frame twice"),
        (lambda tree: shutil.rmtree(tree / "evaluation"), "root: expected the folder evaluation"),
        (lambda tree: (tree / "evaluation_xyz.json").unlink(), r"evaluation_xyz\.json is missing"),
        (
            text("evaluation_verts.json", lambda values: json.dumps(json.loads(values)[:2])),
            r"evaluation_verts\.json has 2 entries where evaluation\.txt has 3 lines",
        ),
        (text("evaluation_xyz.json", lambda values: values[:500]), r"evaluation_xyz\.json is truncated"),
    ],
)
def test_downloads_that_cannot_be_used_are_named_before_anything_is_written(tree, tmp_path, change, message):
    change(tree)
    with pytest.raises(InputError, match=message) as error:
        import_ho3d(tree, tmp_path / "out", "v2", progress=False)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"version": "v3"}, r"version: .*rgb holds \.png images: this is not HO3D v3"),
        ({"version": "v1"}, "version: expected v2 or v3, got 'v1'"),
        ({"margin": 0.5}, "margin: expected at least 1"),
        ({"crop_size": 0}, "crop_size: expected at least 1"),
        ({"splits": ["test"]}, "splits: expected train or evaluation"),
        ({"root": "nowhere"}, "root: .*there is no folder nowhere"),
    ],
)
def test_bad_arguments_are_named(tree, tmp_path, arguments, message):
    arguments = {"root": tree, "out": tmp_path / "out", "version": "v2", "progress": False} | arguments
    with pytest.raises(InputError, match=message):
        import_ho3d(**arguments)


def test_nothing_that_can_be_used_is_an_error(tree, tmp_path):
    shutil.rmtree(tree / "train" / "SS1" / "meta")
    shutil.rmtree(tree / "train" / "ABF10" / "meta")
    with pytest.raises(
        InputError, match=r"train: not one of 5 samples could be used; the first: .*0000\.pkl is missing"
    ):
        import_ho3d(tree, tmp_path / "out", "v2", splits=["train"], skip_bad=True, progress=False)
