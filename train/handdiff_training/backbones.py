"""New image encoders on any backbone of transformers, and what trainings may ask of one."""

from pathlib import Path

import torch
from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel

from handdiff_training.flags import BUNDLED, load_model
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.hub.checkpoints import is_hub_id
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.models.image_backbone import to_backbone_config

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def encoder_on_backbone(source: str, levels: list[str] | None, image_size: int) -> HandImageEncoder:
    """A new encoder, whose framing pass is the bundled one as far as it is of the same size.

    Args:
        source: a folder with a saved model that `AutoBackbone` knows, or with its config.json alone (random weights);
            or a Hub id "owner/name".
        levels: of the feature maps that are fused, from fine to coarse: names ("stage2") or numbers ("9"); None: those
            of the configuration.
        image_size: side of the crops, px.

    Raises:
        InputError: there is no such backbone, it has no such levels, or it does not take such images.
    """
    backbone = _backbone(source, _level_fields(levels))
    try:
        encoder = HandImageEncoder.from_backbone(backbone, image_size=image_size)
    except InputError as error:
        raise InputError(f"--backbone {source} with --image_size {image_size}: {error}") from error
    bundled = load_model(HandImageEncoder, BUNDLED, "initial")
    encoder.framing.trunk.load_state_dict(bundled.framing.trunk.state_dict())
    if image_size == bundled.config.image_size:  # its last layers read a map of one size
        encoder.framing.load_state_dict(bundled.framing.state_dict())
    _try(encoder, source)
    return encoder


def _level_fields(levels: list[str] | None) -> dict:
    if not levels:
        return {}
    if all(level.lstrip("-").isdigit() for level in levels):
        return {"out_indices": [int(level) for level in levels]}
    return {"out_features": list(levels)}


def _backbone(source: str, fields: dict) -> PreTrainedModel:
    expected = f"--backbone: expected a folder with a model that AutoBackbone knows, or a Hub id; got {source}"
    folder = Path(source)
    if not folder.is_dir() and not is_hub_id(source):
        raise InputError(f"{expected}, which is not there")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(f"{expected}, a folder without a config.json")
    try:
        to_backbone_config(AutoConfig.from_pretrained(source))  # refuses what is no backbone
        config = AutoConfig.from_pretrained(source, **fields)
        if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
            return AutoBackbone.from_config(config)
        return _pretrained(source, config)
    except InputError as error:
        raise InputError(f"--backbone: {str(error).removeprefix('backbone_config: ')}") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError) as error:
        levels = f" with --backbone_levels {' '.join(map(str, *fields.values()))}" if fields else ""
        raise InputError(f"--backbone {source}{levels} cannot be used: {first_line(error)}") from error


def _pretrained(source: str, config: PreTrainedConfig) -> PreTrainedModel:
    """A saved backbone; weights that are of another model would leave it random, with no more than a warning.

    By its own class: `AutoBackbone.from_pretrained` looks for folders on the Hub.
    """
    network = MODEL_FOR_BACKBONE_MAPPING[type(config)]
    backbone, found = network.from_pretrained(source, config=config, dtype=torch.float32, output_loading_info=True)
    if 2 * len(found["missing_keys"]) > len(backbone.state_dict()):
        raise ValueError(f"its weights are not those of a {type(backbone).__name__}")
    return backbone


def _try(encoder: HandImageEncoder, source: str) -> None:
    """Look at one crop: some backbones say only then what they do not take."""
    size = encoder.config.image_size
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 3, size, size), framed=True)
    except (ValueError, RuntimeError, IndexError) as error:
        reason = first_line(error)
        raise InputError(f"--backbone {source} cannot be used with --image_size {size}: {reason}") from error


def use_gradient_checkpointing(encoder: HandImageEncoder) -> None:
    """Let the backbone forget what it computed and compute it again in the backward pass.

    Raises:
        InputError: the backbone cannot; the built-in one cannot.
    """
    refused = "--gradient_checkpointing: expected a backbone of transformers that supports it, got"
    if encoder.config.backbone_config is None:
        raise InputError(f"{refused} the built-in one")
    model = encoder.backbone.model
    if not model.supports_gradient_checkpointing:
        raise InputError(f"{refused} {type(model).__name__}")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
