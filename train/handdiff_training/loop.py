"""The training loop that all scripts share: Accelerate, EMA, checkpoints, exact resume, validation.

A script describes *what* is trained as a `Task`; `train(task, args)` does the rest. Every random number of a step
comes from a generator seeded by (seed, micro-step, rank): a DataLoader's workers make the batches of any steps, and a
run that was stopped and resumed is equal to the bit to one that was not.
"""

import argparse
import inspect
import json
import math
import os
import pickle
import re
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, gather_object
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from PIL import Image
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from handdiff_training.flags import is_quick_start
from handdiff_training.terms import training_terms
from hf_handdiff.errors import InputError, StorageError, first_line
from hf_handdiff.files import held_folder, remove_leftovers, replace_file, replace_folder
from hf_handdiff.hub.errors import why_not_written
from hf_handdiff.hub.public import public_flags
from hf_handdiff.hub.push import prepare_repository
from hf_handdiff.hub.runs import push_run, write_config

# what torch, pickle and safetensors raise on files that are damaged, missing, or of another training
_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    pickle.UnpicklingError,
    SafetensorError,
)
_REGULAR = ("logging", "validation", "checkpointing")
_ASIDE = re.compile(r"(writing|removing)-\d+")


class Task(Protocol):
    """What a script trains.

    A task may also have `also_saved`, {name: write(folder)} of models that are saved beside `model`; `networks`, the
    modules to compile where that is not `model`; and `may_leave_parameters_unused`, True where a loss does not depend
    on all of the parameters that learn, which several processes must know.
    """

    model: torch.nn.Module
    real_training: str  # the command of a real training, for those who ran a short one

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Groups for AdamW, each with its own learning rate."""

    def batch(self, batch_size: int, generator: torch.Generator):
        """One batch on the CPU; all randomness from `generator`. A worker process may call it: it changes nothing."""

    def loss(self, model, batch, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss to minimise and figures () to log, where they were computed: nothing waits for a GPU but the log.

        `model` may be wrapped for several processes.
        """

    def validate(self, model) -> tuple[dict[str, float], Image.Image | None]:
        """Figures on data that is never trained on, and a picture of them."""

    def save(self, model, folder: Path) -> None:
        """Write the finished model into `folder`."""


def step_generator(seed: int, micro_step: int, rank: int, device="cpu") -> torch.Generator:
    """The generator of one micro-step of one process; independent of everything that came before."""
    state = np.random.SeedSequence([seed, micro_step, rank]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 31 ^ int(state[1]))


class StepBatches(Dataset):
    """The batches of a training by micro-step, each with the state of its generator after it was drawn.

    Args:
        task: draws them.
        batch_size, seed, rank: see `step_generator`.
    """

    def __init__(self, task: Task, batch_size: int, seed: int, rank: int):
        self.task, self.batch_size, self.seed, self.rank = task, batch_size, seed, rank

    def __getitem__(self, micro_step: int):
        generator = step_generator(self.seed, micro_step, self.rank)
        return self.task.batch(self.batch_size, generator), generator.get_state()


