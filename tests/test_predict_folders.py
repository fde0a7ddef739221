"""Folders of images: in batches, with bad files among them, taken up again, over processes."""

import json
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

from hf_handdiff import viz
from hf_handdiff.cli.main import main
from hf_handdiff.cli.predict.files import InputFile, find_inputs
from hf_handdiff.cli.predict.manifest import Manifest
from hf_handdiff.cli.predict.overlap import InOrder, ahead
from hf_handdiff.pipelines import CascadedHandPipeline

NAMES = ("a", "b", "sub/a", "sub/c", "d")


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    """Drawing would take most of the time; `test_cli` has pictures of full size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viz, "draw_overlay", partial(viz.draw_overlay, panel=64))
        yield


@pytest.fixture
def folder(tmp_path):
    """Five images, two of them called alike in different folders, and a file that is none of the input."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (9 + number, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80 + number)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not for us")
    return folder


@pytest.fixture
def calls(monkeypatch):
    """Number of hands of each call of the pipeline."""
    sizes = []
    call = CascadedHandPipeline.__call__

    def counted(self, images, **options):
        sizes.append(len(images) if isinstance(images, list) else 1)
        return call(self, images, **options)

    monkeypatch.setattr(CascadedHandPipeline, "__call__", counted)
    return sizes


def arguments(checkpoint, out, *inputs):
    options = [
        "--out",
        out,
        "--checkpoint",
        checkpoint,
        "--num-hypotheses",
        2,
        "--steps",
        2,
        "--mesh-steps",
        1,
        "--batch-size",
        8,
    ]
    return [str(argument) for argument in ("predict", *options, *inputs)]


def predict(*given) -> int:
    return main(arguments(*given))


def answers(out):
    return {
        path.relative_to(out).with_suffix("").as_posix(): json.loads(path.read_text()) for path in out.rglob("*.json")
    }


def test_a_folder_is_done_in_batches_with_the_answers_of_single_images(checkpoint, folder, tmp_path, calls):
    out = tmp_path / "out"
    assert predict(checkpoint, out, folder, "--batch-size", 3) == 0
    assert calls == [3, 2]
    together = answers(out)
    assert set(together) == set(NAMES)
    for suffix in ("glb", "png"):
        assert {path.stem for path in (out / "sub").glob(f"*.{suffix}")} == {"a", "c"}
    assert predict(checkpoint, tmp_path / "alone", folder / "sub" / "c.png") == 0
    alone = answers(tmp_path / "alone")["c"]
    np.testing.assert_allclose(together["sub/c"]["joints_m"], alone["joints_m"], atol=1e-4)
    assert together["sub/c"]["box_px"] == alone["box_px"] == [0, 0, 96, 83]


def test_a_bad_file_costs_itself_alone_and_the_exit_status(checkpoint, folder, tmp_path, calls, capsys):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:90])
    assert predict(checkpoint, tmp_path / "out", folder) == 1
    assert set(answers(tmp_path / "out")) == set(NAMES) - {"b"}
    errors = capsys.readouterr().err
    assert errors.count("handdiff: error:") == 1 and "b.png" in errors and "1 of 5 images failed" in errors
    assert calls == [4]


def test_a_hand_that_does_not_go_through_takes_no_other_of_its_batch_along(checkpoint, folder, tmp_path, calls, capsys):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({**dict.fromkeys("abcd"), "c": [500, 500, 600, 600]}))
    assert predict(checkpoint, tmp_path / "out", folder, "--boxes", boxes) == 1
    assert set(answers(tmp_path / "out")) == set(NAMES) - {"sub/c"}
    assert capsys.readouterr().err.count("handdiff: error:") == 1
    assert calls == [5, 1, 1, 1, 1, 1]


def test_resume_does_what_is_missing_and_nothing_else(checkpoint, folder, tmp_path, calls, capsys):
    out = tmp_path / "out"
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:90])
    assert predict(checkpoint, out, folder) == 1
    calls.clear()
    (folder / "b.png").write_bytes(whole)
    (out / "d.json").unlink()
    with open(out / "handdiff-done.jsonl", "a") as manifest:
        manifest.write('{"name": "b", "answ')  # a run that was cut off while writing
    assert predict(checkpoint, out, folder, "--resume") == 0
    assert sum(calls) == 2 and set(answers(out)) == set(NAMES)
    assert "3 of 5 files are done" in capsys.readouterr().out
    calls.clear()
    assert predict(checkpoint, out, folder, "--resume") == 0
    assert calls == []


