"""Pictures and GLB files: what is drawn lies where the hand is, and what is written reads back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from hf_handdiff import camera
from hf_handdiff.errors import InputError
from hf_handdiff.hand import HandLayer
from hf_handdiff.viz import (
    PlacedHand,
    contact_sheet,
    draw_overlay,
    draw_panels,
    draw_prediction,
    panel_window,
    place_prediction,
    write_glb,
)
from hf_handdiff.viz.colors import UNCERTAINTY_FULL_SCALE_M, uncertainty_colors, vertex_uncertainty
from hf_handdiff.viz.overlay import _View
from hf_handdiff.viz.raster import outward_faces, rasterize, shade, vertex_normals


@pytest.fixture(scope="module")
def hands():
    """Five wrist-relative hands: (5, 778, 3), (5, 21, 3), faces."""
    layer = HandLayer.open_hand()
    generator = torch.Generator().manual_seed(0)
    pose = 0.15 * torch.randn(5, 16, 3, generator=generator)
    pose[:, 0] = torch.tensor([1.2, 0.2, 0.1])
    mesh = layer(pose, torch.zeros(5, 10))
    wrist = mesh.joints[:, :1]
    return (
        (mesh.vertices - wrist).numpy().astype(np.float64),
        (mesh.joints - wrist).numpy().astype(np.float64),
        layer.faces.numpy(),
    )


@pytest.fixture
def output(hands):
    """The answer of a pipeline for one photo of 320 x 240 px, the hand 50 px large."""
    vertices, joints, faces = hands
    intrinsics = camera.default_intrinsics(torch.tensor([[160.0, 120.0, 320.0]], dtype=torch.float64))[0]
    keypoints = camera.project(torch.from_numpy(joints[0] + [0.1, 0.0, 2.0]), intrinsics).numpy()
    spread = np.sqrt(((joints - joints.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
    return SimpleNamespace(
        joints=joints[None],
        vertices=vertices[None],
        mean_joints=joints[:1],
        mean_vertices=vertices[:1],
        joint_std=spread[None],
        keypoints_2d=keypoints[None],
        keypoint_scores=np.ones((1, 21)),
        hand_score=np.array([0.9]),
        translation=None,
        faces=faces,
    )


# ------------------------------------------------------------------------------------------------ raster


def test_rasterize_keeps_what_is_in_front():
    square = np.array([[2.0, 2.0], [18, 2], [18, 18], [2, 18]])
    vertices_px = np.concatenate([square, square])
    depth = np.array([1.0] * 4 + [2.0] * 4)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    fragments = rasterize(vertices_px, depth, faces, 20)
    assert (fragments.faces < 4).all() and 256 <= len(fragments.rows) <= 17 * 17
    np.testing.assert_allclose(fragments.weights.sum(axis=-1), 1.0)
    positions = fragments.interpolate(vertices_px)
    pixels = np.stack([fragments.columns, fragments.rows], axis=-1) + 0.5
    inside = ((pixels > 2) & (pixels < 18)).all(axis=-1)
    np.testing.assert_allclose(positions[inside], pixels[inside], atol=1e-9)


def test_rasterize_survives_nothing_and_nonsense():
    faces = np.array([[0, 1, 2]])
    for points in ([[np.nan] * 2] * 3, [[1e9, 0], [0, 1e9], [5, 5]], [[-50, -50], [-40, -50], [-40, -40]]):
        assert len(rasterize(np.array(points, dtype=float), np.ones(3), faces, 16).rows) == 0


def test_normals_point_outwards_for_both_sides(hands):
    vertices, _, faces = hands
    for mesh in (vertices[0], vertices[0] * [-1, 1, 1]):
        wound = outward_faces(mesh, faces)
        outwards = ((mesh - mesh.mean(axis=0)) * vertex_normals(mesh, wound)).sum(axis=-1)
        assert outwards.mean() > 0
        np.testing.assert_allclose(np.linalg.norm(vertex_normals(mesh, wound), axis=-1), 1.0, atol=1e-6)


def test_shade_is_the_same_for_either_winding(hands):
    vertices, _, faces = hands
    points = vertices[0, :, :2] * 400 + 60
    colors = np.full((778, 3), 180)
    one, other = (np.asarray(shade(vertices[0], f, points, colors, 120)) for f in (faces, faces[:, ::-1]))
    np.testing.assert_array_equal(one[..., 3], other[..., 3])
    assert np.abs(one.astype(int) - other).mean() < 1.0


# ------------------------------------------------------------------------------------------------ colours


def test_uncertainty_colors_run_from_blue_to_red():
    low, high, beyond, missing = uncertainty_colors(np.array([0.0, UNCERTAINTY_FULL_SCALE_M, 1.0, np.nan])).astype(int)
    assert low[2] > low[0] and high[0] > high[2]
    np.testing.assert_array_equal(high, beyond)
    np.testing.assert_array_equal(high, missing)


def test_vertex_uncertainty_is_that_of_the_near_joint(hands):
    vertices, joints, _ = hands
    std = np.linspace(0.001, 0.02, 21)
    spread = vertex_uncertainty(vertices[0], joints[0], std)
    assert spread.min() >= std.min() and spread.max() <= std.max()
    tips = np.abs(vertices[0][:, None] - joints[0][[4, 20]]).sum(axis=-1).argmin(axis=0)
    np.testing.assert_allclose(spread[tips], std[[4, 20]], atol=0.002)


# ------------------------------------------------------------------------------------------------ overlay


def test_place_prediction_recovers_where_the_hand_was(output):
    hand = place_prediction((240, 320), output)
    np.testing.assert_allclose(hand.joints[0], [0.1, 0.0, 2.0], atol=0.01)
    projected = camera.project(torch.from_numpy(hand.joints), torch.from_numpy(hand.intrinsics)).numpy()
    np.testing.assert_allclose(projected, output.keypoints_2d[0], atol=0.2)
    assert hand.hypotheses.shape == (5, 21, 3)


def test_given_translations_are_kept(output):
    output.translation = np.tile([0.0, 0.1, 1.5], (1, 5, 1))
    intrinsics = np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]])
    hand = place_prediction((240, 320), output, intrinsics=intrinsics)
    np.testing.assert_allclose(hand.hypotheses[:, 0], output.translation[0], atol=1e-9)
    np.testing.assert_array_equal(hand.intrinsics, intrinsics)


def test_view_is_enlarged_to_a_small_hand_and_shows_all_for_a_large_one(output):
    image = np.zeros((240, 320, 3), np.uint8)
    hand = place_prediction((240, 320), output)
    view = _View.of_hand(image, hand, 100)
    assert view.side < 200
    on_canvas = view.to_canvas(output.keypoints_2d[0])
    assert (on_canvas > 0).all() and (on_canvas < view.size).all()
    close = PlacedHand(
        **{
            **vars(hand),
            "vertices": hand.vertices - [0.1, 0, 1.5],
            "joints": hand.joints - [0.1, 0, 1.5],
            "keypoints_px": None,
        }
    )
    assert _View.of_hand(image, close, 100).side == 320


def test_a_mesh_gone_astray_does_not_take_the_view_along(output):
    image = np.zeros((240, 320, 3), np.uint8)
    hand = place_prediction((240, 320), output)
    expected = _View.of_hand(image, hand, 100)
    hand.vertices = hand.vertices * [30, 30, 1]
    view = _View.of_hand(image, hand, 100)
    assert view.side < 3 * expected.side
    on_canvas = view.to_canvas(output.keypoints_2d[0])
    assert (on_canvas > 0).all() and (on_canvas < view.size).all()


def test_overlay_draws_the_mesh_on_the_hand(output):
    photo = np.full((240, 320, 3), 90, np.uint8)
    overlay = np.asarray(draw_prediction(photo, output, panel=200)).astype(int)
    assert overlay.shape[1] > 4 * 200
    mesh_panel = overlay[10:210, 220:420]
    drawn = np.abs(mesh_panel - 90).max(axis=-1) > 12
    assert 0.08 < drawn[40:160, 40:160].mean() and not drawn[60:, :6].any()
    side_panel = overlay[10:210, 640:840]
    assert side_panel.std() > 10


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints_px": None},
        {"keypoint_scores": None},
        {"joint_std": None},
        {"hand_score": None},
        {"hypotheses": np.zeros((0, 21, 3))},
        {"keypoints_px": np.full((21, 2), np.nan)},
        {"handedness": "left"},
        {"joint_std": np.full(21, 5.0)},
        {"hand_score": 0.1},
        {"keypoints_px": np.full((21, 2), 1e7)},
    ],
)
def test_overlay_does_with_less(output, change):
    hand = PlacedHand(**{**vars(place_prediction((240, 320), output)), **change})
    assert draw_overlay(np.zeros((240, 320, 3), np.uint8), hand, panel=80).mode == "RGB"


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2), (7, 9)])
def test_overlay_of_tiny_photos(output, shape):
    draw_prediction(np.zeros((*shape, 3), np.uint8), output, panel=80)


def test_panels_are_those_of_the_overlay_and_show_their_window(output):
    photo = np.zeros((240, 320, 3), np.uint8)
    hand = place_prediction(photo.shape[:2], output)
    left, top, side = panel_window(photo, hand)
    shares = (output.keypoints_2d[0] - (left, top)) / side
    assert shares.min() > 0 and shares.max() < 1 and np.abs(shares.mean(axis=0) - 0.5).max() < 0.2
    panels = draw_panels(photo, hand, 100, ("side", "spread"))
    assert list(panels) == ["side", "spread"] and {panel.size for panel in panels.values()} == {(100, 100)}
    sheet = draw_overlay(photo, hand, panel=100)
    left_of_side = sheet.width - 10 - 100
    corner = (60, 60, 100, 100)  # below the title
    of_sheet = sheet.crop((left_of_side + 60, 10 + 60, left_of_side + 100, 10 + 100))
    assert np.array_equal(np.array(of_sheet), np.array(panels["side"].crop(corner)))
    with pytest.raises(InputError, match="names"):
        draw_panels(photo, hand, names=("front",))


def test_overlay_takes_tensors(output):
    tensors = SimpleNamespace(
        **{
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for key, value in vars(output).items()
        }
    )
    assert draw_prediction(Image.new("RGB", (320, 240)), tensors, panel=80).width > 320


def test_overlay_refuses_nan_and_no_room(output):
    hand = place_prediction((240, 320), output)
    image = np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(InputError, match="panel"):
        draw_overlay(image, hand, panel=3)
    hand.vertices[3] = np.nan
    with pytest.raises(InputError, match="finite"):
        draw_overlay(image, hand)


# ------------------------------------------------------------------------------------------------ glb


def test_glb_reads_back(hands, tmp_path):
    vertices, joints, faces = hands
    path = tmp_path / "hand.glb"
    path.write_bytes(b"old")
    std = np.linspace(0.0, 0.03, 21)
    write_glb(path, vertices[0], faces, vertices[1:], joints[0], std)
    assert [p.name for p in tmp_path.iterdir()] == ["hand.glb"]  # nothing temporary is left
    scene = trimesh.load(path)
    assert set(scene.geometry) == {"answer"} | {f"hypothesis_{k:02d}" for k in range(4)}
    answer = scene.geometry["answer"]
    np.testing.assert_allclose(answer.vertices, vertices[0] * [1, -1, -1], atol=1e-6)
    assert (answer.vertex_normals * (answer.vertices - answer.vertices.mean(axis=0))).sum(axis=-1).mean() > 0
    colors = answer.visual.vertex_attributes["color"]
    assert len(colors) == 778 and len(np.unique(colors, axis=0)) > 20
    ghost = scene.geometry["hypothesis_00"].visual.material
    assert ghost.alphaMode == "BLEND" and 0 < ghost.baseColorFactor[3] < 128
    assert answer.visual.material.metallicFactor == 0.0


def test_glb_has_normals_and_y_up(hands, tmp_path):
    vertices, _, faces = hands
    raised = vertices[0] - [0, 1.0, 0]  # up in the photo is -y
    data = write_glb(tmp_path / "up.glb", raised, faces).read_bytes()
    assert b'"NORMAL"' in data
    assert trimesh.load(tmp_path / "up.glb").bounds[0, 1] > 0.5


def test_glb_refuses_what_does_not_belong_together(hands, tmp_path):
    vertices, _, faces = hands
    bad = vertices[0].copy()
    bad[0] = np.nan
    for arguments, words in (
        ((bad, faces), "finite"),
        ((vertices[0][:700], faces), "faces"),
        ((vertices[0][:, :2], faces), "vertices"),
        ((vertices[0], faces, vertices[1:, :5]), "hypotheses"),
    ):
        with pytest.raises(InputError, match=words):
            write_glb(tmp_path / "bad.glb", *arguments)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ sheets


def test_contact_sheet():
    images = [np.full((40, 30, 3), 10 * k, np.uint8) for k in range(5)]
    sheet = contact_sheet(images, columns=3, labels=list("abcde"), cell=80, gap=4)
    assert sheet.size == (3 * 64 + 4, 2 * (80 + 4 + 20) + 4)
    assert contact_sheet([Image.new("RGB", (9, 9))]).size == (21, 21)
    for arguments in (([],), (images, 2, ["one"])):
        with pytest.raises(InputError):
            contact_sheet(*arguments)
