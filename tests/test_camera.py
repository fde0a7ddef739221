"""Crops, cameras and the view frame against hand-computed and exact cases."""

import numpy as np
import torch

from hf_handdiff import camera


def intrinsics(count, focal=400.0, centre=(120.0, 90.0)):
    matrix = torch.tensor([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    return matrix.expand(count, 3, 3)


def some_hands(count=5):
    points = 0.06 * torch.randn(count, 21, 3, generator=torch.Generator().manual_seed(0))
    return points - points[:, :1]


def test_crop_of_a_box_and_of_an_image():
    assert camera.crop_of_box([10, 20, 30, 60]).tolist() == [20, 40, 1.4 * 40]
    assert camera.crop_of_image(100, 300).tolist() == [150, 50, 300]


def test_crop_image_samples_pixels_where_they_are():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 30:40] = 255
    whole = camera.crop_image(image, np.array([35.0, 15.0, 10.0]), 10)
    assert whole.shape == (3, 10, 10) and whole.min() == 1
    beyond = camera.crop_image(image, np.array([60.0, 15.0, 40.0]), 40)  # half of it lies outside
    assert beyond[:, :, 20:].max() == 0 and beyond[0, 5:15, :0].numel() == 0
    assert camera.crop_image(image, np.array([35.0, 15.0, 20.0]), 20)[0, 5:15, 5:15].min() == 1


def test_mirrored_crops_are_mirrored_to_the_bit():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    crop = camera.crop_of_box([5, 6, 40, 44])
    direct = camera.crop_image(image, crop, 32)
    mirrored = camera.crop_image(image[:, ::-1].copy(), camera.mirror_crop(crop, 70), 32)
    assert torch.allclose(mirrored.flip(-1), direct, atol=1.01 / 255)


def test_crop_units_and_pixels_are_inverse():
    crops = torch.tensor([[50.0, 60.0, 30.0]])
    points = torch.tensor([[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]])
    pixels = camera.crop_to_pixels(points, crops)
    assert pixels[0].tolist() == [[35, 45], [50, 60], [65, 75]]
    assert torch.equal(camera.pixels_to_crop(pixels, crops), points)


def test_the_view_frame_is_a_rotation_of_the_camera():
    hands = some_hands() + torch.tensor([0.2, -0.1, 0.7])
    cameras = intrinsics(5)
    view = camera.view_from_keypoints(camera.project(hands, cameras), torch.ones(5, 21), cameras)
    identity = torch.eye(3).expand(5, 3, 3)
    assert torch.allclose(view.rotation @ view.rotation.transpose(1, 2), identity, atol=1e-5)
    assert torch.allclose(torch.linalg.det(view.rotation), torch.ones(5), atol=1e-5)
    turned = hands @ view.rotation.transpose(1, 2)
    tangents = turned[..., :2] / turned[..., 2:]
    middle = (tangents.amax(1) + tangents.amin(1)) / 2
    assert middle.abs().max() < 0.1  # z passes through the middle, up to perspective and roll
    expected = (tangents - middle[:, None]) / view.scale[:, None, None]
    assert torch.allclose(view.points, expected, atol=1e-4)
    assert torch.allclose(view.points.abs().amax((1, 2)), torch.ones(5), atol=1e-4)


def test_rolling_the_photo_does_not_change_the_view():
    hands = some_hands(3) + torch.tensor([0.0, 0.0, 0.6])
    roll = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    cameras, scores = intrinsics(3, centre=(0.0, 0.0)), torch.ones(3, 21)
    first = camera.view_from_keypoints(camera.project(hands, cameras), scores, cameras)
    second = camera.view_from_keypoints(camera.project(hands @ roll.T, cameras), scores, cameras)
    assert torch.allclose(first.points, second.points, atol=0.02)
    knuckles = first.points[:, [5, 9, 13, 17]].mean(1) - first.points[:, 0]
    assert knuckles[:, 0].abs().max() < 0.02 and (knuckles[:, 1] < 0).all()
    in_view = [h @ v.rotation.transpose(1, 2) for h, v in ((hands, first), (hands @ roll.T, second))]
    assert torch.allclose(in_view[0], in_view[1], atol=5e-3)


def test_upright_angle_without_a_wrist_is_zero():
    points = torch.rand(2, 21, 2)
    seen = torch.ones(2, 21, dtype=torch.bool)
    seen[0, 0] = False
    angles = camera.upright_angle(points, seen)
    assert angles[0] == 0 and angles[1] != 0


def test_turning_the_camera_does_not_change_the_view():
    hands = some_hands(1) + torch.tensor([0.0, 0.0, 0.6])
    yaw = 0.4
    turn = torch.tensor([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]], dtype=torch.float32)
    views = [
        camera.view_from_keypoints(camera.project(points, intrinsics(1)), torch.ones(1, 21), intrinsics(1))
        for points in (hands, hands @ turn.T)
    ]
    assert torch.allclose(views[0].points, views[1].points, atol=0.03)
    assert torch.allclose(views[0].scale, views[1].scale, rtol=0.03)


