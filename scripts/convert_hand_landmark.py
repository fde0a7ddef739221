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
import zipfile
from pathlib import Path

import numpy as np
import torch
from tflite_model import TfliteModel, copy_layers, copy_weights, random_images, read_from_wheel
from torch import nn

from hf_handdiff.models.image_encoder import HandImageEncoder
from hf_handdiff.models.image_encoder_config import HandImageEncoderConfig

MODEL_NAME = "hand_landmark_full.tflite"
INPUT_SIZE = 224
TOLERANCE = 1e-4


def convert(source: TfliteModel, config: HandImageEncoderConfig) -> HandImageEncoder:
    """The encoder with the backbone and heads of the source; its new parts come from torch's generator."""
    model = HandImageEncoder(config).eval()
    ours = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
    copy_layers(ours, source.layers())

    weight, bias = source.linear("Identity")
    rows = [3 * joint + axis for joint in range(21) for axis in range(2)]  # x and y of the (x, y, z) triples
    copy_weights(model.landmark_head, (weight[rows] / INPUT_SIZE, bias[rows] / INPUT_SIZE))
    copy_weights(model.presence_head, source.linear("Identity_1"))
    copy_weights(model.world_head, source.linear("Identity_3"))
    # The framing pass starts from the same features.
    trunk = model.framing.trunk
    trunk.load_state_dict({key: model.backbone.state_dict()[key] for key in trunk.state_dict()})
    return model


def parity(source: TfliteModel, model: HandImageEncoder, num_images: int = 4, seed: int = 0) -> dict[str, float]:
    """Largest absolute differences on random images: noise, and smooth noise, which excites it more."""
    worst = {"landmarks (crop units)": 0.0, "presence (probability)": 0.0, "world (m, wrist-relative)": 0.0}
    for image in random_images(INPUT_SIZE, num_images, seed):
        expected = source.run(image.permute(0, 2, 3, 1).contiguous().numpy())
        landmarks, world = expected["Identity"].reshape(21, 3), expected["Identity_3"].reshape(21, 3)
        with torch.no_grad():
            output = model(image, framed=True)
        differences = (
            output.keypoints[0].numpy() - landmarks[:, :2] / INPUT_SIZE,
            output.hand_logit[0].sigmoid().numpy() - expected["Identity_1"][0],
            output.joints[0].numpy() - (world - world[:1]),
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
    source = TfliteModel(read_from_wheel(args.wheel, MODEL_NAME))
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
