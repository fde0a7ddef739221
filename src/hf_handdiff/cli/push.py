"""The command `handdiff push`."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_handdiff.errors import InputError


def add_push_parser(subparsers) -> None:
    """Add `push` to the commands of `handdiff`."""
    parser = subparsers.add_parser(
        "push",
        help="push a checkpoint, a training run or a corpus to the Hub",
        description="Push a folder to the Hub in one commit, with its card: the checkpoint of a pipeline, the output "
        "folder of a training script, or a corpus (as a data set).",
    )
    parser.add_argument("folder", metavar="FOLDER", help="what to push")
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="the repository; made if it is not there")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    parser.add_argument(
        "--variant",
        choices=("fp16", "bf16"),
        help="of a checkpoint: weights in half precision too, for from_pretrained(..., variant=...)",
    )
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, made if missing (default: main)")
    parser.add_argument("--token", help="default: that of `hf auth login`, or of the variable HF_TOKEN")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.set_defaults(run=_run_push)


def _run_push(arguments: argparse.Namespace) -> int:
    print(push(arguments))
    return 0


def push(arguments: argparse.Namespace) -> str:
    """Push what the folder holds; returns the commit's address.

    Raises:
        InputError: the folder holds nothing of ours, or the Hub refuses.
    """
    from hf_handdiff.hub.push import push_checkpoint
    from hf_handdiff.hub.runs import CONFIG_FILE, push_run

    folder = Path(arguments.folder)
    options = {"private": arguments.private or None, "token": arguments.token}
    if arguments.message:
        options["commit_message"] = arguments.message
    kind = next((kind for kind, name in _KINDS.items() if next(folder.glob(name), None)), None)
    if kind is None:
        names = ", ".join(_KINDS.values())
        raise InputError(f"FOLDER: expected a checkpoint, a training run or a corpus (one of {names}), got {folder}")
    if arguments.variant and kind != "checkpoint":
        raise InputError(f"--variant: expected only with a checkpoint, {folder} is a {kind}")
    if kind == "checkpoint":
        more = _variant_files(folder, arguments.variant) if arguments.variant else None
        return push_checkpoint(folder, arguments.repo_id, revision=arguments.revision, more_files=more, **options)
    if kind == "corpus":
        from hf_handdiff.data.pushing import push_corpus

        try:
            return push_corpus(folder, arguments.repo_id, revision=arguments.revision, **options)
        except FileNotFoundError as error:
            raise InputError(f"FOLDER: {error}") from error
    if arguments.revision:
        raise InputError(f"--revision: a training run ({CONFIG_FILE}) is pushed to main")
    return push_run(folder, arguments.repo_id, **options)


_KINDS = {"checkpoint": "model_index.json", "training run": "training_config.yaml", "corpus": "*-of-*.parquet"}


def _variant_files(folder: Path, variant: str) -> dict[str, bytes]:
    """The weights of a checkpoint in half precision, by their names on the Hub."""
    import tempfile

    import torch

    from hf_handdiff import pipelines
    from hf_handdiff.hub.checkpoints import INDEX, check_index
    from hf_handdiff.hub.push import folder_files

    index = check_index(folder / INDEX, (), folder)
    pipeline = getattr(pipelines, index["_class_name"]).from_pretrained(folder)
    pipeline.to({"fp16": torch.float16, "bf16": torch.bfloat16}[variant])
    with tempfile.TemporaryDirectory() as saved:
        pipeline.save_pretrained(saved, variant=variant)
        files = folder_files(saved)
        return {path: file.read_bytes() for path, file in files.items() if path.endswith(f".{variant}.safetensors")}
