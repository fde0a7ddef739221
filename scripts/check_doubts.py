"""How often a wrong side and wrong 2D points are noticed, and how often right ones are doubted.

    python scripts/check_doubts.py --data corpora/synthetic --split validation --num-samples 400
    python scripts/check_doubts.py --photos FreiHAND_pub_v2_eval/evaluation/rgb --num-samples 200

A corpus knows its keypoints: they are given as they are, with x and y exchanged, mirrored within their box, and those
of another hand. Photos are a folder of right hands that fill their picture. Each image is also told to be a left hand.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.images import load_image
from hf_handdiff.pipelines import doubts
from hf_handdiff.pipelines.doubts import LOW_AGREEMENT
from hf_handdiff.pipelines.hand_side import LOW_SIDE_SCORE

FAST = {
    "num_hypotheses": 1,
    "num_inference_steps": 1,
    "num_mesh_inference_steps": 1,
    "aggregation": "mean",
    "generator": 0,
}


def read_hands(arguments: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Images of right hands (H, W, 3) with keypoints (21, 2) px; without where nobody knows them."""
    if arguments.photos:
        paths = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        return [(load_image(path, "photos"), None) for path in paths[: arguments.num_samples]]
    rows = load_corpus(arguments.data, arguments.split).select_columns(["image", "has_hand", "keypoints_2d_px"])
    rows = rows.select(range(min(arguments.num_samples, len(rows)))).with_format("numpy")
    return [(row["image"], row["keypoints_2d_px"]) for row in rows if row["has_hand"]]


def wrong_points(points: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
    """What somebody might give by mistake instead of `points` (21, 2)."""
    mirrored = points.copy()
    mirrored[:, 0] = points[:, 0].min() + points[:, 0].max() - points[:, 0]
    return {"x and y exchanged": points[:, ::-1], "mirrored": mirrored, "of another hand": others}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="folder or Hub id of a corpus")
    source.add_argument("--photos", type=Path, help="folder of photos of right hands")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--num-samples", type=int, default=400)
    parser.add_argument("--checkpoint", default=str(DEFAULT_CHECKPOINT))
    arguments = parser.parse_args()
    logging.getLogger(doubts.__name__).setLevel(logging.ERROR)
    pipeline = CascadedHandPipeline.from_pretrained(arguments.checkpoint)
    pipeline.set_progress_bar_config(disable=True)

    hands = read_hands(arguments)
    sides, agreements = {"right": [], "left": []}, {}
    for index, (image, points) in enumerate(tqdm(hands, unit="hand")):
        for side, scores in sides.items():
            scores.append(pipeline(image, handedness=side, **FAST).side_score[0])
        if points is not None:
            others = hands[index - 1][1]
            for name, given in {"right ones": points, **wrong_points(points, others)}.items():
                given = np.clip(given, 0, np.array(image.shape[1::-1]) - 1)[None]
                agreement = pipeline(image, keypoints_2d=given, **FAST).keypoint_agreement[0]
                agreements.setdefault(name, []).append(agreement)
    doubted = {side: 100 * np.mean(np.array(scores) < LOW_SIDE_SCORE) for side, scores in sides.items()}
    print(f"side of {len(hands)} right hands: {doubted['right']:.1f} % false alarms")
    print(f"side of the same, told to be left: {doubted['left']:.1f} % noticed")
    for name, values in agreements.items():
        print(f"2D points, {name}: {100 * np.mean(np.array(values) < LOW_AGREEMENT):.1f} % told to lie elsewhere")


if __name__ == "__main__":
    main()
