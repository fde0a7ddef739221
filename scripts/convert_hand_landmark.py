"""Converts MediaPipe's hand landmark network to the initial checkpoint of our image encoder.

    pip download --no-deps mediapipe==0.10.21
    python scripts/convert_hand_landmark.py mediapipe-0.10.21-*.whl --out checkpoints/image_encoder_initial

Source: `hand_landmark_full.tflite` in the wheel of MediaPipe 0.10.21, (c) Google, Apache License 2.0.  Of its
four outputs the 2D landmarks (x and y), the presence score and the world landmarks are kept; relative depth
and handedness are not. Needs `ai-edge-litert`.  The weights are float16 in the file and float32 in the
checkpoint.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderConfig

MODEL_NAME = "hand_landmark_full.tflite"
INPUT_SIZE = 224
TOLERANCE = 1e-4


def read_from_archive(archive: Path) -> bytes:
    """The model's bytes out of a wheel, or out of a `.task` bundle that lies in the wheel."""
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if name.endswith(MODEL_NAME):
                return wheel.read(name)
        for name in wheel.namelist():
            if name.endswith(".task"):
                with zipfile.ZipFile(io.BytesIO(wheel.read(name))) as bundle:
                    for inner in bundle.namelist():
                        if inner.endswith(MODEL_NAME):
                            return bundle.read(inner)
    raise SystemExit(f"{archive.name} holds no {MODEL_NAME}: expected the wheel of mediapipe 0.10.21")


class LandmarkModel:
    """The original network in the TFLite interpreter, and its weights in the order of the operators."""

    def __init__(self, content: bytes):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        self.run(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.float32))  # fills the dequantised weights

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """image (1, 224, 224, 3) in 0..1 -> landmarks (21, 3) px, presence 0..1, world (21, 3) m."""
        interpreter = self.interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs = {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
        return {
            "landmarks": outputs["Identity"].reshape(21, 3),
            "presence": outputs["Identity_1"].reshape(()),
            "world": outputs["Identity_3"].reshape(21, 3),
        }

    def convolutions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight (out, in / groups, k, k) and bias (out,) of every convolution, in the order of execution."""
        found = []
        for operator in self.interpreter._get_ops_details():
            if operator["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                continue
            weight, bias = (self.interpreter.get_tensor(int(i)) for i in operator["inputs"][1:3])
            axes = (0, 3, 1, 2) if operator["op_name"] == "CONV_2D" else (3, 0, 1, 2)
            found.append((weight.transpose(axes).copy(), bias.copy()))
        return found

    def linear(self, output_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight (out, in) and bias (out,) of the linear layer behind an output (before its sigmoid)."""
        operators = list(self.interpreter._get_ops_details())
        target = {d["name"]: int(d["index"]) for d in self.interpreter.get_output_details()}[output_name]
        for operator in reversed(operators):
            if int(operator["outputs"][0]) != target:
                continue
            if operator["op_name"] == "LOGISTIC":
                target = int(operator["inputs"][0])
                continue
            weight, bias = (self.interpreter.get_tensor(int(i)) for i in operator["inputs"][1:3])
            return weight.copy(), bias.copy()
        raise SystemExit(f"the network has no linear layer for output {output_name}")


def copy_weights(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Fills a layer, whose shape must fit."""
    if tuple(layer.weight.shape) != weight.shape:
        raise SystemExit(f"layer of shape {tuple(layer.weight.shape)} does not take weights of {weight.shape}")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def convert(source: LandmarkModel, config: HandImageEncoderConfig) -> HandImageEncoder:
    """The encoder with the backbone and heads of the source; its new parts come from torch's generator."""
    model = HandImageEncoder(config).eval()
    ours = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
    theirs = source.convolutions()
    if len(ours) != len(theirs):
        raise SystemExit(f"expected {len(ours)} convolutions, the file has {len(theirs)}")
    for layer, (weight, bias) in zip(ours, theirs, strict=True):
        copy_weights(layer, weight, bias)

    weight, bias = source.linear("Identity")
    rows = [3 * joint + axis for joint in range(21) for axis in range(2)]  # x and y of the (x, y, z) triples
    copy_weights(model.landmark_head, weight[rows] / INPUT_SIZE, bias[rows] / INPUT_SIZE)
    copy_weights(model.presence_head, *source.linear("Identity_1"))
    copy_weights(model.world_head, *source.linear("Identity_3"))
    # The first look starts from the same features.
    trunk = model.framing.trunk
    trunk.load_state_dict({key: model.backbone.state_dict()[key] for key in trunk.state_dict()})
    return model


def parity(source: LandmarkModel, model: HandImageEncoder, num_images: int = 4, seed: int = 0) -> dict[str, float]:
    """Largest absolute differences on random images: noise, and smooth noise, which excites it more."""
    rng = np.random.default_rng(seed)
    worst = {"landmarks (crop units)": 0.0, "presence (probability)": 0.0, "world (m, wrist-relative)": 0.0}
    for index in range(num_images):
        size = INPUT_SIZE if index % 2 == 0 else 7
        noise = torch.from_numpy(rng.random((1, 3, size, size), dtype=np.float32))
        image = nn.functional.interpolate(noise, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        expected = source.run(image.permute(0, 2, 3, 1).contiguous().numpy())
        with torch.no_grad():
            output = model(image, framed=True)
        differences = (
            output.keypoints[0].numpy() - expected["landmarks"][:, :2] / INPUT_SIZE,
            output.hand_logit[0].sigmoid().numpy() - expected["presence"],
            output.joints[0].numpy() - (expected["world"] - expected["world"][:1]),
        )
        for name, difference in zip(worst, differences, strict=True):
            worst[name] = max(worst[name], float(np.abs(difference).max()))
    return worst


def main() -> None:
    """Converts, checks and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="wheel of mediapipe 0.10.21")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the parts that are not converted")
    args = parser.parse_args()
    if not zipfile.is_zipfile(args.wheel):
        raise SystemExit(f"wheel: expected the wheel of mediapipe 0.10.21, got {args.wheel}")

    torch.manual_seed(args.seed)
    source = LandmarkModel(read_from_archive(args.wheel))
    model = convert(source, HandImageEncoderConfig())
    for name, difference in parity(source, model).items():
        print(f"largest difference, {name}: {difference:.1e}")
        if difference > TOLERANCE:
            raise SystemExit(f"{name} differs from the original by more than {TOLERANCE}")
    model.save_pretrained(args.out)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"wrote {args.out}: {millions:.2f} M parameters")


if __name__ == "__main__":
    main()