def test_unseen_points_do_not_count():
    hands = some_hands(1) + torch.tensor([0.0, 0.0, 0.6])
    pixels = camera.project(hands, intrinsics(1))
    without = pixels.clone()
    without[0, 7] = torch.nan
    scored = pixels.clone()
    scored[0, 7] = 1e5
    scores = torch.ones(1, 21)
    scores[0, 7] = 0
    first = camera.view_from_keypoints(without, torch.ones(1, 21), intrinsics(1))
    second = camera.view_from_keypoints(scored, scores, intrinsics(1))
    assert torch.equal(first.points, second.points) and first.scores[0, 7] == 0
    nothing = camera.view_from_keypoints(torch.full((1, 21, 2), torch.nan), torch.ones(1, 21), intrinsics(1))
    assert torch.isfinite(nothing.points).all() and torch.isfinite(nothing.rotation).all()


def test_fit_translation_finds_the_true_one():
    hands, there = some_hands(), torch.tensor([[0.1, -0.05, 0.6]]).expand(5, 3)
    pixels = camera.project(hands + there[:, None], intrinsics(5))
    pixels[:, 3] = torch.nan
    found = camera.fit_translation(hands, pixels, intrinsics(5), torch.ones(5, 21))
    assert torch.allclose(found, there, atol=1e-3)


def test_fit_translation_never_puts_a_hand_behind_the_camera():
    hands = 50 * some_hands(2)  # metres wide: no place fits
    pixels = torch.rand(2, 21, 2) * 200
    found = camera.fit_translation(hands, pixels, intrinsics(2), torch.ones(2, 21))
    assert ((hands + found[:, None])[..., 2] > 0.049).all()


def test_default_and_mirrored_intrinsics():
    crops = torch.tensor([[100.0, 80.0, 224.0]])
    matrix = camera.default_intrinsics(crops, 25.0)[0]
    edge = camera.rays_of_pixels(torch.tensor([[[212.0, 80.0]]]), matrix[None])[0, 0]
    assert abs(np.degrees(np.arctan2(edge[0], edge[2])) - 12.5) < 1e-3
    assert camera.mirror_intrinsics(intrinsics(1), torch.tensor([200.0]))[0, 0, 2] == 80


# ------------------------------------------------------------------------------------------------ views and pixels


def some_view(count=5):
    """A view of hands before cameras with a skew, with intrinsics and 2D points."""
    hands = some_hands(count) + torch.tensor([0.2, -0.1, 0.7])
    cameras = intrinsics(count).clone()
    cameras[:, 0, 1], cameras[:, 1, 1] = 5.0, 430.0
    points = camera.project(hands, cameras)
    return hands, points, cameras, camera.view_from_keypoints(points, torch.ones(count, 21), cameras)


