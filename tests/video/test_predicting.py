"""From a video file to the hands of its frames and back to a video, with small untrained networks."""

import copy
import json
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from earlier_checkpoints import save_with_triangles
from glb_reading import Glb
from moving_hand import FRAMES, HEIGHT, WIDTH
from PIL import Image

from hf_handdiff.cli.main import main
from hf_handdiff.cli.predict import videos
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hand.fit_motion import fit_motion
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.video import tracking
from hf_handdiff.video.following import HandTracker, follow_hands
from hf_handdiff.video.reading import VideoReader
from hf_handdiff.video.tracking import TrackList, intersection_over_union
from hf_handdiff.video.writing import VideoWriter

pytest.importorskip("av")


@pytest.fixture
def every_crop_is_a_hand(monkeypatch):
    """Untrained networks see no hands."""
    monkeypatch.setattr(tracking, "LOST_BELOW", 0.0)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def predict(clip, out, checkpoint, *more):
    arguments = ["predict", clip, "--out", out, "--checkpoint", checkpoint, "--num-hypotheses", 3, *more]
    return main([str(argument) for argument in arguments])


def test_a_video_is_read_as_it_was_written(clip):
    path, frames = clip
    with VideoReader(path) as reader:
        assert reader.rate == 25 and reader.num_frames == FRAMES
        read = list(reader)
    assert [frame.number for frame in read] == list(range(FRAMES))
    np.testing.assert_allclose([frame.time_s for frame in read], np.arange(FRAMES) / 25, atol=1e-3)
    assert read[0].pixels.shape == (HEIGHT, WIDTH + 1, 3)  # codecs want even sides
    off = [np.abs(frame.pixels[:, :WIDTH].astype(int) - pixels) for frame, pixels in zip(read, frames, strict=True)]
    assert np.mean(off) < 4


def test_lines_and_annotated_video(clip, checkpoint, tmp_path, every_crop_is_a_hand, capsys):
    path, _ = clip
    more = ["--box", "30,20,110,110", "--intrinsics", "300,300,80,60", "--save-vertices", "--hand", "left"]
    assert predict(path, tmp_path, checkpoint, *more) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"clip.jsonl", "clip.mp4", "clip.glb"}
    lines = lines_of(tmp_path / "clip.jsonl")
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    shapes = {"joints_m": (21, 3), "frame_joints_m": (21, 3), "joint_std_m": (21,), "vertices_m": (778, 3)}
    shapes |= {"keypoints_2d_px": (21, 2), "keypoint_scores": (21,), "translation_m": (3,), "box_px": (4,)}
    for line in lines:
        (hand,) = line["hands"]
        assert (hand["id"], hand["handedness"]) == (0, "left") and 0 <= hand["linked_hypothesis"] < 3
        for key, shape in shapes.items():
            assert np.array(hand[key], dtype=float).shape == shape, key
        assert hand["joints_m"][0] == [0, 0, 0]
    assert lines[0]["hands"][0]["box_px"] == [30, 20, 110, 110]
    first = np.array(lines[0]["hands"][0]["frame_keypoints_2d_px"])
    followed = [*first.min(axis=0), *first.max(axis=0)]
    np.testing.assert_allclose(lines[1]["hands"][0]["box_px"], followed, atol=1e-4)
    with VideoReader(path) as source, VideoReader(tmp_path / "clip.mp4") as drawn:
        pairs = [(a, b) for a, b in zip(source, drawn, strict=True)]
    assert all(a.time_s == pytest.approx(b.time_s, abs=1e-3) for a, b in pairs)
    assert all(
        a.pixels.shape == b.pixels.shape and np.abs(a.pixels - b.pixels.astype(int)).max() > 60 for a, b in pairs
    )
    assert f"{FRAMES} frames, 1 hand in {FRAMES}" in capsys.readouterr().out


