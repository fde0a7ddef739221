"""What a killed process was writing: the next run removes it, and never what a living one is writing."""

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from warm_processes import WarmProcess

from hf_handdiff.errors import InputError
from hf_handdiff.files import held_folder, remove_leftovers, replace_file, replace_folder

PART = "*.handdiff-part*"
TRAIN = Path(__file__).parents[1] / "train"

WRITING = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from hf_handdiff.files import add_to_folder, held_folder, replace_file, replace_folder
folder = Path(sys.argv[1])
with ExitStack() as stack:
    part = stack.enter_context(replace_file(folder / "results.json"))
    part.write_text("half")
    (stack.enter_context(replace_folder(folder / "model")) / "config.json").write_text("half")
    (stack.enter_context(add_to_folder(folder / "checkpoint")) / "config.json").write_text("half")
    (stack.enter_context(held_folder(folder / "writing-7")) / "config.json").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""

TAKING_A_PLACE = """
import os, signal, sys
from pathlib import Path
from hf_handdiff import files
replace, renamed = os.replace, []
def kill_at_the_second(source, target):
    renamed.append(source)
    if len(renamed) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = kill_at_the_second
with files.replace_folder(Path(sys.argv[1]) / "model") as aside:
    (aside / "config.json").write_text("new")
"""


@contextmanager
def writing(folder):
    """Another process that is in the middle of writing to the folder; killed in the end."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_was_writing_goes_and_what_a_living_one_is_writing_stays(tmp_path):
    aside = re.compile(r"writing-\d+")
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / ".results-notes.json").write_text("a hidden file of the user's")
    (tmp_path / "writing-a-book").mkdir()
    kept = names(tmp_path)
    with writing(tmp_path) as process:
        during = names(tmp_path)
        assert len(during) == len(kept) + 4
        assert remove_leftovers(tmp_path, aside) == 0 and names(tmp_path) == during
        with (
            pytest.raises(InputError, match="another process is writing writing-7"),
            held_folder(tmp_path / "writing-7"),
        ):
            pass
        with replace_file(tmp_path / "other.json") as part:  # it looks for leftovers, too
            part.write_text("{}")
        with replace_folder(tmp_path / "model"):
            pass
        assert set(during) <= set(names(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert remove_leftovers(tmp_path, aside) == 4
    assert names(tmp_path) == sorted([*kept, "other.json", "model"])
    assert (tmp_path / "results.json").read_text() == "{}"


def test_the_next_writer_removes_it_without_being_told(tmp_path):
    with writing(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with replace_file(tmp_path / "other.json") as part:
        part.write_text("{}")
    with held_folder(tmp_path / "writing-7") as folder:
        assert names(folder) == []
    assert names(tmp_path) == ["other.json", "writing-7"]


def test_a_folder_that_was_killed_between_its_two_renames_is_as_it_was(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("old")
    done = subprocess.run([sys.executable, "-c", TAKING_A_PLACE, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "model").exists()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "config.json").read_text() == "old"


def kill_while_it_writes(process: WarmProcess, folder: Path, pattern: str) -> list[str]:
    """Kill a process when a file of that pattern is there; what it leaves."""
    try:
        while process.poll() is None:
            if any(folder.rglob(pattern)):
                process.send_signal(signal.SIGSTOP)  # only once it stands still is it known what it is at
                time.sleep(0.05)
                if any(folder.rglob(pattern)):
                    break
                process.send_signal(signal.SIGCONT)
    finally:
        process.kill()
        process.wait()
    return [path.name for path in folder.rglob(pattern)]


@pytest.mark.slow
def test_a_killed_prediction_leaves_nothing_when_it_was_resumed(tiny_pipeline, tmp_path, warm):
    """The photo that it was at is not asked for again: what it left goes all the same."""
    tiny_pipeline.save_pretrained(tmp_path / "checkpoint")
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((640, 480)).save(photos / f"{number:02d}.png")
    command = ["-m", "hf_handdiff", "predict", photos, "--out", out, "--checkpoint", tmp_path / "checkpoint"]
    command += "--save-vertices --steps 2 --mesh-steps 1 --num-hypotheses 3".split()
    process = warm.start(*command)
    assert kill_while_it_writes(process, out, PART)
    undone = {path.stem for path in photos.iterdir()} - {path.stem for path in out.glob("*.json")}
    assert undone
    for name in undone:
        (photos / f"{name}.png").unlink()
    Image.new("RGB", (64, 48), (90, 60, 30)).save(photos / "one_more.png")
    done = warm.run(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert not list(out.rglob(PART)) and (out / "one_more.json").exists()
    manifest = (out / "handdiff-done.jsonl").read_text()
    assert str(tmp_path) not in manifest and "one_more.png" in manifest
    assert json.loads((out / "one_more.json").read_text())["checkpoint"] == "checkpoint"


@pytest.mark.slow
def test_a_killed_training_leaves_nothing_when_it_was_resumed(tmp_path, warm):
    out = tmp_path / "run"
    flags = "--config none --hidden_size 256 --num_blocks 6 --train_batch_size 4 --cpu --validation_samples 4"
    flags += " --lr_warmup_steps 1"
    flags += f" --report_to none --validation_steps 9 --checkpointing_steps 1 --output_dir {out}"
    command = [TRAIN / "stage1.py", *flags.split(), "--resume_from_checkpoint", "latest"]
    process = warm.start(*command, "--max_train_steps", 500)
    left = kill_while_it_writes(process, out, "writing-*")
    assert len(left) == 1
    (out / "removing-1").mkdir()
    step = int(left[0].split("-")[1])
    # one that saves at other steps, so that it never writes the same folder
    resumed = [*command, "--checkpointing_steps", "1000", "--max_train_steps", str(step + 1)]
    done = warm.run(*resumed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(out.glob("writing-*")) and not list(out.glob("removing-*")) and not list(out.rglob(PART))
    assert (out / "model" / "config.json").exists() and f"checkpoint-{step + 1}" in names(out)
