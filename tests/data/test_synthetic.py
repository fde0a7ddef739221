"""The synthetic corpus: one sample is what its labels say, and the same whoever makes it."""

import io
import os

import numpy as np
import pytest
import roma
import torch
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("cv2")

from datasets import load_dataset
from huggingface_hub import DatasetCard

from hf_handdiff.cli.main import build_parser, main
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import CORPUS_FEATURES, LOADED_FEATURES
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler, sample_poses
from hf_handdiff.hand.recorded_poses import RECORDED_SPLITS, SPLITS, recorded_angles
from hf_handdiff.synthetic import SceneAssets, generate_sample, write_corpus, writer
from hf_handdiff.synthetic.card import CorpusStatistics, corpus_statistics, curl_deg, viewing_direction, write_card
from hf_handdiff.synthetic.environment import ENVIRONMENT_SPLITS, studio_lighting
from hf_handdiff.synthetic.generator import generate_scene
from hf_handdiff.synthetic.grasps import sample_grasp
from hf_handdiff.synthetic.hand_mesh import ForearmShape
from hf_handdiff.synthetic.materials import Material, random_object_material
from hf_handdiff.synthetic.mesh import box, bunch, random_solid, random_tool, swept
from hf_handdiff.synthetic.placement import (
    FIELD_OF_VIEW_DEG,
    MAX_CORNER_DEG,
    MIN_DEPTH_M,
    everyday_rotation,
    fit_translation,
    random_rotation,
    sample_intrinsics,
)
from hf_handdiff.synthetic.rasterizer import NO_FACE, project_points, rasterize, screen_points, vertex_normals
from hf_handdiff.synthetic.renderer import render
from hf_handdiff.synthetic.scene import sample_hand
from hf_handdiff.synthetic.shapes import BANDS, GAP_WIDTH, MAX_COEFFICIENT, PERIOD, band_position, sample_shape
from hf_handdiff.synthetic.visibility import hand_scale, joint_visibility, probe_points, visible_share

SEED = 1
NUM_SAMPLES = int(os.environ.get("HANDDIFF_NUM_CHECKED", 40))  # set it to 200 for the long check


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def assets():
    return SceneAssets.load("train")


@pytest.fixture(scope="module")
def samples(assets):
    return [generate_sample(SEED, index, assets) for index in range(NUM_SAMPLES)]


@pytest.fixture(scope="module")
def hands(samples):
    return [row for row in samples if row["has_hand"]]


def flat_hand_scene(assets, extra=()):
    """An open hand, its palm to the camera, 0.5 m away, fingers up, with `extra` meshes in camera axes."""
    hand = assets.hand
    posed = hand.pose(np.zeros((16, 3)), np.zeros(10))
    rotation = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    points = hand.with_forearm(posed.vertices, ForearmShape())
    intrinsics = np.array([[400.0, 0.0, 112.0], [0.0, 400.0, 112.0], [0.0, 0.0, 1.0]])
    translation = fit_translation(posed.vertices @ rotation.T, intrinsics, np.array([112.0, 112.0]), 150.0)
    skin = hand.skin_mesh(points, Material()).moved(rotation, translation)
    joints = posed.joints @ rotation.T + translation
    meshes = [skin, *[make(joints) for make in extra]]
    lighting = studio_lighting(np.random.default_rng(0))
    background = np.zeros((224, 224, 3), np.float32)
    image, buffer = render(meshes, intrinsics, background, lighting, joints.mean(0), assets.noise)
    return image, buffer, joints, intrinsics, skin.points[: hand.num_hand_vertices]


# ---- rows


def test_same_sample_twice_is_equal_to_the_byte(assets, samples):
    other = SceneAssets.load("train")
    for index in (NUM_SAMPLES - 1, 0, 7):  # in another order, with freshly loaded assets
        again = generate_sample(SEED, index, other)
        for name, value in samples[index].items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, again[name], err_msg=name)
            else:
                assert value == again[name], name


def test_samples_differ_by_index_seed_and_split(assets, samples):
    images = {row["image"]["bytes"] for row in samples}
    assert len(images) == NUM_SAMPLES
    assert generate_sample(SEED + 1, 0, assets)["image"] != samples[0]["image"]
    assert generate_sample(SEED, 0, SceneAssets.load("test"))["image"] != samples[0]["image"]


