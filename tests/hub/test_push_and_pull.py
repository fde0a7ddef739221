"""Pipelines, models and data sets to a real hub protocol and back, equal to the bit."""

import json
import subprocess

import numpy as np
import pytest
from repositories import Repository
from running import start_hub

pytestmark = pytest.mark.slow
FOREIGN = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SAME_AS = {
    "plain_diffusers": "second",
    "whole": "second",
    "private": "second",
    "revision": "first",
    "variant": "half",
    "one_component": "denoised",
    "auto_model": "denoised",
    "one_model": "denoised",
    "datasets_streaming": "rows",
    "corpus_streaming": "rows",
}


def assert_equal(one, other):
    one, other = np.load(one), np.load(other)
    assert sorted(one.files) == sorted(other.files) and one.files
    for name in one.files:
        assert np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f"), name


def assert_one_sentence(error, words, kind="StorageError"):
    """That a user can read it, and that whoever expects an OSError or a ValueError catches it."""
    assert {kind, "InputError", "OSError", "ValueError"} <= set(error["kinds"]), error
    assert words in error["text"] and "\n" not in error["text"] and len(error["text"]) < 250, error["text"]


@pytest.fixture(scope="module")
def pushed(checkpoint, tmp_path_factory, warm):
    """A hub, what was pushed to it, and what must come back."""
    hub = start_hub(tmp_path_factory.mktemp("pushed") / "root", warm)
    answers, photo = tmp_path_factory.mktemp("answers"), checkpoint.parent / "photo.npy"
    hub.said = hub.client("push_client.py", tmp_path_factory.mktemp("pusher"), checkpoint, photo, answers)
    hub.answers, hub.photo = answers, photo
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def pulled(pushed, checkpoint, tmp_path_factory):
    """What a process that never saw the folder got, and its errors by name."""
    add_bad_repositories(pushed, checkpoint)
    answers, home = tmp_path_factory.mktemp("pulled"), tmp_path_factory.mktemp("puller")
    errors = pushed.client("pull_client.py", home, pushed.photo, answers)
    return answers, errors, home


def add_bad_repositories(hub, checkpoint):
    """A foreign pipeline, and a checkpoint whose weights were left behind."""
    index = (checkpoint / "model_index.json").read_bytes()
    configs = {p.relative_to(checkpoint).as_posix(): p.read_bytes() for p in checkpoint.glob("*/*config.json")}
    for name, contents in {
        "stable": {"model_index.json": json.dumps(FOREIGN).encode()},
        "weightless": {"model_index.json": index, **configs},
    }.items():
        repository = Repository.create(hub.root / "models" / "ann" / f"{name}.git", private=False, sdk=None)
        repository.commit("main", "bad", contents, [])


@pytest.mark.parametrize("name", SAME_AS)
def test_what_comes_back_is_equal_to_the_bit(pushed, pulled, name):
    answers, errors, _ = pulled
    assert name not in errors, errors[name]
    assert_equal(answers / f"{name}.npz", pushed.answers / f"{SAME_AS[name]}.npz")


def test_stage_1_comes_out_of_the_repository_of_the_cascade(pushed, pulled):
    answers, errors, _ = pulled
    assert "stage_1_of_the_cascade" not in errors, errors
    joints = np.load(answers / "stage_1_of_the_cascade.npz")["joints"]
    assert np.array_equal(joints, np.load(pushed.answers / "second.npz")["joint_hypotheses"])


def test_versions_and_variants_are_told_apart(pushed):
    """Else the comparisons above would show nothing."""
    answers = [np.load(pushed.answers / f"{name}.npz")["vertices"] for name in ("first", "second", "half")]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(answers[one], answers[other])


def test_a_push_is_one_commit_with_card_and_class(pushed):
    repository = pushed.repository("ann/hand")
    log = [subject for _, subject in repository.log("main")]
    assert log == ["Upload CascadedHandPipeline", "wider", "Upload CascadedHandPipeline", "initial commit"]
    files = repository.files(repository.resolve("v1"))
    assert {"README.md", "model_index.json", "pipeline.py", "joint_denoiser/model.safetensors"} <= set(files)
    assert repository.content(files["README.md"].oid).startswith(b"---\n")
    assert pushed.said["first"].startswith(f"{pushed.endpoint}/ann/hand/commit/")
    assert pushed.repository("ann/secret").settings["private"]
    subprocess.run(["git", "fsck", "--strict"], cwd=repository.folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    [
        ("wrong token", "does not accept the token", "StorageError"),
        ("wrong token, one model", "does not accept the token", "StorageError"),
        ("no repository", "there is no repository ann/nothing", "NotFoundError"),
        ("no repository, one model", "there is no repository ann/nothing", "NotFoundError"),
        ("no repository, corpus", "there is no repository ann/nothing", "NotFoundError"),
        ("no revision", "ann/hand has no such revision", "NotFoundError"),
        ("no variant", "ann/secret has no weights of the variant 'fp16'", "StorageError"),
        ("no index", "ann/denoiser has no file model_index.json", "NotFoundError"),
        ("no weights", "model.safetensors in ann/weightless, but it is missing", "StorageError"),
        ("no weights, one model", "ann/weightless/joint_denoiser holds no JointDenoiser", "StorageError"),
        ("foreign", "ann/stable holds a StableDiffusionPipeline", "StorageError"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(pulled, name, words, kind):
    assert_one_sentence(pulled[1][name], words, kind)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong token", "does not accept the token"),
        ("wrong token, one model", "does not accept the token"),
        ("another's namespace", "your token may not write to bob/hand"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_a_sentence(pushed, name, words):
    assert_one_sentence(pushed.said["errors"][name], words)


@pytest.mark.parametrize(("offline", "words"), [(True, "the Hub is not asked"), (False, "cannot be reached")])
def test_without_a_hub_the_cache_answers(pushed, pulled, tmp_path, offline, words):
    """Last in this file: the hub is gone from here on."""
    pushed.stop()
    _, _, home = pulled
    errors = pushed.client("cache_client.py", home, pushed.photo, tmp_path, offline=offline)
    assert_equal(tmp_path / "whole.npz", pushed.answers / "second.npz")
    assert_equal(tmp_path / "one_component.npz", pushed.answers / "denoised.npz")
    for name in ("pipeline", "push"):
        assert_one_sentence(errors[name], words)
