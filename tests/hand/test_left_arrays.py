"""A left hand in MANO's format is the mirror image of the right one, for smplx too."""

import contextlib
import io

import numpy as np
import pytest
import smplx
import torch
import trimesh

from hf_handdiff.errors import InputError
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.left_arrays import left_hand_arrays
from hf_handdiff.hand.mano_files import load_mano_file
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import mirror_rotations


def right_arrays():
    """The open hand with pose blend shapes, of which it has none."""
    arrays = load_open_hand_arrays()
    arrays["posedirs"] = np.random.default_rng(0).normal(0, 1e-3, (778, 3, 135)).astype(np.float32)
    return arrays


def models(folder, arrays, batch=1, **options):
    """smplx's right and left hand."""
    np.savez(folder / "MANO_RIGHT.npz", **arrays)
    np.savez(folder / "MANO_LEFT.npz", **left_hand_arrays(arrays))
    options = {"use_pca": False, "flat_hand_mean": True, **options}
    with contextlib.redirect_stdout(io.StringIO()):
        return [smplx.MANO(str(folder), is_rhand=right, ext="npz", batch_size=batch, **options) for right in (1, 0)]


def some_parameters(count=8):
    generator = torch.Generator().manual_seed(0)
    draw = [scale * torch.randn(count, *size, generator=generator) for scale, size in ((2, (3,)), (0.4, (15, 3)))]
    return *draw, torch.randn(count, 10, generator=generator)


def test_parameters_of_left_hands_are_those_of_smplxs_left_model(tmp_path):
    arrays = right_arrays()
    turn, pose, shape = some_parameters()
    layer = HandLayer.from_arrays(arrays)
    for side, model in zip(("right", "left"), models(tmp_path, arrays, len(turn)), strict=True):
        theirs = model(betas=shape, global_orient=turn, hand_pose=pose.flatten(1))
        ours = posed_hand(layer, turn, pose, shape, handedness=side)
        torch.testing.assert_close(theirs.vertices - theirs.joints[:, :1], ours.vertices, atol=1e-6, rtol=0)
        faces = trimesh.Trimesh(theirs.vertices[0].detach(), model.faces, process=False)
        open_at_the_wrist = faces.vertices - faces.vertices.mean(0)
        assert (faces.vertex_normals * open_at_the_wrist).sum(-1).mean() > 0  # outwards


def test_mean_pose_and_components_are_mirrored_too(tmp_path):
    arrays = load_open_hand_arrays()
    right, left = models(tmp_path, arrays, use_pca=True, num_pca_comps=6, flat_hand_mean=False)
    turn, coefficients = torch.tensor([[0.3, -0.5, 0.8]]), torch.randn(1, 6)
    shape = torch.randn(1, 10)
    one = right(betas=shape, global_orient=turn, hand_pose=coefficients)
    other = left(betas=shape, global_orient=mirror_rotations(turn), hand_pose=coefficients)
    sign = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(other.vertices, one.vertices * sign, atol=1e-6, rtol=0)


def test_twice_mirrored_is_the_same_and_nothing_is_changed_in_place(tmp_path):
    arrays = right_arrays()
    before = {name: np.array(values) for name, values in arrays.items()}
    twice = left_hand_arrays(left_hand_arrays(arrays))
    assert {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "hands_mean"} <= set(twice)
    for name, values in twice.items():
        np.testing.assert_array_equal(values, before[name])
    np.savez(tmp_path / "MANO_LEFT.npz", **left_hand_arrays(arrays))
    with pytest.raises(InputError, match="left hand"):
        load_mano_file(tmp_path / "MANO_LEFT.npz")
