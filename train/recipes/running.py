"""Running the steps of a recipe: skip what is done, go on with what was stopped, refuse what has changed.

`steps/NAME.json` in the folder of a run records each step's command when it begins, and its time when it is done.
"""

import importlib
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

from handdiff_training.flags import run

from hf_handdiff.cli.main import build_parser
from hf_handdiff.cli.main import main as handdiff
from hf_handdiff.errors import InputError
from hf_handdiff.files import make_writable_folder, replace_file
from recipes.steps import HANDDIFF, Step

TRAIN = Path(__file__).parents[1]
_OPTIONS_OF_A_RUN = ("--num-workers", "--dataloader_num_workers")  # these change no result
_FORK = "fork" in multiprocessing.get_all_start_methods()


def check_flags(steps: list[Step]) -> None:
    """Let every step's program read its flags, before hours of work; a wrong one ends the process with a sentence."""
    argv = sys.argv
    for step in steps:
        sys.argv = [f"run.py, step {step.name}"]
        try:
            if step.program == HANDDIFF:
                build_parser().parse_args(step.flags)
            else:
                _module(step).main([*_before_rest(step.flags), "--check_flags", *_rest(step.flags)])
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            sys.argv = argv


def _before_rest(flags: list[str]) -> list[str]:
    return flags[: flags.index("--")] if "--" in flags else flags


def _rest(flags: list[str]) -> list[str]:
    return flags[flags.index("--") :] if "--" in flags else []


def forget(steps: list[Step], name: str, out: Path) -> None:
    """Remove the step `name`, all after it, and what they made.

    Raises:
        InputError: there is no such step.
    """
    names = [step.name for step in steps]
    if name not in names:
        raise InputError(f"--again: expected one of {', '.join(names)}, got {name!r}")
    for step in steps[names.index(name) :]:
        _record_file(out, step).unlink(missing_ok=True)
        for path in step.makes:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def run_steps(steps: list[Step], out: Path) -> dict[str, float]:
    """Do all steps that are not done.

    Args:
        steps: in order.
        out: folder of the run.

    Returns:
        Seconds of each step, those of earlier runs included.

    Raises:
        InputError: a step was begun with other flags.
        SystemExit: a step failed, with its exit code; it has said why.
    """
    make_writable_folder(out / "steps")
    records = {step.name: _record(out, step) for step in steps}
    for step in steps:
        _check_unchanged(step, records[step.name])
    seconds = {}
    for number, step in enumerate(steps, start=1):
        record = records[step.name]
        done = record.get("done", False)
        print(f"[{number}/{len(steps)}] {step.name}: {'done' if done else step.told()}", flush=True)
        if not done:
            record = _do(step, record.get("seconds", 0.0), out)
        seconds[step.name] = record["seconds"]
    return seconds


def _do(step: Step, seconds_before: float, out: Path) -> dict:
    """Run a step; its record tells the time that it took, that of runs that were stopped in an orderly way included."""
    record = {"step": step.name, "command": step.told(), "flags": _deciding(step), "done": False}
    _write_record(out, step, {**record, "seconds": seconds_before})
    start = time.monotonic()
    code = _run(step)
    record |= {"seconds": seconds_before + time.monotonic() - start, "done": code == 0}
    _write_record(out, step, record)
    if code:
        print(f"run.py: step {step.name} ended with {code}; the same command goes on from there", file=sys.stderr)
        sys.exit(code)
    return record


def _run(step: Step) -> int:
    """Exit code of a step, in a process of its own: what it took of memory goes with it."""
    if step.processes > 1:
        target = ["-m", "hf_handdiff"] if step.program == HANDDIFF else [str(TRAIN / f"{step.program}.py")]
        several = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(step.processes)]
        return subprocess.run([sys.executable, "-m", *several, *target, *step.flags]).returncode
    context = multiprocessing.get_context("fork" if _FORK else "spawn")  # forked, it has torch loaded already
    process = context.Process(target=_main, args=(step,))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()
        raise
    code = process.exitcode or 0
    return 128 - code if code < 0 else code


def _main(step: Step) -> None:
    """The child process."""
    sys.argv = [f"{step.program}.py", *step.flags]
    if step.program == HANDDIFF:
        sys.exit(handdiff(step.flags))
    run(_module(step).main)


def _module(step: Step):
    return importlib.import_module(step.program.replace("/", "."))


# ------------------------------------------------------------------------------------------------ records


def _record_file(out: Path, step: Step) -> Path:
    return out / "steps" / f"{step.name}.json"


def _record(out: Path, step: Step) -> dict:
    """What an earlier run left of a step; nothing where it left none that can be read."""
    try:
        record = json.loads(_record_file(out, step).read_text())
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def _write_record(out: Path, step: Step, record: dict) -> None:
    with replace_file(_record_file(out, step)) as file:
        file.write_text(json.dumps(record, indent=2) + "\n")


def _deciding(step: Step) -> list[str]:
    """The flags that decide what a step makes."""
    flags, left_out = [], False
    for word in step.flags:
        if not left_out and word not in _OPTIONS_OF_A_RUN:
            flags.append(word)
        left_out = word in _OPTIONS_OF_A_RUN
    return flags


def _check_unchanged(step: Step, record: dict) -> None:
    before, now = record.get("flags"), _deciding(step)
    if before is None or before == now:
        return
    changed = [word for word in now if word not in before] or [word for word in before if word not in now]
    raise InputError(
        f"--out: step {step.name} was begun there with other flags ({' '.join(changed) or 'another order'} now); give "
        f"--again {step.name} to remove it and what follows from it, or another --out"
    )
