"""The renderer and the shapes that it draws."""

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("cv2")


from hf_handdiff.synthetic.grasps import sample_grasp
from hf_handdiff.synthetic.materials import Material, random_object_material
from hf_handdiff.synthetic.mesh import box, bunch, swept
from hf_handdiff.synthetic.placement import (
    everyday_rotation,
    fit_translation,
    random_rotation,
)
from hf_handdiff.synthetic.rasterizer import NO_FACE, project_points, rasterize, screen_points, vertex_normals
from hf_handdiff.synthetic.solids import random_solid, random_tool


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