def test_the_glb_moves_as_the_lines_say(clip, checkpoint, hand_layer, tmp_path, every_crop_is_a_hand):
    """Its rig stands where each line's smoothed joints are, as near as a hand of one shape comes to them."""
    path, _ = clip
    assert predict(path, tmp_path, checkpoint, "--intrinsics", "300,300,80,60", "--hand", "left") == 0
    lines, glb = lines_of(tmp_path / "clip.jsonl"), Glb(tmp_path / "clip.glb")
    joints = np.array([line["hands"][0]["joints_m"] for line in lines])
    motion = fit_motion(joints, "left", hand_layer)
    size = torch.full((FRAMES,), motion.hand_scale)
    betas = motion.betas.expand(FRAMES, -1)
    ours = posed_hand(hand_layer, motion.global_orient, motion.hand_pose, betas, size, "left").vertices.numpy()
    for line, expected in zip(lines, ours, strict=True):
        vertices = glb.skinned_vertices("hand_0_left", line["time_s"]) * [1, -1, -1]
        assert np.abs(vertices - expected - line["hands"][0]["translation_m"]).max() < 1e-4
    assert len(glb.bones_of("hand_0_left")) == 16
    assert main(["export-rig", str(tmp_path / "clip.jsonl"), "--out", str(tmp_path / "again.glb")]) == 0
    again = Glb(tmp_path / "again.glb").skinned_vertices("hand_0_left", 0.1)
    np.testing.assert_allclose(again, glb.skinned_vertices("hand_0_left", 0.1), atol=1e-4)


def test_a_video_of_another_hand_needs_its_file(clip, pipeline, tmp_path, every_crop_is_a_hand, capsys):
    other = copy.deepcopy(pipeline)
    other.mesh_autoencoder.faces.copy_(other.mesh_autoencoder.faces.flip(0))
    other.save_pretrained(tmp_path / "other")
    assert predict(clip[0], tmp_path / "none", tmp_path / "other", "--aggregation", "mean") == 1
    assert "--hand: expected the file of the hand" in capsys.readouterr().err
    # an earlier version kept its triangles: enough to draw it, not to pose it
    faces = other.mesh_autoencoder.faces
    save_with_triangles(other.mesh_autoencoder, faces, tmp_path / "other" / "mesh_autoencoder")
    assert predict(clip[0], tmp_path / "out", tmp_path / "other", "--aggregation", "mean") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"clip.jsonl", "clip.mp4"}
    assert "clip.{jsonl, mp4}" in capsys.readouterr().out


def test_frames_are_answered_as_images_are(clip, checkpoint, pipeline, tmp_path, every_crop_is_a_hand):
    """The frame's own answer is that of the pipeline; the smoothed one lies near by and is not the same."""
    path, _ = clip
    assert predict(path, tmp_path, checkpoint) == 0
    with VideoReader(path) as reader:
        frames = list(reader)
    for line, frame in list(zip(lines_of(tmp_path / "clip.jsonl"), frames, strict=True))[:3]:
        (hand,) = line["hands"]
        box = np.array([hand["box_px"]], np.float32)
        output = pipeline(frame.pixels, boxes=box, num_hypotheses=3, generator=0)
        np.testing.assert_allclose(hand["frame_joints_m"], output.mean_joints[0], atol=1e-4)


def test_only_some_frames_are_kept(clip, pipeline, every_crop_is_a_hand):
    """However long the video is."""
    path, _ = clip
    read = []

    def frames():
        for k in range(3):
            with VideoReader(path) as reader:
                for frame in reader:
                    number = k * FRAMES + frame.number
                    read.append(number)
                    yield type(frame)(number, number / 25, frame.pixels)

    sampling = {"num_hypotheses": 2, "num_inference_steps": 1, "num_mesh_inference_steps": 1, "generator": 0}
    done = []
    tracker = HandTracker(pipeline, None, lookahead=3, **sampling)
    for entry in follow_hands(frames(), tracker):
        done.append(entry.frame.number)
        assert read[-1] - done[-1] <= 3
    assert done == read == list(range(3 * FRAMES))


