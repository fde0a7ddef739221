"""`handdiff stream`: frames of files, addresses and pipes to JSON lines, with a small untrained pipeline."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from moving_hand import FRAMES
from PIL import Image

from hf_handdiff.cli.main import main
from hf_handdiff.errors import InputError
from hf_handdiff.video import jpegs, tracking
from hf_handdiff.video.following import HandTracker
from hf_handdiff.video.jpegs import split_jpegs
from hf_handdiff.video.newest import NewestFrames
from hf_handdiff.video.reading import VideoReader
from hf_handdiff.video.sources import Arrival, _Clock, in_real_time
from hf_handdiff.video.writing import VideoWriter

pytest.importorskip("av")

BOX = "30,20,110,110"


@pytest.fixture(autouse=True)
def every_crop_is_a_hand(monkeypatch):
    """Untrained networks see no hands."""
    monkeypatch.setattr(tracking, "LOST_BELOW", 0.0)


def jpeg(pixels, thumbnail=False, **options):
    """A JPEG file; with a thumbnail, another one lies inside its EXIF segment."""
    file, small = io.BytesIO(), b""
    if thumbnail:
        exif = Image.Exif()
        exif[0x010E] = "a picture"
        inner = io.BytesIO()
        Image.fromarray(pixels[::4, ::4]).save(inner, "JPEG")
        small = inner.getvalue()
        options["exif"] = exif.tobytes() + small
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    assert file.getvalue().count(b"\xff\xd8\xff") == 1 + thumbnail
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(clip):
    _, frames = clip
    return [jpeg(frame, thumbnail=k % 2 == 0, progressive=k % 3 == 1) for k, frame in enumerate(frames)]


@pytest.fixture
def stdin(monkeypatch, tmp_path):
    """A function that lays bytes before standard input."""

    def fill(data):
        (tmp_path / "stdin").write_bytes(data)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(open(tmp_path / "stdin", "rb")))

    return fill


@pytest.fixture
def stream(checkpoint_of_clip, capsys):
    """A function that runs the command: (status, records, stderr)."""

    def run(source, *more):
        arguments = ["stream", source, "--checkpoint", checkpoint_of_clip, "--box", BOX, "--num-hypotheses", 3, *more]
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


def test_a_file_gives_a_line_for_every_frame(clip, stream, pipeline_of_clip):
    status, lines, err = stream(clip[0], "--intrinsics", "300,300,80,60", "--hand", "left")
    assert status == 0 and f"after {FRAMES} frames, 0 dropped; latency" in err
    with VideoReader(clip[0]) as reader:
        frames = list(reader)
    sampling = {"num_hypotheses": 3, "generator": 0, "smooth": False}
    camera = np.array([[300.0, 0, 80], [0, 300, 60], [0, 0, 1]])
    box = [float(x) for x in BOX.split(",")]
    tracker = HandTracker(pipeline_of_clip, box=box, handedness="left", intrinsics=camera, **sampling)
    for number, (line, frame) in enumerate(zip(lines, frames, strict=True)):
        (hand,) = tracker(frame.pixels, frame.time_s)
        (written,) = line["hands"]
        assert (line["frame"], line["dropped"], written["id"], written["handedness"]) == (number, 0, 0, "left")
        assert line["time_s"] == pytest.approx(frame.time_s, abs=1e-5) and 0 < line["latency_s"] < 60
        np.testing.assert_allclose(written["joints_m"], hand.joints, atol=1e-5)
        np.testing.assert_allclose(written["joint_std_m"], hand.joint_std, atol=1e-5)
        np.testing.assert_allclose(written["translation_m"], hand.translation, atol=1e-4)


def test_smoothing_links_hypotheses(clip, stream):
    _, plain, _ = stream(clip[0])
    _, smooth, _ = stream(clip[0], "--smooth")
    assert {line["hands"][0]["linked_hypothesis"] for line in plain} == {None}
    assert {line["hands"][0]["linked_hypothesis"] for line in smooth} <= {0, 1, 2}
    assert all(line["hands"][0]["joints_m"] == line["hands"][0]["frame_joints_m"] for line in plain)
    assert any(line["hands"][0]["joints_m"] != line["hands"][0]["frame_joints_m"] for line in smooth)


def test_jpegs_on_standard_input(pictures, stdin, stream):
    """With thumbnails inside, with something between them, and the last one broken off."""
    stdin(b"--boundary\r\n\r\n".join(pictures[:4]) + pictures[4][:-200])
    status, lines, err = stream("-", "--every-frame")
    assert status == 0 and [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert [line["dropped"] for line in lines] == [0] * 4
    assert all([hand["id"] for hand in line["hands"]] == [0] for line in lines)
    times = [line["time_s"] for line in lines]
    assert times[0] == 0 and times == sorted(set(times))
    assert "breaks off" in err and "after 4 frames" in err


def test_a_jpeg_that_cannot_be_decoded_costs_a_line_on_stderr(pictures, stdin, stream):
    at = pictures[1].index(b"\xff\xc2") + 9  # of a frame header: how many components
    broken = pictures[1][:at] + b"\x09" + pictures[1][at + 1 :]
    stdin(pictures[0] + broken + pictures[2])
    status, lines, err = stream("-", "--every-frame")
    assert status == 0 and [(line["frame"], line["dropped"]) for line in lines] == [(0, 0), (2, 1)]
    assert "warning: frame 1 is left out" in err


def test_frames_that_come_too_fast_are_dropped_and_counted(pictures, stdin, stream):
    stdin(b"".join(pictures * 20))
    status, lines, err = stream("-")
    assert status == 0 and 1 <= len(lines) < 100
    assert lines[-1]["frame"] == 20 * FRAMES - 1  # the newest is always answered
    assert [line["dropped"] for line in lines] == [line["frame"] - k for k, line in enumerate(lines)]
    assert lines[-1]["dropped"] > 0 and f"{20 * FRAMES - len(lines)} dropped" in err


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_pictures_are_cut_at_their_segments(pictures, size):
    data = b"\x00\xff\xd8 noise".join(pictures)
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert list(split_jpegs(chunks)) == pictures


def test_restart_markers_fill_bytes_and_progressive_scans(clip):
    pixels = clip[1][0]
    with_restarts = jpeg(pixels, restart_marker_blocks=2)
    assert with_restarts.count(b"\xff\xd0") > 0
    filled = with_restarts[:2] + b"\xff\xff\xff" + with_restarts[2:]
    several_scans = jpeg(pixels, progressive=True)
    assert several_scans.count(b"\xff\xda") > 1
    assert list(split_jpegs([with_restarts, filled, several_scans])) == [with_restarts, filled, several_scans]


def test_a_picture_comes_with_its_last_byte(pictures):
    """A program that sends one and waits for its answer gets it."""
    asked = []

    def chunks():
        for picture in pictures[:2]:
            asked.append(len(picture))
            yield picture

    found = split_jpegs(chunks())
    assert next(found) == pictures[0] and len(asked) == 1


def test_pictures_that_break_off_are_told_from_whole_ones(pictures):
    first, second, third = pictures[:3]
    for cut in (len(first) - 1, len(first) - 100):
        assert list(split_jpegs([first[:cut] + second + third])) == [None, second, third]
        assert list(split_jpegs([second + first[:cut]])) == [second, None]
    inside_the_thumbnail = list(split_jpegs([first[:200] + second + third + pictures[3]]))
    assert inside_the_thumbnail[-1] == pictures[3] and set(inside_the_thumbnail) <= {None, *pictures}


def test_something_else_is_no_picture(monkeypatch, pictures):
    assert list(split_jpegs([b"no picture" * 100])) == list(split_jpegs([])) == []
    monkeypatch.setattr(jpegs, "MOST_BYTES", 2**16)
    endless = iter(lambda: b"\x00" * 1000, None)
    with pytest.raises(InputError, match="of something else"):
        list(split_jpegs(endless))
    with pytest.raises(InputError, match="got one of more than"):
        list(split_jpegs(iter([pictures[0][:-2], *[b"\x00" * 1000] * 100])))


def arrivals(count, pause_s=0.0):
    for number in range(count):
        time.sleep(pause_s)
        yield Arrival(number, number / 10, time.monotonic(), partial(np.zeros, 3))


def test_a_slow_reader_gets_the_newest_and_always_the_last():
    with NewestFrames(arrivals(50, 0.002)) as frames:
        numbers = []
        for frame in frames:
            numbers.append(frame.number)
            time.sleep(0.02)
    assert numbers == sorted(set(numbers)) and numbers[-1] == 49 and len(numbers) < 40


def test_what_goes_wrong_with_a_source_is_raised_after_its_last_frame():
    def failing():
        yield from arrivals(1)
        raise InputError("source: broke off")

    seen = []
    with NewestFrames(failing()) as frames, pytest.raises(InputError, match="broke off"):
        seen.extend(frame.number for frame in frames)
    with NewestFrames(failing()) as frames, pytest.raises(InputError, match="broke off"):
        for frame in frames:
            seen.append(frame.number)
    assert seen[-1] == 0


def test_a_file_in_real_time_comes_at_its_own_pace():
    start = time.monotonic()
    frames = list(in_real_time(arrivals(4)))
    assert time.monotonic() - start >= 0.29
    assert [frame.arrived_s - frames[0].arrived_s >= frame.time_s - 1e-3 for frame in frames] == [True] * 4


def test_times_grow_whatever_a_source_says():
    clock = _Clock()
    own = [5.0, 5.1, 5.05, None, 9.0]
    times = [clock.seconds(value, 100 + k) for k, value in enumerate(own)]
    assert times == pytest.approx([0.0, 0.1, 1.1, 2.1, 4.0])
    clock = _Clock()
    assert np.diff([clock.seconds(None, 3.0) for _ in range(3)]).min() > 0


def test_an_address(pictures, stream, tmp_path):
    """An IP camera's: a multipart stream of JPEGs."""
    parts = [b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n" for picture in pictures]
    (tmp_path / "live").write_bytes(b"".join(parts) + b"--frame--\r\n")

    class Camera(http.server.SimpleHTTPRequestHandler):
        extensions_map = {"": "multipart/x-mixed-replace; boundary=frame"}

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Camera, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, lines, err = stream(f"http://127.0.0.1:{server.server_port}/live", "--every-frame")
        server.shutdown()
    assert status == 0, err
    assert [line["frame"] for line in lines] == list(range(FRAMES))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("missing.mp4", "there is no file"),
        ("97", "the camera '97' cannot be opened"),
        ("http://127.0.0.1:9/none", "the address 'http://127.0.0.1:9/none' cannot be opened"),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_sentence(stream, source, said):
    status, lines, err = stream(source)
    assert status == 1 and lines == [] and said in err and err.count("\n") == 1


def test_standard_input_without_a_picture_is_said(stdin, stream):
    stdin(b"")
    status, lines, err = stream("-")
    assert status == 1 and lines == [] and "expected JPEG pictures on standard input, got none" in err


@pytest.mark.slow
def test_whoever_reads_may_stop(pictures, checkpoint_of_clip):
    """In a process of its own: nothing more is said, by Python's shutdown neither."""
    command = [sys.executable, "-m", "hf_handdiff", "stream", "-", "--checkpoint", checkpoint_of_clip]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*map(str, command), "--box", BOX, "--num-hypotheses", "2"], **pipes) as process:
        process.stdin.write(pictures[0])
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["frame"] == 0  # before the next one was sent
        process.stdout.close()
        for picture in pictures[1:3]:
            process.stdin.write(picture)
            process.stdin.flush()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == b""


def test_control_c_is_one_line(tmp_path, checkpoint_of_clip, warm):
    with VideoWriter(tmp_path / "slow.mp4", Fraction(1)) as writer:
        for time_s in (0, 600):
            writer.write(np.zeros((64, 64, 3), np.uint8), time_s)
    arguments = ["--realtime", "--checkpoint", checkpoint_of_clip, "--box", "0,0,64,64", "--num-hypotheses", 2]
    process = warm.start("-m", "hf_handdiff", "stream", tmp_path / "slow.mp4", *arguments)
    started = time.monotonic()
    while not (process.stdout.exists() and process.stdout.read_text()) and time.monotonic() - started < 120:
        time.sleep(0.05)
    process.send_signal(2)
    done = process.completed()
    assert done.returncode == 130 and len(done.stdout.splitlines()) == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("handdiff: stopped after 1 frames, 0 dropped")


def test_a_full_disk_is_said(clip, stream, monkeypatch, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status, _, err = stream(clip[0])
        monkeypatch.undo()
    assert status == 1 and "standard output cannot be written to" in err
