"""A disk that fills up while something is saved: a clear sentence, and what was there stays."""

import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from hf_handdiff.errors import StorageError
from hf_handdiff.files import add_to_folder, replace_folder
from hf_handdiff.models import JointDenoiser, JointDenoiserConfig


@contextmanager
def no_file_above(size: int):
    """No file of this process can grow beyond `size` bytes: like a full disk, writing fails in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_one_sentence(error, words):
    text = str(error.value)
    assert words in text and "\n" not in text and len(text) < 250, text
    assert isinstance(error.value, OSError) and isinstance(error.value, ValueError)


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    return JointDenoiser(JointDenoiserConfig(hidden_size=64, num_blocks=1))


def test_a_pipeline(tiny_pipeline, tmp_path):
    folder = tmp_path / "checkpoint"
    tiny_pipeline.save_pretrained(folder)
    before = contents(folder)
    tiny_pipeline.register_to_config(num_inference_steps=7)
    try:
        with no_file_above(100_000), pytest.raises(StorageError) as error:
            tiny_pipeline.save_pretrained(folder)
        with no_file_above(100_000), pytest.raises(StorageError):
            tiny_pipeline.save_pretrained(tmp_path / "new")
    finally:
        tiny_pipeline.register_to_config(num_inference_steps=4)
    assert_one_sentence(error, "cannot be written (file too large); it is as it was before")
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]  # and nothing half-written beside it


def test_a_model(denoiser, tmp_path):
    folder = tmp_path / "model"
    denoiser.save_pretrained(folder)
    before = contents(folder)
    with torch.no_grad():
        next(denoiser.parameters()).add_(1.0)
    with no_file_above(10_000), pytest.raises(StorageError) as error:
        denoiser.save_pretrained(folder)
    assert_one_sentence(error, "cannot be written (file too large)")
    assert contents(folder) == before and list(tmp_path.iterdir()) == [folder]


def test_a_place_that_is_a_file(denoiser, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError) as error:
        denoiser.save_pretrained(tmp_path / "file")
    assert_one_sentence(error, "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"


def test_saving_again_keeps_variants_and_removes_old_shards(denoiser, tmp_path):
    denoiser.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    denoiser.save_pretrained(tmp_path, variant="fp16", max_shard_size="60KB")
    denoiser.save_pretrained(tmp_path)
    shards = {path.name.split("-")[0] for path in tmp_path.glob("model*-of-*.safetensors")}
    assert shards == {"model.fp16"} and not (tmp_path / "model.safetensors.index.json").exists()
    for variant in (None, "fp16"):
        again = JointDenoiser.from_pretrained(tmp_path, variant=variant)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), denoiser.parameters(), strict=True))


def test_an_error_while_a_folder_is_written_leaves_the_old_one(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    for writing in (replace_folder, add_to_folder):
        with pytest.raises(ZeroDivisionError), writing(folder) as aside:
            (aside / "old").write_text("half")
            raise ZeroDivisionError
        assert contents(tmp_path) == {(folder / "old").relative_to(tmp_path): b"old"}
    with add_to_folder(folder) as aside:
        (aside / "part").mkdir()
        np.save(aside / "part" / "new.npy", np.zeros(3))
    assert {path.name for path in folder.rglob("*")} == {"old", "part", "new.npy"}
    with replace_folder(folder) as aside:
        (aside / "only").write_text("this")
    assert {path.name for path in folder.rglob("*")} == {"only"} and list(tmp_path.iterdir()) == [folder]
