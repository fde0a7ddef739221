"""Renders in the layout of FreiHAND and HO3D: the importers give back what was rendered."""

import json
import pickle
import shutil
import time
import warnings

import cv2
import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation

pytest.importorskip("numba")

from hf_handdiff.cli.main import main
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.freihand import import_freihand
from hf_handdiff.data.ho3d import import_ho3d
from hf_handdiff.errors import InputError
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays, mesh_of_faces, mesh_of_points
from hf_handdiff.hand.topology import FINGERTIP_VERTICES, MANO
from hf_handdiff.synthetic import FreihandTree, Ho3dTree, SceneAssets, tree_scenes, write_tree
from hf_handdiff.synthetic.mano_format import mano_arrays, vertex_order
from hf_handdiff.synthetic.tree_scenes import crop_picture, frame_picture, stream_seed

OPENGL = np.array([1.0, -1.0, -1.0])
FREIHAND = FreihandTree(8, 2, seed=5)
HO3D = Ho3dTree(5, 2, seed=5)


@pytest.fixture(scope="module")
def freihand(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("freihand"), FREIHAND, progress=False)


@pytest.fixture(scope="module")
def ho3d(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("ho3d"), HO3D, progress=False)


@pytest.fixture(scope="module")
def test_assets():
    return SceneAssets.load("test")


@pytest.fixture(scope="module")
def crops(assets, test_assets):
    """What the generator says of each entry of FREIHAND, version 0."""
    seed = stream_seed(5, 1)
    train = [crop_picture(assets, seed, entry, 0, green_screen=True) for entry in range(2)]
    return {"train": train, "evaluation": [crop_picture(test_assets, seed, entry, 0) for entry in range(2)]}