def test_rows_have_the_declared_features(samples):
    encoded = [CORPUS_FEATURES.encode_example(row) for row in samples]
    assert set(encoded[0]) == set(CORPUS_FEATURES)
    for row in samples:
        image = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert image.size == (224, 224) and image.mode == "RGB"
        for name in ("keypoints_2d_px", "joints_m", "vertices_m", "intrinsics_px", "pose_rad", "shape"):
            assert np.isfinite(np.asarray(row[name])).all(), name
            if isinstance(row[name], np.ndarray):
                assert row[name].dtype == np.float32, name
        assert 0.0 <= row["visible_share"] <= 1.0


def test_rows_without_hand_have_zero_labels(samples):
    empty = [row for row in samples if not row["has_hand"]]
    assert 1 <= len(empty) <= 10
    for row in empty:
        assert not np.any(row["joints_m"]) and not np.any(row["vertices_m"]) and not any(row["keypoints_visible"])
        assert row["intrinsics_px"][0, 0] > 0.0


def test_joints_project_on_keypoints(hands):
    for row in hands:
        pixels = project_points(row["joints_m"].astype(np.float64), row["intrinsics_px"].astype(np.float64))
        np.testing.assert_allclose(pixels, row["keypoints_2d_px"], atol=1e-2)
        assert row["joints_m"][:, 2].min() > 0.1


def test_vertices_and_joints_are_the_hand_layers(hands):
    layer = HandLayer.open_hand()
    pose = torch.tensor(np.stack([row["pose_rad"] for row in hands]))
    shape = torch.tensor([row["shape"] for row in hands])
    translation = torch.tensor([row["translation_m"] for row in hands])[:, None]
    mesh = layer(pose, shape)
    np.testing.assert_allclose(mesh.vertices + translation, np.stack([r["vertices_m"] for r in hands]), atol=1e-6)
    np.testing.assert_allclose(mesh.joints + translation, np.stack([r["joints_m"] for r in hands]), atol=1e-6)


def test_what_is_drawn_is_what_is_labelled(assets):
    """The full mesh that is rendered holds the standard mesh of the labels."""
    from hf_handdiff.hand.open_hand import load_open_hand_arrays

    rng = np.random.default_rng(0)
    pose, shape = assets.poses(3, 0)[0].copy(), rng.normal(size=10)
    pose[0] = [0.3, -0.4, 0.5]
    full, standard = assets.hand.pose(pose, shape), assets.hand.standard(pose, shape)
    kept = load_open_hand_arrays("standard")["full_index"]
    np.testing.assert_allclose(full.vertices[kept], standard.vertices, atol=1e-6)
    np.testing.assert_allclose(full.joints, standard.joints, atol=1e-6)


def test_most_hands_are_in_view_and_lit(hands):
    shares = np.array([row["visible_share"] for row in hands])
    assert (shares > 0.6).mean() > 0.6
    assert 0.3 < np.mean([row["keypoints_visible"] for row in hands]) < 0.9
    brightness = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).mean() for row in hands]
    assert 60 < np.mean(brightness) < 190


# ---- splits, poses, cameras


def test_splits_share_no_light_and_no_shape():
    names = [name for split in SPLITS for name in ENVIRONMENT_SPLITS[split]]
    assert len(names) == len(set(names)) == 8
    rng = np.random.default_rng(0)
    shapes = {split: np.stack([sample_shape(split, rng) for _ in range(400)]) for split in SPLITS}
    for split, own in shapes.items():
        assert own.dtype == np.float32 and np.abs(own).max() <= MAX_COEFFICIENT
        assert (own.std(0) > 0.9).all() and np.abs(own.mean(0)).max() < 0.25, "hands of all kinds in each split"
        position = band_position(own)
        assert ((position >= BANDS[split][0]) & (position < BANDS[split][1])).all()
    edges = sorted(BANDS.values())
    gaps = [after[0] - before[1] for before, after in zip(edges, [*edges[1:], (PERIOD, 0.0)], strict=True)]
    assert min(gaps) > GAP_WIDTH - 1e-9
    between = shapes["train"][:, None] - shapes["test"][None]
    assert np.linalg.norm(between, axis=2).min() > GAP_WIDTH


def test_rows_have_shapes_of_their_split(assets, hands):
    for split in ("train", "test"):
        rows = hands if split == "train" else [generate_sample(SEED, k, SceneAssets.load("test")) for k in range(3)]
        for row in rows:
            if row["has_hand"]:
                assert BANDS[split][0] <= band_position(np.float32(row["shape"])) < BANDS[split][1]


