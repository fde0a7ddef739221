"""`--push_to_hub` of the training scripts, and a disk that fills up while one saves."""

import socket
import sys
from pathlib import Path

import pytest
import stage1
import yaml
from handdiff_training import loop

from hf_handdiff.errors import StorageError

sys.path.insert(0, str(Path(__file__).parents[1] / "hub"))
import subprocess  # noqa: E402

from running import start_hub  # noqa: E402

TINY = (
    "--hidden_size 32 --num_blocks 1 --train_batch_size 8 --lr_warmup_steps 1 --cpu --max_train_steps 2 "
    "--validation_samples 8 --config none"
).split()


@pytest.fixture(scope="module")
def hub(tmp_path_factory, warm):
    running = start_hub(tmp_path_factory.mktemp("hub") / "root", warm)
    yield running
    running.stop()


@pytest.mark.slow
def test_a_run_is_pushed_with_card_config_logs_and_results(hub, tmp_path):
    """By the script itself, then again from its folder by `handdiff push`."""
    flags = [*TINY, "--output_dir", str(tmp_path / "run"), "--push_to_hub", "--hub_model_id", "ann/stage1"]
    flags += ["--hub_token", "hf_ann_secret", "--hub_private_repo", "--logging_steps", "1"]
    environment = hub.environment(tmp_path / "home", token=None)
    command = [sys.executable, stage1.__file__, *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"pushed: {hub.endpoint}/ann/stage1/commit/" in done.stdout
    repository = hub.repository("ann/stage1")
    files = repository.files(repository.resolve("main"))
    assert {"README.md", "config.json", "model.safetensors", "results.json", "training_config.yaml"} <= set(files)
    logs = [path for path in files if path.startswith("logs/") and "events.out.tfevents" in path]
    assert logs and repository.settings["private"]
    config = yaml.safe_load(repository.content(files["training_config.yaml"].oid))
    assert (config["script"], config["hidden_size"], config["hub_model_id"]) == ("stage1", 32, "ann/stage1")
    for path, file in files.items():  # neither the token nor the place is in any of them, nor the host in a name
        content = b"" if file.sha256 else repository.content(file.oid)
        assert b"hf_ann_secret" not in content and str(tmp_path).encode() not in content, path
        assert socket.gethostname() not in path.split("/")[-1].split("."), path
    for path in (tmp_path / "run").rglob("*"):  # nor in what stays here: a tracker may send it elsewhere
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
    (tmp_path / "run" / "image_encoder").mkdir()  # as stage 2 leaves it, where an encoder learned with it
    (tmp_path / "run" / "image_encoder" / "config.json").write_text("{}")
    again = hub.handdiff(tmp_path / "home", "push", tmp_path / "run", "ann/again")
    assert again.returncode == 0, again.stderr
    other = hub.repository("ann/again")
    assert set(other.files(other.resolve("main"))) == {*files, "image_encoder/config.json"}


def test_a_full_disk_keeps_the_model_that_was_there(tmp_path):
    def fill(folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    loop.save_aside(tmp_path / "model", lambda folder: (folder / "whole").write_text("whole"))
    with pytest.raises(StorageError, match="cannot be written .no space left on device.; it is as it was before"):
        loop.save_aside(tmp_path / "model", fill)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "whole"]


def test_a_run_that_is_not_finished_is_not_pushed(tmp_path):
    from hf_handdiff.errors import InputError
    from hf_handdiff.hub.runs import push_run, write_config

    write_config(tmp_path, "stage1", {"seed": 1, "hub_token": "hf_ann_secret"})
    assert "secret" not in (tmp_path / "training_config.yaml").read_text()
    with pytest.raises(InputError, match="expected a finished training run"):
        push_run(tmp_path, "ann/x")
