"""Pushing a training run: the finished model with its card, the flags, the logs and the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hub.push import folder_files, prepare_repository, push_files, read_results

CONFIG_FILE = "training_config.yaml"
_SECRET = ("hub_token",)


def write_config(output: Path, script: str, flags: dict[str, Any]) -> None:
    """Write what a run was started with to `training_config.yaml` in `output`, without secrets.

    Args:
        output: the run's folder; made if missing.
        script: name of the training script, such as "stage1".
        flags: name -> value.
    """
    output.mkdir(parents=True, exist_ok=True)
    shown = {k: v for k, v in flags.items() if k not in _SECRET and isinstance(v, (int, float, str, bool, type(None)))}
    with replace_file(output / CONFIG_FILE) as file:
        file.write_text(yaml.safe_dump({"script": script, **shown}, sort_keys=False))


def push_run(
    output: Path,
    repo_id: str,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "End of training",
) -> str:
    """Push a finished run in one commit: the model at the top, `logs/`, `results.json`, the config and the card.

    Args:
        output: `--output_dir` of the training script.
        repo_id: "owner/name", or "name" for your own namespace; made if it is not there.
        private: whether a new repository is private.
        token: None: that of `hf auth login`.
        commit_message: its first line.

    Returns:
        The commit's address.

    Raises:
        InputError: the run is not finished.
        StorageError: see `push_files`; nothing was pushed.
    """
    from hf_handdiff.hub.cards import training_card

    config_file, results = output / CONFIG_FILE, read_results(output)
    if not (output / "model").is_dir() or not config_file.is_file() or results is None:
        raise InputError(
            f"folder: expected a finished training run with model/, {CONFIG_FILE} and results.json, got {output}"
        )
    config = yaml.safe_load(config_file.read_text())
    script = config.pop("script")
    repo_id = prepare_repository(repo_id, private=private, token=token)
    files: dict[str, Path | bytes] = dict(folder_files(output / "model"))
    files |= {f"logs/{path}": file for path, file in folder_files(output / "logs").items()}
    files |= {CONFIG_FILE: config_file, "results.json": output / "results.json"}
    card = training_card(script, config, results, repo_id, base=_base_model(config))
    files["README.md"] = str(card).encode()
    return push_files(files, repo_id, commit_message, token=token)


def _base_model(config: dict[str, Any]) -> str | None:
    """The Hub repository that training began from, where it did."""
    start = config.get("init_from") or config.get("initial")
    is_repository = isinstance(start, str) and start.count("/") == 1 and not start.startswith((".", "/", "~"))
    return start if is_repository and not Path(start).exists() else None
