"""Checkpoints of the pipelines: checked before anything is loaded, so that what is wrong gets one clear sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, resolve_revision
from safetensors import SafetensorError

from hf_handdiff.errors import StorageError
from hf_handdiff.hub.errors import hub_errors, is_no_connection

OUR_PIPELINES = ("CascadedHandPipeline", "JointDiffusionPipeline", "MeshLDMPipeline")
INDEX = "model_index.json"
HUB_OPTIONS = ("cache_dir", "revision", "token", "local_files_only", "force_download", "proxies")


def check_index(index_file: Path, needed: tuple[str, ...], source: str | os.PathLike) -> dict:
    """Read the index of a checkpoint and refuse one that is not ours or has not all of the `needed` components.

    Args:
        index_file: `model_index.json`.
        needed: names of components.
        source: the folder or repository, for the message.

    Raises:
        StorageError: one sentence that says what is foreign or missing.
    """
    try:
        index = json.loads(index_file.read_text())
        name = index["_class_name"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise StorageError(f"checkpoint: {INDEX} of {source} is not the index of a pipeline") from None
    if name not in OUR_PIPELINES:
        raise StorageError(f"checkpoint: expected one of {', '.join(OUR_PIPELINES)}, but {source} holds a {name}")
    for component in needed:
        if not isinstance(index.get(component), list):
            raise StorageError(f"checkpoint: {source} is a {name} without the component {component}")
    return index


def check_folder(
    folder: Path, needed: tuple[str, ...], variant: str | None = None, source: str | os.PathLike | None = None
) -> None:
    """Refuse a local folder that is not a checkpoint of ours with all of the `needed` components.

    Args:
        folder: of the checkpoint.
        needed: names of components.
        variant: of the weights, such as "fp16"; components without it may have plain weights, but not all of them.
        source: where it comes from, for the message; None: the folder itself.

    Raises:
        StorageError: one sentence that names the file that is missing or foreign.
    """
    source = folder if source is None else source
    if not (folder / INDEX).is_file():
        raise StorageError(f"checkpoint: expected what a hf_handdiff pipeline saved, but {source} has no {INDEX}")
    check_index(folder / INDEX, needed, source)
    models = [component for component in needed if not component.endswith("scheduler")]
    for component in needed:
        part = folder / component
        config = part / ("config.json" if component in models else "scheduler_config.json")
        if not config.is_file():
            raise StorageError(f"checkpoint: expected {component}/{config.name} in {source}, but it is missing")
        if component in models and not (has_weights(part) or (variant and has_weights(part, variant))):
            raise StorageError(f"checkpoint: expected {component}/model.safetensors in {source}, but it is missing")
    if variant is not None and not any(has_weights(folder / component, variant) for component in models):
        raise _no_variant(source, variant)


def _no_variant(source: str | os.PathLike, variant: str) -> StorageError:
    return StorageError(f"variant: {source} has no weights of the variant {variant!r}")


def has_weights(part: Path, variant: str | None = None) -> bool:
    """Whether the folder of a component holds weights of that variant, in one file or in shards."""
    name = "model" if variant is None else f"model.{variant}"
    return (part / f"{name}.safetensors").is_file() or any(part.glob(f"{name}-*-of-*.safetensors"))


def component_loads(folder: Path, component: str, variant: str | None = None) -> bool:
    """Whether the component's own files can be read and fit together; used to name the culprit after a failure."""
    from hf_handdiff import models

    index = json.loads((folder / "model_index.json").read_text())
    model_class = getattr(models, index[component][1], None)
    if model_class is None:  # a scheduler: only a config
        return True
    try:
        part = folder / component
        model_class.from_pretrained(part, variant=variant if variant and has_weights(part, variant) else None)
    except (OSError, RuntimeError, ValueError, SafetensorError):
        return False
    return True


def download_checkpoint(
    download: Callable[..., str], repo_id: str, needed: tuple[str, ...], options: dict[str, Any]
) -> Path:
    """Fetch a checkpoint from the Hub, or from the cache where the Hub cannot be reached.

    Its index is looked at first: nothing of a foreign repository is fetched beyond that.

    Args:
        download: `DiffusionPipeline.download` of the pipeline's class.
        repo_id: "owner/name".
        needed: names of components.
        options: those of `from_pretrained`.

    Returns:
        The folder in the cache.

    Raises:
        StorageError: one sentence: it is not there, foreign, the token is refused, or there is no network.
    """
    where = {name: options[name] for name in ("cache_dir", "revision", "token", "local_files_only") if name in options}
    with hub_errors("checkpoint", repo_id):
        where["revision"] = resolve_revision(repo_id, **where)  # one commit for all files; no retries without a network
        options = {**options, **where}
        index_file = hf_hub_download(repo_id, INDEX, **where)
        check_index(Path(index_file), needed, repo_id)
        try:
            return Path(download(repo_id, **options))
        except Exception as error:
            if isinstance(error, ValueError) and options.get("variant") and "variant" in str(error):
                raise _no_variant(repo_id, options["variant"]) from error
            # diffusers turns to the cache where the Hub cannot be reached, but knows one HTTP client alone
            if options.get("local_files_only") or not is_no_connection(error):
                raise
            return Path(download(repo_id, **{**options, "local_files_only": True}))


def looks_like_a_folder(source: str | os.PathLike) -> bool:
    """Whether `source` can only be a local path and not a Hub repository "owner/name"."""
    text = str(source)
    return isinstance(source, Path) or os.path.isabs(text) or text.startswith((".", "~")) or text.count("/") != 1
