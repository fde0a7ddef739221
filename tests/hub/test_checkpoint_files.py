"""What is wrong with the files of a checkpoint is found before anything is loaded, and named."""

import json
import shutil

import pytest
from safetensors.torch import save_file

from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline
from hf_handdiff.errors import StorageError
from hf_handdiff.models import HandDetector, JointDenoiser


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy of the checkpoint, for breaking."""
    shutil.copytree(checkpoint, tmp_path / "copy")
    return tmp_path / "copy"


def rename_component(folder, component, library, name):
    index = json.loads((folder / "model_index.json").read_text())
    index[component] = [library, name]
    (folder / "model_index.json").write_text(json.dumps(index))


def refused(folder, pipeline=CascadedHandPipeline, **options):
    with pytest.raises(StorageError) as error:
        pipeline.from_pretrained(folder, **options)
    text = str(error.value)
    assert text.startswith("checkpoint: ") and "\n" not in text, text
    return text


@pytest.mark.parametrize(
    ("component", "library", "name"),
    [
        ("joint_denoiser", "os", "system"),
        ("joint_denoiser", "transformers", "AutoModel"),
        ("joint_denoiser", "hf_handdiff.models", "JointDenoiser"),
        ("joint_scheduler", "diffusers", "AutoencoderKL"),
        ("joint_scheduler", "diffusers", "nothing"),
        ("extra", "antigravity", "fly"),
    ],
)
def test_no_other_class_is_imported_because_an_index_names_it(folder, component, library, name):
    rename_component(folder, component, library, name)
    for pipeline in (CascadedHandPipeline, JointDiffusionPipeline):
        assert f"expected {component} in" in (text := refused(folder, pipeline)) and f"{library}.{name}" in text


def test_any_scheduler_of_diffusers_may_be_named(folder):
    rename_component(folder, "joint_scheduler", "diffusers", "UniPCMultistepScheduler")
    loaded = JointDiffusionPipeline.from_pretrained(folder)
    assert type(loaded.joint_scheduler).__name__ == "UniPCMultistepScheduler"


@pytest.mark.parametrize("content", ["{", "[1, 2]", ""])
@pytest.mark.parametrize("name", ["joint_denoiser/config.json", "mesh_scheduler/scheduler_config.json"])
def test_a_damaged_configuration_is_named(folder, name, content):
    (folder / name).write_text(content)
    assert f"{name} in {folder} cannot be read" in refused(folder)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_damaged_weights_are_named(folder, cut):
    weights = folder / "mesh_autoencoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    assert f"mesh_autoencoder/model.safetensors in {folder} cannot be read" in refused(folder)


def test_a_missing_shard_is_named(folder):
    part = folder / "joint_denoiser"
    denoiser = JointDenoiser.from_pretrained(part)
    shutil.rmtree(part)
    denoiser.save_pretrained(part, max_shard_size="60KB")
    CascadedHandPipeline.from_pretrained(folder)
    shard = sorted(part.glob("model-*.safetensors"))[-1]
    shard.unlink()
    assert f"expected joint_denoiser/{shard.name} in {folder}, but it is missing" in refused(folder)


def test_a_component_that_is_not_needed_is_looked_at_where_the_index_has_it(folder):
    rename_component(folder, "hand_detector", "hf_handdiff", "HandDetector")
    assert "expected hand_detector/config.json" in refused(folder)
    HandDetector.config_class().save_pretrained(folder / "hand_detector")
    assert "expected hand_detector/model.safetensors" in refused(folder)
    (folder / "hand_detector" / "model.safetensors").write_bytes(b"no weights")
    assert "hand_detector/model.safetensors in" in refused(folder)


def test_weights_that_do_not_fit_their_configuration_are_named(folder):
    """They can only be told by loading: the model says it itself."""
    part = folder / "joint_denoiser"
    weights = JointDenoiser.from_pretrained(part).state_dict()
    name = next(name for name, value in weights.items() if value.ndim == 2)
    save_file(weights | {name: weights[name][:, :3].contiguous()}, part / "model.safetensors", {"format": "pt"})
    assert f"{part} holds no JointDenoiser that can be loaded" in refused(folder)


def test_a_saved_index_does_not_tell_where_the_pipeline_came_from(folder, tmp_path):
    CascadedHandPipeline.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "model_index.json").read_text()
    assert str(tmp_path) not in text and json.loads(text) == json.loads((folder / "model_index.json").read_text())


def test_what_is_passed_need_not_be_in_the_folder(folder, tiny_pipeline):
    shutil.rmtree(folder / "joint_denoiser")
    loaded = CascadedHandPipeline.from_pretrained(folder, joint_denoiser=tiny_pipeline.joint_denoiser)
    assert loaded.joint_denoiser is tiny_pipeline.joint_denoiser
