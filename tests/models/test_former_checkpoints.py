"""Checkpoints saved before fields and model types got their present names, and the committed one, which is such."""

import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel
from untrained import randomize_zero_layers

from hf_handdiff import DEFAULT_CHECKPOINT, models
from hf_handdiff.errors import StorageError
from hf_handdiff.pipelines.sampling import empty_conditions

COMPONENTS = {
    "hand_detector": "HandDetector",
    "image_encoder": "HandImageEncoder",
    "joint_denoiser": "JointDenoiser",
    "mesh_autoencoder": "MeshAutoencoder",
    "mesh_latent_denoiser": "MeshLatentDenoiser",
}

ENCODER = {"image_size": 64, "prior_std": 0.1}
DETECTOR = {"image_size": 64, "hand_size": 64, "widths": [4, 4, 8, 8, 8], "blocks_per_stage": 2}
DENOISER = {"hidden_size": 64, "num_blocks": 1, "point_feature_size": 16}
FORMER = {  # class: fields of today, the whole config.json as it was written then
    "HandImageEncoder": (
        {**ENCODER, "point_feature_size": 16, "global_feature_size": 24, "refinement_steps": 0},
        {**ENCODER, "feature_channels": 16, "global_dim": 24, "more_looks": 0, "model_type": "hand_image_encoder"},
    ),
    "HandDetector": (
        {**DETECTOR, "blocks_per_upward_stage": 1},
        {**DETECTOR, "model_type": "hand_detector"},
    ),
    "MeshLatentDenoiser": (
        {**DENOISER, "global_projection_size": 16},
        {**DENOISER, "model_type": "handdiff_mesh_latent_denoiser"},
    ),
}


@contextmanager
def no_warnings():
    """Whatever Python or transformers warns of within it fails the test."""
    told = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        logger.removeHandler(handler)
    assert told == []


def answers(model):
    """Tensors that the model gives for some fixed input."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, models.MeshLatentDenoiser):
        sample, joints = torch.randn(2, 24, 4, generator=generator), torch.randn(2, 21, 3, generator=generator)
        conditions = empty_conditions(model.config, 2)
        conditions.has_image = torch.ones(2)
        conditions.global_features = torch.randn(conditions.global_features.shape, generator=generator)
        return (model(sample, torch.tensor([10, 500]), joints, conditions),)
    output = model(torch.rand(2, 3, 64, 64, generator=generator))
    return tuple(value for value in output.values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("name", FORMER)
def test_a_checkpoint_in_the_former_form_gives_the_same(name, tmp_path):
    model_class, (fields, former) = getattr(models, name), FORMER[name]
    torch.manual_seed(0)
    saved = randomize_zero_layers(model_class(model_class.config_class(**fields)))
    saved.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**former, "architectures": [name], "dtype": "float32"}))
    with no_warnings():
        loaded = [model_class.from_pretrained(tmp_path).eval(), AutoModel.from_pretrained(tmp_path).eval()]
        config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is model_class.config_class
    for key, value in fields.items():
        assert getattr(config, key) == value, key
    for model in loaded:
        assert type(model) is model_class
        with torch.no_grad():
            assert all(map(torch.equal, answers(model), answers(saved)))
    loaded[1].save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["model_type"] == model_class.config_class.model_type
    assert not written.keys() & model_class.config_class.attribute_map.keys()
    assert fields.items() <= written.items()


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_committed_checkpoint_loads_whole(component):
    folder, model_class = Path(DEFAULT_CHECKPOINT) / component, getattr(models, COMPONENTS[component])
    with no_warnings():
        loaded = [model_class.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)]
    stored = load_file(folder / "model.safetensors")
    for model in loaded:
        assert type(model) is model_class
        assert model.state_dict().keys() == stored.keys()
        assert all(torch.equal(value, stored[key].to(value.dtype)) for key, value in model.state_dict().items())


def test_all_model_types_are_prefixed_alike():
    types = {getattr(models, f"{name}Config").model_type for name in COMPONENTS.values()}
    assert types == {f"handdiff_{component}" for component in COMPONENTS}


def test_a_field_of_a_wrong_type_is_one_sentence(tmp_path):
    models.JointDenoiser(models.JointDenoiserConfig(hidden_size=32, num_blocks=1)).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "hidden_size": "wide"}))
    with pytest.raises(StorageError, match="holds no JointDenoiser.*'hidden_size' expected int, got str") as caught:
        models.JointDenoiser.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
