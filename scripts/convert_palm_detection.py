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
from tflite_model import TfliteModel, copy_layers, copy_weights, random_images, read_from_wheel
from torch import nn

from hf_handdiff.models.hand_detector import HandDetector, HandDetectorConfig, anchor_centres

PALM_MODEL, HAND_MODEL = "palm_detection_full.tflite", "hand_landmark_lite.tflite"
TOLERANCE = 1e-4


def layers_of(*parts: nn.Module) -> list[nn.Module]:
    """The convolutions and PReLUs of parts that are given in the file's order."""
    return [module for part in parts for module in part.modules() if isinstance(module, (nn.Conv2d, nn.PReLU))]


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