def _loader(batches: StepBatches, micro_steps: range, num_workers: int) -> DataLoader:
    """Batches of these micro-steps in order, made ahead by workers where there are any."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=micro_steps,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # the loader's own draw does not touch the training's random numbers
        multiprocessing_context="fork" if num_workers and hasattr(os, "fork") else None,
    )


def _as_it_is(batch):
    return batch


@dataclass
class _Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def train(task: Task, args: argparse.Namespace) -> dict[str, float]:
    """Train `task` as `args` say and save the finished model to `output_dir/model`.

    Returns:
        The last validation's figures (main process; empty elsewhere).

    Raises:
        InputError: the output folder or the checkpoint to resume from cannot be used.
        StorageError: the disk is full, or the Hub refuses what `--push_to_hub` asks for: the token is tried first.
        FloatingPointError: the loss is not finite.
    """
    output = _output_folder(args.output_dir)
    accelerator = Accelerator(
        cpu=args.cpu,
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / "logs")),
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=getattr(task, "may_leave_parameters_unused", False))
        ],
    )
    repository = None
    if accelerator.is_main_process:
        repository = _repository(args)  # a wrong token is said before training, not after it
        remove_leftovers(output, _ASIDE)
        write_config(output, Path(inspect.getfile(type(task))).stem, vars(args))
    optimizer = torch.optim.AdamW(
        task.parameter_groups(args.learning_rate), lr=args.learning_rate, weight_decay=args.adam_weight_decay
    )
    schedule = get_scheduler(
        args.lr_scheduler,
        optimizer=optimizer,
        num_warmup_steps=args.lr_warmup_steps,
        num_training_steps=args.max_train_steps,
    )
    if args.torch_compile:
        for network in getattr(task, "networks", [task.model]):
            network.compile()  # in place: the names of its weights stay
    model, optimizer = accelerator.prepare(task.model, optimizer)
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    ema = EMAModel(parameters, decay=args.ema_decay, use_ema_warmup=True, power=0.75) if args.use_ema else None
    if ema is not None:
        ema.to(accelerator.device)
    progress = _Progress()
    accelerator.register_for_checkpointing(*[x for x in (schedule, ema, progress) if x is not None])
    if args.report_to != "none":
        flags = {name: value for name, value in public_flags(vars(args)).items() if value is not None}
        accelerator.init_trackers("train", config=flags)
    if args.resume_from_checkpoint:
        _resume(accelerator, output, args.resume_from_checkpoint)

    metrics: dict[str, float] = {}
    watch = _LossWatch(accelerator.device)
    steps = range(*(step * args.gradient_accumulation_steps for step in (progress.step, args.max_train_steps)))
    batches = StepBatches(task, args.train_batch_size, args.seed, accelerator.process_index)
    loader = iter(_loader(batches, steps, args.dataloader_num_workers))
    bar = tqdm(total=args.max_train_steps, initial=progress.step, unit="step", disable=not accelerator.is_main_process)
    while progress.step < args.max_train_steps:
        figures = _optimiser_step(task, model, optimizer, schedule, accelerator, args, loader, watch)
        progress.step += 1
        if ema is not None:
            ema.step(parameters)
        bar.update()
        last = progress.step == args.max_train_steps
        due = {name: last or progress.step % getattr(args, f"{name}_steps") == 0 for name in _REGULAR}
        if any(due.values()):
            watch.check()
        if progress.step % args.logging_steps == 0:
            figures = _numbers(figures)
            figures["lr"] = schedule.get_last_lr()[-1]
            bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()})
            accelerator.log(figures, step=progress.step)
        if due["validation"] and accelerator.is_main_process:
            metrics = _validate(task, accelerator, ema, parameters, output, progress.step)
            bar.write(f"step {progress.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
        if due["checkpointing"]:
            _save_checkpoint(accelerator, output, progress.step, args.checkpoints_total_limit)
    bar.close()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if hasattr(task.model, "config"):
            task.model.config.restricted_by = training_terms(task, args)
        with _averaged(ema, parameters):
            _save_models(task, accelerator.unwrap_model(model), output)
        with replace_file(output / "results.json") as file:
            file.write_text(json.dumps({"step": progress.step, **metrics}, indent=2))
        _say_what_was_made(task, args, output)
    accelerator.end_training()
    if repository is not None:
        _push(output, repository, args)
    return metrics


def _output_folder(path: str) -> Path:
    """Make `--output_dir`, or say why it cannot be written."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise InputError(f"--output_dir: expected a folder that can be written, got {path} ({reason})")
    return Path(path)


def _save_models(task: Task, model: torch.nn.Module, output: Path) -> None:
    """The finished `model` last: where it is, the training is done."""
    for name, write in getattr(task, "also_saved", {}).items():
        save_aside(output / name, write)
    save_aside(output / "model", lambda folder: task.save(model, folder))


def _say_what_was_made(task: Task, args: argparse.Namespace, output: Path) -> None:
    for name in ("model", *getattr(task, "also_saved", {})):
        made = json.loads((output / name / "config.json").read_text())["architectures"][0]
        print(f"{made}: {output / name}, for `from_pretrained`")
    if is_quick_start(args):
        print("This was a short training, to see that all works. A real one (see docs/training.md):")
        print(f"  {task.real_training}")


def _repository(args: argparse.Namespace) -> str | None:
    """The repository that `--push_to_hub` names, made if it is not there; None without the flag."""
    if not args.push_to_hub:
        return None
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    return prepare_repository(name, private=args.hub_private_repo or None, token=args.hub_token)


def _push(output: Path, repository: str, args: argparse.Namespace) -> None:
    """Push the finished run; where that fails, say how to do it later."""
    try:
        print(f"pushed: {push_run(output, repository, token=args.hub_token)}")
    except StorageError as error:
        raise StorageError(f"{error}; the run is whole in {output}: `handdiff push {output} {repository}`") from error


class _LossWatch:
    """Adds up the losses where they are computed, and looks at times whether all were finite."""

    def __init__(self, device):
        self._sum = torch.zeros((), device=device)

    def add(self, loss: torch.Tensor) -> None:
        """That of a micro-step."""
        self._sum += loss.detach()

    def check(self) -> None:
        """Raise a FloatingPointError if one of them since the last check was not finite."""
        total = self._sum.item()
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total}; lower --learning_rate")
        self._sum.zero_()


def _numbers(figures: dict[str, torch.Tensor]) -> dict[str, float]:
    """Figures () as numbers, brought to the CPU all at once."""
    return dict(zip(figures, torch.stack([value.float() for value in figures.values()]).tolist(), strict=True))


