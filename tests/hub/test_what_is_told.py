"""What a push tells to others: no path of the machine, no name of it, no token, and nothing that a link leads to."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import yaml
from corpus_rows import few_rows

from hf_handdiff.data.pushing import push_corpus
from hf_handdiff.data.shards import shard_name, write_rows
from hf_handdiff.errors import InputError
from hf_handdiff.hub.public import public_checkpoint, public_flags, public_name
from hf_handdiff.hub.push import folder_files, push_files
from hf_handdiff.hub.runs import push_run, write_config

SECRET = "hf_ann_secret"


def told(hub, name, kind="models") -> dict[str, bytes]:
    """Path -> content, of all that the hub keeps in its repository itself."""
    repository = hub.repository(name, kind)
    files = repository.files(repository.resolve("main"))
    return {path: b"" if file.sha256 else repository.content(file.oid) for path, file in files.items()}


@pytest.fixture
def run(checkpoint, tmp_path):
    """The output folder of a training of the version before: with paths in the flags, and TensorBoard's files."""
    output = tmp_path / "runs" / "mine"
    shutil.copytree(checkpoint / "joint_denoiser", output / "model")
    (output / "results.json").write_text(json.dumps({"step": 2, "synthetic_single_mm": 1.5}))
    flags = {
        "seed": 1,
        "output_dir": str(output),
        "conditions": str(tmp_path / "conditions"),
        "config": "~/configs/mine.yaml",
    }
    (output / "training_config.yaml").write_text(yaml.safe_dump({"script": "stage1", **flags, "hub_token": SECRET}))
    logs = output / "logs" / "train"
    (logs / "1795838326.3355699").mkdir(parents=True)
    (logs / f"events.out.tfevents.1795838326.{socket.gethostname()}.me.org.6277.0").write_bytes(b"figures")
    (logs / f"events.out.tfevents.1795838326.{socket.gethostname()}.me.org.6278.0").write_bytes(b"more figures")
    for name in ("hparams.yml", "events.out.tfevents.1795838326.host.6277.1"):
        (logs / "1795838326.3355699" / name).write_text(yaml.safe_dump(flags))
    (logs / "console.txt").write_text(str(output))
    return output


def test_a_run_of_an_older_version_is_pushed_without_its_places(hub, home, run, tmp_path):
    done = hub.handdiff(home, "push", run, "ann/old-run")
    assert done.returncode == 0, done.stderr
    files = told(hub, "ann/old-run")
    for path, content in files.items():
        for private in (str(tmp_path), str(Path.home()) + "/", "~/", SECRET):
            assert private.encode() not in content, (path, private)
        assert not path.startswith("logs/") or socket.gethostname() not in path.split("/")[-1].split(".")
    logs = {path: content for path, content in files.items() if path.startswith("logs/")}
    assert sorted(logs) == [f"logs/train/events.out.tfevents.1795838326.{number}" for number in (0, 1)]
    assert sorted(logs.values()) == [b"figures", b"more figures"]
    config = yaml.safe_load(files["training_config.yaml"])
    assert config == {
        "script": "stage1",
        "seed": 1,
        "output_dir": "mine",
        "conditions": "conditions",
        "config": "mine.yaml",
    }


@pytest.mark.parametrize("place", ["model/config.json", "model", "logs", "logs/train/more", "results.json"])
def test_a_link_in_a_run_is_refused_by_name(run, tmp_path, place):
    link = run / place
    target = tmp_path / "elsewhere"
    if link.exists():
        link.rename(target)
    else:
        target.mkdir()
    link.symlink_to(target)
    with pytest.raises(InputError, match=f"folder: .*{link.name} is a link; expected") as error:
        push_run(run, "ann/never")
    assert "\n" not in str(error.value)


def test_a_linked_file_or_folder_of_a_checkpoint_is_refused(hub, home, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    (tmp_path / "diary.txt").write_text("mine")
    (folder / "notes.txt").symlink_to(tmp_path / "diary.txt")
    done = hub.handdiff(home, "push", folder, "ann/linked")
    assert done.returncode == 1 and "notes.txt is a link" in done.stderr and done.stderr.count("\n") == 1
    assert not hub.repository("ann/linked").folder.exists()
    (folder / "notes.txt").unlink()
    (folder / "photos").symlink_to(tmp_path)
    with pytest.raises(InputError, match="photos is a link"):
        folder_files(folder)
    (folder / "photos").rename(folder / ".photos")  # what is hidden is not pushed, so may be anything
    assert "model_index.json" in folder_files(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", '{"_name_or_path": "/data/me/hands"}', "the path /data/me/hands"),
        ("config.json", '{"_name_or_path": "C:\\\\\\\\hands\\\\\\\\mine"}', "the path C:"),
        ("train.log", "read from {place}/photos", "the path {place}"),
        ("notes.md", "token hf_ann_secret", "a token of the Hub"),
        ("notes.md", "hf_" + "aB3" * 12, "a token of the Hub"),
    ],
)
def test_a_text_that_tells_a_path_or_a_token_is_not_pushed(tmp_path, name, content, words):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / name).write_text(content.replace("{place}", str(folder)))
    with pytest.raises(InputError, match=f"folder: {name} holds ") as error:
        push_files(folder_files(folder), "ann/never", "x", token=SECRET, source=folder)
    assert words.replace("{place}", str(folder)) in str(error.value)


def test_a_corpus_tells_neither_what_was_left_out_nor_where_its_images_lay(hub, home, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rows = [{name: values[index] for name, values in few_rows().items()} for index in range(5)]
    write_rows(corpus / shard_name("train", 0, 1), rows)
    (corpus / "README.md").write_text("---\nlicense: mit\n---\n")
    (corpus / "train-skipped.json").write_text(json.dumps({"bad": {"1": "/data/me/1.jpg is missing"}}))
    done = hub.handdiff(home, "push", corpus, "ann/told")
    assert done.returncode == 0, done.stderr
    assert "train-skipped.json" not in told(hub, "ann/told", "datasets")
    rows[3]["image"] = {**rows[3]["image"], "path": "/data/me/photos/3.jpg"}
    write_rows(corpus / shard_name("train", 0, 1), rows)
    with pytest.raises(InputError, match="of-00001.parquet holds the path /data/me/photos/3.jpg of an image"):
        push_corpus(corpus, "ann/never")


def test_flags_are_written_without_paths_and_secrets(tmp_path):
    flags = {
        "conditions": str(tmp_path / "conditions"),
        "base": "..\\..\\x\\y",
        "corpus": "ann/hands",
        "latent_tokens": 24,
    }
    flags |= {"hub_token": SECRET, "api_key": "k", "output_dir": "runs/mine", "drive": "C:\\hands\\model", "none": None}
    write_config(tmp_path, "stage1", flags)
    expected = {
        "conditions": "conditions",
        "base": "y",
        "corpus": "ann/hands",
        "latent_tokens": 24,
        "output_dir": "runs/mine",
    }
    expected |= {"drive": "model", "none": None}
    assert yaml.safe_load((tmp_path / "training_config.yaml").read_text()) == {"script": "stage1", **expected}
    assert public_flags(flags) == expected
    assert public_name("~/model") == "model" and public_name("owner/name") == "owner/name"
    assert public_checkpoint(str(tmp_path)) == tmp_path.name and public_checkpoint("owner/name") == "owner/name"
