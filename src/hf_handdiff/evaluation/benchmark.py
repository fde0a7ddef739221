"""Time and memory of a pipeline: by the number of hypotheses, of the image encoder, of a fresh start."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.benchmark_figures import BenchmarkFigures, FreshProcess
from hf_handdiff.evaluation.onnx_timing import onnx_rows
from hf_handdiff.evaluation.reference_timings import reference_rows
from hf_handdiff.evaluation.tables import Table


@dataclass
class CallLog:
    """When a module ran.

    Attributes:
        seconds: one entry a call.
    """

    seconds: list[float] = field(default_factory=list)


@contextmanager
def watch_calls(module: torch.nn.Module) -> Iterator[CallLog]:
    """Count and time the forward calls of a module while the block runs."""
    log, began = CallLog(), []

    def before(_module, _inputs):
        began.append(time.perf_counter())

    def after(_module, _inputs, _outputs):
        log.seconds.append(time.perf_counter() - began.pop())

    hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield log
    finally:
        for hook in hooks:
            hook.remove()


def fit_cost(counts: list[int], milliseconds: list[float]) -> tuple[float, float]:
    """Least squares of ms = fixed + each * N: (fixed, each) ms. One count only has no slope: each is NaN."""
    if len(set(counts)) < 2:
        return statistics.mean(milliseconds), float("nan")
    each, fixed = np.polyfit(counts, milliseconds, deg=1)
    return float(fixed), float(each)


def measure_pipeline(
    pipeline: Any, image: np.ndarray, counts: list[int], repeats: int = 7, **options: Any
) -> BenchmarkFigures:
    """Time one image at several numbers of hypotheses.

    Every count is run once to warm up, then `repeats` times; the median counts. The counts take turns, so
    that a busy spell of the machine does not fall on one of them alone.

    Args:
        pipeline: has `image_encoder`, and is called as `CascadedHandPipeline`.
        image: (H, W, 3) uint8 RGB.
        counts: numbers of hypotheses.
        repeats: of each count.
        options: further keyword arguments of the pipeline.
    """
    times: dict[int, list[float]] = {count: [] for count in counts}
    encoder_ms, encoder_calls = [], 0
    for turn in range(repeats + 1):
        for count in counts:
            with watch_calls(pipeline.image_encoder) as log:
                began = time.perf_counter()
                pipeline(image, num_hypotheses=count, generator=0, output_type="np", **options)
                elapsed = time.perf_counter() - began
            encoder_calls = max(encoder_calls, len(log.seconds))
            if turn > 0:
                times[count].append(1000 * elapsed)
                encoder_ms += [1000 * seconds for seconds in log.seconds]
    medians = {count: statistics.median(values) for count, values in times.items()}
    fixed, each = fit_cost(list(medians), list(medians.values()))
    return {
        "ms_per_image": {str(count): value for count, value in medians.items()},
        "fastest_ms_per_image": {str(count): min(values) for count, values in times.items()},
        "fixed_ms": fixed,
        "ms_per_extra_hypothesis": None if np.isnan(each) else each,
        "encoder_ms": statistics.median(encoder_ms) if encoder_ms else None,
        "encoder_calls_per_image": encoder_calls,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "device": str(pipeline.device),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "cores": os.cpu_count(),
        "machine": f"{platform.machine()}, torch {torch.__version__}",
    }


# What a fresh process runs: image file, checkpoint and device come as arguments, the figures go out as JSON.
_FRESH_PROCESS = """
import json, resource, sys, time
began = time.perf_counter()
import numpy as np
import hf_handdiff
image_path, checkpoint, device = sys.argv[1:]
image = np.load(image_path)
pipeline = hf_handdiff.CascadedHandPipeline.from_pretrained(checkpoint).to(device)
pipeline.set_progress_bar_config(disable=True)
loaded = time.perf_counter()
pipeline(image, num_hypotheses=20, generator=0)
done = time.perf_counter()
try:  # Linux hands getrusage's peak on from the process that started this one: ask for the one of this program
    with open("/proc/self/status") as status:
        peak_mib = next(int(line.split()[1]) / 2**10 for line in status if line.startswith("VmHWM"))
except (OSError, StopIteration):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
print(json.dumps({"load_s": loaded - began, "first_answer_s": done - loaded, "peak_memory_mib": peak_mib}))
"""


def measure_fresh_process(checkpoint: str, device: str, image: np.ndarray) -> FreshProcess:
    """From the start of a new Python process to its first answer with 20 hypotheses.

    Args:
        checkpoint: folder or Hub repository.
        device: where its networks run.
        image: (H, W, 3) uint8 RGB.

    Raises:
        InputError: the process failed; the message ends with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        image_path = Path(folder) / "image.npy"
        np.save(image_path, image)
        began = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-c", _FRESH_PROCESS, str(image_path), str(checkpoint), device],
            capture_output=True,
            text=True,
            check=False,
        )
        total = time.perf_counter() - began
    if process.returncode != 0:
        last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the fresh process failed: {last_line}")
    return {"total_s": total, **json.loads(process.stdout.strip().splitlines()[-1])}


def render_benchmark(figures: BenchmarkFigures) -> str:
    """The figures as a Markdown table."""
    rows = []
    for count, value in figures["ms_per_image"].items():
        fastest = figures["fastest_ms_per_image"][count]
        rows.append([f"N = {count}", f"{value:.1f} ms (fastest {fastest:.1f} ms)"])
    if figures["ms_per_extra_hypothesis"] is not None:
        rows.append(["one more hypothesis", f"{figures['ms_per_extra_hypothesis']:.2f} ms"])
        rows.append(["fixed cost", f"{figures['fixed_ms']:.1f} ms"])
    if figures["encoder_ms"] is not None:
        rows.append(["image encoder, within that", f"{figures['encoder_ms']:.1f} ms"])
    rows.append(["image encoder runs per image", str(figures["encoder_calls_per_image"])])
    fresh = figures.get("fresh_process")
    if fresh is not None:
        rows.append(["fresh process to first answer (N = 20)", f"{fresh['total_s']:.2f} s"])
        rows.append(["of it imports and weights", f"{fresh['load_s']:.2f} s"])
        rows.append(["of it the first answer", f"{fresh['first_answer_s']:.2f} s"])
        rows.append(["peak memory", f"{fresh['peak_memory_mib']:.0f} MiB"])
    rows += reference_rows(figures) + onnx_rows(figures)
    load = figures["load_average"]
    busy = "" if load is None else f", load average {load:.1f} on {figures['cores']} cores"
    note = (
        f"One image, median of {figures['repeats']} runs after warm-up; {figures['device']}, "
        f"{figures['threads']} threads{busy}, {figures['machine']}; "
        f"{figures.get('checkpoint', 'no checkpoint')}."
    )
    return Table("Benchmark", ["", ""], rows, note).markdown()
