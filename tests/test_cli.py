"""The command line: what `handdiff predict` writes, and how it says no."""

import functools
import inspect
import json
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from glb_reading import Glb
from PIL import Image
from untrained import randomize_zero_layers

from hf_handdiff.cli import loading
from hf_handdiff.cli.main import build_parser, main
from hf_handdiff.cli.predict.files import OutputNames
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.hand import HandLayer
from hf_handdiff.models import (
    HandImageEncoder,
    HandImageEncoderConfig,
    JointDenoiser,
    JointDenoiserConfig,
    MeshAutoencoder,
    MeshAutoencoderConfig,
    MeshLatentDenoiser,
    MeshLatentDenoiserConfig,
    mediapipe_hands,
)
from hf_handdiff.models.hand_search import DetectedHand
from hf_handdiff.pipelines import CascadedHandPipeline, JointDiffusionPipeline
from hf_handdiff.pipelines.defaults import AGGREGATIONS
from hf_handdiff.pipelines.schedulers import default_scheduler

JSON_KEYS = {
    "joints_m",
    "joint_hypotheses_m",
    "mean_joints_m",
    "joint_std_m",
    "mean_vertices_m",
    "keypoints_2d_px",
    "keypoint_scores",
    "translation_m",
    "mean_translation_m",
    "global_orient",
    "hand_pose",
    "betas",
    "hand_scale",
    "convention",
    "wrist_frame",
    "metric_scale",
    "faces",
    "hand_score",
    "side_score",
    "keypoint_agreement",
    "handedness",
    "box_px",
    "seed",
    "checkpoint",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """An untrained cascade of small networks whose meshes are hands."""
    torch.manual_seed(0)
    layer = HandLayer.open_hand()
    autoencoder = MeshAutoencoder(MeshAutoencoderConfig(encoder_hidden_size=8))
    hands = layer(0.3 * torch.randn(120, 16, 3), torch.randn(120, 10))
    vertices = hands.vertices - hands.joints[:, :1]
    autoencoder.start_from_principal_components(vertices)
    autoencoder.set_latent_statistics(vertices)
    autoencoder.faces.copy_(layer.faces)
    autoencoder.joint_regressor.copy_(layer.mesh_to_joints)
    pipeline = CascadedHandPipeline(
        HandImageEncoder(HandImageEncoderConfig()),
        JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=1)),
        autoencoder,
        randomize_zero_layers(MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=32, num_blocks=1))),
        default_scheduler(),
        default_scheduler(),
        num_inference_steps=2,
        num_mesh_inference_steps=2,
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    pipeline.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def load_each_checkpoint_once():
    """Spare the tests most of their time."""
    original = loading.load_pipeline
    loading.load_pipeline = functools.cache(original)
    yield
    loading.load_pipeline = original