def _optimiser_step(task, model, optimizer, schedule, accelerator, args, loader, watch) -> dict[str, torch.Tensor]:
    """One optimiser step over `gradient_accumulation_steps` micro-batches; nothing in it waits for a GPU."""
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    model.train()
    figures: dict[str, torch.Tensor] = {}
    for _ in range(args.gradient_accumulation_steps):
        batch, state = next(loader)
        generator = torch.Generator().set_state(state)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss, figures = task.loss(model, batch, generator)
            watch.add(loss)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(parameters, args.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    schedule.step()
    return {"loss": loss.detach(), **figures}


class _averaged:
    """Within it, the parameters are the EMA's (if there is one)."""

    def __init__(self, ema, parameters):
        self.ema, self.parameters = ema, parameters

    def __enter__(self):
        if self.ema is not None:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)

    def __exit__(self, *error):
        if self.ema is not None:
            self.ema.restore(self.parameters)


def _validate(task, accelerator, ema, parameters, output: Path, step: int) -> dict[str, float]:
    task.model.eval()
    with _averaged(ema, parameters), torch.no_grad():
        metrics, picture = task.validate(task.model)
    accelerator.log({f"validation/{k}": v for k, v in metrics.items()}, step=step)
    if picture is not None:
        folder = output / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"step_{step:07d}.png")
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({"validation": np.asarray(picture)[None]}, step=step, dataformats="NHWC")
    return metrics


def _checkpoints(output: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = [path for path in output.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def _save_checkpoint(accelerator, output: Path, step: int, limit: int | None) -> None:
    """Write aside, rename, then remove what is too old: a killed run never leaves half a checkpoint.

    What it leaves in `writing-STEP` or `removing-STEP` the next run into this folder removes.
    """
    aside = output / f"writing-{step}"
    with held_folder(aside) if accelerator.is_main_process else nullcontext():
        accelerator.wait_for_everyone()
        try:
            accelerator.save_state(str(aside))
        except (OSError, RuntimeError, SafetensorError) as error:  # torch says RuntimeError where a disk is full
            shutil.rmtree(aside, ignore_errors=True)
            reason = why_not_written(error)
            raise StorageError(f"--output_dir: checkpoint-{step} cannot be written ({reason})") from error
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            final = output / f"checkpoint-{step}"
            _remove_checkpoint(final)
            os.replace(aside, final)
    if accelerator.is_main_process:
        for old in _checkpoints(output)[: -limit if limit else None]:
            _remove_checkpoint(old)
    accelerator.wait_for_everyone()


def _remove_checkpoint(folder: Path) -> None:
    """Take a checkpoint's name away before its files: killed in between, no half of it counts as a checkpoint."""
    aside = folder.with_name(folder.name.replace("checkpoint", "removing"))
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        os.replace(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _resume(accelerator, output: Path, which: str) -> None:
    """Load a checkpoint; of "latest" the newest that can be read: a disk may have been full, or a machine gone down."""
    if which != "latest":
        folder = Path(which)
        if not folder.is_dir():
            raise InputError(f"--resume_from_checkpoint: expected a checkpoint's folder or 'latest', got {which}")
        found = [folder]
    else:
        found = _checkpoints(output)[::-1]
        if not found:
            accelerator.print(f"--resume_from_checkpoint latest: no checkpoint in {output}, starting anew")
            return
    broken: dict[Path, str] = {}
    for folder in found:
        reason = _why_not_loaded(accelerator, folder)
        if reason is None:
            break
        broken[folder] = reason
    else:
        folder, reason = next(iter(broken.items()))
        older = f", nor do the {len(broken) - 1} before it" if len(broken) > 1 else ""
        raise InputError(f"--resume_from_checkpoint: {folder} holds no checkpoint of this training{older} ({reason})")
    if broken:
        if accelerator.is_main_process:
            for path in broken:  # else it would count as newer than those that are written from here on
                os.replace(path, path.with_name(f"broken-{path.name}"))
        told = ", ".join(f"{path.name} ({reason})" for path, reason in broken.items())
        accelerator.print(
            f"--resume_from_checkpoint latest: {told} cannot be read, is now called broken-..., and {folder.name} "
            "before it is taken"
        )
    accelerator.print(f"resumed from {folder}")


def _why_not_loaded(accelerator, folder: Path) -> str | None:
    """Load a checkpoint into the training; where any process cannot, all are told why."""
    try:
        accelerator.load_state(str(folder))
        reason = None
    except _UNREADABLE as error:
        reason = first_line(error)
    reasons = gather_object([reason]) if accelerator.num_processes > 1 else [reason]
    return next((reason for reason in reasons if reason is not None), None)


def save_aside(folder: Path, write) -> None:
    """Call `write(temporary folder)`, then put the result in place of `folder`.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; it is then as it was.
    """
    try:
        with replace_folder(folder) as aside:
            write(aside)
    except (OSError, SafetensorError) as error:
        reason = why_not_written(error)
        raise StorageError(f"{folder} cannot be written ({reason}); it is as it was before") from error
