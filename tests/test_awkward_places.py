"""Names of any length and bytes, folders that cannot be written, Ctrl-C, and two runs into one folder."""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.cli.main import main
from hf_handdiff.cli.predict.files import OutputNames
from hf_handdiff.cli.predict.manifest import Manifest
from hf_handdiff.errors import StorageError
from hf_handdiff.files import add_to_folder, replace_file, replace_folder
from hf_handdiff.models import JointDenoiser

REALISTIC = Path(__file__).parents[1] / "data" / "realistic_test"
LETTERS = {"one byte": "a", "two bytes": "é", "three bytes": "手"}


@pytest.fixture(scope="module")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return str(folder)


def arguments(checkpoint, out, *inputs):
    few = "--num-hypotheses 1 --steps 1 --mesh-steps 1".split()
    return ["predict", *map(str, inputs), "--out", str(out), "--checkpoint", checkpoint, *few]


def draw(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path, "PNG")
    return path


@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
def test_names_of_255_bytes_get_answers_of_their_own(checkpoint, tmp_path, letter):
    (tmp_path / "in").mkdir()
    longest = letter * ((255 - 4) // len(letter.encode()))
    for name in (f"{longest}.png", f"{longest[:-1]}b.png"):
        assert len(os.fsencode(name)) > 250
        draw(tmp_path / "in" / name)
    assert main(arguments(checkpoint, tmp_path / "out", tmp_path / "in")) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".json", ".png", ".glb"))
    assert len(names) == 6 and all(len(os.fsencode(name)) <= 255 for name in names)
    assert main([*arguments(checkpoint, tmp_path / "out", tmp_path / "in"), "--resume"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name in names) == names


def test_long_names_stay_apart_and_leave_room():
    names = OutputNames(["x" * 251, "sub/" + "y" * 251])
    given = [names.next_for("x" * 251), names.next_for("x" * 251), names.claim("x" * 249 + "_0"), names.claim("short")]
    assert len(set(given)) == 4 and given[3] == "short"
    assert all(len(name) <= 249 for name in given)
    assert names.next_for("sub/" + "y" * 251).startswith("sub/yyy")
    assert OutputNames([]).next_for("x" * 251) == given[0]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_name_that_is_no_text(checkpoint, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    draw(os.fsencode(tmp_path / "in") + b"/h\xffnd.png")
    draw(os.fsencode(tmp_path / "in") + b"/two\nlines.png")
    assert main(arguments(checkpoint, tmp_path / "out", tmp_path / "in")) == 0
    written = set(os.listdir(os.fsencode(tmp_path / "out")))
    assert {b"h\xffnd.json", b"h\xffnd.png", b"two\nlines.json"} <= written
    said = capsys.readouterr().out
    assert "two\\nlines.png: right hand" in said
    said.encode()


@pytest.mark.parametrize("name", ["a" * 255, "a." + "b" * 253, "é" * 127, "x" * 240 + ".json"])
def test_temporary_names_are_never_too_long(tmp_path, name):
    with replace_file(tmp_path / name) as part:
        part.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
    for write in (replace_folder, add_to_folder):
        with write(tmp_path / f"{name[:-1]}c") as part:
            (part / "x").touch()
        assert (tmp_path / f"{name[:-1]}c" / "x").is_file()
    assert len(list(tmp_path.iterdir())) == 2


def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(checkpoint, tmp_path, monkeypatch, capsys):
    draw(tmp_path / "a.png")
    monkeypatch.setattr(CascadedHandPipeline, "__call__", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(arguments(checkpoint, tmp_path / "out", tmp_path / "a.png")) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.strip().splitlines()[-1] == "handdiff: stopped by Ctrl-C"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def without_privileges():
    """Root may write anywhere: this thread gives that up for a test."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.name != "posix" or not hasattr(libc, "capset"):
        pytest.skip("no capabilities here")
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, fewer = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    if libc.capget(header, before) != 0:
        pytest.skip("no capabilities here")
    fewer[:] = before[:]
    fewer[0] &= ~0b110  # effective: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, fewer) == 0
    yield
    libc.capset(header, before)


def test_folders_that_cannot_be_written_are_one_sentence(checkpoint, tmp_path, capsys, without_privileges):
    draw(tmp_path / "a.png")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for out in (locked, locked / "below"):
        assert main(arguments(checkpoint, out, tmp_path / "a.png")) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert "locked" in lines[-1] and "ermission denied" in lines[-1] and lines[-1].startswith("handdiff: error:")
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "secret.png").chmod(0)
    assert main(arguments(checkpoint, tmp_path / "out", tmp_path / "secret.png")) == 1
    assert "no permission to read it" in capsys.readouterr().err
    locked_in = tmp_path / "photos"
    locked_in.mkdir()
    draw(locked_in / "b.png")
    locked_in.chmod(0o555)
    assert main(arguments(checkpoint, tmp_path / "out", locked_in)) == 0


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--data", str(REALISTIC), "--split", "test", "--out", "{}/results"],
        ["benchmark", "--json", "{}/figures.json"],
        ["benchmark", "--json", "{}/below/figures.json"],
    ],
)
def test_commands_say_at_once_that_they_cannot_write(tmp_path, capsys, without_privileges, command):
    tmp_path.chmod(0o555)
    assert main([word.format(tmp_path) for word in command]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("handdiff")]
    assert line.startswith("handdiff: error: --") and "ermission denied" in line


@pytest.mark.slow
def test_two_runs_into_one_folder_do_not_disturb_each_other(checkpoint, tmp_path, warm):
    (tmp_path / "in").mkdir()
    for number in range(4):
        draw(tmp_path / "in" / f"{number}.png")
    command = ["-m", "hf_handdiff", *arguments(checkpoint, tmp_path / "out", tmp_path / "in")]
    runs = [warm.start(*command) for _ in range(3)]
    for run in [run.completed() for run in runs]:
        assert run.returncode == 0, run.stderr[-2000:]
    answers = [json.loads((tmp_path / "out" / f"{number}.json").read_text()) for number in range(4)]
    assert all(answer == answers[0] for answer in answers)
    assert not [path.name for path in (tmp_path / "out").iterdir() if "part" in path.name]
    assert main([*arguments(checkpoint, tmp_path / "out", tmp_path / "in"), "--resume"]) == 0


def test_a_manifest_that_another_run_removes_is_no_error(tmp_path, monkeypatch):
    manifest = Manifest(tmp_path, {})
    monkeypatch.setattr(manifest, "_paths", lambda: [tmp_path / "handdiff-done.jsonl"])  # seen, then removed
    assert manifest.done([]) == set()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_at_load(tiny_pipeline, tmp_path, value):
    from safetensors.numpy import load_file, save_file

    tiny_pipeline.joint_denoiser.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    arrays = load_file(file)
    name = sorted(arrays)[0]
    arrays[name] = arrays[name].copy()
    arrays[name].flat[-1] = value
    save_file(arrays, file, metadata={"format": "pt"})
    with pytest.raises(StorageError, match=rf"weights in .* are damaged: {name} holds NaN or infinity"):
        JointDenoiser.from_pretrained(tmp_path)
