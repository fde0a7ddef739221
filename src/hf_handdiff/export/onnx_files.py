"""Writing the networks as ONNX files with an `onnx.json` that tells what is in them, and opening them again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from hf_handdiff import __version__
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.export.graphs import NamedTensor, NetworkGraph, network_graphs
from hf_handdiff.files import replace_file
from hf_handdiff.json_files import read_json_object

INSTALL_ONNX = "ONNX is not installed; install it with: pip install 'hf_handdiff[onnx]'"
INDEX_NAME = "onnx.json"
OPSET = 20  # the first that has AffineGrid, with which the image encoder cuts out the hand
_TRACED_BATCH = 2  # a batch of one could be taken for a constant


def export_pipeline(pipeline: Any, folder: str | Path, checkpoint: str) -> list[Path]:
    """Write every network of a pipeline as NAME.onnx, and `onnx.json`, into a folder.

    Args:
        pipeline: a `CascadedHandPipeline` on the CPU, float32.
        folder: made if it is missing. `onnx.json` is written last.
        checkpoint: what the weights are, with a digest; goes into `onnx.json`.

    Returns:
        The paths that were written.

    Raises:
        InputError: ONNX is not installed, or the folder cannot be made.
    """
    _import_or_say("onnx", "export")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: '{folder}' cannot be made a folder ({error.strerror})") from None
    graphs = network_graphs(pipeline)
    written = []
    for graph in graphs:
        written.append(folder / f"{graph.name}.onnx")
        _export_graph(graph, written[-1])
    index = {
        "package": f"hf_handdiff {__version__}",
        "checkpoint": checkpoint,
        "opset": OPSET,
        "components": {graph.name: _description(graph) for graph in graphs},
    }
    written.append(folder / INDEX_NAME)
    with replace_file(written[-1]) as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n")
    return written


def _export_graph(graph: NetworkGraph, path: Path) -> None:
    """Trace one network and write it, checked, as one file.

    By the tracing exporter: the one on torch.export takes ten times as long for the image encoder and fixes its batch
    size (torch 2.13). What tracing cannot follow, branches on values, the networks do not have.
    """
    import onnx

    names = [tensor.name for tensor in (*graph.inputs, *graph.outputs)]
    # ONNX has one space of names: an output may not be called as an input is
    if len(set(names)) != len(names):
        raise ValueError(f"{graph.name}: names of inputs and outputs must differ, got {names}")
    module = graph.module.eval()
    with replace_file(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter, and about checks of shapes that are not traced
        torch.onnx.export(
            module,
            graph.example_inputs(_TRACED_BATCH),
            str(temporary),
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
        onnx.checker.check_model(str(temporary), full_check=True)


def _description(graph: NetworkGraph) -> dict[str, Any]:
    def describe(tensors: tuple[NamedTensor, ...]) -> list[dict[str, Any]]:
        return [{"name": t.name, "shape": ["batch", *t.shape], "dtype": t.dtype, "meaning": t.meaning} for t in tensors]

    return {"file": f"{graph.name}.onnx", "inputs": describe(graph.inputs), "outputs": describe(graph.outputs)}


def read_index(folder: str | Path, argument: str) -> dict[str, Any]:
    """The contents of a folder's `onnx.json`.

    Args:
        folder: what `handdiff export` wrote.
        argument: what named the folder, for the message.

    Raises:
        InputError: there is no such file, it is not an index, or a file that it names is missing.
    """
    path = Path(folder) / INDEX_NAME
    try:
        index = read_json_object(path, argument)
        files = [component["file"] for component in index["components"].values()]
    except (InputError, KeyError, TypeError, AttributeError):
        files = [None]
    if not all(isinstance(file, str) and file == Path(file).name for file in files):
        raise InputError(f"{argument}: expected a folder that handdiff export wrote, got '{folder}'") from None
    missing = [name for name in files if not (path.parent / name).is_file()]
    if missing:
        raise InputError(f"{argument}: expected {missing[0]} in '{folder}', but it is missing")
    return index


def open_session(path: str | Path, argument: str, threads: int | None = None):
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        path: the ONNX file.
        argument: what asked for it, for the message.
        threads: that one call may use; None: as many as PyTorch uses now.

    Raises:
        InputError: onnxruntime is not installed, or the file is not what it can run.
    """
    onnxruntime = _import_or_say("onnxruntime", argument)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class of their own
        raise InputError(f"{argument}: {Path(path).name} cannot be loaded: {first_line(error)}") from error


def run_session(session, tensors: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Call a session as the module that it was exported from: tensors in, tensors out, in their order."""
    names = [port.name for port in session.get_inputs()]
    feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    return [torch.from_numpy(array) for array in session.run(None, feed)]


def _import_or_say(name: str, argument: str):
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{argument}: {INSTALL_ONNX}") from None
