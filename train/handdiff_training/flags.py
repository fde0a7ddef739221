"""Flags of the training scripts, the YAML files that hold them, and how a wrong one is told: in one sentence."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import yaml
from diffusers.optimization import SchedulerType

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.hub.checkpoints import BUNDLED

CONFIGS = Path(__file__).parents[1] / "configs"
_PATIENCE_S = 60
NONE = "none"
BUNDLED_FOLDERS = {
    "HandImageEncoder": "image_encoder",
    "JointDenoiser": "joint_denoiser",
    "MeshAutoencoder": "mesh_autoencoder",
    "MeshLatentDenoiser": "mesh_latent_denoiser",
    "HandDetector": "hand_detector",
}
"""Class of a model -> its folder in the bundled checkpoint."""


def is_main_process() -> bool:
    """Whether this is the process that talks; `accelerate launch` and `torchrun` number them."""
    return os.environ.get("RANK", "0") == "0"


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Commands in a description keep their lines."""


class FlagParser(argparse.ArgumentParser):
    """An argument parser that tells what is wrong in one sentence, once for all processes."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=_Help)
        self.add_argument("--check_flags", action="store_true", help=argparse.SUPPRESS)

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """As argparse does; with --check_flags, which run.py gives, it ends there."""
        parsed = super().parse_args(args, namespace)
        if parsed.check_flags:
            self.exit(0)
        del parsed.check_flags
        return parsed

    def error(self, message: str) -> NoReturn:
        """Say it and end with exit code 2."""
        _say_and_exit(self.prog, f"{message} (--help lists all flags)")


def run(main: Callable[[], object]) -> None:
    """Call a script's `main`; a wrong input, or a training that diverges, is one sentence and exit code 2.

    Ctrl-C is one line and exit code 130.
    """
    script = Path(sys.argv[0]).name
    try:
        main()
    except (InputError, FloatingPointError) as error:
        _say_and_exit(script, str(error))
    except KeyboardInterrupt:
        if is_main_process():
            print(f"{script}: stopped by Ctrl-C", file=sys.stderr, flush=True)
        sys.exit(130)


def _say_and_exit(script: str, sentence: str) -> NoReturn:
    """Say it once: a launcher ends all processes as soon as one ends, so the others leave the word to the main one.

    Who is still there after a while saw what the main process did not see, and says it.
    """
    if not is_main_process():
        time.sleep(_PATIENCE_S)
    print(f"{script}: {sentence}", file=sys.stderr, flush=True)
    sys.exit(2)


def or_none(value: str) -> str | None:
    """The type of a flag that a file may set and the command line may take back with `none`."""
    return None if value == NONE else value


def argument_parser(description: str, script: str) -> FlagParser:
    """The flags that every training script has, named as in diffusers' examples.

    Args:
        description: what --help begins with.
        script: its name without ".py"; `configs/quick_start/SCRIPT.yaml` is read where no --config is given.
    """
    parser = FlagParser(description)
    add = parser.add_argument
    add(
        "--config",
        default=str(quick_start(script)),
        help="YAML file of flag: value, `base`: a file to build on; flags win over it. By default a short training "
        "from the bundled weights on a small corpus that it makes; none: no file, but the defaults that are told here",
    )
    add("--output_dir", default="runs/run", help="checkpoints, logs, pictures and the finished model go here")
    add("--seed", type=int, default=0)
    add("--train_batch_size", type=int, default=256, help="samples per process and micro-step")
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--max_train_steps", type=int, default=10000, help="optimiser steps")
    add("--learning_rate", type=float, default=5e-4)
    add("--lr_scheduler", choices=[kind.value for kind in SchedulerType], default="cosine", metavar="NAME",
        help="one of diffusers' schedules")  # fmt: skip
    add("--lr_warmup_steps", type=int, default=300)
    add("--adam_weight_decay", type=float, default=0.01)
    add("--max_grad_norm", type=float, default=1.0)
    add("--mixed_precision", choices=["no", "bf16", "fp16"], default="no")
    add("--torch_compile", action="store_true", help="compile what computes the most, at the first steps; on a GPU")
    add("--use_ema", action=argparse.BooleanOptionalAction, default=True)
    add("--ema_decay", type=float, default=0.999)
    add("--dataloader_num_workers", type=int, default=0, help="processes that make batches; 0: the training's own")
    add("--checkpointing_steps", type=int, default=1000)
    add("--checkpoints_total_limit", type=int, default=2, help="older checkpoints are removed")
    add("--resume_from_checkpoint", help="a checkpoint's folder, or 'latest'")
    add("--validation_steps", type=int, default=1000)
    add("--logging_steps", type=int, default=50)
    add("--report_to", default="tensorboard", help="tensorboard, trackio, wandb … or none")
    add("--cpu", action="store_true", help="train on the CPU even where there is a GPU")
    add("--push_to_hub", action="store_true", help="push model, card, flags, logs and figures to the Hub in the end")
    add("--hub_model_id", help="repository owner/name; default: the name of --output_dir in your own namespace")
    add("--hub_token", help="default: that of `hf auth login`, or of the variable HF_TOKEN")
    add("--hub_private_repo", action="store_true", help="a new repository is private")
    return parser


def parse(parser: argparse.ArgumentParser, argv=None) -> argparse.Namespace:
    """Flags over YAML over defaults; an unknown key of the YAML file is an error."""
    config = parser.parse_known_args(argv)[0].config
    if config != NONE:
        try:
            values = _config_values(Path(config))
        except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
            parser.error(f"--config: expected a YAML file of flag: value, got {config} ({_reason(error)})")
        unknown = sorted(set(values) - {action.dest for action in parser._actions})
        if unknown:
            parser.error(f"--config {config}: unknown keys {', '.join(unknown)}")
        parser.set_defaults(**values)
    return parser.parse_args(argv)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _config_values(path: Path) -> dict:
    """The file's values over those of the file that its key `base` names, relative to its own folder."""
    values = yaml.safe_load(path.read_text()) or {}
    base = values.pop("base", None)
    return values if base is None else {**_config_values(path.parent / base), **values}


