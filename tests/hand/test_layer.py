"""The hand layer: against smplx, its derivatives, its joints, and the open hand itself."""

import contextlib
import io

import numpy as np
import pytest
import roma
import smplx
import torch

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import FULL_HAND_PATH, OPEN_HAND_PATH, load_open_hand_arrays
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.rotations import random_rotations
from hf_handdiff.hand.topology import FINGERS, FINGERTIP_VERTICES, MANO_TO_JOINTS, mirror_points, mirror_rotations


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer.open_hand()


def smplx_hand(path, batch: int, dtype=torch.float64):
    with contextlib.redirect_stdout(io.StringIO()):
        options = dict(is_rhand=True, use_pca=False, flat_hand_mean=True, batch_size=batch, dtype=dtype)
        return smplx.MANO(str(path), ext="npz", **options)


def hands(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Any rotations at all joints, the global one too, and any shapes."""
    generator = torch.Generator().manual_seed(seed)
    pose = roma.rotmat_to_rotvec(random_rotations(count * 16, generator)).view(count, 16, 3)
    pose[0] = 0
    return pose, 1.5 * torch.randn(count, 10, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_smplx(layer, dtype):
    pose, shape = (x.to(dtype) for x in hands(40))
    mine = HandLayer.open_hand().to(dtype)(pose, shape)
    reference = smplx_hand(OPEN_HAND_PATH, 40, dtype)
    theirs = reference(betas=shape, global_orient=pose[:, 0], hand_pose=pose[:, 1:].flatten(1))
    assert (mine.vertices - theirs.vertices).abs().max() < 1e-6
    joints = torch.cat([theirs.joints, theirs.vertices[:, list(FINGERTIP_VERTICES.values())]], dim=1)
    assert (mine.joints - joints[:, list(MANO_TO_JOINTS)]).abs().max() < 1e-6


def test_equals_smplx_with_pose_blend_shapes(tmp_path):
    arrays = load_open_hand_arrays()
    arrays["posedirs"] = np.random.default_rng(0).normal(0, 1e-3, (778, 3, 135)).astype(np.float32)
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    pose, shape = (x.double() for x in hands(12))
    mine = load_mano_layer(tmp_path / "MANO_RIGHT.npz").double()
    theirs = smplx_hand(tmp_path / "MANO_RIGHT.npz", 12)(
        betas=shape, global_orient=pose[:, 0], hand_pose=pose[:, 1:].flatten(1)
    )
    assert (mine(pose, shape).vertices - theirs.vertices).abs().max() < 1e-6
    assert (mine.pose_joints(pose, shape) - mine(pose, shape).joints).abs().max() < 1e-9


def test_rotation_vectors_and_matrices_give_the_same(layer):
    pose, shape = hands(8)
    by_matrix = layer(roma.rotvec_to_rotmat(pose), shape)
    assert torch.allclose(layer(pose, shape).vertices, by_matrix.vertices, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(B, 16, 3\)"):
        layer(torch.zeros(2, 48), shape[:2])


def test_pose_joints_are_the_joints_of_forward(layer):
    pose, shape = hands(8)
    assert torch.allclose(layer.pose_joints(pose, shape), layer(pose, shape).joints, atol=1e-6)


def test_gradients():
    layer = HandLayer.open_hand().double()
    pose, shape = (x[:2].double() for x in hands(3, seed=1))
    pose[0], pose[1] = 0.0, 0.3 * pose[1]
    pose.requires_grad_()
    shape.requires_grad_()

    def some_points(pose, shape):
        mesh = layer(pose, shape)
        return torch.cat([mesh.vertices[:, ::97], mesh.joints[:, ::4]], dim=1)

    assert torch.autograd.gradcheck(some_points, (pose, shape), fast_mode=True)


def test_open_hand_lies_as_documented(layer):
    mesh = layer(torch.zeros(1, 16, 3), torch.zeros(1, 10))
    vertices, joints = mesh.vertices[0], mesh.joints[0]
    assert vertices.shape == (778, 3) and layer.faces.shape == (1538, 3)
    assert layer.tip_vertices.tolist() == [744, 320, 443, 554, 671]
    assert joints[0].abs().max() < 1e-6
    assert 0.18 < joints[FINGERS["middle"][3]].norm() < 0.195
    for finger in ("index", "middle", "ring", "little"):
        x = joints[list(FINGERS[finger]), 0]
        assert (x.diff() < 0).all()
    assert joints[4, 2] > joints[8, 2] > joints[12, 2] > joints[16, 2] > joints[20, 2]
    corners = vertices[layer.faces]
    volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 1e-4, "faces must look outwards"


def test_wrist_stays_at_the_origin_for_every_shape(layer):
    shapes = 2 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    assert layer.rest_joints(shapes)[:, 0].abs().max() < 1e-6


def test_mesh_is_one_piece_with_a_sixteen_vertex_wrist(layer):
    edges = torch.cat([layer.faces[:, [0, 1]], layer.faces[:, [1, 2]], layer.faces[:, [2, 0]]]).tolist()
    directed = {tuple(edge) for edge in edges}
    assert len(directed) == len(edges)
    open_edges = {edge for edge in directed if edge[::-1] not in directed}
    loop = load_open_hand_arrays()["wrist_loop"].tolist()
    assert open_edges == set(zip(loop, loop[1:] + loop[:1], strict=True))
    assert len(loop) == 16


def test_shape_components_have_unit_spread_and_hands_real_sizes(layer):
    shapes = torch.randn(400, 10, generator=torch.Generator().manual_seed(0))
    length = layer.pose_joints(torch.zeros(400, 16, 3), shapes)[:, 12].norm(dim=-1)
    assert 0.180 < length.mean() < 0.190
    assert 0.008 < length.std() < 0.015


def test_full_hand_holds_the_standard_one(layer):
    full = HandLayer.open_hand("full")
    kept = load_open_hand_arrays()["full_index"].copy()
    pose, shape = hands(6)
    small, large = layer(pose, shape), full(pose, shape)
    assert large.vertices.shape[1] == 1609
    assert torch.allclose(large.vertices[:, kept], small.vertices, atol=1e-6)
    assert torch.allclose(large.joints, small.joints, atol=1e-6)
    with pytest.raises(ValueError, match="resolution"):
        HandLayer.open_hand("huge")


def test_joints_are_read_off_posed_meshes(layer):
    regressor = layer.mesh_to_joints
    assert regressor.shape == (21, 778) and (regressor >= 0).all()
    assert torch.allclose(regressor.sum(1), torch.ones(21), atol=1e-6)
    assert (regressor > 0).sum(1).max() < 60
    for finger, vertex in FINGERTIP_VERTICES.items():
        assert regressor[FINGERS[finger][3], vertex] == 1
    generator = torch.Generator().manual_seed(99)
    pose = sample_poses(200, generator)
    pose[:, 0] = roma.rotmat_to_rotvec(random_rotations(200, generator))
    mesh = layer(pose, torch.randn(200, 10, generator=generator))
    error_mm = 1000 * (layer.read_joints(mesh.vertices) - mesh.joints).norm(dim=-1)
    assert error_mm.mean() < 0.4
    assert error_mm.max() < 5


def test_mirrored_parameters_give_the_mirrored_hand(layer):
    """A left hand is the mirrored right one: mirroring template and pose equals mirroring the result."""
    left = HandLayer.open_hand()
    for name in ("template", "joint_template"):
        getattr(left, name)[..., 0] *= -1
    for name in ("shape_directions", "joint_shape_directions"):
        getattr(left, name)[:, 0] *= -1
    pose, shape = hands(6)
    right = layer(pose, shape)
    mirrored = left(mirror_rotations(pose), shape)
    assert torch.allclose(mirrored.vertices, mirror_points(right.vertices), atol=1e-6)
    assert torch.allclose(mirrored.joints, mirror_points(right.joints), atol=1e-6)


def test_all_buffers_are_persistent(layer):
    assert {name for name, _ in layer.named_buffers()} == set(layer.state_dict())


def test_assets_are_small_and_carry_a_texture():
    assert OPEN_HAND_PATH.stat().st_size + FULL_HAND_PATH.stat().st_size < 1_000_000
    full = load_open_hand_arrays("full")
    assert full["uv"].min() >= 0 and full["uv"].max() <= 1
    assert full["faces_uv"].shape == full["f"].shape and full["faces_uv"].max() < len(full["uv"])
    size = len(full["nail_mask"])
    corners = full["uv"][full["faces_uv"]].mean(1)
    on_nail = full["nail_mask"][(corners[:, 1] * size).astype(int), (corners[:, 0] * size).astype(int)] > 128
    fingers = {int(joint) for joint in full["weights"][full["f"][on_nail, 0]].argmax(1)}
    assert fingers == {3, 6, 9, 12, 15}, "every finger has a nail, on its last bone"
