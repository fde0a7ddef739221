"""The networks in onnxruntime beside PyTorch: time of one call, on the CPU with as many threads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.benchmark_figures import BenchmarkFigures, OnnxTiming
from hf_handdiff.export.graphs import network_graphs
from hf_handdiff.export.onnx_files import open_session, read_index, run_session

HYPOTHESES = 20  # rows of all networks but the image encoder, which sees each image once


def measure_onnx(pipeline: Any, folder: str | Path, checkpoint: str, repeats: int = 7) -> dict[str, OnnxTiming]:
    """Time each network on the same values in PyTorch and in onnxruntime.

    After one call of each to warm up they take turns, so that a busy spell of the machine falls on both.

    Args:
        pipeline: a `CascadedHandPipeline` on the CPU.
        folder: what `handdiff export` wrote of it.
        checkpoint: what the pipeline's weights are, as `onnx.json` tells it.
        repeats: of each.

    Returns:
        By component.

    Raises:
        InputError: the pipeline is not on the CPU, onnxruntime is not installed, or the folder is of other weights.
    """
    if str(pipeline.device) != "cpu":
        raise InputError(f"--onnx: expected --device cpu, which both can use, got {pipeline.device}")
    index = read_index(folder, "--onnx")
    if index.get("checkpoint") != checkpoint:
        raise InputError(f"--onnx: expected an export of {checkpoint}, but '{folder}' is of {index.get('checkpoint')}")
    figures = {}
    for graph in network_graphs(pipeline):
        session = open_session(Path(folder) / index["components"][graph.name]["file"], "--onnx")
        rows = 1 if graph.name == "image_encoder" else HYPOTHESES
        inputs = graph.example_inputs(rows)
        with torch.inference_mode():
            ours, theirs = _in_turns([partial(graph.module, *inputs), partial(run_session, session, inputs)], repeats)
        figures[graph.name] = {
            "rows": rows,
            "torch_ms": statistics.median(ours),
            "onnxruntime_ms": statistics.median(theirs),
            "ratio": statistics.median(our / their for our, their in zip(ours, theirs, strict=True)),
        }
    return figures


def _in_turns(calls: list[Callable], repeats: int) -> list[list[float]]:
    """Milliseconds of each call, `repeats` times in turns after one of each to warm up."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, milliseconds in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            if turn > 0:
                milliseconds.append(1000 * (time.perf_counter() - began))
    return times


def onnx_rows(figures: BenchmarkFigures) -> list[list[str]]:
    """Rows of the benchmark's table."""
    rows = []
    for name, timed in figures.get("onnx", {}).items():
        hands = "1 image" if name == "image_encoder" else f"one call with {timed['rows']} hands"
        both = f"{timed['torch_ms']:.1f} / {timed['onnxruntime_ms']:.1f} ms, {timed['ratio']:.2f} times faster"
        rows.append([f"{name}, {hands}: PyTorch / onnxruntime", both])
    return rows
