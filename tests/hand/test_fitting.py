"""Fitting the hand layer's parameters, and the way back from them."""

import numpy as np
import pytest
import roma
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand import HandLayer, HandMesh, fit_hand, posed_hand
from hf_handdiff.hand.fit_terms import LimitTerm, RayTerm, coordinates_first
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.pose_fitting import fit_posed_hand, mean_hands
from hf_handdiff.hand.pose_limits import limits_table, open_hand_frames, pose_to_angles
from hf_handdiff.hand.pose_prior import PosePrior, load_pose_prior
from hf_handdiff.hand.posed_points import HandState, PointModel, rotation_and_jacobian
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.recorded_poses import recorded_poses
from hf_handdiff.hand.rotations import random_rotations
from hf_handdiff.hand.topology import mirror_points, mirror_rotations

INTRINSICS = torch.tensor([[500.0, 0, 160], [0, 510.0, 120], [0, 0, 1]])


class Hands:
    """Posed right hands; ``joints`` and ``vertices`` about the wrist."""

    def __init__(self, layer: HandLayer, count: int, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.pose = sample_poses(count, generator)
        self.pose[:, 0] = roma.rotmat_to_rotvec(random_rotations(count, generator))
        self.shape = torch.randn(count, 10, generator=generator)
        self.size = (0.05 * torch.randn(count, generator=generator)).exp()
        mesh = posed_hand(layer, self.pose[:, 0], self.pose[:, 1:], self.shape, self.size)
        self.joints, self.vertices = mesh.joints, mesh.vertices
        self.place = torch.tensor([0.0, 0.0, 0.5]) + 0.04 * torch.randn(count, 3, generator=generator)
        placed = (self.joints + self.place[:, None]) @ INTRINSICS.T
        self.pixels = placed[..., :2] / placed[..., 2:]
        self.noise = 0.01 * torch.randn(self.joints.shape, generator=generator)

    def state(self, dtype=torch.float64) -> HandState:
        tensors = (
            roma.rotvec_to_rotmat(self.pose[:, 0].to(dtype)),
            self.pose[:, 1:],
            self.shape,
            self.size.log()[:, None],
        )
        return HandState(*(tensor.to(dtype) for tensor in (*tensors, self.place)))


@pytest.fixture(scope="module")
def hands(hand_layer) -> Hands:
    return Hands(hand_layer, 24)


@pytest.fixture(scope="module")
def blended_layer(tmp_path_factory) -> HandLayer:
    """A hand from a MANO file with pose blend shapes and a wrist that is not at 0."""
    arrays = load_open_hand_arrays()
    arrays["posedirs"] = np.random.default_rng(0).normal(0, 2e-4, (778, 3, 135)).astype(np.float32)
    arrays["v_template"] = arrays["v_template"] + np.float32([0.09, 0.01, 0.0])
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.npz"
    np.savez(path, **arrays)
    return load_mano_layer(path)


def error_mm(points: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """``(B,)`` mean distance."""
    return 1000 * (points - truth).norm(dim=-1).mean(-1)


# ------------------------------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize("of", ["joints", "vertices"])
def test_points_are_the_layers_and_derivatives_are_finite_differences(hand_layer, of):
    hands = Hands(hand_layer, 3)
    state = hands.state()
    model = getattr(PointModel, f"of_{of}")(hand_layer, torch.float64)
    posed = model.pose(state)
    assert (posed.points.mT - getattr(hands, of)).abs().max() < 1e-6
    for entry in range(59):
        step = torch.zeros(3, 59, dtype=torch.float64)
        step[:, entry] = 1e-6
        difference = (model.pose(state.stepped(step)).points - model.pose(state.stepped(-step)).points) / 2e-6
        assert (posed.jacobian[:, entry] - difference).abs().max() < 1e-8, entry


def test_blend_shapes_move_the_points_exactly(blended_layer):
    hands = Hands(blended_layer, 3)
    for of in ("joints", "vertices"):
        points = getattr(PointModel, f"of_{of}")(blended_layer, torch.float64).pose(hands.state()).points.mT
        assert (points - getattr(hands, of)).abs().max() < 1e-6
    centred = PointModel.of_vertices(blended_layer, torch.float64, centred=True).pose(hands.state()).points.mT
    assert (centred - (points - points.mean(1, keepdim=True))).abs().max() < 1e-9


def test_rotation_jacobian_also_of_tiny_and_large_vectors():
    vectors = torch.randn(4, 3, dtype=torch.float64) * torch.tensor([0.0, 1e-5, 1.0, 2.0])[:, None]
    rotation, jacobian = rotation_and_jacobian(vectors)
    assert (rotation - roma.rotvec_to_rotmat(vectors)).abs().max() < 1e-9
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-6
        after, _ = rotation_and_jacobian(vectors + step)
        turned = roma.rotmat_to_rotvec(after @ rotation.mT) / 1e-6
        assert (turned - jacobian[..., axis]).abs().max() < 1e-5


@torch.no_grad()
def test_gradients_of_limits_and_rays_are_finite_differences(hand_layer):
    hands = Hands(hand_layer, 4)
    hands.pose[:, 1:] += 0.4 * torch.randn(4, 15, 3, generator=torch.Generator().manual_seed(1))  # beyond the limits
    model, limits = PointModel.of_joints(hand_layer, torch.float64), LimitTerm(torch.zeros(1, dtype=torch.float64))
    state = hands.state()
    weights = torch.ones(4, 1, 21, dtype=torch.float64)
    half = torch.randn(4, 42, 42, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rays = RayTerm(torch.zeros(4, 2, 21, dtype=torch.float64), half @ half.mT)

    def costs(at):
        posed = model.pose(at)
        return limits.penalty(posed).cost, rays.cost(rays.residuals(posed, at.place)[0], weights)

    posed = model.pose(state)
    by_limits = torch.zeros(4, 62, dtype=torch.float64)
    by_limits[:, 3:48] = limits.penalty(posed).gradient
    by_rays = rays.products(posed, *rays.residuals(posed, state.place), weights)[:, -1, :-1]
    assert by_limits.abs().amax(1).min() > 1
    for entry in range(62):
        step = torch.zeros(4, 62, dtype=torch.float64)
        step[:, entry] = 1e-6
        pairs = zip(costs(state.stepped(step)), costs(state.stepped(-step)), (by_limits, by_rays), strict=True)
        for after, before, gradient in pairs:
            slope = (after - before) / 4e-6  # half the gradient
            assert (slope - gradient[:, entry]).abs().max() < 1e-4 * gradient.abs().max(), entry


def test_information_is_reordered():
    each = torch.randn(2, 21, 3, 3)
    full = torch.zeros(2, 63, 63)
    for joint in range(21):
        full[:, 3 * joint : 3 * joint + 3, 3 * joint : 3 * joint + 3] = each[:, joint]
    assert torch.equal(coordinates_first(each, 3), coordinates_first(full, 3))
    points = torch.randn(2, 21, 3)
    flat, turned = points.flatten(1)[:, None], points.mT.flatten(1)[:, None]
    assert torch.allclose(flat @ full @ flat.mT, turned @ coordinates_first(full, 3) @ turned.mT, atol=1e-4)


def test_committed_prior_is_that_of_poses():
    built = PosePrior.of_poses(
        torch.cat([recorded_poses("train"), sample_poses(3000, torch.Generator().manual_seed(3))])
    )
    committed = load_pose_prior()
    assert (built.mean - committed.mean).abs().max() < 0.1
    ratio = torch.linalg.inv(built.precision).diagonal() / torch.linalg.inv(committed.precision).diagonal()
    assert 0.7 < ratio.min() and ratio.max() < 1.4


# ------------------------------------------------------------------------------------------------ joints and 2D points


def test_exact_joints_are_recovered(hand_layer, hands):
    fit = fit_hand(hands.joints)
    assert error_mm(fit.joints, hands.joints).median() < 0.5
    assert error_mm(fit.joints, hands.joints).max() < 2
    assert (fit.translation.norm(dim=-1) < 0.002).all()
    own = fit.joints + fit.translation[:, None] - hands.joints
    assert torch.allclose(fit.residual_mm, 1000 * own.square().sum(-1).mean(1).sqrt(), atol=1e-2)
    again = posed_hand(hand_layer, fit.global_orient, fit.hand_pose, fit.betas, fit.hand_scale)
    assert torch.equal(again.joints, fit.joints) and torch.equal(again.vertices, fit.vertices)


def test_2d_points_mend_noisy_joints(hands):
    noisy = hands.joints + hands.noise
    intrinsics = INTRINSICS.expand(len(noisy), 3, 3)
    fit = fit_hand(noisy, hands.pixels, intrinsics=intrinsics)
    before = error_mm(noisy - noisy[:, :1], hands.joints)
    assert error_mm(fit.joints, hands.joints).mean() < 0.4 * before.mean()
    alone = fit_hand(noisy, joint_std=0.01)
    assert error_mm(fit.joints, hands.joints).mean() < error_mm(alone.joints, hands.joints).mean()
    assert (fit.translation - hands.place).norm(dim=-1).median() < 0.03


def test_2d_points_alone_give_a_hand_that_projects_on_them(hands):
    rows = slice(0, 12)
    intrinsics = INTRINSICS.expand(12, 3, 3)
    fit = fit_hand(keypoints_2d=hands.pixels[rows], intrinsics=intrinsics)
    assert fit.residual_mm.median() < 2
    assert error_mm(fit.joints, hands.joints[rows]).median() < 20
    placed = (fit.joints + fit.translation[:, None]) @ INTRINSICS.T
    off = (placed[..., :2] / placed[..., 2:] - hands.pixels[rows]).norm(dim=-1)
    assert off.median() < 2


def test_an_outlier_among_2d_points_is_ignored(hands):
    rows, intrinsics = slice(0, 8), INTRINSICS.expand(8, 3, 3)
    pixels = hands.pixels[rows].clone()
    pixels[:, 8] += 120  # a fingertip far off
    covariance = (4 * torch.eye(2)).expand(8, 21, 2, 2)
    fit = fit_hand(hands.joints[rows], pixels, intrinsics=intrinsics, keypoint_cov=covariance)
    assert error_mm(fit.joints, hands.joints[rows]).max() < 6


def test_what_was_not_seen_does_not_count(hands):
    joints, hidden = hands.joints.clone(), [0, 7, 8]
    joints[:, hidden] = torch.nan
    fit = fit_hand(joints)
    assert torch.isfinite(fit.joints).all() and torch.isfinite(fit.residual_mm).all()
    shown = [joint for joint in range(21) if joint not in hidden]
    placed = fit.joints + fit.translation[:, None]
    assert error_mm(placed[:, shown], hands.joints[:, shown]).median() < 0.5
    assert error_mm(placed[:, hidden], hands.joints[:, hidden]).median() < 15
    intrinsics, pixels = INTRINSICS.expand(24, 3, 3), hands.pixels.clone()
    pixels[:, 3] = torch.nan
    scores = torch.ones(24, 21)
    scores[:, 4], wrong = 0, pixels.clone()
    wrong[:, 4] += 300
    fits = [fit_hand(hands.joints, p, intrinsics=intrinsics, keypoint_scores=scores) for p in (pixels, wrong)]
    assert torch.isfinite(fits[0].joints).all() and torch.equal(fits[0].joints, fits[1].joints)


@pytest.mark.parametrize("kind", ["joints", "both", "pixels", "vertices"])
def test_a_row_does_not_depend_on_the_batch(hands, kind):
    rows = slice(0, 6)
    arguments = {"joints": hands.joints + hands.noise} if kind in ("joints", "both") else {}
    arguments |= {"vertices": hands.vertices} if kind == "vertices" else {}
    if kind in ("both", "pixels"):
        arguments |= {"keypoints_2d": hands.pixels, "intrinsics": INTRINSICS.expand(24, 3, 3)}
    whole = fit_hand(**{name: value[rows] for name, value in arguments.items()})
    alone = fit_hand(**{name: value[4:5] for name, value in arguments.items()})
    tolerance = 1e-5 if kind == "vertices" else 1e-6  # meshes are fitted in float32
    assert (whole.joints[4] - alone.joints[0]).abs().max() < tolerance
    assert (whole.vertices[4] - alone.vertices[0]).abs().max() < tolerance


def test_a_row_of_the_core_does_not_depend_on_the_batch(hand_layer, hands):
    target = hands.joints + hands.noise
    whole = fit_posed_hand(hand_layer, target)
    alone = fit_posed_hand(hand_layer, target[7:8])
    assert whole.joints.dtype == torch.float32 and (whole.joints[7] - alone.joints[0]).abs().max() < 1e-6


def test_warm_start_ends_where_a_cold_one_does(hand_layer, hands):
    target = (hands.joints + hands.noise).double()
    cold = fit_posed_hand(hand_layer, target, num_iterations=30)
    warm = fit_posed_hand(hand_layer, target, initial=cold, num_iterations=2)
    assert (warm.cost <= cold.cost + 1e-9).all() and (warm.joints - cold.joints).abs().max() < 1e-4
    assert (warm.rotations - roma.rotvec_to_rotmat(warm.pose)).abs().max() < 1e-6
    start = mean_hands(load_pose_prior(), len(target), target)
    assert (fit_posed_hand(hand_layer, target, initial=start, num_iterations=1).cost > cold.cost).all()


def test_turning_the_joints_turns_the_answer(hands):
    turn = random_rotations(1, torch.Generator().manual_seed(4))[0]
    noisy = hands.joints + hands.noise
    fit, turned = fit_hand(noisy), fit_hand(noisy @ turn.T)
    difference = (turned.joints - fit.joints @ turn.T).abs().amax((1, 2))
    assert difference.median() < 1e-6 and difference.max() < 1e-3
    expected = turn @ roma.rotvec_to_rotmat(fit.global_orient)
    assert (roma.rotvec_to_rotmat(turned.global_orient) - expected).abs().amax((1, 2)).median() < 1e-5
    moved = fit_hand(noisy + torch.tensor([0.1, -0.2, 0.6]))
    assert (moved.joints - fit.joints).abs().amax((1, 2)).median() < 1e-6


def test_joint_limits_hold_whatever_is_asked_for(hands):
    targets = hands.joints.clone()
    targets[:12, 5:] = targets[:12, 5:].flip(1)  # fingers upside down
    targets[12:] = 0.08 * torch.randn(12, 21, 3, generator=torch.Generator().manual_seed(5))
    fit = fit_hand(targets)
    assert torch.isfinite(fit.vertices).all() and (fit.residual_mm > 5).all()
    angles = pose_to_angles(fit.hand_pose, open_hand_frames()[1:])
    table = limits_table()[1:]
    beyond = (angles - angles.clamp(table[..., 0], table[..., 1])).abs().amax((1, 2))
    assert beyond.rad2deg().max() < 3
    assert 0.5 < fit.hand_scale.min() and fit.hand_scale.max() < 2 and fit.betas.abs().max() < 8


# ------------------------------------------------------------------------------------------------ meshes


def test_meshes_are_recovered(hand_layer, hands):
    fit = fit_hand(vertices=hands.vertices + hands.place[:, None])
    assert 1000 * (fit.vertices - hands.vertices).norm(dim=-1).max() < 0.5
    assert (fit.translation - hands.place).norm(dim=-1).max() < 5e-4
    assert fit.residual_mm.max() < 0.1
    turns = roma.rotmat_geodesic_distance(*(roma.rotvec_to_rotmat(x) for x in (fit.hand_pose, hands.pose[:, 1:])))
    assert turns.max() < 0.02


def test_meshes_of_a_mano_file_are_recovered(blended_layer):
    hands = Hands(blended_layer, 6)
    fit = fit_hand(vertices=hands.vertices, layer=blended_layer)
    assert 1000 * (fit.vertices - hands.vertices).norm(dim=-1).max() < 0.5
    fit = fit_hand(hands.joints, layer=blended_layer)
    assert error_mm(fit.joints, hands.joints).median() < 0.5


# ------------------------------------------------------------------------------------------------ left hands


def test_autocast_changes_nothing(hands):
    expected = fit_hand(hands.joints[:2])
    with torch.autocast("cpu", torch.bfloat16):
        found = fit_hand(hands.joints[:2])
    torch.testing.assert_close(found.vertices, expected.vertices)


def test_left_hands_are_mirrored_right_hands(hand_layer, hands):
    rows, sides = slice(0, 4), ["left", "right", "left", "right"]
    left = torch.tensor([True, False, True, False])
    intrinsics = INTRINSICS.expand(4, 3, 3)
    pixels = hands.pixels[rows].clone()
    pixels[left, :, 0] = 2 * INTRINSICS[0, 2] - pixels[left, :, 0]
    covariance = torch.tensor([[9.0, 2.0], [2.0, 4.0]]).expand(4, 21, 2, 2).clone()
    right_inputs = dict(keypoints_2d=hands.pixels[rows], keypoint_cov=covariance, intrinsics=intrinsics)
    mirrored_covariance = covariance.clone()
    mirrored_covariance[left] *= torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    left_inputs = dict(keypoints_2d=pixels, keypoint_cov=mirrored_covariance, intrinsics=intrinsics)

    def mirrored(points):
        return torch.where(left[:, None, None], mirror_points(points), points)

    noisy = hands.joints[rows] + hands.noise[rows]
    pairs = [
        (fit_hand(noisy, **right_inputs), fit_hand(mirrored(noisy), **left_inputs, handedness=sides)),
        (fit_hand(vertices=hands.vertices[rows]), fit_hand(vertices=mirrored(hands.vertices[rows]), handedness=sides)),
    ]
    for right, both in pairs:
        assert (both.vertices - mirrored(right.vertices)).abs().max() < 1e-5
        assert (both.joints - mirrored(right.joints)).abs().max() < 1e-5
        pose, expected = both.hand_pose, right.hand_pose
        assert (pose[left] - mirror_rotations(expected[left])).abs().max() < 1e-3
        assert (pose[~left] - expected[~left]).abs().max() < 1e-3
        signs = torch.where(left, -1.0, 1.0)
        assert torch.allclose(both.translation[:, 0], signs * right.translation[:, 0], atol=1e-5)
        assert torch.equal(both.is_left, left)
        again = posed_hand(
            hand_layer, both.global_orient, both.hand_pose, both.betas, both.hand_scale, sides, both.translation
        )
        assert isinstance(again, HandMesh)
        assert (again.vertices - both.vertices - both.translation[:, None]).abs().max() < 1e-6


# ------------------------------------------------------------------------------------------------ what is refused

JOINTS, PIXELS, CAMERAS = torch.randn(2, 21, 3), 100 * torch.rand(2, 21, 2), INTRINSICS.expand(2, 3, 3)
UNSEEN = torch.full((2, 21, 3), torch.nan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of joints, keypoints_2d and vertices"),
        (dict(joints=JOINTS[:, :20]), r"joints must be of shape \(B, 21, 3\), got \(2, 20, 3\)"),
        (dict(joints=JOINTS[:0]), "joints must hold at least one hand"),
        (dict(joints="hand"), "joints must be numbers"),
        (dict(joints=JOINTS / 0), "joints must be finite"),
        (dict(joints=UNSEEN), "joints must show at least 4 of 21 joints of every hand, hand 0 shows 0"),
        (dict(joints=JOINTS, joint_std=0.0), "joint_std must be above 0"),
        (dict(joints=JOINTS, joint_std=torch.ones(2, 20)), "joint_std must be of shape"),
        (dict(joints=JOINTS, handedness="both"), "handedness must be"),
        (dict(joints=JOINTS, handedness=["left"]), "handedness must be"),
        (dict(keypoints_2d=PIXELS), "intrinsics"),
        (dict(keypoints_2d=PIXELS, intrinsics=-CAMERAS), "intrinsics must be finite"),
        (dict(keypoints_2d=PIXELS, intrinsics=CAMERAS[:1]), "intrinsics must be of shape"),
        (dict(keypoints_2d=PIXELS * torch.nan, intrinsics=CAMERAS), "keypoints_2d must show"),
        (
            dict(joints=JOINTS[:1], keypoints_2d=PIXELS, intrinsics=CAMERAS),
            r"keypoints_2d must be of shape \(1, 21, 2\)",
        ),
        (dict(keypoints_2d=PIXELS, intrinsics=CAMERAS, keypoint_scores=torch.full((2, 21), 2.0)), "keypoint_scores"),
        (dict(keypoints_2d=PIXELS, intrinsics=CAMERAS, keypoint_cov=torch.zeros(2, 21, 2, 2)), "keypoint_cov"),
        (dict(vertices=torch.randn(1, 100, 3)), r"vertices must be of shape \(B, 778, 3\)"),
        (dict(vertices=torch.full((1, 778, 3), torch.nan)), "vertices must be finite"),
        (dict(vertices=torch.randn(1, 778, 3)), "vertices must be meshes of the layer's topology"),
        (dict(vertices=torch.zeros(1, 778, 3), joints=JOINTS[:1]), "vertices must be given alone"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        fit_hand(**arguments)


def test_a_mesh_of_another_topology_is_refused(hands):
    shuffled = hands.vertices[:1, torch.randperm(778, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(InputError, match="topology"):
        fit_hand(vertices=shuffled)


def test_posed_hand_refuses_wrong_shapes(hand_layer):
    zeros = torch.zeros(2, 3), torch.zeros(2, 15, 3), torch.zeros(2, 10)
    with pytest.raises(InputError, match=r"hand_pose must be of shape \(2, 15, 3\)"):
        posed_hand(hand_layer, zeros[0], zeros[1][:, :14], zeros[2])
    with pytest.raises(InputError, match="hand_scale"):
        posed_hand(hand_layer, *zeros, hand_scale=torch.ones(3))