@pytest.fixture
def photo(tmp_path):
    """A file with a picture in it; no hand, but the networks do not know."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    return path


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def predict(checkpoint, out, *arguments) -> int:
    return run("predict", *arguments, "--out", out, "--checkpoint", checkpoint, "--num-hypotheses", 3)


def read(path) -> dict:
    return json.loads(path.read_text())


# ------------------------------------------------------------------------------------------------ results


def test_predict_writes_what_the_contract_says(checkpoint, photo, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert predict(checkpoint, out, photo, "--seed", 7, "--save-vertices") == 0
    assert {path.name for path in out.iterdir()} == {f"photo.{s}" for s in ("glb", "json", "npz", "png")}

    record = read(out / "photo.json")
    assert set(record) == JSON_KEYS
    shapes = {
        "joints_m": (3, 21, 3),
        "joint_hypotheses_m": (3, 21, 3),
        "mean_joints_m": (21, 3),
        "joint_std_m": (21,),
        "mean_vertices_m": (778, 3),
        "keypoints_2d_px": (21, 2),
        "keypoint_scores": (21,),
    }
    for key, shape in shapes.items():
        assert np.array(record[key], dtype=float).shape == shape, key
    assert record["translation_m"] is None and record["box_px"] == [0, 0, 160, 120]
    assert (record["seed"], record["handedness"], record["checkpoint"]) == (7, "right", Path(checkpoint).name)
    assert 0.0 <= record["hand_score"] <= 1.0

    scene = trimesh.load(out / "photo.glb")
    assert set(scene.geometry) == {"answer", "hypothesis_00", "hypothesis_01", "hypothesis_02"}
    np.testing.assert_allclose(
        Glb(out / "photo.glb").skinned_vertices("answer"), np.array(record["mean_vertices_m"]) * [1, -1, -1], atol=1e-5
    )
    with Image.open(out / "photo.png") as overlay:
        assert overlay.width > 3 * overlay.height
    arrays = np.load(out / "photo.npz")
    assert arrays["vertices_m"].shape == (3, 778, 3) and arrays["faces"].shape == (1538, 3)
    np.testing.assert_allclose(arrays["joints_m"], record["joints_m"], atol=1e-6)
    assert "right hand" in capsys.readouterr().out


def test_same_seed_same_answer_whatever_the_company(checkpoint, photo, tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 50), (9, 80, 200)).save(other)
    assert predict(checkpoint, tmp_path / "alone", photo) == 0
    assert (
        run(
            "predict",
            other,
            photo,
            "--out",
            tmp_path / "both",
            "--checkpoint",
            checkpoint,
            "--num-hypotheses",
            5,
        )
        == 0
    )
    alone, both = read(tmp_path / "alone" / "photo.json"), read(tmp_path / "both" / "photo.json")
    np.testing.assert_allclose(both["joints_m"][:3], alone["joints_m"], atol=1e-6)
    assert predict(checkpoint, tmp_path / "seeded", photo, "--seed", 1) == 0
    assert not np.allclose(read(tmp_path / "seeded" / "photo.json")["joints_m"], alone["joints_m"], atol=1e-4)


def test_box_intrinsics_side_and_steps_are_used(checkpoint, photo, tmp_path):
    assert (
        predict(
            checkpoint,
            tmp_path,
            photo,
            "--box",
            "20,10,90.5,80",
            "--intrinsics",
            "300,300,80,60",
            "--hand",
            "left",
            "--steps",
            3,
            "--mesh-steps",
            1,
            "--aggregation",
            "medoid",
        )
        == 0
    )
    record = read(tmp_path / "photo.json")
    assert record["box_px"] == [20, 10, 90.5, 80] and record["handedness"] == "left"
    assert np.array(record["translation_m"]).shape == (3, 3)
    assert any(np.allclose(record["mean_joints_m"], joints, atol=1e-6) for joints in record["joints_m"])


def test_left_hand_in_a_mirrored_image_is_the_mirrored_answer(checkpoint, photo, tmp_path):
    mirrored = tmp_path / "mirrored.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    assert predict(checkpoint, tmp_path, photo) == 0
    assert predict(checkpoint, tmp_path, mirrored, "--hand", "left") == 0
    right, left = read(tmp_path / "photo.json"), read(tmp_path / "mirrored.json")
    np.testing.assert_allclose(np.array(left["joints_m"]) * [-1, 1, 1], right["joints_m"], atol=2e-6)
    for name, record in (("photo", right), ("mirrored", left)):  # normals of both hands point outwards
        vertices = Glb(tmp_path / f"{name}.glb").skinned_vertices("answer")
        np.testing.assert_allclose(vertices, np.array(record["mean_vertices_m"]) * [1, -1, -1], atol=1e-5)
        answer = trimesh.load(tmp_path / f"{name}.glb").geometry["answer"]
        outwards = answer.vertices - answer.vertices.mean(axis=0)
        assert (answer.vertex_normals * outwards).sum(axis=-1).mean() > 0


def test_only_a_fitted_answer_has_bones(checkpoint, photo, tmp_path):
    assert predict(checkpoint, tmp_path, photo, "--aggregation", "mean") == 0
    glb = Glb(tmp_path / "photo.glb")
    vertices = np.array(read(tmp_path / "photo.json")["mean_vertices_m"])
    np.testing.assert_allclose(glb.rest_vertices("answer"), vertices * [1, -1, -1], atol=1e-6)
    assert "skins" not in glb.document and "skin" not in glb.node("answer")


def test_boxes_file(checkpoint, photo, tmp_path, capsys):
    other = tmp_path / "other.png"
    Image.open(photo).save(other)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"photo.jpg": [10, 10, 60, 70], "other": None}))
    assert predict(checkpoint, tmp_path / "out", photo, other, "--boxes", boxes) == 0
    assert read(tmp_path / "out" / "photo.json")["box_px"] == [10, 10, 60, 70]
    assert read(tmp_path / "out" / "other.json")["box_px"] == [0, 0, 160, 120]
    boxes.write_text(json.dumps({"photo.jpg": [10, 10, 60, 70]}))
    assert predict(checkpoint, tmp_path / "out", photo, other, "--boxes", boxes) == 1
    assert "no entry 'other.png'" in capsys.readouterr().err


def test_equal_names_from_different_folders_do_not_overwrite_each_other(checkpoint, photo, tmp_path):
    second = tmp_path / "second" / "photo.png"
    second.parent.mkdir()
    Image.new("RGB", (60, 60), (200, 30, 30)).save(second)
    assert predict(checkpoint, tmp_path / "out", photo, second) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.json")}
    assert names == {"photo.json", "photo-2.json"}


def test_output_names():
    names = OutputNames(["a", "a", "A", "a-2", "b", "b_0"])
    assert [names.next_for(stem) for stem in ("a", "a", "A", "a-2")] == ["a", "a-3", "A-4", "a-2"]
    assert names.claim("b_0") == "b_0-2" and names.claim("b_1") == "b_1"


def test_low_hand_score_is_said(checkpoint, photo, tmp_path, capsys, monkeypatch):
    forward = HandImageEncoder.forward

    def without_hand(self, *arguments, **options):
        encoded = forward(self, *arguments, **options)
        encoded.hand_logit = torch.full_like(encoded.hand_logit, -4.0)
        return encoded

    monkeypatch.setattr(HandImageEncoder, "forward", without_hand)
    assert predict(checkpoint, tmp_path, photo) == 0
    errors = capsys.readouterr().err
    assert "warning: hand score 0.02 is low" in errors and "photo.jpg" in errors


def test_every_hand_that_the_detector_finds_gets_its_own_files(checkpoint, photo, tmp_path, monkeypatch):
    keypoints = np.stack([np.linspace(10, 40, 21), 20 + 10 * np.sin(np.arange(21))], axis=-1)
    found = [
        DetectedHand(np.array([10.0, 10, 40, 30]), "left", 0.9, keypoints),
        DetectedHand(np.array([60.0, 20, 150, 110]), "right", 0.8, keypoints + 60),
    ]

    class Detector:
        def detect(self, image):
            return found[: 2 if image.shape[1] == 160 else 1]

    monkeypatch.setattr(mediapipe_hands, "MediaPipeHandDetector", Detector)
    small = tmp_path / "small.png"
    Image.new("RGB", (80, 60), (20, 90, 30)).save(small)
    out = tmp_path / "out"
    assert predict(checkpoint, out, photo, small, "--detector", "mediapipe", "--detector-keypoints") == 0
    records = {path.stem: read(path) for path in out.glob("*.json")}
    assert set(records) == {"photo_0", "photo_1", "small"}
    assert [records[f"photo_{k}"]["handedness"] for k in (0, 1)] == ["left", "right"]
    assert records["photo_1"]["box_px"] == [60, 20, 150, 110]
    np.testing.assert_allclose(records["photo_1"]["keypoints_2d_px"], keypoints + 60, atol=1e-4)
    assert predict(checkpoint, out, small, "--detector", "mediapipe", "--hand", "right") == 0
    assert read(out / "small.json")["handedness"] == "right"


def test_no_hand_found_is_said(checkpoint, photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mediapipe_hands, "MediaPipeHandDetector", lambda: SimpleNamespace(detect=lambda image: []))
    assert predict(checkpoint, tmp_path / "out", photo, "--detector", "mediapipe") == 1
    assert "found no hand" in capsys.readouterr().err


def test_the_builtin_detector_that_finds_no_hand_says_so(checkpoint, photo, tmp_path, capsys):
    assert predict(checkpoint, tmp_path / "out", photo, "--detector", "builtin") == 1
    assert capsys.readouterr().err.count("found no hand") == 1


def test_a_mistake_of_ours_does_not_stop_the_others(checkpoint, photo, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 50)).save(other)
    call = CascadedHandPipeline.__call__

    def fail_on_the_small_one(self, images, **options):
        if images.shape[0] == 50:
            raise ZeroDivisionError("oops")
        return call(self, images, **options)

    monkeypatch.setattr(CascadedHandPipeline, "__call__", fail_on_the_small_one)
    assert predict(checkpoint, tmp_path / "out", other, photo) == 1
    assert (tmp_path / "out" / "photo.json").exists()
    errors = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: oops" in errors and "1 of 2 images failed" in errors


# ------------------------------------------------------------------------------------------------ bad input


def test_a_bad_image_does_not_stop_the_others(checkpoint, photo, tmp_path, capsys):
    truncated = tmp_path / "cut.jpg"
    truncated.write_bytes(photo.read_bytes()[:900])
    text = tmp_path / "text.png"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()
    images = [truncated, tmp_path / "missing.jpg", text, tmp_path / "empty", photo]
    assert predict(checkpoint, tmp_path / "out", *images) == 1
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["photo.json"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 4
    for line, words in zip(lines, ("truncated", "no file", "not an image", "folder"), strict=True):
        assert line.startswith("handdiff: error: ") and words in line


def test_a_box_outside_the_image_is_refused(checkpoint, photo, tmp_path, capsys):
    assert predict(checkpoint, tmp_path, photo, "--box", "500,500,600,600") == 1
    assert "boxes" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--box", "1,2,3"], "four numbers"),
        (["--box", "5,5,5,9"], "without pixels"),
        (["--box", "a,b,c,d"], "four numbers"),
        (["--box", "nan,0,5,5"], "four numbers"),
        (["--box", f"0,0,5,{'9' * 400}"], "four numbers"),
        (["--intrinsics", f"{'9' * 400},1,2,3"], "finite"),
        (["--intrinsics", "nan,1,2,3"], "finite"),
        (["--intrinsics", "0,1,2,3"], "positive"),
        (["--intrinsics", "500"], "fx,fy,cx,cy"),
        (["--num-hypotheses", "0"], "at least 1"),
        (["--num-hypotheses", "many"], "whole number"),
        (["--seed", "-1"], "at least 0"),
        (["--hand", "both"], "left"),
        (["--aggregation", "mode"], "median"),
        (["--boxes", "missing.json"], "cannot be read"),
        (["--box", "0,0,5,5", "--detector", "mediapipe"], "not allowed with"),
        (["--detector-keypoints"], "together with --detector"),
        (["--nonsense"], "unrecognized"),
    ],
)
def test_wrong_usage_exits_with_2(photo, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        run("predict", photo, "--out", tmp_path / "out", *arguments)
    assert caught.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "maps image names"),
        ('{"a": [1, 2, 3]}', "'a'"),
        ('{"a": [5, 5, 5, 5]}', "'a'"),
        ('{"a": "1234"}', "four numbers"),
        ('{"a": [0, 0, true, true]}', "four numbers"),
        ('{"a": {"0": 1, "1": 2, "3": 4, "4": 5}}', "four numbers"),
        ('{"a": [0, 0, 5, ' + "9" * 400 + "]}", "one of 400 digits"),
        ('{"a": [0, 0, 5, ' + "9" * 5000 + "]}", "one of 5000 digits"),
        ('{"a": [0, 0, 5, 1e999]}', "finite"),
        ('{"a": [NaN, 0, 5, 5]}', "NaN"),
        ('{"a": [-Infinity, 0, 5, 5]}', "-Infinity"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "four numbers"),
        ('{"a": [' + "1, " * 100_000 + "1]}", "four numbers"),
        (" " * 100_000_000, "too large"),
    ],
    ids=range(17),
)
def test_bad_boxes_file(photo, tmp_path, capsys, content, words):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(SystemExit) as caught:
        run("predict", photo, "--out", tmp_path / "out", "--boxes", tmp_path / "boxes.json")
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 2 and words in error and len(error) < 400


def test_no_images_and_no_command(tmp_path):
    for arguments in (["predict", "--out", tmp_path], [], ["data"]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2


def test_bad_checkpoints(photo, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "missing" / "folder"):
        assert predict(folder, tmp_path / "out", photo) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("handdiff: error: --checkpoint"), lines


def test_a_device_that_is_not_there_is_not_laid_to_the_checkpoint(checkpoint, photo, tmp_path, capsys):
    for device in ("cuda:99", "nonsense"):
        assert predict(checkpoint, tmp_path / "out", photo, "--device", device) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith(f"handdiff: error: --device: '{device}' cannot be used"), lines


def test_out_is_a_file(photo, tmp_path, capsys):
    assert run("predict", photo, "--out", photo) == 1
    assert "--out" in capsys.readouterr().err


def test_missing_detector_is_said(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert run("predict", photo, "--out", tmp_path / "out", "--detector", "mediapipe") == 1
    assert "pip install 'hf_handdiff[mediapipe]'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ help


def test_help_is_quick_and_loads_no_torch():
    code = (
        "import sys, contextlib, hf_handdiff.cli as cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['--help'])\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0  # seconds of a core; some 0.1
    for command in ("predict", "data", "evaluate", "benchmark", "export", "push"):
        assert command in done.stdout


def test_choices_and_defaults_are_the_same_everywhere():
    parser = build_parser()
    predicted = vars(parser.parse_args(["predict", "photo.jpg", "--out", "results"]))
    for name, value in vars(PredictionSettings(Path("results"))).items():
        assert predicted[name] == value, name
    evaluated = vars(parser.parse_args(["evaluate", "--data", "corpus", "--out", "results"]))
    for call in (CascadedHandPipeline.__call__, JointDiffusionPipeline.__call__):
        for name in ("num_hypotheses", "aggregation"):
            assert inspect.signature(call).parameters[name].default == predicted[name] == evaluated[name]
    for method in AGGREGATIONS:
        parser.parse_args(["predict", "photo.jpg", "--out", "results", "--aggregation", method])
        parser.parse_args(["evaluate", "--data", "corpus", "--out", "results", "--aggregation", method])


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        run("--version")
    assert caught.value.code == 0 and "handdiff" in capsys.readouterr().out
