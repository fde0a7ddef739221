"""Converts MediaPipe's palm detection network and its small hand landmark network to our hand detector.

    pip download --no-deps mediapipe==0.10.21
    python scripts/convert_palm_detection.py mediapipe-0.10.21-*.whl --out checkpoints/hand_detector --half

Source: `palm_detection_full.tflite` and `hand_landmark_lite.tflite` in the wheel of MediaPipe 0.10.21, (c) Google,
Apache License 2.0.  Of the second, the 2D landmarks (x and y), the presence score and the side are kept. Needs
`ai-edge-litert`.  The weights are float16 in the files; the checkpoint is float32, or float16 with --half.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hf_handdiff.models.hand_detector import HandDetector, HandDetectorConfig, anchor_centres

PALM_MODEL, HAND_MODEL = "palm_detection_full.tflite", "hand_landmark_lite.tflite"
TOLERANCE = 1e-4


def read_from_wheel(wheel: Path, model_name: str) -> bytes:
    """A model's bytes out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(model_name):
                return archive.read(name)
    raise SystemExit(f"{wheel.name} holds no {model_name}: expected the wheel of mediapipe 0.10.21")


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


def layers_of(*parts: nn.Module) -> list[nn.Module]:
    """The convolutions and PReLUs of parts that are given in the file's order."""
    return [module for part in parts for module in part.modules() if isinstance(module, (nn.Conv2d, nn.PReLU))]


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


def convert(palm: TfliteModel, hand: TfliteModel, config: HandDetectorConfig) -> HandDetector:
    """The detector with the weights of both sources."""
    model = HandDetector(config).eval()
    down = (model.stem, model.stem_activation, model.stages)
    up = (model.up_coarse, model.head_coarse, model.up_fine, model.head_fine)
    copy_layers(layers_of(*down, *up), palm.layers())

    network, size = model.hand_network, config.hand_size
    copy_layers(layers_of(network), hand.layers())
    weight, bias = hand.linear("Identity")
    rows = [3 * joint + axis for joint in range(21) for axis in range(2)]  # x and y of the (x, y, z) triples
    copy_weights(network.landmark_head, (weight[rows] / size, bias[rows] / size))
    copy_weights(network.presence_head, hand.linear("Identity_1"))
    copy_weights(network.side_head, hand.linear("Identity_2"))
    return model


def random_images(side: int, num_images: int = 4, seed: int = 0):
    """Pictures (1, 3, side, side): noise, and smooth noise, which excites a network more."""
    rng = np.random.default_rng(seed)
    for index in range(num_images):
        size = side if index % 2 == 0 else 7
        noise = torch.from_numpy(rng.random((1, 3, size, size), dtype=np.float32))
        yield nn.functional.interpolate(noise, size=(side, side), mode="bilinear")


@torch.no_grad()
def parity(palm: TfliteModel, hand: TfliteModel, model: HandDetector) -> dict[str, float]:
    """Largest absolute differences on random images."""
    differences: dict[str, list[float]] = {}

    def compare(name: str, ours: torch.Tensor, theirs: np.ndarray) -> None:
        difference = (ours - torch.from_numpy(theirs).view(ours.shape)).abs().max()
        differences.setdefault(name, []).append(float(difference))

    side = model.config.image_size
    anchors = anchor_centres(side)
    for image in random_images(side):
        expected = palm.run(image.permute(0, 2, 3, 1).contiguous().numpy())
        output = model(image)
        low, high = output.boxes[0].split(2, dim=-1)
        points = (output.points[0] - anchors[:, None]).flatten(1)
        places = torch.cat([(low + high) / 2 - anchors, high - low, points], dim=-1)
        compare("place of palms (shares of the picture)", places, expected["Identity"] / side)
        compare("score of palms (logit)", output.score_logits[0], expected["Identity_1"])
    for image in random_images(model.config.hand_size):
        expected = hand.run(image.permute(0, 2, 3, 1).contiguous().numpy())
        output = model.hands(image)
        landmarks = expected["Identity"].reshape(21, 3)[:, :2] / model.config.hand_size
        compare("keypoints (shares of the square)", output.keypoints[0], landmarks)
        compare("hand score (probability)", output.hand_score, expected["Identity_1"])
        compare("side (probability)", output.right_score, expected["Identity_2"])
    return {name: max(values) for name, values in differences.items()}


def main() -> None:
    """Converts, checks and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="wheel of mediapipe 0.10.21")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--half", action="store_true", help="store weights in float16: half the size")
    args = parser.parse_args()
    if not zipfile.is_zipfile(args.wheel):
        raise SystemExit(f"wheel: expected the wheel of mediapipe 0.10.21, got {args.wheel}")

    palm, hand = (TfliteModel(read_from_wheel(args.wheel, name)) for name in (PALM_MODEL, HAND_MODEL))
    model = convert(palm, hand, HandDetectorConfig())
    for name, difference in parity(palm, hand, model).items():
        print(f"largest difference, {name}: {difference:.1e}")
        if difference > TOLERANCE:
            raise SystemExit(f"{name} differs from the original by more than {TOLERANCE}")
    (model.half() if args.half else model).save_pretrained(args.out)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"wrote {args.out}: {millions:.2f} M parameters")


if __name__ == "__main__":
    main()