def test_splits_share_no_recorded_signer():
    parts = {split: recorded_angles(split) for split in SPLITS}
    assert sum(map(len, parts.values())) == len(recorded_angles())
    assert all(len(part) > 300 for part in parts.values()) and len(parts["train"]) > 3000
    languages = [code for codes in RECORDED_SPLITS.values() for code in codes]
    assert len(languages) == len(set(languages))
    train, test = (
        sample_poses(50, torch.Generator().manual_seed(0), recorded_share=1.0, split=s) for s in ("train", "test")
    )
    assert not torch.equal(train, test)
    with pytest.raises(ValueError, match="split must be one of"):
        recorded_angles("holiday")


def test_fingers_do_not_run_through_each_other(assets):
    sampler = default_sampler()
    poses = np.stack([assets.poses(4, index)[0] for index in range(0, 1000, 4)])
    assert sampler.overlap(torch.from_numpy(poses)).max() <= MAX_OVERLAP_M + 1e-6
    rng, held = np.random.default_rng(0), []
    while len(held) < 10:
        instance = sample_hand(assets.hand, poses[0], "train", rng)
        if not np.array_equal(instance.pose_rad, poses[0]):
            held.append(float(sampler.overlap(torch.from_numpy(instance.pose_rad)[None])[0]))
    assert np.mean(np.array(held) <= MAX_OVERLAP_M + 1e-6) >= 0.8


def test_cameras_see_20_to_90_degrees_and_hands_are_not_too_near(hands):
    rng = np.random.default_rng(0)
    cameras = np.stack([sample_intrinsics(224, rng) for _ in range(500)])
    half = np.degrees(np.arctan(112.0 / cameras[:, 0, 0]))
    low, high = FIELD_OF_VIEW_DEG
    assert low <= 2 * half.min() < low + 2 and high - 6 < 2 * half.max() <= high
    corner = np.degrees(np.arctan((np.abs(cameras[:, :2, 2] - 112.0).max(1) + 112.0) / cameras[:, 0, 0]))
    assert corner.max() < MAX_CORNER_DEG + 1.0
    assert min(row["vertices_m"][:, 2].min() for row in hands) > MIN_DEPTH_M - 1e-4


# ---- visibility


def test_all_joints_of_an_open_hand_are_visible(assets):
    image, buffer, joints, intrinsics, vertices = flat_hand_scene(assets)
    assert joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224).all()
    assert visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224) > 0.97
    assert image[100:130, 100:130].max() > 0.05


def test_a_box_in_front_hides_the_fingers_behind_it(assets):
    def before_the_fingertips(joints):
        tips = joints[[8, 12, 16, 20]].mean(0)
        return box(np.array([0.16, 0.04, 0.01]), Material()).moved(np.eye(3), tips * 0.8)

    _, buffer, joints, intrinsics, vertices = flat_hand_scene(assets, [before_the_fingertips])
    visible = joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224)
    assert not visible[[12, 16]].any()
    assert visible[[0, 1, 2, 5, 9, 13, 17]].all()
    assert 0.5 < visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224) < 0.95


def test_a_box_behind_hides_nothing_and_a_patch_does(assets):
    def behind(joints):
        return box(np.array([0.3, 0.3, 0.01]), Material()).moved(np.eye(3), joints.mean(0) + [0.0, 0.0, 0.1])

    _, buffer, joints, intrinsics, vertices = flat_hand_scene(assets, [behind])
    assert joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224).all()
    covered = np.zeros((224, 224), bool)
    covered[112:] = True
    below = project_points(joints, intrinsics)[:, 1] >= 112
    visible = joint_visibility(assets.hand, joints, intrinsics, buffer, 0, 224, covered)
    np.testing.assert_array_equal(visible, ~below)
    whole = visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224)
    assert visible_share(assets.hand, vertices, intrinsics, buffer, 0, 224, covered) < 0.8 * whole


