"""Measure scenes on renders of two hands in contact, before (answers alone, each of its own size) and after.

Boxes, sides and the camera are the truth's, so that neither detection nor a guessed camera is measured.

python scripts/measure_scenes.py --num-pairs 60 --split test --seed 1 --json runs/scenes.json
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import hf_handdiff
from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.hand import HandLayer
from hf_handdiff.pipelines.metric_size import MIDDLE_FINGER
from hf_handdiff.scene import make_scene
from hf_handdiff.scene.penetration import ClosedFaces, Skin, penetration_depth
from hf_handdiff.synthetic import SceneAssets, generate_hand_pair

TOO_DEEP_MM = 4.0


def answer_pair(pipeline, pair, seed: int):
    """The pipeline's output for both hands of a pair."""
    points = np.stack([hand.keypoints_2d_px for hand in pair.hands])
    return pipeline(
        [pair.image] * 2,
        handedness=["left" if hand.is_left else "right" for hand in pair.hands],
        boxes=np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1),
        intrinsics=np.stack([pair.intrinsics_px] * 2),
        generator=seed,
        fit="all",
    )


def hands_of_pair(pipeline, pair, output) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Joints (2, 21, 3) m and vertices (2, V, 3) m in the camera frame, by the way in which they came about."""
    place = output.mean_translation[:, None]
    finger = [np.diff(hand.joints_m[list(MIDDLE_FINGER)], axis=0) for hand in pair.hands]
    length = float(np.mean([np.linalg.norm(bones, axis=1).sum() for bones in finger]))
    scenes = {
        "one length": make_scene(pipeline, output, pair.intrinsics_px, part_hands=False),
        "after": make_scene(pipeline, output, pair.intrinsics_px),
        "after, length known": make_scene(pipeline, output, pair.intrinsics_px, hand_length_m=length),
    }
    return {
        "truth": tuple(np.stack([getattr(hand, name) for hand in pair.hands]) for name in ("joints_m", "vertices_m")),
        "before": (output.mean_joints + place, output.mean_vertices + place),
        **{
            way: tuple(np.stack([getattr(hand, name) for hand in scene.hands]) for name in ("joints", "vertices"))
            for way, scene in scenes.items()
        },
    }


def measure_pair(hands: dict[str, tuple[np.ndarray, np.ndarray]], closed: ClosedFaces) -> dict[str, dict]:
    """Depth, error of the relative place of the wrists, and PA-MPJPE of both hands, mm, by way."""
    truth = hands["truth"][0]
    measured = {}
    for way, (joints, vertices) in hands.items():
        both = [torch.from_numpy(np.asarray(values, dtype=np.float64)) for values in (joints, truth)]
        wrists, true_wrists = joints[1, 0] - joints[0, 0], truth[1, 0] - truth[0, 0]
        measured[way] = {
            "depth_mm": 1e3 * penetration_depth(*(Skin.of(one, closed) for one in vertices)),
            "wrists_mm": 1e3 * float(np.linalg.norm(wrists - true_wrists)),
            "pa_mpjpe_mm": (1e3 * pa_error(*both)).tolist(),
        }
    return measured


def summary(rows: list[dict[str, dict]]) -> dict[str, dict[str, float]]:
    """Means over pairs, by way."""
    table = {}
    for way in rows[0]:
        depth, wrists = (np.array([row[way][name] for row in rows]) for name in ("depth_mm", "wrists_mm"))
        table[way] = {
            "pairs": len(rows),
            "too_deep": float((depth > TOO_DEEP_MM).mean()),
            "depth_mm": float(depth.mean()),
            "wrists_mm": float(wrists.mean()),
            "wrists_median_mm": float(np.median(wrists)),
            "pa_mpjpe_mm": float(np.mean([row[way]["pa_mpjpe_mm"] for row in rows])),
        }
    return table


def main() -> None:
    """Make pairs, answer and measure them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-pairs", type=int, default=60)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default=hf_handdiff.DEFAULT_CHECKPOINT)
    parser.add_argument("--json", type=Path, help="also write the figures of every pair")
    arguments = parser.parse_args()
    assets = SceneAssets.load(arguments.split)
    pipeline = hf_handdiff.CascadedHandPipeline.from_pretrained(arguments.checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    layer = HandLayer.open_hand()
    closed = ClosedFaces.of(layer.faces.numpy(), len(layer.template))
    rows = []
    for index in tqdm(range(arguments.num_pairs)):
        pair = generate_hand_pair(arguments.seed, index, assets)
        output = answer_pair(pipeline, pair, index)
        rows.append(measure_pair(hands_of_pair(pipeline, pair, output), closed))
    table = summary(rows)
    print("| hands | over 4 mm deep | depth | relative place of wrists, mean | median | PA-MPJPE |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, row in table.items():
        numbers = " | ".join(
            f"{row[name]:.1f}" for name in ("depth_mm", "wrists_mm", "wrists_median_mm", "pa_mpjpe_mm")
        )
        print(f"| {way} | {100 * row['too_deep']:.0f} % | {numbers} |")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"summary": table, "pairs": rows}, indent=1))


if __name__ == "__main__":
    main()
