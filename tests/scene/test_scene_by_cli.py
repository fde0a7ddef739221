"""`handdiff predict --scene`: the files, one camera for a photo, and what does not go with it."""

import json
from functools import partial

import numpy as np
import pytest
from glb_reading import Glb
from PIL import Image

from hf_handdiff import viz
from hf_handdiff.camera import photo_intrinsics
from hf_handdiff.cli.main import main
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.models.hand_search import BuiltinHandDetector, DetectedHand

FOUND = [
    DetectedHand(np.array([10.0, 10, 90, 100]), "left", 0.9, np.zeros((21, 2))),
    DetectedHand(np.array([100.0, 30, 180, 140]), "right", 0.8, np.zeros((21, 2))),
]


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def predict(checkpoint, monkeypatch):
    """Runs the command on photos in which 2 hands are found, in narrow ones 1; pictures are small."""
    monkeypatch.setattr(viz, "draw_overlay", partial(viz.draw_overlay, panel=64))

    def detect(self, image):
        return FOUND[: 2 if image.shape[1] > 150 else 1]

    monkeypatch.setattr(BuiltinHandDetector, "detect", detect)
    options = ["--checkpoint", checkpoint, "--num-hypotheses", 2, "--steps", 2, "--mesh-steps", 1]
    return lambda out, *given: main([str(word) for word in ("predict", "--out", out, *options, *given)])


@pytest.fixture
def two(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "two.png")
    return tmp_path / "two.png"


def test_a_scene_beside_the_files_of_its_hands(predict, two, photo, tmp_path, capsys):
    Image.fromarray(photo[:, :120]).save(tmp_path / "one.png")
    out = tmp_path / "out"
    assert predict(out, two, tmp_path / "one.png", "--scene", "--batch-size", 3) == 0
    assert "2 hands in one scene" in capsys.readouterr().out
    names = {path.name for path in out.iterdir() if path.suffix in (".json", ".glb")}
    assert names == {
        f"{name}.{suffix}" for name in ("two_0", "two_1", "two_scene", "one", "one_scene") for suffix in ("json", "glb")
    }
    scene = json.loads((out / "two_scene.json").read_text())
    assert [hand["handedness"] for hand in scene] == ["left", "right"]
    height, width = photo.shape[:2]
    for number, hand in enumerate(scene):
        np.testing.assert_allclose(hand["intrinsics_px"], photo_intrinsics(height, width), atol=1e-5)
        own = json.loads((out / f"two_{number}.json").read_text())
        if hand["hypothesis"] is None:  # one factor from the hand's own file to the scene
            factor = hand["metric_scale"]
            place = factor * np.array(own["mean_translation_m"])
            np.testing.assert_allclose(hand["mean_translation_m"], place, atol=1e-4)
            np.testing.assert_allclose(hand["vertices_m"], factor * np.array(own["mean_vertices_m"]) + place, atol=1e-4)
    glb = Glb(out / "two_scene.glb")
    assert {"hand_0_left", "hand_0_left_rig", "hand_1_right", "hand_1_right_rig"} <= set(glb.names)
    np.testing.assert_allclose(glb.skinned_vertices("hand_1_right") * [1, -1, -1], scene[1]["vertices_m"], atol=2e-5)
    (alone,) = json.loads((out / "one_scene.json").read_text())
    np.testing.assert_allclose(alone["intrinsics_px"], photo_intrinsics(height, 120), atol=1e-5)
    assert alone["metric_scale"] == 1.0 and alone["penetration_m"] == 0.0


def test_intrinsics_lengths_and_boxes_are_honoured(predict, two, tmp_path):
    given = ("--scene", "--intrinsics", "200,210,90,80", "--hand-length", 0.2)
    assert predict(tmp_path / "out", two, *given) == 0
    scene = json.loads((tmp_path / "out" / "two_scene.json").read_text())
    assert scene[0]["intrinsics_px"] == [[200, 0, 90], [0, 210, 80], [0, 0, 1]]
    assert predict(tmp_path / "boxed", two, "--scene", "--box", "10,10,90,100", "--hand", "left") == 0
    (boxed,) = json.loads((tmp_path / "boxed" / "two_scene.json").read_text())
    assert boxed["name"] == "hand_0_left"


def test_a_scene_is_done_again_if_it_was_not_asked_for(predict, two, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(out, two, "--detector", "builtin", "--resume") == 0
    assert not (out / "two_scene.json").exists()
    assert predict(out, two, "--scene", "--resume") == 0 and (out / "two_scene.json").exists()
    capsys.readouterr()
    assert predict(out, two, "--scene", "--resume") == 0
    assert "1 of 1 files are done already" in capsys.readouterr().out
    (out / "two_scene.json").unlink()
    assert predict(out, two, "--scene", "--resume") == 0 and (out / "two_scene.json").exists()
    told = PredictionSettings(out=out).of_answers()
    assert "scene" not in told  # runs of older versions are not done again


def test_what_does_not_go_with_a_scene(predict, two, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit) as caught:
        predict(tmp_path / "out", two, "--scene", "--wrist-depth", 0.5)
    assert caught.value.code == 2 and "--wrist-depth" in capsys.readouterr().err
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert predict(tmp_path / "out", tmp_path / "clip.mp4", "--scene") == 1
    assert "--scene: expected images" in capsys.readouterr().err
    monkeypatch.setattr(BuiltinHandDetector, "detect", lambda self, image: [])
    assert predict(tmp_path / "out", two, "--scene") == 1
    assert "found no hand" in capsys.readouterr().err and not (tmp_path / "out" / "two_scene.json").exists()
