"""Converts MediaPipe's palm detection network to a checkpoint of our hand detector.

    pip download --no-deps mediapipe==0.10.21
    python scripts/convert_palm_detection.py mediapipe-0.10.21-*.whl --out checkpoints/hand_detector --half

Source: `palm_detection_full.tflite` in the wheel of MediaPipe 0.10.21, (c) Google, Apache License 2.0.  All of it is
kept. Needs `ai-edge-litert`.  The weights are float16 in the file; the checkpoint is float32, or float16 with --half.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hf_handdiff.models.hand_detector import HandDetector, HandDetectorConfig, PalmHead

MODEL_NAME = "palm_detection_full.tflite"
TOLERANCE = 1e-4


def read_from_wheel(wheel: Path) -> bytes:
    """The model's bytes out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(MODEL_NAME):
                return archive.read(name)
    raise SystemExit(f"{wheel.name} holds no {MODEL_NAME}: expected the wheel of mediapipe 0.10.21")


class PalmModel:
    """The original network in the TFLite interpreter, and its weights in the order of the operators."""

    def __init__(self, content: bytes):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        self.run(np.zeros(self.interpreter.get_input_details()[0]["shape"], np.float32))  # dequantises the weights

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """image (1, 192, 192, 3) in 0..1 -> numbers (2016, 18) px from the anchors, score logits (2016,)."""
        interpreter = self.interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs = {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
        return outputs["Identity"][0].copy(), outputs["Identity_1"][0, :, 0].copy()

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


def layers_in_order(model: HandDetector) -> list[nn.Module]:
    """Our convolutions and PReLUs in the file's order: on the way down, then each map's stage and its head."""
    parts = [model.stem, model.stem_activation, model.stages]
    parts += [model.up_coarse, model.head_coarse, model.up_fine, model.head_fine]
    assert isinstance(model.head_fine, PalmHead)  # whose score layer stands before its places, as in the file
    return [module for part in parts for module in part.modules() if isinstance(module, (nn.Conv2d, nn.PReLU))]


def convert(source: PalmModel, config: HandDetectorConfig) -> HandDetector:
    """The detector with all weights of the source."""
    model = HandDetector(config).eval()
    ours, theirs = layers_in_order(model), source.layers()
    if len(ours) != len(theirs):
        raise SystemExit(f"expected {len(ours)} layers with weights, the file has {len(theirs)}")
    with torch.no_grad():
        for layer, arrays in zip(ours, theirs, strict=True):
            for parameter, array in zip(layer.parameters(), arrays, strict=True):
                if tuple(parameter.shape) != array.shape:
                    raise SystemExit(f"a layer of shape {tuple(parameter.shape)} does not take weights of {array.shape}")
                parameter.copy_(torch.from_numpy(array))
    return model


def parity(source: PalmModel, model: HandDetector, num_images: int = 4, seed: int = 0) -> dict[str, float]:
    """Largest absolute differences on random images: noise, and smooth noise, which excites it more."""
    rng = np.random.default_rng(seed)
    side = model.config.image_size
    worst = {"place (shares of the picture)": 0.0, "score (probability)": 0.0}
    for index in range(num_images):
        size = side if index % 2 == 0 else 7
        noise = torch.from_numpy(rng.random((1, 3, size, size), dtype=np.float32))
        image = nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
        numbers, logits = source.run(image.permute(0, 2, 3, 1).contiguous().numpy())
        with torch.no_grad():
            output = model(image)
        numbers = torch.from_numpy(numbers) / side
        centre = (output.boxes[0, :, :2] + output.boxes[0, :, 2:]) / 2 - model.anchors
        extent = output.boxes[0, :, 2:] - output.boxes[0, :, :2]
        points = (output.points[0] - model.anchors[:, None]).flatten(1)
        differences = (
            torch.cat([centre, extent, points], dim=-1) - numbers,
            output.score_logits[0].sigmoid() - torch.from_numpy(logits).sigmoid(),
        )
        for name, difference in zip(worst, differences, strict=True):
            worst[name] = max(worst[name], float(difference.abs().max()))
    return worst


def main() -> None:
    """Converts, checks and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="wheel of mediapipe 0.10.21")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--half", action="store_true", help="store weights in float16: half the size")
    args = parser.parse_args()
    if not zipfile.is_zipfile(args.wheel):
        raise SystemExit(f"wheel: expected the wheel of mediapipe 0.10.21, got {args.wheel}")

    source = PalmModel(read_from_wheel(args.wheel))
    model = convert(source, HandDetectorConfig())
    for name, difference in parity(source, model).items():
        print(f"largest difference, {name}: {difference:.1e}")
        if difference > TOLERANCE:
            raise SystemExit(f"{name} differs from the original by more than {TOLERANCE}")
    (model.half() if args.half else model).save_pretrained(args.out)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"wrote {args.out}: {millions:.2f} M parameters")


if __name__ == "__main__":
    main()