def quick_start(script: str) -> Path:
    """The file that a script reads where no --config is given."""
    return CONFIGS / "quick_start" / f"{script}.yaml"


def is_quick_start(args: argparse.Namespace) -> bool:
    """Whether a training takes what is not given from such a file."""
    return Path(args.config).parent == CONFIGS / "quick_start"


def needed(args: argparse.Namespace, parser: argparse.ArgumentParser, *flags: str) -> None:
    """Refuse flags that neither the command line nor the file of --config gives."""
    for flag in flags:
        if getattr(args, flag) is None:
            parser.error(f"--{flag} is needed, on the command line or in the file of --config")


def set_network_size(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """`--hidden_size` and `--num_blocks` are of a new network: refused beside --init_from, else they get defaults."""
    for flag, default in (("hidden_size", 704), ("num_blocks", 4)):
        if args.init_from is None:
            setattr(args, flag, default if getattr(args, flag) is None else getattr(args, flag))
        elif getattr(args, flag) is not None:
            parser.error(f"--{flag}: the network of --init_from has its own; a new one starts with --init_from none")


def load_model(network: type, source: str, flag: str):
    """A model that a flag names.

    Args:
        network: its class.
        source: `bundled`, a folder, or a Hub id "owner/name".
        flag: of the command line, for messages.

    Raises:
        InputError: nothing is there, or another model, or one that cannot be read.
    """
    if source == BUNDLED and network.__name__ in BUNDLED_FOLDERS:
        return network.from_pretrained(Path(DEFAULT_CHECKPOINT) / BUNDLED_FOLDERS[network.__name__])
    name = network.__name__
    folder = Path(source)
    expected = f"--{flag}: expected a folder with a saved {name}, a Hub id owner/name, or {BUNDLED}; got {source}"
    if folder.is_dir():
        try:
            found = json.loads((folder / "config.json").read_text()).get("architectures") or [name]
        except (OSError, ValueError, AttributeError):
            raise InputError(f"{expected}, a folder without a readable config.json") from None
        if name not in found:
            raise InputError(f"{expected}, which holds a {found[0]}")
    elif folder.exists() or str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise InputError(f"{expected}, which is not there")
    try:
        return network.from_pretrained(source)
    except (OSError, ValueError, RuntimeError) as error:
        reason = first_line(error).removeprefix("checkpoint: ")
        where = "" if folder.is_dir() else f"{source} is no folder here, and "
        raise InputError(f"--{flag}: {where}{reason}") from error
