"""FreiHAND's official layout becomes a corpus: right labels, right order, and bad files are named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from official_trees import DOT_JOINTS, dot_centres, freihand_camera, project, write_freihand
from PIL import Image

from hf_handdiff.cli.evaluate import pipeline_predictor
from hf_handdiff.cli.main import main
from hf_handdiff.data import number_lists
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import LOADED_FEATURES
from hf_handdiff.data.freihand import import_freihand
from hf_handdiff.data.number_lists import read_number_list
from hf_handdiff.data.shards import BadSampleError
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.batches import collate
from hf_handdiff.evaluation.protocol import run_protocol
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.summary import summarise
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays

N = 5  # unique training samples; the download has 4 N images
TRAIN_SCRIPTS = Path(__file__).parents[2] / "train"


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory, train_hands, evaluation_hands):
    mean_pose = load_open_hand_arrays()["hands_mean"].reshape(15, 3)
    return write_freihand(tmp_path_factory.mktemp("freihand"), train_hands, evaluation_hands, mean_pose)


@pytest.fixture
def tree(whole_tree, tmp_path):
    return Path(shutil.copytree(whole_tree, tmp_path / "FreiHAND_pub_v2"))


def read(root, out, split="train", **options):
    import_freihand(root, out, splits=[split], progress=False, **options)
    return load_corpus(out, split).with_format("numpy")


def only_files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def corpus(whole_tree, mano_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    import_freihand(whole_tree, out, mano=mano_file, shard_rows=8, progress=False)
    return out


# ---- what is in the rows


def test_rows_are_the_four_versions_in_the_order_of_the_files(corpus, whole_tree, train_hands):
    dataset = load_corpus(corpus, "train")
    assert dataset.features == LOADED_FEATURES
    assert dataset["sample_id"] == [f"training/{number:08d}" for number in range(4 * N)]
    rows = dataset.with_format("numpy")
    np.testing.assert_allclose(rows["joints_m"][:], np.tile(train_hands.joints, (4, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(rows["intrinsics_px"][N + 1], freihand_camera(1))


def test_held_out_hands_are_in_no_version_of_train(whole_tree, tmp_path):
    import_freihand(whole_tree, tmp_path, validation_share=0.4, progress=False)
    ids = {
        split: [int(i.split("/")[1]) for i in load_corpus(tmp_path, split)["sample_id"]]
        for split in ("train", "validation")
    }
    assert ids["validation"] == [version * N + entry for version in range(4) for entry in (3, 4)]
    assert sorted(ids["train"] + ids["validation"]) == list(range(4 * N))
    assert len(load_corpus(tmp_path, "evaluation")) == 3


@pytest.mark.parametrize("share, problem", [(1.0, "less than 1, got 1.0"), (0.01, "no samples for validation")])
def test_a_share_that_leaves_a_split_empty_is_refused(whole_tree, tmp_path, share, problem):
    with pytest.raises(InputError, match=f"validation_share: .*{problem}"):
        import_freihand(whole_tree, tmp_path, validation_share=share, progress=False)


def test_images_are_kept_byte_for_byte(corpus, whole_tree):
    for shard in sorted(corpus.glob("train-*.parquet")):
        for row in pyarrow.parquet.read_table(shard, columns=["image", "sample_id"]).to_pylist():
            number = row["sample_id"].split("/")[1]
            assert row["image"]["bytes"] == (whole_tree / "training" / "rgb" / f"{number}.jpg").read_bytes()


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_projected_joints_lie_on_the_dots_of_the_images(corpus, split):
    for row in load_corpus(corpus, split).with_format("numpy"):
        np.testing.assert_allclose(project(row["joints_m"], row["intrinsics_px"]), row["keypoints_2d_px"], atol=1e-3)
        np.testing.assert_allclose(dot_centres(row["image"]), row["keypoints_2d_px"][list(DOT_JOINTS)], atol=0.6)


def test_poses_are_relative_to_the_flat_hand_and_give_the_mesh(corpus, mano_file, train_hands):
    rows = load_corpus(corpus, "train").with_format("torch")[:N]
    np.testing.assert_allclose(rows["pose_rad"], train_hands.pose, atol=1e-5)
    np.testing.assert_allclose(rows["translation_m"], train_hands.translation, atol=1e-5)
    mesh = load_mano_layer(mano_file)(rows["pose_rad"], rows["shape"])
    np.testing.assert_allclose(mesh.vertices + rows["translation_m"][:, None], rows["vertices_m"], atol=1e-5)
    np.testing.assert_allclose(rows["vertices_m"], train_hands.vertices, atol=1e-6)


def test_what_is_not_annotated_is_not_made_up(corpus):
    row = load_corpus(corpus, "train").with_format("numpy")[0]
    assert row["has_hand"] and np.isnan(row["visible_share"]) and row["skin_tone"] == -1
    inside = ((row["keypoints_2d_px"] >= 0) & (row["keypoints_2d_px"] <= 224)).all(-1)
    np.testing.assert_array_equal(row["keypoints_visible"], inside)


def test_a_joint_outside_of_the_image_is_not_called_visible(tree, tmp_path):
    cameras = json.loads((tree / "training_K.json").read_text())
    cameras[0][0][2] -= 80
    (tree / "training_K.json").write_text(json.dumps(cameras))
    visible = read(tree, tmp_path / "out", versions=[0])["keypoints_visible"][:]
    assert 0 < visible[0].sum() < 21


def test_without_meshes_the_mano_file_makes_them(tree, tmp_path, mano_file, train_hands):
    (tree / "training_verts.json").unlink()
    rows = read(tree, tmp_path / "out", mano=mano_file)
    np.testing.assert_allclose(rows["vertices_m"][:N], train_hands.vertices, atol=1e-5)


def test_without_meshes_and_mano_file_they_are_nan(tree, tmp_path, train_hands):
    (tree / "training_verts.json").unlink()
    shutil.rmtree(tree / "training" / "mask")
    rows = read(tree, tmp_path / "out")
    assert np.isnan(rows["vertices_m"][:]).all() and np.isnan(rows["translation_m"][:]).all()
    pose = rows["pose_rad"][:N]
    np.testing.assert_allclose(pose[:, 0], train_hands.pose[:, 0], atol=1e-6)
    assert np.isnan(pose[:, 1:]).all()
    np.testing.assert_allclose(rows["shape"][:N], train_hands.shape, atol=1e-6)


def test_versions_can_be_chosen(tree, tmp_path):
    rows = read(tree, tmp_path / "out", versions=[3, 1])
    assert list(rows["sample_id"]) == [f"training/{n:08d}" for n in [*range(N, 2 * N), *range(3 * N, 4 * N)]]
    assert rows["image"][0][2, 2].mean() < rows["image"][N][2, 2].mean()


# ---- who reads it


def test_training_and_evaluation_read_it(corpus, evaluation_hands, monkeypatch):
    monkeypatch.syspath_prepend(str(TRAIN_SCRIPTS))
    from handdiff_training.image_batches import CorpusBatches

    from hf_handdiff.data.augmentation import augment_batch

    batch = CorpusBatches(corpus, "train", with_vertices=True).rows(np.arange(6))
    assert batch["image"].shape == (6, 3, 224, 224) and batch["image"].dtype == torch.uint8
    augmented = augment_batch(batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(augmented["keypoints"]).all() and torch.isfinite(augmented["vertices_m"]).all()
    collated = collate(list(load_corpus(corpus, "evaluation")), 0, seed=0)
    assert collated.sample_ids == [f"evaluation/{number:08d}" for number in range(3)]
    relative = evaluation_hands.joints - evaluation_hands.joints[:, :1]
    np.testing.assert_allclose(collated.joints, relative, atol=1e-6)
    assert collated.vertices.shape == (3, 778, 3) and torch.isnan(collated.visible_share).all()


def test_truth_without_meshes_is_measured_by_its_joints(tree, tmp_path, tiny_pipeline):
    (tree / "evaluation_verts.json").unlink()
    import_freihand(tree, tmp_path / "out", splits=["evaluation"], progress=False)
    predict = pipeline_predictor(tiny_pipeline, num_hypotheses=2, aggregation="mean", true_keypoints=False)
    settings = EvaluationSettings("untrained", "freihand", "evaluation", num_hypotheses=2)
    dataset = load_corpus(tmp_path / "out", "evaluation")
    scores = run_protocol(predict, dataset, settings, tmp_path / "results", show_progress=False)
    results = summarise(scores, settings)
    assert results["num_images"] == 3 and results["num_failed"] == 0 and results["by_visible_share"] == {}
    assert results["accuracy"]["pa_mpjpe_mm"] > 0
    assert results["accuracy"]["pa_mpvpe_mm"] is None and results["accuracy"]["f_score_5mm"] is None


def test_evaluation_without_truth_has_nan_and_is_not_measured(tree, tmp_path, capsys):
    for kind in ("xyz", "verts", "mano"):
        (tree / f"evaluation_{kind}.json").unlink()
    assert main(["data", "freihand", "--root", str(tree), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "evaluation: 3 rows; its published truth was not found" in printed and f"train: {4 * N} rows\n" in printed
    dataset = load_corpus(tmp_path / "out", "evaluation")
    assert np.isnan(dataset.with_format("numpy")["joints_m"][:]).all()
    assert not any(map(any, dataset["keypoints_visible"]))
    asked = []
    settings = EvaluationSettings("nobody", "freihand", "evaluation", num_hypotheses=1)
    with pytest.raises(InputError, match="sample evaluation/00000000 has NaN"):
        run_protocol(asked.append, dataset, settings, tmp_path / "results", show_progress=False)
    assert not asked


# ---- writing


def test_a_run_that_was_stopped_is_carried_on_to_the_same_bytes(corpus, tree, tmp_path, mano_file):
    image, out = tree / "training" / "rgb" / "00000011.jpg", tmp_path / "out"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadSampleError, match="00000011.jpg.*truncated.*--skip-bad"):
        import_freihand(tree, out, mano=mano_file, shard_rows=8, num_workers=3, progress=False)
    assert only_files(out) == ["train-00000-of-00003.parquet", "train.json"]
    first = (out / "train-00000-of-00003.parquet").stat()
    image.write_bytes(content)
    (out / ".train-00001-of-00003-x1y2z3w4.handdiff-part.parquet").write_bytes(b"half")  # of a run that was killed
    import_freihand(tree, out, mano=mano_file, shard_rows=8, num_workers=3, progress=False)
    assert (out / "train-00000-of-00003.parquet").stat().st_mtime_ns == first.st_mtime_ns
    assert only_files(out) == only_files(corpus)
    for path in corpus.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_other_settings_in_the_same_folder_are_refused(corpus, whole_tree):
    with pytest.raises(InputError, match=r"out: .* mano '\w+', not None.*take another folder"):
        import_freihand(whole_tree, corpus, shard_rows=8, progress=False)


def test_bad_samples_are_skipped_counted_and_named(tree, tmp_path, capsys):
    (tree / "training" / "rgb" / "00000001.jpg").unlink()
    (tree / "training" / "rgb" / "00000007.jpg").write_bytes(b"not an image")
    Image.new("RGB", (100, 224)).save(tree / "training" / "rgb" / "00000012.jpg")
    arguments = ["data", "freihand", "--root", str(tree), "--out", str(tmp_path / "out"), "--splits", "train"]
    assert main([*arguments, "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "00000001.jpg is missing" in error
    assert main([*arguments, "--quiet", "--skip-bad"]) == 0
    assert "train: 17 rows, 3 bad samples skipped (see train-skipped.json)" in capsys.readouterr().out
    bad = json.loads((tmp_path / "out" / "train-skipped.json").read_text())["bad"]
    assert list(bad) == ["training/00000001", "training/00000007", "training/00000012"]
    assert "is not an image" in bad["training/00000007"] and "100 x 224 px" in bad["training/00000012"]
    kept = load_corpus(tmp_path / "out", "train")["sample_id"]
    assert kept == [f"training/{n:08d}" for n in range(4 * N) if n not in (1, 7, 12)]
    assert main([*arguments, "--quiet", "--skip-bad"]) == 0  # nothing left to do, the same count
    assert "17 rows, 3 bad samples" in capsys.readouterr().out


# ---- bad downloads


def without(*names):
    def change(tree):
        for name in names:
            shutil.rmtree(tree / name) if (tree / name).is_dir() else (tree / name).unlink()

    return change


def shortened(*names):
    def change(tree):
        for name in names:
            (tree / name).write_text(json.dumps(json.loads((tree / name).read_text())[:-1]))

    return change


def rewritten(name, make):
    return lambda tree: (tree / name).write_text(make((tree / name).read_text()))


@pytest.mark.parametrize(
    "change, message",
    [
        (without("training_K.json"), r"training_K\.json is missing"),
        (without("training_xyz.json"), r"training_xyz\.json is missing"),
        (without("training"), r"root: expected the folder training/rgb"),
        (shortened("training_xyz.json"), r"training_xyz\.json has 4 entries where training_K\.json has 5"),
        (shortened("training_verts.json"), r"training_verts\.json has 4 entries"),
        (
            shortened(*(f"training_{kind}.json" for kind in ("K", "xyz", "verts", "mano"))),
            r"00000016\.jpg does not fit training_K\.json: with its 4 entries the last image is 00000015\.jpg",
        ),
        (without("evaluation_xyz.json"), r"evaluation_xyz\.json is missing"),  # while the meshes are there
        (rewritten("training_verts.json", lambda text: text[:1000]), r"training_verts\.json is truncated"),
        (rewritten("training_K.json", lambda text: ""), r"training_K\.json is truncated"),
        (rewritten("training_K.json", lambda text: "[]"), r"training_K\.json holds something else"),
        (rewritten("training_K.json", lambda text: text.replace("0,", "null,", 1)), "something else than numbers"),
        (rewritten("training_xyz.json", lambda text: "[" + text + "]"), r"list of arrays of shape \(21, 3\)"),
        (rewritten("training_mano.json", lambda text: text.replace("[[", "[").replace("]]", "]")), "truncated|shape"),
    ],
)
def test_lists_that_cannot_be_used_are_named_before_anything_is_written(tree, tmp_path, change, message):
    change(tree)
    with pytest.raises(InputError, match=message) as error:
        import_freihand(tree, tmp_path / "out", progress=False)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_annotations_that_make_no_sense_are_bad_samples(tree, tmp_path, mano_file):
    joints = json.loads((tree / "training_xyz.json").read_text())
    joints[1] = [[x, y, -z] for x, y, z in joints[1]]
    joints[2][3][0] = float("nan")
    (tree / "training_xyz.json").write_text(json.dumps(joints))
    mano = json.loads((tree / "training_mano.json").read_text())
    mano[3] = mano[0]
    (tree / "training_mano.json").write_text(json.dumps(mano))
    (report,) = import_freihand(
        tree, tmp_path / "out", splits=["train"], versions=[0], mano=mano_file, skip_bad=True, progress=False
    )
    assert report.num_rows == 2 and list(report.bad) == [f"training/0000000{n}" for n in (1, 2, 3)]
    assert [words in reason for words, reason in zip(
        ("behind the camera", "not finite", "mm off its annotated points"), report.bad.values(), strict=True
    )] == [True] * 3  # fmt: skip


def test_another_hand_than_mano_is_refused(tree, tmp_path, mano_file):
    other = tmp_path / "other.npz"
    arrays = dict(load_open_hand_arrays())
    arrays["hands_mean"] = np.zeros(45)
    np.savez(other, **arrays)
    with pytest.raises(BadSampleError, match="expected the official MANO_RIGHT"):
        import_freihand(tree, tmp_path / "out", mano=other, progress=False)
    with pytest.raises(InputError, match="mano: .*does not exist"):
        import_freihand(tree, tmp_path / "out", mano=tmp_path / "nothing.pkl", progress=False)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"versions": [4]}, "versions: expected some of 0 to 3"),
        ({"splits": ["test"]}, "splits: expected train or evaluation, got 'test'"),
        ({"num_workers": 0}, "num_workers: expected at least 1"),
    ],
)
def test_bad_arguments_are_named(tree, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        import_freihand(tree, tmp_path / "out", progress=False, **options)


def test_bad_folders_are_named(tree, tmp_path, capsys):
    with pytest.raises(InputError, match="root: .*there is no folder"):
        import_freihand(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "file").write_text("")
    assert main(["data", "freihand", "--root", str(tree), "--out", str(tmp_path / "file"), "--quiet"]) == 1
    assert "out: expected a folder" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys, contextlib, hf_handdiff.cli as cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['data', sys.argv[1], '--help'])\n"
        "heavy = {'torch', 'datasets', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    for command, flag in (("freihand", "--versions"), ("ho3d", "--version {v2,v3}")):
        done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert flag in done.stdout and "--skip-bad" in done.stdout


# ---- long lists


def test_long_lists_are_read_in_pieces_to_the_same_numbers(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(7, 4, 3))
    text = json.dumps(values.tolist(), indent=1)
    (tmp_path / "list.json").write_text(text)
    for size in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(number_lists, "_PIECE_BYTES", size)
        np.testing.assert_array_equal(read_number_list(tmp_path / "list.json", (4, 3)), values)
    monkeypatch.setattr(number_lists, "_PIECE_BYTES", 64)
    for cut in range(1, 400, 7):
        (tmp_path / "cut.json").write_text(text.rstrip()[:-cut])
        with pytest.raises(InputError, match=r"cut\.json"):
            read_number_list(tmp_path / "cut.json", (4, 3))


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, "[" + "1" * 20_000_000 + "]", "[[1, [2, \0]]]", "{}]", '[["a"]]', "[\xff]"]
)
def test_what_is_no_list_of_numbers_is_said(tmp_path, text):
    (tmp_path / "list.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"list\.json holds something else"):
        read_number_list(tmp_path / "list.json", (2,))


def test_a_number_of_400_digits_belongs_to_no_hand(tree, tmp_path):
    text = (tree / "training_xyz.json").read_text()
    first = text.strip("[").split(",")[0]
    (tree / "training_xyz.json").write_text(text.replace(first, "9" * 400, 1))
    with pytest.raises(InputError, match="training/00000000: .* not finite"):
        import_freihand(tree, tmp_path / "out", splits=["train"], versions=[0], progress=False)
