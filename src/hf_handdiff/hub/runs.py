"""Pushing a training run: the finished model with its card, the flags, the logs and the figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hub.checkpoints import BUNDLED, is_hub_id
from hf_handdiff.hub.public import public_flags
from hf_handdiff.hub.push import folder_files, prepare_repository, push_files, read_results, refuse_link
from hf_handdiff.hub.terms import config_terms, refuse_users_triangles
from hf_handdiff.json_files import read_json_object

CONFIG_FILE = "training_config.yaml"
ENCODER_FOLDER = "image_encoder"
# as TensorBoard names them: time, host, process, number
_EVENTS = re.compile(r"(events\.out\.tfevents\.\d+)\..+")
_FLAGS_FOLDER = re.compile(r"\d+\.\d+")


def write_config(output: Path, script: str, flags: dict[str, Any]) -> None:
    """Write what a run was started with to `training_config.yaml` in `output`: no secrets, paths by their last names.

    Args:
        output: the run's folder; made if missing.
        script: name of the training script, such as "stage1".
        flags: name -> value.
    """
    output.mkdir(parents=True, exist_ok=True)
    with replace_file(output / CONFIG_FILE) as file:
        file.write_text(_as_yaml({"script": script, **public_flags(flags)}))


def _as_yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def push_run(
    output: Path,
    repo_id: str,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "End of training",
) -> str:
    """Push a finished run in one commit: the model at the top, `logs/`, `results.json`, the config and the card.

    An image encoder that learned with the model goes with it, into `image_encoder/`.
    Of the logs go TensorBoard's figures and pictures, under names without this machine's; the flags are in the config.

    Args:
        output: `--output_dir` of the training script.
        repo_id: "owner/name", or "name" for your own namespace; made if it is not there.
        private: whether a new repository is private.
        token: None: that of `hf auth login`.
        commit_message: its first line.

    Returns:
        The commit's address.

    Raises:
        InputError: the run is not finished, or a file is a link, or tells a path of this machine or a token.
        StorageError: see `push_files`; nothing was pushed.
    """
    from hf_handdiff.hub.cards import training_card

    config_file, results = output / CONFIG_FILE, read_results(output)
    if not (output / "model").is_dir() or not config_file.is_file() or results is None:
        raise InputError(
            f"folder: expected a finished training run with model/, {CONFIG_FILE} and results.json, got {output}"
        )
    for path in (config_file, output / "results.json", output / "model", output / ENCODER_FOLDER, output / "logs"):
        refuse_link(path, path.name)
    config = public_flags(yaml.safe_load(config_file.read_text()))  # an old run's may hold paths
    refuse_users_triangles(output / "model")
    files: dict[str, Path | bytes] = dict(folder_files(output / "model"))
    if (output / ENCODER_FOLDER).is_dir():
        files |= {f"{ENCODER_FOLDER}/{path}": file for path, file in folder_files(output / ENCODER_FOLDER).items()}
    files |= {f"logs/{path}": file for path, file in _event_files(output / "logs").items()}
    files |= {CONFIG_FILE: _as_yaml(config).encode(), "results.json": output / "results.json"}
    script = config.pop("script")
    model_config = output / "model" / "config.json"
    terms = config_terms(read_json_object(model_config, "model", "of a network", finite=False))
    repo_id = prepare_repository(repo_id, private=private, token=token)
    card = training_card(script, config, results, repo_id, base=_base_model(script, config), terms=terms)
    files["README.md"] = str(card).encode()
    return push_files(files, repo_id, commit_message, token=token, source=output)


def _event_files(logs: Path) -> dict[str, Path]:
    """TensorBoard's files by their paths below `logs`, their names without the host.

    Those that hold the flags, each in a folder named after a time, are left out, and whatever else lies there.
    """
    found: dict[str, Path] = {}
    for path, file in folder_files(logs).items():
        *folders, name = path.split("/")
        events = _EVENTS.fullmatch(name)
        if events and not any(_FLAGS_FOLDER.fullmatch(folder) for folder in folders):
            told = "/".join([*folders, f"{events[1]}.{len(found)}"])
            found[told] = file
    return found


def _base_model(script: str, config: dict[str, Any]) -> str | None:
    """What training went on from that others have too: a Hub repository, or `BUNDLED`; None if it was nothing such."""
    flag = {"image_encoder": "initial", "hand_framing": "image_encoder"}.get(script, "init_from")
    start = config.get(flag) or config.get("backbone")
    return start if isinstance(start, str) and (start == BUNDLED or is_hub_id(start)) else None