def test_no_hand_is_said(clip, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "LOST_BELOW", 1.1)
    assert predict(clip[0], tmp_path, checkpoint) == 0
    assert all(line["hands"] == [] for line in lines_of(tmp_path / "clip.jsonl"))
    assert Glb(tmp_path / "clip.glb").names == []
    assert "warning: no hand was found" in capsys.readouterr().err


def test_bad_videos_leave_nothing_behind(clip, checkpoint, tmp_path, capsys):
    path, _ = clip
    text, cut, out = tmp_path / "text.mp4", tmp_path / "cut.mp4", tmp_path / "out"
    text.write_text("no video")
    cut.write_bytes(path.read_bytes()[:2000])
    for bad in (text, cut, tmp_path / "missing.mp4"):
        assert predict(bad, out, checkpoint) == 1
        assert list(out.iterdir()) == []
        assert "video" in capsys.readouterr().err


def test_what_was_there_stays_when_a_video_fails_halfway(clip, checkpoint, tmp_path, monkeypatch):
    (tmp_path / "clip.jsonl").write_text("old\n")

    def fail(frame, hands, with_vertices):
        if frame.number == 2:
            raise OSError("no space left on device")
        return {"frame": frame.number}

    monkeypatch.setattr(videos, "frame_record", fail)
    assert predict(clip[0], tmp_path, checkpoint) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["clip.jsonl"]
    assert (tmp_path / "clip.jsonl").read_text() == "old\n"


def test_a_video_is_not_overwritten_by_its_own_answer(clip, checkpoint, capsys):
    path, _ = clip
    before = path.read_bytes()
    assert predict(path, path.parent, checkpoint) == 1
    assert path.read_bytes() == before and "another folder" in capsys.readouterr().err


