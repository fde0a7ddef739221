"""The Space without its page: photos and settings in, answers, files and refusals out."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image

from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import FINGERS, JOINT_NAMES

answering = pytest.importorskip("answering")  # space/ is put on the path by conftest.py
INDEX_TIP = JOINT_NAMES.index("index_4")


@pytest.fixture(scope="module")
def photo(example):
    return answering.load_photo(example("7_flat"))


@pytest.fixture(scope="module")
def answer(pipeline, photo):
    hand = answering.find_hands(pipeline, photo, "detect")[0]
    return answering.answer_hand(pipeline, photo, hand, answering.Settings(num_hypotheses=8))


def test_no_photo_is_told():
    with pytest.raises(InputError, match="no photo yet"):
        answering.load_photo(None)


def test_a_file_that_is_no_photo_is_told_without_its_path(tmp_path):
    path = tmp_path / "secret_name.jpg"
    path.write_text("not an image")
    with pytest.raises(InputError, match="cannot be read as a photo") as refusal:
        answering.load_photo(str(path))
    assert "secret_name" not in str(refusal.value)


def test_a_photo_cut_short_is_told(tmp_path, example):
    path = tmp_path / "short.jpg"
    whole = open(example("7_flat"), "rb").read()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as a photo"):
        answering.load_photo(str(path))


@pytest.mark.parametrize("size", [(10_000, 7_000), (20_000, 20_000)])  # the second is also too much for Pillow
def test_a_photo_that_is_too_large_is_told(tmp_path, size):
    path = tmp_path / "large.png"
    Image.new("1", size).save(path)
    with pytest.raises(InputError, match="too large"):
        answering.load_photo(str(path))


def test_a_large_photo_is_brought_down_upright(tmp_path):
    image = Image.new("RGB", (4000, 2000), (10, 20, 30))
    image.paste((250, 250, 250), (0, 0, 2000, 2000))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what is at the left comes to the top
    path = tmp_path / "phone.jpg"
    image.save(path, exif=exif)
    photo = answering.load_photo(str(path))
    height, width = photo.pixels.shape[:2]
    assert (width, height) == (answering.WORKING_SIZE // 2, answering.WORKING_SIZE)
    assert photo.scale == pytest.approx(answering.WORKING_SIZE / 4000)
    assert photo.pixels[: height // 3].mean() > 200 > 50 > photo.pixels[-height // 3 :].mean()


@pytest.mark.parametrize(("name", "side"), [("7_flat", "right"), ("6_left", "left")])
def test_sides_are_detected(pipeline, example, name, side):
    hands = answering.find_hands(pipeline, answering.load_photo(example(name)), "detect")
    assert hands[0].handedness == side


def test_a_side_that_is_told_stands(pipeline, photo):
    assert answering.find_hands(pipeline, photo, "left")[0].handedness == "left"


def test_a_photo_without_a_hand_is_refused(pipeline, blank_photo):
    blank = answering.load_photo(blank_photo)
    with pytest.raises(InputError, match="No hand was found"):
        answering.find_hands(pipeline, blank, "detect")
    (whole,) = answering.find_hands(pipeline, blank, "right")
    assert whole.box is None
    with pytest.raises(InputError, match="No hand was found"):
        answering.answer_hand(pipeline, blank, whole, answering.Settings(num_hypotheses=2))


def test_the_mesh_lies_on_the_hand(answer):
    points = answer.placed.joints @ answer.placed.intrinsics.T
    offsets = points[:, :2] / points[:, 2:] - answer.keypoints.points
    box = np.ptp(answer.keypoints.points, axis=0).max()
    assert np.linalg.norm(offsets, axis=-1).mean() < 0.1 * box


def test_keypoints_that_were_not_touched_give_the_same_answer(pipeline, photo, answer):
    hand = answering.find_hands(pipeline, photo, "detect")[0]
    again = answering.answer_hand(pipeline, photo, hand, answering.Settings(num_hypotheses=8), answer.keypoints)
    assert np.abs(again.output.joints - answer.output.joints).max() < 1e-4


def test_a_finger_that_is_not_seen_is_less_sure(pipeline, photo, answer):
    hand = answering.find_hands(pipeline, photo, "detect")[0]
    keypoints = seen = answer.keypoints.moved(0, *answer.keypoints.points[0])  # a visitor's points: not drawn any more
    for joint in FINGERS["index"]:
        keypoints = keypoints.hidden(joint)
    settings = answering.Settings(num_hypotheses=8)
    before, hidden = (answering.answer_hand(pipeline, photo, hand, settings, points) for points in (seen, keypoints))
    assert hidden.output.joint_std[0, INDEX_TIP] > 1.15 * before.output.joint_std[0, INDEX_TIP]
    assert np.isnan(hidden.keypoints.points[INDEX_TIP]).all()


def test_rows_keep_what_was_not_touched(answer):
    rows = answering.keypoint_rows(answer.keypoints)
    same = answering.keypoints_of_rows(rows, answer.keypoints)
    assert np.array_equal(same.points, answer.keypoints.points)
    rows[INDEX_TIP][1:3] = ["12.5", 7]
    rows[3][2] = ""
    changed = answering.keypoints_of_rows(rows, answer.keypoints)
    assert changed.points[INDEX_TIP].tolist() == [12.5, 7.0] and changed.scores[INDEX_TIP] == 1.0
    assert np.isnan(changed.points[3]).all() and changed.scores[3] == 0.0
    assert answering.keypoint_rows(changed)[3][1:3] == [None, None]


@pytest.mark.parametrize("cell", ["abc", "inf"])
def test_a_cell_that_is_no_number_is_named(answer, cell):
    rows = answering.keypoint_rows(answer.keypoints)
    rows[INDEX_TIP][1] = cell
    with pytest.raises(InputError, match="index_4"):
        answering.keypoints_of_rows(rows, answer.keypoints)


def test_pixels_in_the_record_are_those_of_the_file(pipeline, example, tmp_path):
    large = Image.open(example("7_flat")).resize((2400, 2400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.png")
    settings = answering.Settings(num_hypotheses=1)
    centres = []
    for path in (example("7_flat"), str(tmp_path / "large.png")):
        photo = answering.load_photo(path)
        hand = answering.find_hands(pipeline, photo, "detect")[0]
        centres.append(answering.answer_hand(pipeline, photo, hand, settings).record["keypoints_2d_px"].mean(axis=0))
    assert np.abs(centres[0] / 224 - centres[1] / 2400).max() < 0.03


def test_files_hold_every_hypothesis(answer, tmp_path):
    from results import write_results

    files = write_results(answer, {"answer": Image.new("RGB", (8, 8))}, tmp_path)
    assert len(trimesh.load(files.glb).geometry) == 1 + 8 and len(trimesh.load(files.answer_glb).geometry) == 1
    record = json.loads(open(files.json).read())
    assert np.shape(record["joints_m"]) == (8, 21, 3) and record["settings"]["num_hypotheses"] == 8
    assert Image.open(files.pictures["answer"]).format == "JPEG"


def test_what_crosses_to_a_gpu_process_can_be_pickled(pipeline, photo, answer, monkeypatch):
    """ZeroGPU runs the networks in a process of its own; `spaces` is stood in for by the way through pickle."""
    import device

    def through_pickle(duration):
        def wrap(function):
            return lambda *args: pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

        return wrap

    monkeypatch.setattr(device, "spaces", SimpleNamespace(GPU=through_pickle))

    @device.on_gpu
    def ask(photo, settings):
        hand = answering.find_hands(pipeline, photo, "detect")[0]
        return answering.answer_hand(pipeline, photo, hand, settings)

    got = ask(photo, answering.Settings(num_hypotheses=8))
    assert np.array_equal(got.output.joints, answer.output.joints)
    with pytest.raises(InputError, match="num_hypotheses"):
        ask(photo, answering.Settings(num_hypotheses=0))


def test_live_frames_are_mirrored_and_followed(pipeline, example):
    from live import answer_frame

    settings = answering.Settings(num_hypotheses=2)
    upright = np.array(Image.open(example("1_horns")).convert("RGB"))
    mirrored = np.ascontiguousarray(upright[:, ::-1])
    first = answer_frame(pipeline, mirrored, None, settings)
    assert first.answer.placed.handedness == "right"
    second = answer_frame(pipeline, mirrored, first.tracked, settings)
    assert second.tracked is not None
    assert np.abs(second.answer.keypoints.points - first.answer.keypoints.points).mean() < 8
    with pytest.raises(InputError, match="No hand"):  # the hand that was followed left the picture
        answer_frame(pipeline, np.full_like(mirrored, 127), second.tracked, settings)