def test_write_says_what_is_written_and_resume_goes_by_it(checkpoint, folder, tmp_path, calls):
    everything, out = tmp_path / "everything", tmp_path / "out"
    assert predict(checkpoint, everything, folder) == 0
    assert predict(checkpoint, out, folder, "--write", "json") == 0
    assert answers(out) == answers(everything)
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".json", ".jsonl"}
    calls.clear()
    assert predict(checkpoint, out, folder, "--write", "json", "--resume") == 0 and calls == []
    assert predict(checkpoint, out, folder, "--write", "png,glb,json", "--resume") == 0 and sum(calls) == 5
    for path in sorted(everything.rglob("*.*")):
        if path.suffix in (".json", ".glb", ".png"):
            assert path.read_bytes() == (out / path.relative_to(everything)).read_bytes()
    calls.clear()
    assert predict(checkpoint, out, folder, "--resume") == 0 and calls == []
    with pytest.raises(SystemExit):
        predict(checkpoint, out, folder, "--write", "json,obj")


def test_a_folder_without_json_is_taken_up_again_by_what_it_holds(checkpoint, folder, tmp_path, calls):
    out = tmp_path / "out"
    assert predict(checkpoint, out, folder, "--write", "png") == 0
    assert answers(out) == {} and len(list(out.rglob("*.png"))) == 5
    (out / "d.png").unlink()
    calls.clear()
    assert predict(checkpoint, out, folder, "--write", "png", "--resume") == 0 and sum(calls) == 1


def test_an_answer_that_cannot_be_written_is_counted_and_not_done(checkpoint, folder, tmp_path, capsys, calls):
    """The thread that writes says it, and goes on."""
    out = tmp_path / "out"
    (out / "b.json").mkdir(parents=True)
    assert predict(checkpoint, out, folder) == 1
    said = capsys.readouterr().err
    assert said.count("handdiff: error:") == 1 and "b.png" in said and "1 of 5 images failed" in said
    (out / "b.json").rmdir()
    calls.clear()
    assert predict(checkpoint, out, folder, "--resume") == 0 and sum(calls) == 1


def test_jobs_are_done_in_order_and_few_wait():
    done, begun = [], []

    def slow(number):
        time.sleep(0.002)
        done.append(number)

    with InOrder(2) as writing:
        for number in range(20):
            writing.do(slow, number)
            assert number - len(done) <= 3
    assert done == list(range(20))
    with pytest.raises(ZeroDivisionError), InOrder(2) as writing:
        writing.do(lambda: 1 / 0)
    loaded = ahead(range(9), lambda item: begun.append(item) or 1 / (item - 3), 2)
    for item, result in loaded:
        if item == 3:
            with pytest.raises(ZeroDivisionError):
                result()
        else:
            assert result() == 1 / (item - 3)
        assert len(begun) <= item + 3
    assert begun == list(range(9))


@pytest.mark.parametrize("change", ["seed", "image", "no --resume"])
def test_what_has_changed_is_done_again(checkpoint, folder, tmp_path, calls, change):
    out = tmp_path / "out"
    assert predict(checkpoint, out, folder) == 0
    calls.clear()
    if change == "image":
        Image.new("RGB", (30, 40), (9, 9, 9)).save(folder / "a.png")
    more = {"seed": ["--resume", "--seed", 5], "image": ["--resume"], "no --resume": []}[change]
    assert predict(checkpoint, out, folder, *more) == 0
    assert sum(calls) == (1 if change == "image" else 5)


def test_results_within_the_folder_are_not_taken_for_photos(checkpoint, folder, calls):
    for _ in range(2):
        assert predict(checkpoint, folder / "results", folder) == 0
    assert calls == [5, 5]