def test_a_fist_seen_from_behind_hides_its_fingertips(assets):
    hand = assets.hand
    pose = np.zeros((16, 3), np.float32)
    for first in (1, 4, 7, 10):
        pose[first : first + 3, 2] = [1.4, 1.7, 1.0]  # bend toward the palm (-y) about +z
    posed = hand.pose(pose, np.zeros(10))
    assert posed.joints[12, 1] < 0.0
    rotation = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # back to the camera
    intrinsics = np.array([[400.0, 0.0, 112.0], [0.0, 400.0, 112.0], [0.0, 0.0, 1.0]])
    translation = fit_translation(posed.vertices @ rotation.T, intrinsics, np.array([112.0, 112.0]), 120.0)
    points = hand.with_forearm(posed.vertices, ForearmShape())
    skin = hand.skin_mesh(points, Material()).moved(rotation, translation)
    lighting = studio_lighting(np.random.default_rng(0))
    black = np.zeros((224, 224, 3), np.float32)
    _, buffer = render([skin], intrinsics, black, lighting, translation, assets.noise)
    joints = posed.joints @ rotation.T + translation
    visible = joint_visibility(hand, joints, intrinsics, buffer, 0, 224)
    assert visible[[0, 5, 9, 13, 17]].all() and not visible[[8, 12, 16]].any()


def first_hit(triangles, target):
    """Number and depth of the first front face on the ray from the origin through `target` (3,); -1 for none.

    By Moeller and Trumbore (1997).
    """
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    normal = np.cross(target, second)
    determinant = (first * normal).sum(1)
    safe = np.where(np.abs(determinant) > 1e-14, determinant, 1.0)
    u = -(triangles[:, 0] * normal).sum(1) / safe
    cross = np.cross(-triangles[:, 0], first)
    v, distance = (cross * target).sum(1) / safe, (cross * second).sum(1) / safe
    front = (np.cross(first, second) * target).sum(1) < 0.0
    hit = front & (np.abs(determinant) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    if not hit.any():
        return -1, np.inf
    face = np.flatnonzero(hit)[np.argmin(distance[hit])]
    return face, distance[face] * target[2]


def visible_by_rays(hand, scene):
    """Which joints (21,) bool of a SceneSample exact rays from the camera through its meshes see."""
    joints = scene.row["joints_m"].astype(np.float64)
    triangles = np.concatenate([mesh.points[mesh.faces] for mesh in scene.meshes]).astype(np.float64)
    probes = probe_points(joints)
    visible = np.zeros(21, bool)
    for joint, (x, y) in enumerate(scene.row["keypoints_2d_px"]):
        if not (0 <= x < 224 and 0 <= y < 224) or scene.covered[int(y), int(x)]:
            continue
        face, depth = first_hit(triangles, probes[joint])
        if 0 <= face < len(hand.faces) and hand.joint_faces[joint, face]:
            visible[joint] = probes[joint, 2] - depth < hand.flesh_depth_m[joint] * hand_scale(hand, joints)
    return visible


def test_visibility_agrees_with_a_ray_cast(assets):
    """The depth buffer against exact rays through the same scenes, with all that hides the hand in them."""
    agree = []
    index = 0
    while len(agree) < NUM_SAMPLES:
        scene = generate_scene(9, index, assets)
        index += 1
        if scene.row["has_hand"]:
            agree.append(np.array(scene.row["keypoints_visible"]) == visible_by_rays(assets.hand, scene))
    print(f"rays and depth buffer agree on {np.mean(agree):.4f} of the joints of {len(agree)} hands")
    assert np.mean(agree) >= 0.99


# ---- geometry


def test_rasterizer_keeps_the_nearest_face_and_its_depth():
    intrinsics = np.array([[10.0, 0.0, 10.0], [0.0, 10.0, 10.0], [0.0, 0.0, 1.0]])
    square = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    points = np.concatenate([square * 2 + [0, 0, 2.0], square * 0.5 + [0, 0, 1.0]]).astype(np.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]], np.int32)
    depth, ids = np.zeros((20, 20), np.float32), np.full((20, 20), NO_FACE, np.int32)
    rasterize(screen_points(points, intrinsics), faces, True, depth, ids)
    assert (ids[6:14, 6:14] >= 2).all() and (ids[:4] < 2).all() and (ids >= 0).all()
    np.testing.assert_allclose(depth[10, 10], 1.0, rtol=1e-5)
    np.testing.assert_allclose(depth[1, 1], 0.5, rtol=1e-5)
    ids[:] = NO_FACE
    rasterize(screen_points(points, intrinsics), np.ascontiguousarray(faces[:, ::-1]), True, 0 * depth, ids)
    assert (ids == NO_FACE).all()  # seen from behind