def test_pixels_and_the_view_are_inverse():
    hands, points, cameras, view = some_view()
    assert torch.allclose(camera.pixels_to_view(points, view, cameras), view.points, atol=1e-4)
    assert torch.allclose(camera.view_to_pixels(view.points, view, cameras), points, atol=1e-2)
    other = points + torch.linspace(-40, 40, 21)[:, None]
    assert torch.allclose(
        camera.view_to_pixels(camera.pixels_to_view(other, view, cameras), view, cameras), other, atol=1e-2
    )


def test_the_middle_of_the_view_completes_the_rays():
    hands, _, _, view = some_view()
    turned = hands @ view.rotation.transpose(1, 2)
    tangents = turned[..., :2] / turned[..., 2:]
    assert torch.allclose(view.rays_of(view.points), tangents, atol=1e-5)
    assert torch.allclose(view.middle, (tangents.amax(1) + tangents.amin(1)) / 2, atol=1e-5)
    each = view.points[:, None].expand(-1, 3, -1, -1)  # of hypotheses
    assert torch.allclose(view.rays_of(each), tangents[:, None].expand_as(each), atol=1e-5)


def test_view_jacobian_is_that_of_finite_differences():
    _, points, cameras, view = some_view()
    double = camera.KeypointView(**{name: value.double() for name, value in vars(view).items()})
    points, cameras = points.double(), cameras.double()
    expected = torch.stack(
        [
            (
                camera.pixels_to_view(points + step, double, cameras)
                - camera.pixels_to_view(points - step, double, cameras)
            )
            / 2e-3
            for step in 1e-3 * torch.eye(2, dtype=torch.double)
        ],
        dim=-1,
    )
    assert torch.allclose(camera.view_jacobian(points, double, cameras), expected, atol=1e-7)
    points[0, 3] = torch.nan
    jacobian = camera.view_jacobian(points, double, cameras)
    assert torch.isfinite(jacobian).all() and (torch.linalg.det(jacobian).abs() > 0).all()
    assert torch.allclose(jacobian[1:], expected[1:], atol=1e-7)


def test_solve_translation_is_least_squares():
    generator = torch.Generator().manual_seed(1)
    points = some_hands().double()
    seen = points + 0.004 * torch.randn(5, 21, 3, generator=generator) + torch.tensor([0.03, -0.05, 0.6])
    rays = seen[..., :2] / seen[..., 2:]
    weights = torch.rand(5, 21, generator=generator).double()
    weights[:, 4] = 0
    found = camera.solve_translation(rays, points, weights)
    root = (weights / weights.sum(-1, keepdim=True)).sqrt()
    for row in range(5):
        equations = torch.zeros(21, 2, 3, dtype=torch.double)
        equations[:, 0, 0] = equations[:, 1, 1] = 1
        equations[:, :, 2] = -rays[row]
        right = rays[row] * points[row, :, 2:] - points[row, :, :2]
        scaled = [(root[row, :, None, None] * equations).view(42, 3), (root[row, :, None] * right).view(42, 1)]
        pull = camera._PULL**0.5  # towards half a metre, where the points do not decide
        scaled[0] = torch.cat([scaled[0], torch.tensor([[0, 0, pull]]).double()])
        scaled[1] = torch.cat([scaled[1], torch.tensor([[pull * camera._PULLED_DEPTH_M]]).double()])
        expected = torch.linalg.lstsq(*scaled).solution[:, 0]
        assert torch.allclose(found[row], expected, atol=1e-8)
    nothing = camera.solve_translation(rays, points, torch.zeros(5, 21).double())
    assert torch.allclose(nothing, torch.tensor([0, 0, 0.5]).double().expand(5, 3))
    batch = camera.solve_translation(rays[:, None], points[:, None].expand(-1, 3, -1, -1), weights[:, None])
    assert torch.allclose(batch, found[:, None].expand(-1, 3, -1))
