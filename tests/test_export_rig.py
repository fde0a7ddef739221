"""`handdiff export-rig`: what predict wrote becomes BVH or GLB, and what it did not becomes one sentence."""

import json

import numpy as np
import pytest
import torch
from glb_reading import Glb

from hf_handdiff.cli.main import main
from hf_handdiff.export.records import record_as_json
from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import mirror_rotations

TO_GLTF = np.array([1.0, -1.0, -1.0])


def photo_record(layer, side="left"):
    pose, betas = sample_poses(1, torch.Generator().manual_seed(0)), torch.full((1, 10), 0.5)
    mesh = posed_hand(layer, pose[:, 0], pose[:, 1:], betas, torch.tensor([1.1]), side)
    return {
        "global_orient": pose[0, 0].numpy(),
        "hand_pose": pose[0, 1:].numpy(),
        "betas": betas[0].numpy(),
        "hand_scale": 1.1,
        "handedness": side,
        "mean_vertices_m": mesh.vertices[0].numpy(),
    }


def video_lines(layer):
    """Six frames: a right hand in all of them, a left one in two."""
    generator = torch.Generator().manual_seed(0)
    poses = sample_poses(1, generator) * torch.linspace(0.5, 1, 6)[:, None, None]
    joints = {}
    for side, pose in (("right", poses), ("left", mirror_rotations(poses))):
        joints[side] = posed_hand(layer, pose[:, 0], pose[:, 1:], torch.zeros(6, 10), None, side).joints.numpy()
    lines = []
    for frame in range(6):
        sides = ["right", "left"] if frame in (2, 3) else ["right"]
        hands = [
            {"id": k, "handedness": side, "joints_m": joints[side][frame], "translation_m": np.array([k, 0, 0.5])}
            for k, side in enumerate(sides)
        ]
        lines.append({"frame": frame, "time_s": frame / 25, "hands": hands})
    return lines, joints


def write_lines(path, lines):
    path.write_text("".join(record_as_json(line) + "\n" for line in lines))
    return path


def export(*arguments):
    return main(["export-rig", *(str(argument) for argument in arguments)])


def bvh_frames(path):
    text = path.read_text()
    assert text.startswith("HIERARCHY\nROOT wrist\n") and text.count("JOINT ") == 15 and text.count("End Site") == 5
    return int(text.split("Frames: ")[1].split()[0])


@pytest.fixture
def layer():
    return HandLayer.open_hand()


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_a_photo(layer, suffix, tmp_path, capsys):
    record, path = photo_record(layer), tmp_path / f"photo.{suffix}"
    if suffix == "json":
        path.write_text(record_as_json(record))
    else:
        np.savez(path, **record)
    assert export(path, "--out", tmp_path / "hand.bvh") == 0 and bvh_frames(tmp_path / "hand.bvh") == 1
    assert export(path, "--out", tmp_path / "hand.dat", "--format", "glb") == 0
    vertices = Glb(tmp_path / "hand.dat").skinned_vertices("answer", 0.0)
    np.testing.assert_allclose(vertices, record["mean_vertices_m"] * TO_GLTF, atol=1e-5)
    assert "hand.bvh: answer, 1 frames" in capsys.readouterr().out


def test_a_video(layer, tmp_path, capsys):
    lines, joints = video_lines(layer)
    path = write_lines(tmp_path / "clip.jsonl", lines)
    assert export(path, "--out", tmp_path / "clip.glb") == 0
    glb = Glb(tmp_path / "clip.glb")
    for name, frame in (("hand_0_right", 0), ("hand_0_right", 5), ("hand_1_left", 3)):
        skinned = glb.skinned_vertices(name, frame / 25) * TO_GLTF
        number, side = int(name[5]), name[7:]
        found = layer.mesh_to_joints.numpy() @ (skinned - [number, 0, 0.5])
        assert np.linalg.norm(found - joints[side][frame], axis=-1).mean() < 0.003
    for number, frames in ((0, 6), (1, 2)):
        assert export(path, "--out", tmp_path / "hand.bvh", "--hand-id", number) == 0
        assert bvh_frames(tmp_path / "hand.bvh") == frames
    capsys.readouterr()
    assert export(path, "--out", tmp_path / "two.bvh") == 1 and not (tmp_path / "two.bvh").exists()
    assert "holds hand_0_right, hand_1_left" in capsys.readouterr().err
    assert export(path, "--out", tmp_path / "two.bvh", "--hand-id", 7) == 1


def test_mano_is_read_with_its_file_and_not_without(layer, tmp_path, capsys):
    arrays = {name: np.array(array) for name, array in load_open_hand_arrays().items()}
    arrays["v_template"] = 1.2 * arrays["v_template"]
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    from hf_handdiff.hand.mano_layer import load_mano_layer

    record = photo_record(load_mano_layer(tmp_path / "MANO_RIGHT.npz"))
    path = tmp_path / "photo.json"
    path.write_text(record_as_json(record))
    assert export(path, "--out", tmp_path / "hand.bvh") == 1
    assert "give its file with --hand" in capsys.readouterr().err
    assert export(path, "--out", tmp_path / "hand.bvh", "--hand-model", tmp_path / "MANO_RIGHT.npz") == 0


def test_what_is_no_answer_is_one_sentence(layer, tmp_path, capsys):
    record, (lines, _) = photo_record(layer), video_lines(layer)
    cases = {
        "none.json": json.dumps({"handedness": "left"}),
        "list.json": "[]",
        "text.json": "no json",
        "side.json": record_as_json({**record, "handedness": "both"}),
        "pose.json": record_as_json({**record, "hand_pose": [[0, 0, 0]]}),
        "nan.json": record_as_json({**record, "betas": [None] * 10}),
        "text.npz": "no npz",
        "frame.jsonl": "[]\n",
        "time.jsonl": '{"time_s": "now", "hands": []}\n',
        "hand.jsonl": '{"time_s": 0, "hands": [3]}\n',
        "joints.jsonl": record_as_json({"time_s": 0, "hands": [{**lines[0]["hands"][0], "joints_m": [1, 2]}]}),
        "twice.jsonl": record_as_json({"time_s": 0, "hands": lines[0]["hands"] * 2}),
        "back.jsonl": "\n".join(record_as_json(line) for line in lines[::-1]),
        "empty.jsonl": "",
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        for suffix in ("bvh", "glb"):
            if name == "empty.jsonl" and suffix == "glb":
                continue
            assert export(tmp_path / name, "--out", tmp_path / f"hand.{suffix}") == 1, name
            error = capsys.readouterr().err
            assert error.startswith("handdiff: error: ") and error.count("\n") == 1, error
    good = write_lines(tmp_path / "good.jsonl", lines[:1])
    for out in (tmp_path / "hand.fbx", tmp_path / "nowhere" / "hand.bvh"):
        assert export(good, "--out", out) == 1
    assert export(tmp_path / "missing.json", "--out", tmp_path / "hand.bvh") == 1
    assert export(tmp_path / "missing.npz", "--out", tmp_path / "hand.bvh") == 1
    assert export(tmp_path / "missing.jsonl", "--out", tmp_path / "hand.bvh") == 1
    assert export(good, "--out", tmp_path / "hand.bvh", "--hand", tmp_path / "text.npz") == 1
    assert all(line.startswith("handdiff: error: ") for line in capsys.readouterr().err.splitlines())
    assert not list(tmp_path.glob("hand.*b*"))