def test_an_empty_folder_is_said(checkpoint, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(checkpoint, tmp_path / "out", tmp_path / "empty") == 1
    assert "empty' is a folder" in capsys.readouterr().err


def test_inputs_have_names_of_their_own(tmp_path):
    for name in ("x/a.jpg", "x/a.PNG", "x/sub/b.mp4", "x/.hidden.jpg", "x/table.csv", "y/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, names = find_inputs([str(tmp_path / "x"), str(tmp_path / "y" / "a.jpg")], tmp_path / "out")
    assert [file.name for file in files] == ["a", "a-2", "sub/b", "a-3"]
    assert [file.is_video for file in files] == [False, False, True, False]
    assert names.claim("a") == "a-4"


def test_what_a_folder_leaves_out_is_named_and_counted(tmp_path, monkeypatch):
    """Files are told by what they hold: an image by any name, and a pipe is never opened."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    photo = Image.new("RGB", (8, 6))
    photo.save(folder / "scan", "PNG")
    photo.save(folder / "IMG.jfif", "JPEG")
    photo.save(folder / "moves.gif", save_all=True, append_images=[Image.new("RGB", (8, 6), "red")])
    photo.save(folder / "still.gif")
    (folder / "broken.jpg").write_text("no image")
    for number in range(7):
        (folder / "sub" / f"table{number}.csv").write_text("1,2")
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "gone.csv").symlink_to("nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
    lines = []
    files, _ = find_inputs([str(folder)], tmp_path / "out", lines.append)
    expected = {"broken": False, "IMG": False, "moves": True, "scan": False, "still": False}
    assert {file.name: file.is_video for file in files} == expected
    (line,) = lines
    assert "7 neither images nor videos (sub/table0.csv, sub/table1.csv" in line and "and 2 more)" in line
    assert "1 hidden (.DS_Store)" in line and "gone.csv" in line and "\n" not in line
    find_inputs([str(folder / "scan")], tmp_path / "out", lines.append)
    assert len(lines) == 1


def test_processes_read_each_others_manifests(tmp_path):
    files = [InputFile(str(tmp_path / name), name) for name in ("one", "two", "three")]
    for file in files:
        (tmp_path / file.name).touch()
        (tmp_path / f"{file.name}.json").touch()
    settings = {"seed": 0, "box": (1.0, 2.0, 3.0, 4.0)}
    Manifest(tmp_path, settings, 0).add(files[0], ["one.json"])
    Manifest(tmp_path, settings, 1).add(files[1], ["two.json"])
    assert Manifest(tmp_path, settings, 2).done(files) == {"one", "two"}
    assert Manifest(tmp_path, {"seed": 1}, 0).done(files) == set()
    elsewhere = [InputFile(str(tmp_path / "three"), "one")]
    assert Manifest(tmp_path, settings).done(elsewhere) == set()
    Manifest(tmp_path, settings).forget(files[1:])
    assert Manifest(tmp_path, settings).done(files) == {"one"}
    Manifest(tmp_path, settings).forget(files)
    assert Manifest(tmp_path, settings).done(files) == set() and not list(tmp_path.glob("*.jsonl"))


def test_a_manifest_tells_no_place_and_goes_with_the_folders(tmp_path):
    """Also where two folders hold files that look alike from outside."""
    photos, out = tmp_path / "here" / "photos", tmp_path / "here" / "out"
    for folder, color in ((photos, 1), (tmp_path / "others", 2)):
        folder.mkdir(parents=True)
        (folder / "a.bmp").write_bytes(bytes([color]) * 9000)
        os.utime(folder / "a.bmp", ns=(10**18, 10**18))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    settings = {"checkpoint": str(tmp_path / "model"), "boxes": {str(photos / "a.bmp"): [0, 0, 9, 9]}, "seed": 0}
    files, _ = find_inputs([str(photos)], out)
    out.mkdir()
    (out / "a.json").touch()
    Manifest(out, settings).add(files[0], ["a.json"])
    assert str(tmp_path) not in (out / "handdiff-done.jsonl").read_text()
    others, _ = find_inputs([str(tmp_path / "others")], out)
    assert Manifest(out, settings).done(others) == set()
    (tmp_path / "here").rename(tmp_path / "there")
    moved, _ = find_inputs([str(tmp_path / "there" / "photos")], tmp_path / "there" / "out")
    assert Manifest(tmp_path / "there" / "out", settings).done(moved) == {"a"}
    (tmp_path / "model" / "model_index.json").write_text('{"trained": "further"}')
    assert Manifest(tmp_path / "there" / "out", settings).done(moved) == set()


def test_a_manifest_of_an_older_version_still_holds_and_is_written_anew(checkpoint, folder, tmp_path, calls):
    out = tmp_path / "out"
    assert predict(checkpoint, out, folder) == 0
    calls.clear()
    manifest = out / "handdiff-done.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        path = folder / line["file"]["path"]
        status = path.stat()
        line["settings"]["checkpoint"] = checkpoint
        line["file"] = {"path": str(path), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert predict(checkpoint, out, folder, "--resume") == 0
    assert calls == [] and str(tmp_path) not in manifest.read_text() and checkpoint not in manifest.read_text()
    assert predict(checkpoint, out, folder, "--resume") == 0
    assert calls == []


@pytest.mark.slow
def test_two_real_processes_share_a_folder_and_outlive_a_failure(checkpoint, folder, tmp_path):
    (folder / "a.png").write_text("no image")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "hf_handdiff", *arguments(checkpoint, tmp_path / "out", folder, "--device", "cpu")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert process.returncode != 0 and process.stderr.count("handdiff: error:") == 1, process.stderr[-3000:]
    assert set(answers(tmp_path / "out")) == set(NAMES) - {"a"}
    shares = [len(path.read_text().splitlines()) for path in sorted((tmp_path / "out").glob("handdiff-done*.jsonl"))]
    assert sorted(shares) == [2, 2]


def test_a_manifest_of_anything_counts_nothing_as_done(tmp_path):
    file = InputFile(str(tmp_path / "one"), "one")
    (tmp_path / "one").touch()
    (tmp_path / "one.json").touch()
    lines = [b"[" * 100_000, b"\xff\xfe\x00", b'{"name": [1]}', b'{"name": "one", "answers": 5}', b"9" * 5000, b"null"]
    (tmp_path / "handdiff-done-1.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert Manifest(tmp_path, {"seed": 0}).done([file]) == set()
    Manifest(tmp_path, {"seed": 0}).add(file, ["one.json"])
    assert Manifest(tmp_path, {"seed": 0}).done([file]) == {"one"}
