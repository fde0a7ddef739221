"""The command `handdiff push`, whole and interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from corpus_rows import few_rows

from hf_handdiff.data.shards import shard_name

pytestmark = pytest.mark.slow
CARD = """---
license: apache-2.0
configs:
- config_name: default
  data_files:
  - {split: train, path: train-*}
---
"""
READ = """from hf_handdiff.data.corpus import load_corpus
print([row["sample_id"] for row in load_corpus("ann/hands", "train", streaming=True)])"""


LIGHT = """import sys
from hf_handdiff.cli.main import main
assert main(sys.argv[1:]) == 1
heavy = {"torch", "diffusers", "transformers", "datasets"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)"""


@pytest.fixture
def folder(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "checkpoint")


def names(hub, name, kind="models"):
    repository = hub.repository(name, kind)
    return set(repository.files(repository.resolve("main")))


def test_a_checkpoint_with_its_card_in_one_commit(hub, home, folder):
    (folder / ".left-over").write_text("of a writing that broke off")
    done = hub.handdiff(home, "push", folder, "ann/pushed", "--private", "--message", "mine", fresh=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(f"{hub.endpoint}/ann/pushed/commit/")
    repository = hub.repository("ann/pushed")
    assert [subject for _, subject in repository.log("main")] == ["mine", "initial commit"]
    assert repository.settings["private"]
    local = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names(hub, "ann/pushed") == local - {".left-over"} | {"README.md", ".gitattributes"}


def test_a_push_that_is_refused_has_loaded_nothing_heavy(hub, home, checkpoint):
    command = [sys.executable, "-c", LIGHT, "push", str(checkpoint), "bob/x"]
    done = subprocess.run(command, env=hub.environment(home), capture_output=True, text=True)
    assert done.returncode == 0 and "may not write to bob/x" in done.stderr, done.stderr


def test_a_card_that_is_there_stays(hub, home, folder):
    assert hub.handdiff(home, "push", folder, "ann/carded").returncode == 0
    repository = hub.repository("ann/carded")
    repository.commit("main", "by hand", {"README.md": b"---\nlicense: mit\n---\nmy own words"}, [])
    assert hub.handdiff(home, "push", folder, "ann/carded", "--revision", "dev").returncode == 0
    files = repository.files(repository.resolve("dev"))
    assert repository.content(files["README.md"].oid).endswith(b"my own words")


def test_half_precision_goes_with_it(hub, home, folder):
    done = hub.handdiff(home, "push", folder, "ann/both", "--variant", "fp16")
    assert done.returncode == 0, done.stderr
    pushed = names(hub, "ann/both")
    assert {"joint_denoiser/model.safetensors", "joint_denoiser/model.fp16.safetensors"} <= pushed


def test_a_corpus_becomes_a_data_set(hub, home, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    from hf_handdiff.data.shards import write_rows

    columns = few_rows()
    rows = [{name: values[index] for name, values in columns.items()} for index in range(5)]
    write_rows(corpus / shard_name("train", 0, 1), rows)
    (corpus / "train.json").write_text("{}")
    refused = hub.handdiff(home, "push", corpus, "ann/hands")
    assert refused.returncode == 1 and "expected README.md" in refused.stderr
    (corpus / "README.md").write_text(CARD)
    done = hub.handdiff(home, "push", corpus, "ann/hands")
    assert done.returncode == 0, done.stderr
    assert names(hub, "ann/hands", "datasets") >= {"README.md", "train.json", shard_name("train", 0, 1)}
    (tmp_path / "read.py").write_text(READ)
    read = hub.warm.run(tmp_path / "read.py", env=hub.environment(tmp_path / "home"))
    assert read.stdout.strip() == str(columns["sample_id"]), read.stderr[-2000:]


@pytest.mark.parametrize(
    ("arguments", "token", "words"),
    [
        (["FOLDER", "ann/x"], "hf_wrong", "does not accept the token"),
        (["FOLDER", "ann/x"], None, "wants to know who you are"),
        (["FOLDER", "bob/x"], "hf_ann_secret", "your token may not write to bob/x"),
        (["FOLDER", "not/a/name"], "hf_ann_secret", "expected a repository owner/name"),
        (["FOLDER/joint_scheduler", "ann/x"], "hf_ann_secret", "expected a checkpoint, a training run or a corpus"),
        (["FOLDER/nowhere", "ann/x"], "hf_ann_secret", "expected a checkpoint, a training run or a corpus"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_a_sentence(hub, home, checkpoint, arguments, token, words):
    filled = [argument.replace("FOLDER", str(checkpoint)) for argument in arguments]
    done = hub.handdiff(home, "push", *filled, token=token)
    assert done.returncode == 1 and words in done.stderr
    assert done.stderr.startswith("handdiff: error: ") and done.stderr.count("\n") == 1


def test_no_network_is_said_in_a_sentence(hub, home, checkpoint):
    nowhere = {**hub.environment(home), "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "hf_handdiff", "push", str(checkpoint), "ann/x"]
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 1 and "the Hub cannot be reached at http://127.0.0.1:9" in done.stderr
    assert done.stderr.count("\n") == 1


def test_metadata_that_the_hub_does_not_take(hub, home, folder):
    (folder / "README.md").write_text("---\nlicense: [1, 2]\n---\n")
    done = hub.handdiff(home, "push", folder, "ann/odd")
    assert done.returncode == 1 and "README.md: the Hub does not take its metadata" in done.stderr


def test_an_interrupted_push_leaves_what_was_there(hub, home, folder):
    """Killed while the first of its large files is on its way."""
    assert hub.handdiff(home, "push", folder, "ann/whole").returncode == 0
    repository = hub.repository("ann/whole")
    before = repository.resolve("main")
    weights = folder / "joint_denoiser" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    index = json.loads((folder / "model_index.json").read_text()) | {"joint_noise_scale": 3.0}
    (folder / "model_index.json").write_text(json.dumps(index))
    (hub.root / "stall").touch()
    command = [sys.executable, "-m", "hf_handdiff", "push", str(folder), "ann/whole"]
    push = subprocess.Popen(command, env=hub.environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (hub.root / "stalled").exists():
            assert push.poll() is None, "the push ended before it could be interrupted"
            time.sleep(0.05)
        os.kill(push.pid, signal.SIGKILL)
        push.wait()
        assert repository.resolve("main") == before
    finally:
        push.kill()
        for name in ("stall", "stalled"):
            (hub.root / name).unlink(missing_ok=True)
    assert hub.handdiff(home, "push", folder, "ann/whole").returncode == 0  # and then it goes through
    files = repository.files(repository.resolve("main"))
    assert files["joint_denoiser/model.safetensors"].size == weights.stat().st_size