def test_meshes_look_outward(assets):
    """Closed meshes have a positive volume, so that back faces are the ones that are dropped."""
    rng = np.random.default_rng(0)
    meshes = [random_solid(rng, random_object_material(rng)).mesh for _ in range(20)]
    meshes += [random_tool(rng, Material()).mesh for _ in range(20)] + [bunch(Material(), rng) for _ in range(5)]
    meshes.append(box(np.array([0.1, 0.2, 0.3]), Material()))
    meshes.append(swept(np.array([[0.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.05, 0.15, 0.0]]), 0.01, Material()))
    for mesh in meshes:
        a, b, c = (mesh.points[mesh.faces[:, k]] for k in range(3))
        assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0.0
    mirrored = meshes[0].mirrored()
    a, b, c = (mirrored.points[mirrored.faces[:, k]] for k in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0.0


def test_forearm_closes_the_hand(assets):
    hand = assets.hand
    edges = np.sort(np.concatenate([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]], hand.faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    normals = vertex_normals(hand.rest, hand.faces)
    arm = slice(hand.num_hand_vertices, len(hand.rest) - 1)
    rings = hand.forearm_rings(hand.rest)
    outward = (rings - rings.mean(1, keepdims=True)).reshape(-1, 3)
    assert (outward * normals[arm]).sum(1).min() > 0.0


def test_rotations_are_rotations():
    rng = np.random.default_rng(0)
    for sample in (random_rotation, everyday_rotation):
        for _ in range(20):
            rotation = sample(rng)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) > 0.99


def test_fit_translation_places_the_box():
    rng = np.random.default_rng(0)
    intrinsics = np.array([[300.0, 0.0, 150.0], [0.0, 300.0, 90.0], [0.0, 0.0, 1.0]])
    points = rng.normal(size=(100, 3)) * 0.05
    translation = fit_translation(points, intrinsics, np.array([100.0, 120.0]), 140.0)
    pixels = project_points(points + translation, intrinsics)
    np.testing.assert_allclose(0.5 * (pixels.min(0) + pixels.max(0)), [100.0, 120.0], atol=1.0)
    np.testing.assert_allclose(np.ptp(pixels, axis=0).max(), 140.0, rtol=0.02)


def test_grasps_touch_what_they_hold_and_do_not_run_through_it(assets):
    flat = assets.hand.pose(np.zeros((16, 3)), np.zeros(10)).joints
    deepest, nearest = [], []
    for seed in range(12):
        pose, mesh = sample_grasp(flat, np.random.default_rng(seed))
        joints = assets.hand.pose(pose, np.zeros(10)).joints
        distance = np.linalg.norm(mesh.points[None] - joints[[4, 8, 12, 16, 20], None], axis=-1)
        nearest.append(distance.min())
        assert np.abs(pose).max() < 2.5
        deepest.append(np.isfinite(pose).all())
    assert all(deepest) and np.median(nearest) < 0.04


# ---- writing and reading


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, 10, SEED, shard_rows=4, progress=False)


def test_corpus_reads_back(corpus, samples):
    files = sorted(path.name for path in corpus.glob("*.parquet"))
    assert files == [f"train-{k:05d}-of-00003.parquet" for k in range(3)]
    dataset = load_corpus(corpus, split="train")
    assert dataset.features == LOADED_FEATURES and len(dataset) == 10
    batch = dataset.with_format("torch")[:10]
    assert batch["image"].shape == (10, 3, 224, 224) and batch["image"].dtype == torch.uint8
    np.testing.assert_array_equal(batch["vertices_m"], np.stack([row["vertices_m"] for row in samples[:10]]))
    assert batch["sample_id"] == [f"{SEED}/{index}" for index in range(10)]
    streamed = load_corpus(corpus, split="train", streaming=True)
    assert [row["sample_id"] for row in streamed] == batch["sample_id"]
    assert set(load_corpus(corpus)) == {"train"}


def test_resumed_corpus_equals_an_uninterrupted_one_by_any_number_of_workers(corpus, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    original = writer._write_shard

    def stop_at_the_second(path, *args):
        if "00001" in path.name:
            raise Stop
        original(path, *args)

    monkeypatch.setattr(writer, "_write_shard", stop_at_the_second)
    with pytest.raises(Stop):
        write_corpus(tmp_path, 10, SEED, shard_rows=4, progress=False)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    write_corpus(tmp_path, 10, SEED, num_workers=2, shard_rows=4, progress=False)
    for path in corpus.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in corpus.iterdir())


