"""Random rotations, and what we count on in roma: values at the hard angles, and derivatives there."""

import math

import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from hf_handdiff.hand.rotations import random_rotations

ANGLES = [0.0, 1e-9, 1e-5, 9e-3, 1.1e-2, 0.7, 2.5, math.pi - 1e-3, math.pi - 1e-7]


def vectors_of_angle(angle: float, count: int = 20) -> torch.Tensor:
    axis = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return axis / axis.norm(dim=-1, keepdim=True) * angle


@pytest.mark.parametrize("angle", ANGLES)
def test_matrix_agrees_with_scipy_and_comes_back(angle):
    vectors = vectors_of_angle(angle)
    matrices = roma.rotvec_to_rotmat(vectors)
    expected = torch.tensor(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    assert torch.allclose(matrices, expected, atol=1e-13, rtol=0)
    assert torch.allclose(roma.rotmat_to_rotvec(matrices), vectors, atol=1e-8, rtol=0)


def test_half_turns_come_back_up_to_the_sign_of_the_axis():
    for axis in torch.eye(3, dtype=torch.float64):
        back = roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(math.pi * axis))
        assert torch.allclose(back.abs(), math.pi * axis, atol=1e-7)


def test_identity_has_no_nan_in_float32():
    vectors = torch.zeros(4, 3, requires_grad=True)
    roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(vectors)).sum().backward()
    assert torch.isfinite(vectors.grad).all()
    assert torch.allclose(vectors.grad, torch.ones(4, 3), atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 5e-3, 9.999e-3, 0.5, math.pi - 1e-3, 3.5])
def test_gradients(angle):
    vectors = vectors_of_angle(angle, 3).requires_grad_()
    assert torch.autograd.gradcheck(roma.rotvec_to_rotmat, vectors)
    if angle < math.pi:
        matrices = roma.rotvec_to_rotmat(vectors.detach()).requires_grad_()
        assert torch.autograd.gradcheck(roma.rotmat_to_rotvec, matrices)
        assert torch.autograd.gradcheck(lambda v: roma.rotvec_composition((v, v.flip(0) / 3)), vectors)


def test_random_rotations_are_rotations_and_follow_the_generator():
    first, again = (random_rotations(2000, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.allclose(first @ first.mT, torch.eye(3).expand(2000, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(first), torch.ones(2000), atol=1e-5)
    assert first.mean(0).abs().max() < 0.06