@pytest.fixture(scope="module")
def frames(assets, test_assets):
    """What the generator says of each frame of HO3D: sequences of three frames and two, and of one and one."""
    seed = stream_seed(5, 2)
    train = [frame_picture(assets, seed, entry, entry // 3) for entry in range(5)]
    return {"train": train, "evaluation": [frame_picture(test_assets, seed, entry, entry) for entry in range(2)]}


def read(name):
    return np.array(json.loads(name.read_text()))


def project(points, camera):
    homogeneous = points @ np.asarray(camera, np.float64).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def posed_by_smplx(tree, pose, shape, translation, flat_hand_mean):
    """Vertices (778, 3) of the tree's MANO file by somebody else's code."""
    with warnings.catch_warnings(action="ignore"):
        model = smplx.MANO(str(tree / "MANO_RIGHT.pkl"), use_pca=False, flat_hand_mean=flat_hand_mean)
    pose, shape, translation = (
        torch.as_tensor(np.array(v), dtype=torch.float32)[None] for v in (pose, shape, translation)
    )
    posed = model(betas=shape, global_orient=pose[:, :3], hand_pose=pose[:, 3:], transl=translation)
    return posed.vertices[0].detach().numpy()


def assert_row_is(row, picture, layer):
    """A row of the corpus has the labels of the generator, and its mesh is that of its parameters: to 0.1 mm."""
    truth, points = picture.row, {"joints_m": 1e-6, "vertices_m": 1e-6, "pose_rad": 1e-5, "shape": 1e-5}
    expected = {**truth, "vertices_m": truth["vertices_m"][vertex_order()]}
    for name, tolerance in points.items():
        np.testing.assert_allclose(row[name], expected[name], atol=tolerance, err_msg=name)
    with torch.no_grad():
        mesh = layer(torch.tensor(row["pose_rad"])[None], torch.tensor(row["shape"])[None])
    np.testing.assert_allclose(mesh.vertices[0] + row["translation_m"], row["vertices_m"], atol=1e-4)
    np.testing.assert_allclose(mesh.joints[0] + row["translation_m"], row["joints_m"], atol=1e-4)
    assert mesh_of_points(row["vertices_m"], row["joints_m"]) == MANO


def assert_on_the_hand(keypoints, visible, mask):
    """Joints that are seen lie on the hand's skin, to a pixel or two."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5)))
    x, y = np.floor(keypoints[np.array(visible)]).astype(int).T
    assert len(x) and near[y, x].all()


# ---- what is in the trees


def test_freihand_comes_back_from_its_importer(freihand, crops, tmp_path):
    import_freihand(freihand, tmp_path, mano=freihand / "MANO_RIGHT.pkl", progress=False)
    layer = load_mano_layer(freihand / "MANO_RIGHT.pkl")
    for split, count in (("train", 8), ("evaluation", 2)):
        rows = load_corpus(tmp_path, split).with_format("numpy")
        assert len(rows) == count
        for number, row in enumerate(rows):
            picture = crops[split][number % 2]
            assert_row_is(row, picture, layer)
            np.testing.assert_allclose(row["keypoints_2d_px"], picture.row["keypoints_2d_px"], atol=0.01)
            np.testing.assert_allclose(row["intrinsics_px"], picture.row["intrinsics_px"], rtol=1e-6)
            if split == "evaluation" or number < 2:
                assert np.abs(row["image"].astype(int) - picture.image).mean() < 12


def test_ho3d_comes_back_from_its_importer(ho3d, frames, tmp_path):
    reports = import_ho3d(ho3d, tmp_path, "v3", mano=ho3d / "MANO_RIGHT.pkl", progress=False)
    assert list(reports[0].not_annotated) == ["TR1/0000"] and not reports[0].bad
    layer = load_mano_layer(ho3d / "MANO_RIGHT.pkl")
    rows = load_corpus(tmp_path, "train").with_format("numpy")
    assert list(rows["sample_id"]) == ["TR0/0000", "TR0/0001", "TR0/0002", "TR1/0001"]
    for row, entry in zip(rows, (0, 1, 2, 4), strict=True):
        assert_row_is(row, frames["train"][entry], layer)
        assert_crop_fits(row, frames["train"][entry])
    for row, picture in zip(
        load_corpus(tmp_path, "evaluation").with_format("numpy"), frames["evaluation"], strict=True
    ):
        np.testing.assert_allclose(row["joints_m"], picture.row["joints_m"], atol=1e-6)
        np.testing.assert_allclose(row["vertices_m"], picture.row["vertices_m"][vertex_order()], atol=1e-6)
        assert_crop_fits(row, picture)


def assert_crop_fits(row, picture):
    """The keypoints of the crop are those of the frame, moved and scaled as its camera says."""
    zoom = row["intrinsics_px"][0, 0] / picture.intrinsics_px[0, 0]
    corner = picture.intrinsics_px[:2, 2] - row["intrinsics_px"][:2, 2] / zoom
    in_frame = row["keypoints_2d_px"] / zoom + corner
    np.testing.assert_allclose(in_frame, project(picture.row["joints_m"], picture.intrinsics_px), atol=0.02)


def test_freihand_parameters_pose_the_mano_file_by_the_code_of_others(freihand):
    for split in ("training", "evaluation"):
        xyz, verts, mano, camera, scale = (
            read(freihand / f"{split}_{k}.json") for k in ("xyz", "verts", "mano", "K", "scale")
        )
        assert xyz.shape == (2, 21, 3) and verts.shape == (2, 778, 3) and mano.shape == (2, 1, 61)
        for n, (parameters,) in enumerate(mano):
            posed = posed_by_smplx(freihand, parameters[:48], parameters[48:58], np.zeros(3), flat_hand_mean=False)
            away = verts[n] - posed
            np.testing.assert_allclose(away, np.broadcast_to(away.mean(0), away.shape), atol=1e-4)
            focal, root = (
                camera[n][0, 0],
                np.append(parameters[58:60] - camera[n][:2, 2], camera[n][0, 0]) / parameters[60],
            )
            assert focal == camera[n][1, 1]
            np.testing.assert_allclose(root, xyz[n, 9], atol=1e-5)
            assert scale[n] == pytest.approx(np.linalg.norm(xyz[n, 9] - xyz[n, 10]), abs=1e-6)
            tips = verts[n][[744, 320, 443, 555, 672]]  # where MANO has them
            np.testing.assert_allclose(tips, xyz[n][[4, 8, 12, 16, 20]], atol=1e-6)


def test_ho3d_pickles_pose_the_mano_file_by_the_code_of_others(ho3d, frames):
    for entry, picture in enumerate(frames["train"]):
        path = ho3d / "train" / f"TR{entry // 3}" / "meta" / f"{entry % 3:04d}.pkl"
        assert b"numpy._core" not in path.read_bytes() and path.read_bytes()[:2] == b"\x80\x02"
        meta = pickle.loads(path.read_bytes())
        np.testing.assert_allclose(meta["camMat"], picture.intrinsics_px)
        if entry == 3:
            assert all(value is None for name, value in meta.items() if name != "camMat")
            continue
        posed = posed_by_smplx(ho3d, meta["handPose"], meta["handBeta"], meta["handTrans"], flat_hand_mean=True)
        np.testing.assert_allclose(posed * OPENGL, picture.row["vertices_m"][vertex_order()], atol=1e-4)
        rotation = Rotation.from_rotvec(meta["objRot"].ravel()).as_matrix()
        np.testing.assert_allclose(
            meta["objCorners3DRest"] @ rotation.T + meta["objTrans"], meta["objCorners3D"], atol=1e-6
        )
        assert np.linalg.norm(meta["objTrans"] - meta["handJoints3D"][4]) < 0.3, "the object is in the hand"


def test_joints_lie_on_the_hand(freihand, ho3d, crops, frames):
    for entry, picture in enumerate(crops["train"]):
        keypoints = project(read(freihand / "training_xyz.json")[entry], read(freihand / "training_K.json")[entry])
        mask = cv2.imread(str(freihand / f"training/mask/{entry:08d}.jpg"), cv2.IMREAD_GRAYSCALE) > 127
        assert_on_the_hand(keypoints, picture.row["keypoints_visible"], mask)
        green = cv2.imread(str(freihand / f"training/rgb/{entry:08d}.jpg"))[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        assert np.median(green[:, 1] - green[:, [0, 2]].max(1)) > 30, "version 0 stands before a green screen"
    for split, shown in frames.items():
        for entry, picture in enumerate(shown):
            size = 3 if split == "train" else 1
            prefix = "TR" if split == "train" else "EV"
            image = cv2.imread(str(ho3d / split / f"{prefix}{entry // size}" / "rgb" / f"{entry % size:04d}.jpg"))
            assert image.shape == (480, 640, 3) and np.abs(image[..., ::-1].astype(int) - picture.image).mean() < 12
            keypoints = project(picture.row["joints_m"], picture.intrinsics_px)
            inside = ((keypoints >= 0) & (keypoints < [640, 480])).all(1)
            if (seen := inside & picture.row["keypoints_visible"]).any():
                assert_on_the_hand(keypoints, seen, picture.hand_mask)


def test_versions_are_the_same_hand_in_other_light_and_places(assets, freihand, crops):
    images = [cv2.imread(str(freihand / f"training/rgb/{1 + 2 * version:08d}.jpg")) for version in range(4)]
    for version in range(1, 4):
        picture = crop_picture(assets, stream_seed(5, 1), 1, version)
        for name in ("joints_m", "vertices_m", "intrinsics_px", "pose_rad"):
            np.testing.assert_array_equal(picture.row[name], crops["train"][1].row[name])
        np.testing.assert_array_equal(picture.hand_mask, crops["train"][1].hand_mask)
        np.testing.assert_allclose(images[version][..., ::-1], picture.image, atol=90)
        for other in range(version):
            assert np.abs(images[version].astype(int) - images[other]).mean() > 10


def test_a_hand_that_lies_outside_is_drawn_anew(assets, monkeypatch):
    def shown(version):
        row = crop_picture(assets, stream_seed(0, 1), 107, version).row
        return row, ((row["keypoints_2d_px"] >= 0) & (row["keypoints_2d_px"] < 224)).all(1).sum()

    rows, inside = zip(*(shown(version) for version in (1, 2)), strict=True)
    assert min(inside) >= 11
    np.testing.assert_array_equal(rows[0]["joints_m"], rows[1]["joints_m"])
    monkeypatch.setattr(tree_scenes, "MIN_JOINTS_INSIDE", 0)
    assert shown(1)[1] < 11, "the first view that is drawn shows too little"


def test_splits_share_nothing_and_a_sequence_has_one_camera(freihand, ho3d):
    train, evaluation = (read(freihand / f"{split}_mano.json") for split in ("training", "evaluation"))
    assert not np.intersect1d(train[..., :58], evaluation[..., :58]).size
    cameras = [pickle.loads(path.read_bytes())["camMat"] for path in sorted(ho3d.glob("*/*/meta/*.pkl"))]
    assert len(np.unique(cameras, axis=0)) == 4


def test_the_mano_file_is_no_open_hand_by_its_numbers_but_the_same_surface():
    ours, file = load_open_hand_arrays(), mano_arrays()
    order = vertex_order()
    assert sorted(order) == list(range(778)) and (order != np.arange(778)).mean() > 0.99
    assert [order[place] for place in (744, 320, 443, 555, 672)] == list(FINGERTIP_VERTICES.values())
    assert mesh_of_faces(file["f"]) == MANO and np.abs(file["hands_mean"]).max() > 0.1
    np.testing.assert_array_equal(order[file["f"].astype(int)], ours["f"])
    np.testing.assert_allclose(np.ptp(file["v_template"], 0), np.ptp(ours["v_template"], 0), atol=1e-6)


# ---- how they are written


def assert_same_trees(first, second):
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
def test_a_killed_run_is_carried_on_by_any_number_of_workers(freihand, warm, tmp_path):
    out = tmp_path / "tree"
    command = ["data", "synthetic", "--layout", "freihand", "--out", str(out), "--num-samples", "8"]
    command += ["--evaluation-samples", "2", "--seed", "5", "--quiet"]
    process = warm.start("-m", "hf_handdiff", *command)
    try:
        until = time.monotonic() + 120
        while not list(out.glob("training/rgb/*.jpg")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not list(out.glob("*.md")) and [path.name for path in out.glob("*.json")] == ["tree.json"]
    with pytest.raises(InputError, match="holds a tree with seed 5, not 6: take another folder"):
        write_tree(out, FreihandTree(8, 2, seed=6))
    assert main([*command, "--num-workers", "2"]) == 0
    assert_same_trees(freihand, out)


def test_what_is_missing_from_a_tree_is_made_again_and_nothing_else(ho3d, tmp_path, monkeypatch):
    tree = shutil.copytree(ho3d, tmp_path / "tree")
    monkeypatch.setattr(Ho3dTree, "make", None)
    (tree / "README.md").unlink()
    write_tree(tree, HO3D, progress=False)
    assert_same_trees(ho3d, tree)
    monkeypatch.undo()
    for name in ("evaluation/EV1/rgb/0000.jpg", "evaluation_xyz.json"):
        (tree / name).unlink()
        write_tree(tree, HO3D, progress=False)
        assert_same_trees(ho3d, tree)


def test_v2_has_png_images(tmp_path):
    out = tmp_path / "tree"
    command = ["data", "synthetic", "--layout", "ho3d", "--ho3d-version", "v2", "--out", str(out), "--num-samples", "1"]
    assert main([*command, "--evaluation-samples", "1", "--quiet"]) == 0
    assert len(list(out.glob("*/*/rgb/*.png"))) == 2
    corpus, mano = tmp_path / "corpus", out / "MANO_RIGHT.pkl"
    assert [report.num_rows for report in import_ho3d(out, corpus, "v2", mano=mano, progress=False)] == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layout", "freihand"], "--evaluation-samples: expected with --layout freihand"),
        (["--layout", "freihand", "--evaluation-samples", "1"], "num_samples: expected a multiple of 4"),
        (["--layout", "ho3d", "--evaluation-samples", "1", "--shards", "0:1"], "--shards: belongs to a corpus"),
        (["--layout", "ho3d", "--evaluation-samples", "1", "--shard-rows", "5"], "--shard-rows: belongs to a corpus"),
        (["--layout", "ho3d", "--evaluation-samples", "1", "--split", "train"], "--split: belongs to a corpus"),
        (["--evaluation-samples", "1"], "--evaluation-samples: belongs to --layout freihand or ho3d"),
        (["--ho3d-version", "v2"], "--ho3d-version: belongs to --layout ho3d, not to corpus"),
        (["--layout", "ho3d", "--evaluation-samples", "1", "--out", "{full}"], "holds something else"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, capsys, options, message):
    full = tmp_path / "full"
    full.mkdir()
    (full / "training_K.json").write_text("[]")
    command = ["data", "synthetic", "--out", str(tmp_path / "out"), "--num-samples", "6"]
    assert main([*command, *(option.format(full=full) for option in options)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() and [path.name for path in full.iterdir()] == ["training_K.json"]