def test_parts_of_an_array_job_make_the_same_corpus(corpus, tmp_path):
    write_corpus(tmp_path, 10, SEED, shard_rows=4, shards=range(2, 3), progress=False)
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["train-00002-of-00003.parquet"]
    assert not (tmp_path / "README.md").exists(), "the card comes with the last shard"
    assert write_card(tmp_path) is None
    write_corpus(tmp_path, 10, SEED, shard_rows=4, shards=range(0, 2), progress=False)
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in files:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize("shards", [range(2, 4), range(-1, 1), range(1, 1)])
def test_shards_that_do_not_exist_are_named(tmp_path, shards):
    with pytest.raises(ValueError, match="shards: expected some of 0:3"):
        write_corpus(tmp_path / "out", 10, SEED, shard_rows=4, shards=shards, progress=False)
    assert not (tmp_path / "out").exists()


def test_card_is_what_the_hub_expects(corpus, samples, tmp_path):
    card = DatasetCard.load(corpus / "README.md")
    assert card.data.license == "apache-2.0" and "hf_handdiff" in card.data.tags
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "train-*-of-00003.parquet"}]
    for name in ("train_contact_sheet.jpg", "train_histograms.png"):
        assert f"(figures/{name})" in card.text and Image.open(corpus / "figures" / name).width > 500
    dataset = load_dataset(str(corpus), cache_dir=str(tmp_path))
    assert list(dataset) == ["train"] and len(dataset["train"]) == 10
    assert dataset["train"].features == CORPUS_FEATURES
    statistics = corpus_statistics(sorted(corpus.glob("*.parquet")))
    own = [row for row in samples[:10] if row["has_hand"]]
    assert isinstance(statistics, CorpusStatistics) and statistics.num_rows == 10
    np.testing.assert_allclose(statistics.visible_share, [row["visible_share"] for row in own], rtol=1e-6)
    np.testing.assert_array_equal(statistics.visible_joints, [sum(row["keypoints_visible"]) for row in own])


def test_directions_and_curl_are_what_they_say(assets):
    flat = assets.hand.pose(np.zeros((16, 3)), np.zeros(10)).joints
    palm_view = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    joints = (flat - flat.mean(0)) @ palm_view.T + [0.0, 0.0, 2.0]
    vector = roma.rotmat_to_rotvec(torch.from_numpy(palm_view)).numpy()
    around, toward_tips = viewing_direction(joints[None], vector[None])
    assert abs(around[0]) < 1.0 and abs(toward_tips[0]) < 0.02
    assert curl_deg(joints[None])[0] < 40.0


def test_other_settings_in_the_same_folder_are_refused(corpus):
    with pytest.raises(ValueError, match="seed 1, not 2"):
        write_corpus(corpus, 10, SEED + 1, shard_rows=4, progress=False)


@pytest.mark.parametrize("counts", [{"num_samples": 0}, {"num_workers": 0}, {"seed": -1}])
def test_bad_counts_are_named(tmp_path, counts):
    arguments = {"num_samples": 1, "seed": 0, "num_workers": 1, **counts}
    with pytest.raises(ValueError, match=next(iter(counts))):
        write_corpus(tmp_path, **arguments)


def test_a_failing_worker_is_reported(tmp_path):
    with pytest.raises(ValueError, match="split must be one of"):
        SceneAssets.load("holiday")
    with pytest.raises(RuntimeError, match="split must be one of"):
        write_corpus(tmp_path, 1, 0, num_workers=2, split="holiday", progress=False)


def test_incomplete_corpora_are_named(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="no Parquet shards"):
        load_corpus(tmp_path)
    with pytest.raises(FileNotFoundError, match="not 'test'"):
        load_corpus(corpus, split="test")
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        load_corpus(tmp_path / "a" / "missing" / "folder")
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="1 of the 2 shards"):
        load_corpus(tmp_path)


def test_command(tmp_path, capsys):
    command = ["data", "synthetic", "--out", str(tmp_path), "--num-samples", "2", "--seed", "1", "--quiet"]
    assert main(command) == 0
    assert "2 samples" in capsys.readouterr().out
    assert main([*command, "--shards", "0"]) == 0
    assert "shards 0:1" in capsys.readouterr().out
    assert build_parser().parse_args([*command, "--shards", "3:7"]).shards == range(3, 7)
    for wrong, words in ((["--shards", "first"], "expected shards as A:B"), (["--num-samples", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            main([*command, *wrong])
        assert words in capsys.readouterr().err
    assert main([*command, "--shards", "7:9"]) == 1
    assert "handdiff: error: shards: expected some of 0:1" in capsys.readouterr().err
