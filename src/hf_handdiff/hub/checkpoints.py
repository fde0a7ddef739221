"""Checkpoints of the pipelines: their files are checked before anything is loaded, and what is wrong is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, resolve_revision
from safetensors import SafetensorError, safe_open

from hf_handdiff.errors import StorageError, first_line
from hf_handdiff.hub.errors import hub_errors, is_no_connection
from hf_handdiff.hub.registration import COMPONENT_CLASSES

OUR_PIPELINES = ("CascadedHandPipeline", "JointDiffusionPipeline", "MeshLDMPipeline")
INDEX = "model_index.json"
BUNDLED = "bundled"
"""What flags call the weights that come with the package."""
HUB_OPTIONS = ("cache_dir", "revision", "token", "local_files_only", "force_download", "proxies")


def check_index(index_file: Path, needed: Iterable[str], source: str | os.PathLike) -> dict:
    """Read the index of a checkpoint and refuse one that is not ours or has not all of the `needed` components.

    A component is one of our models or a scheduler of diffusers: no other class is imported because an index names it.

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
    for component, entry in index.items():
        if _names_a_class(entry) and not _is_known(*entry):
            raise StorageError(
                f"checkpoint: expected {component} in {source} to be a model of hf_handdiff or a scheduler of "
                f"diffusers, but {INDEX} names {entry[0]}.{entry[1]}"
            )
    for component in needed:
        if not _names_a_class(index.get(component)):
            raise StorageError(f"checkpoint: {source} is a {name} without the component {component}")
    return index


def _names_a_class(entry: Any) -> bool:
    """Whether an entry of an index is that of a component, [library, class]; an optional one may be [null, null]."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _is_known(library: str, name: str) -> bool:
    if library == "hf_handdiff":
        return name in COMPONENT_CLASSES
    if library != "diffusers":
        return False
    import diffusers

    found = getattr(diffusers, name, None)
    return isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)


def check_folder(
    folder: Path,
    needed: Iterable[str] = (),
    variant: str | None = None,
    source: str | os.PathLike | None = None,
    optional: Iterable[str] = (),
) -> None:
    """Refuse a local folder that is not a checkpoint of ours with all of the `needed` components.

    Configurations must be JSON, and files of weights as long as their headers say.

    Args:
        folder: of the checkpoint.
        needed: names of components.
        variant: of the weights, such as "fp16"; components without it may have plain weights, but not all of them.
        source: where it comes from, for the message; None: the folder itself.
        optional: names of components that are looked at where the index has them.

    Raises:
        StorageError: one sentence that names the file that is missing, damaged or foreign.
    """
    source, needed = folder if source is None else source, tuple(needed)
    if not (folder / INDEX).is_file():
        raise StorageError(f"checkpoint: expected what a hf_handdiff pipeline saved, but {source} has no {INDEX}")
    index = check_index(folder / INDEX, needed, source)
    components = [*needed, *(component for component in optional if _names_a_class(index.get(component)))]
    config_files = {component: _config_file(*index[component]) for component in components}
    models = [component for component, file in config_files.items() if file == "config.json"]
    for component, file in config_files.items():
        _check_json(folder, f"{component}/{file}", source)
        if component in models:
            _check_weights(folder, component, variant, source)
    if variant is not None and not any(_weights(folder / component, variant) for component in models):
        raise _no_variant(source, variant)


def _config_file(library: str, class_name: str) -> str:
    """Where a component of that class keeps its configuration."""
    if library == "diffusers":
        return "scheduler_config.json"
    return "preprocessor_config.json" if class_name == "HandImageProcessor" else "config.json"


def _check_json(folder: Path, name: str, source: str | os.PathLike) -> dict:
    """The object that a JSON file of a checkpoint holds."""
    if not (folder / name).is_file():
        raise StorageError(f"checkpoint: expected {name} in {source}, but it is missing")
    try:
        content = json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"checkpoint: {name} in {source} cannot be read ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise StorageError(f"checkpoint: {name} in {source} cannot be read (it is not a JSON object)")
    return content


def _check_weights(folder: Path, component: str, variant: str | None, source: str | os.PathLike) -> None:
    """Open the headers of a model's weights; those of the variant, where it has them."""
    names = _weights(folder / component, variant) or _weights(folder / component)
    if not names:
        raise StorageError(f"checkpoint: expected {component}/model.safetensors in {source}, but it is missing")
    for name in names:
        if name.endswith(".json"):
            shards = _check_json(folder, f"{component}/{name}", source).get("weight_map", {})
            names += sorted(set(shards.values()) - set(names))
            continue
        if not (folder / component / name).is_file():
            raise StorageError(f"checkpoint: expected {component}/{name} in {source}, but it is missing")
        try:
            with safe_open(folder / component / name, "np"):
                pass
        except (OSError, SafetensorError) as error:
            reason = first_line(error)
            raise StorageError(f"checkpoint: {component}/{name} in {source} cannot be read ({reason})") from error


def _weights(part: Path, variant: str | None = None) -> list[str]:
    """The file of a model's weights of a variant, or the index of its shards, in a list; empty where neither is."""
    ending = "" if variant is None else f".{variant}"
    names = (f"model{ending}.safetensors", f"model.safetensors.index{ending}.json")
    return [name for name in names if (part / name).is_file()][:1]


def _no_variant(source: str | os.PathLike, variant: str) -> StorageError:
    return StorageError(f"variant: {source} has no weights of the variant {variant!r}")


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
        check_index(Path(hf_hub_download(repo_id, INDEX, **where)), needed, repo_id)
        try:
            return Path(download(repo_id, **options))
        except Exception as error:
            # of ValueErrors of diffusers this one is left: the index, the revision and the name are good
            if isinstance(error, ValueError) and options.get("variant") and not isinstance(error, OSError):
                raise _no_variant(repo_id, options["variant"]) from error
            # diffusers turns to the cache where the Hub cannot be reached, but knows one HTTP client alone
            if options.get("local_files_only") or not is_no_connection(error):
                raise
            return Path(download(repo_id, **{**options, "local_files_only": True}))


def looks_like_a_folder(source: str | os.PathLike) -> bool:
    """Whether `source` can only be a local path and not a Hub repository "owner/name"."""
    text = str(source)
    return isinstance(source, Path) or os.path.isabs(text) or text.startswith((".", "~")) or text.count("/") != 1


def is_hub_id(source: str) -> bool:
    """Whether `source` can only be a Hub repository "owner/name" and no local path."""
    return not looks_like_a_folder(source) and not Path(source).exists()
