"""In how many images of a corpus MediaPipe finds the hand: a look from outside at how real the renders are.

    python scripts/check_mediapipe_finds_hands.py CORPUS --split test --num-images 600 --sheet missed.png

Needs the extra ``[mediapipe]``. Only hands are counted that a detector may be asked for: more than
``--min-visible`` of the hand is seen, and its fingers do not point straight at the camera. MediaPipe gets the
images as they are, with its default settings for single pictures. A hand is found when the keypoints that
MediaPipe returns lie around it: the middle of their box is within half a box of the true one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.hand.topology import FINGERS
from hf_handdiff.viz.plots import contact_sheet

STRAIGHT_AT_CAMERA_DEG = 30.0
LONG_FINGERS = ("index", "middle", "ring", "little")
COLUMNS = ["image", "has_hand", "joints_m", "keypoints_2d_px", "visible_share", "skin_tone", "sample_id"]


@dataclass
class Finding:
    """What became of one image: `asked` tells whether its hand counts, `found` whether MediaPipe saw it."""

    image: Image.Image
    label: str
    has_hand: bool
    asked: bool
    found: bool
    skin_tone: float
    span: float


def degrees_to_camera(joints_m: np.ndarray) -> float:
    """Angle between where the long fingers of `joints_m` (21, 3) point on average and the way to the camera.

    A finger points from its knuckle to its tip; the camera is at the origin.
    """
    pointing = np.zeros(3)
    for finger in LONG_FINGERS:
        along = joints_m[FINGERS[finger][3]] - joints_m[FINGERS[finger][0]]
        pointing += along / np.linalg.norm(along)
    to_camera = -joints_m.mean(0)
    cosine = pointing @ to_camera / (np.linalg.norm(pointing) * np.linalg.norm(to_camera) + 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def is_found(hands: list, keypoints_px: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether one of MediaPipe's `hands` lies around the true `keypoints_px` (21, 2) in an image of `size`."""
    low, high = keypoints_px.min(0), keypoints_px.max(0)
    for landmarks in hands:
        points = np.array([(point.x, point.y) for point in landmarks.landmark]) * size
        middle = 0.5 * (points.min(0) + points.max(0))
        if np.linalg.norm(middle - 0.5 * (low + high)) < 0.5 * (high - low).max():
            return True
    return False


def look_at(row: dict, detector, min_visible: float) -> Finding:
    """Ask `detector`, MediaPipe's Hands, about one row of a corpus."""
    image = row["image"].convert("RGB")
    hands = detector.process(np.asarray(image)).multi_hand_landmarks or []
    if not row["has_hand"]:
        return Finding(image, row["sample_id"], False, False, bool(hands), -1.0, 0.0)
    joints, keypoints = np.array(row["joints_m"]), np.array(row["keypoints_2d_px"])
    angle = degrees_to_camera(joints)
    asked = row["visible_share"] > min_visible and angle > STRAIGHT_AT_CAMERA_DEG
    label = f"{row['visible_share']:.2f} {angle:.0f} deg"
    span = float(np.ptp(keypoints, axis=0).max() / image.width)
    return Finding(image, label, True, asked, is_found(hands, keypoints, image.size), row["skin_tone"], span)


def shares_by(findings: list[Finding], name: str, edges: tuple[float, ...]) -> str:
    """The share found in each range of the attribute `name`, as text."""
    parts = []
    for low, high in zip(edges, edges[1:], strict=False):
        group = [finding.found for finding in findings if low <= getattr(finding, name) < high]
        if group:
            parts.append(f"{low:g}-{high:g}: {100 * np.mean(group):.0f} % of {len(group)}")
    return "; ".join(parts)


def main() -> int:
    """Run the command; exit status 1 where fewer hands are found than `--at-least`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="folder of a corpus, or its Hub id")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num-images", type=int, default=600, help="the first so many (default: %(default)s)")
    parser.add_argument("--min-visible", type=float, default=0.8, help="visible share, 0..1 (default: %(default)s)")
    parser.add_argument("--at-least", type=float, default=0.8, help="share to be found, 0..1 (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the hands that were missed")
    args = parser.parse_args()
    from mediapipe.python.solutions.hands import Hands

    rows = load_corpus(args.corpus, args.split, streaming=True).select_columns(COLUMNS).take(args.num_images)
    with Hands(static_image_mode=True, max_num_hands=2, model_complexity=1) as detector:
        findings = [look_at(row, detector, args.min_visible) for row in rows]
    asked = [finding for finding in findings if finding.asked]
    if not asked:
        parser.error("no image holds a hand that counts")
    missed = [finding for finding in asked if not finding.found]
    share = 1.0 - len(missed) / len(asked)
    print(f"found {100 * share:.1f} % of the {len(asked)} hands that count, among {len(findings)} images")
    print("by skin tone:", shares_by(asked, "skin_tone", (0.0, 0.25, 0.5, 0.75, 1.01)))
    print("by size of the keypoints' box in the image:", shares_by(asked, "span", (0.0, 0.4, 0.6, 0.8, 3.0)))
    others = [finding.found for finding in findings if finding.has_hand and not finding.asked]
    empty = [finding.found for finding in findings if not finding.has_hand]
    print(f"of the {len(others)} other hands: {100 * np.mean(others or [0]):.1f} %")
    print(f"false alarms in the {len(empty)} images without hand: {sum(empty)}")
    if args.sheet and missed:
        contact_sheet([m.image for m in missed[:96]], 12, [m.label for m in missed[:96]]).save(args.sheet)
    return 0 if share >= args.at_least else 1


if __name__ == "__main__":
    raise SystemExit(main())
