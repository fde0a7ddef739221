"""The networks inside MediaPipe's wheel, read with the TFLite interpreter (`ai-edge-litert`): for the converters."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn


def read_from_wheel(archive: Path, model_name: str) -> bytes:
    """A model's bytes out of a wheel, or out of a `.task` bundle that lies in the wheel."""
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if name.endswith(model_name):
                return wheel.read(name)
        for name in wheel.namelist():
            if name.endswith(".task"):
                with zipfile.ZipFile(io.BytesIO(wheel.read(name))) as bundle:
                    for inner in bundle.namelist():
                        if inner.endswith(model_name):
                            return bundle.read(inner)
    raise SystemExit(f"{archive.name} holds no {model_name}: expected the wheel of mediapipe 0.10.21")


class TfliteModel:
    """An original network in the TFLite interpreter, and its weights in the order of the operators."""

    def __init__(self, content: bytes):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        self.run(np.zeros(self.interpreter.get_input_details()[0]["shape"], np.float32))  # dequantises the weights

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """image (1, S, S, 3) in 0..1 -> outputs by name, without the first axis."""
        interpreter = self.interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"])[0].copy() for d in interpreter.get_output_details()}

    def layers(self) -> list[tuple[np.ndarray, ...]]:
        """(weight, bias) of every convolution and (slopes,) of every PReLU, in the order of execution."""
        found = []
        for operator in self.interpreter._get_ops_details():
            name = operator["op_name"]
            if name == "PRELU":
                found.append((self.interpreter.get_tensor(int(operator["inputs"][1])).reshape(-1).copy(),))
            elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                weight, bias = (self.interpreter.get_tensor(int(i)) for i in operator["inputs"][1:3])
                axes = (0, 3, 1, 2) if name == "CONV_2D" else (3, 0, 1, 2)
                found.append((weight.transpose(axes).copy(), bias.copy()))
        return found

    def linear(self, output_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight (out, in) and bias (out,) of the linear layer behind an output (before its sigmoid)."""
        target = {d["name"]: int(d["index"]) for d in self.interpreter.get_output_details()}[output_name]
        for operator in reversed(list(self.interpreter._get_ops_details())):
            if int(operator["outputs"][0]) != target:
                continue
            if operator["op_name"] != "LOGISTIC":
                weight, bias = (self.interpreter.get_tensor(int(i)) for i in operator["inputs"][1:3])
                return weight.copy(), bias.copy()
            target = int(operator["inputs"][0])
        raise SystemExit(f"the network has no linear layer for output {output_name}")


def copy_weights(layer: nn.Module, arrays: tuple[np.ndarray, ...]) -> None:
    """Fills a layer, whose shapes must fit."""
    with torch.no_grad():
        for parameter, array in zip(layer.parameters(), arrays, strict=True):
            if tuple(parameter.shape) != array.shape:
                raise SystemExit(f"a layer of shape {tuple(parameter.shape)} does not take weights of {array.shape}")
            parameter.copy_(torch.from_numpy(array))


def copy_layers(ours: list[nn.Module], theirs: list[tuple[np.ndarray, ...]]) -> None:
    """Fills layers in order."""
    if len(ours) != len(theirs):
        raise SystemExit(f"expected {len(ours)} layers with weights, the file has {len(theirs)}")
    for layer, arrays in zip(ours, theirs, strict=True):
        copy_weights(layer, arrays)


def random_images(side: int, num_images: int = 4, seed: int = 0) -> Iterator[torch.Tensor]:
    """Pictures (1, 3, side, side): noise, and smooth noise, which excites a network more."""
    rng = np.random.default_rng(seed)
    for index in range(num_images):
        size = side if index % 2 == 0 else 7
        noise = torch.from_numpy(rng.random((1, 3, size, size), dtype=np.float32))
        yield nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