def test_missing_pyav_is_said(clip, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert predict(clip[0], tmp_path, checkpoint) == 1
    assert "pip install 'hf_handdiff[video]'" in capsys.readouterr().err


def test_a_file_without_pictures(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no pictures"):
        VideoReader(tmp_path / "sound.mp4")


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        replace_file(tmp_path / "x.mp4") as part,
        VideoWriter(part, Fraction(25)) as writer,
    ):
        writer.write(np.zeros((3, 3, 3), np.uint8), 0.0)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ tracking


def seen(x, side="right", score=0.9):
    box = np.array([x, 20.0, x + 40, 60.0])
    return tracking.DetectedHand(box, side, score, np.zeros((21, 2)))


class Script:
    """A detector that finds what is written down for its k-th look."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.count = 0

    def detect(self, image):
        self.count += 1
        return self.looks.pop(0) if self.looks else []


PHOTO = np.zeros((100, 200, 3), np.uint8)


def points_in(box):
    x0, y0, x1, y1 = box
    return np.stack([np.linspace(x0, x1, 21), np.linspace(y0, y1, 21)], axis=-1)


def go(tracker, boxes, scores=None):
    """One frame; `boxes` where each hand is really found, by number."""
    tracks = tracker.look(PHOTO)
    for track in tracks:
        score = 0.9 if scores is None else scores.get(track.number, 0.9)
        tracker.update(track, points_in(boxes.get(track.number, track.box)), score, PHOTO.shape[:2])
    return tracks, tracker.drop_lost()


def test_hands_are_followed_by_their_keypoints_and_found_now_and_then():
    detector = Script([seen(10)], [seen(34), seen(120, "left")])
    tracker = TrackList(detector, detect_every=4)
    for k in range(5):
        tracks, _ = go(tracker, {0: (10 + 6 * k, 20, 50 + 6 * k, 60)})
        assert detector.count == 1 + (k >= 4)
    assert [(track.number, track.handedness) for track in tracks] == [(0, "right"), (1, "left")]
    np.testing.assert_allclose(tracks[0].box, (34, 20, 74, 60))


def test_the_side_is_held_by_vote():
    looks = [[seen(10)], [seen(10)], *[[seen(10, "left", 0.8)] for _ in range(3)]]
    tracker = TrackList(Script(*looks), detect_every=1)
    sides = [go(tracker, {})[0][0].handedness for _ in looks]
    assert sides == ["right"] * 4 + ["left"]
    assert go(TrackList(Script([seen(10)]), "left"), {})[0][0].handedness == "left"


def test_a_hand_that_is_missed_is_looked_for_and_then_gone():
    tracker = TrackList(Script([seen(10)], [], [seen(15)]), detect_every=100, max_missed=2)
    go(tracker, {})
    go(tracker, {}, {0: 0.1})  # missed once: the detector runs in the next frames
    tracks, _ = go(tracker, {}, {0: 0.1})
    tracks, lost = go(tracker, {})  # found again: the same hand, where the detector sees it
    assert [track.number for track in tracks] == [0] and not lost
    np.testing.assert_allclose(tracks[0].box[0], 15)
    for _ in range(2):
        assert not go(tracker, {}, {0: 0.1})[1]
    assert [track.number for track in go(tracker, {}, {0: 0.1})[1]] == [0]
    assert tracker.look(PHOTO) == []


def test_two_tracks_that_run_into_one_hand_become_one():
    tracker = TrackList(Script([seen(10), seen(100)]))
    _, lost = go(tracker, {0: (10, 20, 50, 60), 1: (12, 20, 52, 60)})
    assert [track.number for track in lost] == [1]


def test_a_hand_that_left_the_picture_is_missed():
    tracker = TrackList(Script([seen(10)]))
    go(tracker, {0: (-80, 20, -40, 60)})
    assert tracker.look(PHOTO)[0].missed == 1


def test_keypoints_that_fly_apart_are_no_hand():
    tracker = TrackList(Script([seen(10)]))
    go(tracker, {0: (-900, -900, 1000, 1000)})
    assert tracker.look(PHOTO)[0].missed == 1


def test_intersection_over_union():
    a = np.array([0.0, 0, 4, 2])
    assert intersection_over_union(a, a) == 1
    assert intersection_over_union(a, a + 10) == 0
    assert intersection_over_union(a, np.array([2.0, 0, 6, 2])) == pytest.approx(1 / 3)


def test_a_list_of_other_files_is_no_video(clip, tmp_path):
    """FFmpeg would open what such a list names, whatever the list is called."""
    (tmp_path / "other.mp4").write_bytes(clip[0].read_bytes())
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(InputError, match="list.mp4' is not a video that can be read"):
        VideoReader(tmp_path / "list.mp4")


def test_a_cut_video_gives_its_beginning_and_says_so(clip, checkpoint, tmp_path, capsys):
    import av

    path, cut = clip[0], tmp_path / "cut.mp4"
    with av.open(str(path)) as whole, av.open(str(cut), "w", options={"movflags": "faststart"}) as moved:
        stream, sizes = moved.add_stream_from_template(whole.streams.video[0]), []
        for packet in whole.demux(video=0):
            if packet.size:
                packet.stream = stream
                moved.mux(packet)
                sizes.append(packet.size)
    cut.write_bytes(cut.read_bytes()[: -sum(sizes[2:]) - 12])  # within the second frame
    assert predict(cut, tmp_path / "out", checkpoint) == 0
    done = len(lines_of(tmp_path / "out" / "cut.jsonl"))
    assert 0 < done <= FRAMES
    assert f"warning: the end of the video is missing: the file is cut off; frames that could be read: {done}\n" in (
        capsys.readouterr().err
    )
    with VideoReader(tmp_path / "out" / "cut.mp4") as drawn:
        assert len(list(drawn)) == done


def test_an_animated_image_is_done_as_a_video(checkpoint, tmp_path):
    first, *others = [Image.fromarray(np.full((40, 60, 3), 40 * k, np.uint8)) for k in range(3)]
    first.save(tmp_path / "moves.gif", save_all=True, append_images=others)
    assert predict(tmp_path / "moves.gif", tmp_path / "out", checkpoint) == 0
    assert len(lines_of(tmp_path / "out" / "moves.jsonl")) == 3
