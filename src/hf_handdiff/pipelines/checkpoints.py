"""Checkpoints of the pipelines: checked before anything is loaded, so that what is wrong gets one clear sentence."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError

from ..errors import InputError

OUR_PIPELINES = ("CascadedHandPipeline", "JointDiffusionPipeline", "MeshLDMPipeline")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")


def check_folder(folder: Path, needed: tuple[str, ...]) -> None:
    """Refuse a local folder that is not a checkpoint of ours with all of the `needed` components.

    Raises:
        InputError: one sentence that names the file that is missing or foreign.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise InputError(
            f"checkpoint: expected a folder saved by a hf_handdiff pipeline, but {folder} has no model_index.json"
        )
    try:
        index = json.loads(index_file.read_text())
        name = index["_class_name"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"checkpoint: {index_file} is not the index of a pipeline") from None
    if name not in OUR_PIPELINES:
        raise InputError(f"checkpoint: expected one of {', '.join(OUR_PIPELINES)}, but {folder} holds a {name}")
    for component in needed:
        if not isinstance(index.get(component), list):
            raise InputError(f"checkpoint: {folder} is a {name} without the component {component}")
        part = folder / component
        is_scheduler = component.endswith("scheduler")
        config = part / ("scheduler_config.json" if is_scheduler else "config.json")
        if not config.is_file():
            raise InputError(f"checkpoint: expected {component}/{config.name} in {folder}, but it is missing")
        if not is_scheduler and not any(found for pattern in _WEIGHTS for found in part.glob(pattern)):
            raise InputError(f"checkpoint: expected {component}/model.safetensors in {folder}, but it is missing")


def component_loads(folder: Path, component: str) -> bool:
    """Whether the component's own files can be read and fit together; used to name the culprit after a failure."""
    from .. import models

    index = json.loads((folder / "model_index.json").read_text())
    model_class = getattr(models, index[component][1], None)
    if model_class is None:  # a scheduler: only a config
        return True
    try:
        model_class.from_pretrained(folder / component)
    except (OSError, RuntimeError, ValueError, SafetensorError):
        return False
    return True


def looks_like_a_folder(source: str | os.PathLike) -> bool:
    """Whether `source` can only be a local path and not a Hub repository "owner/name"."""
    text = str(source)
    return isinstance(source, Path) or os.path.isabs(text) or text.startswith((".", "~")) or text.count("/") != 1
