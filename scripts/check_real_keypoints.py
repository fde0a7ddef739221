"""Measures image encoders on the annotated photos in a folder of real data, and draws what they see.

    python scripts/check_real_keypoints.py CHECKPOINT [CHECKPOINT ...] --root REALDATA --sheet sheet.png

The folder holds the small test sets of mmpose (`mmpose_freihand`, `mmpose_interhand2.6m`,
`mmpose_onehand10k`, `mmpose_panoptic`, `mmpose_rhd`) and `freihand_eval200`.  They are for measuring only:
nothing here is ever trained on. A set that is absent is skipped.  For every checkpoint the refined keypoints
and, beside them, the landmark head alone are measured; crops are 1.4 times the larger side of the keypoints'
box, upright, left hands mirrored.

MediaPipe puts the joints at other places than this hand does. With `--landmark-network` and `--renders` its points are
also brought to this hand's joints first, by the map that `train/label_photos.py` fits.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))  # where the package handdiff_training lies

from handdiff_training.image_batches import CorpusBatches
from handdiff_training.joint_definitions import DefinitionMap, fit_definitions

from hf_handdiff.camera import BOX_MARGIN, crop_image, crop_of_box
from hf_handdiff.hand.topology import BONES
from hf_handdiff.images import open_image
from hf_handdiff.models.image_encoder import HandImageEncoder
from hf_handdiff.pipelines.second_look import look_again

# Which of the four OneHand10K photos show a left hand (the set does not say; told from the pictures).
ONEHAND10K_LEFT = {"33.jpg", "784.jpg"}
# RHD and InterHand2.6M list every finger from its tip; RHD starts at the wrist, InterHand ends with it.
RHD_TO_JOINTS = [0] + [first + 3 - k for first in (1, 5, 9, 13, 17) for k in range(4)]
INTERHAND_TO_JOINTS = [20] + [first + 3 - k for first in (0, 4, 8, 12, 16) for k in range(4)]


@dataclass
class AnnotatedHand:
    """One hand: image (H, W, 3) uint8, keypoints (21, 2) px with NaN where unlabelled, and its source."""

    dataset: str
    name: str
    image: np.ndarray
    keypoints: np.ndarray
    is_left: bool


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 as stored: the annotations do not know of EXIF rotation."""
    return np.asarray(open_image(path).convert("RGB"))


def read_coco(root: Path, dataset: str) -> list[tuple[dict, dict]]:
    """(image, annotation) pairs of a COCO-like file."""
    content = json.loads((root / f"mmpose_{dataset}" / f"test_{dataset}.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    return [(images[annotation["image_id"]], annotation) for annotation in content["annotations"]]


def read_plain(root: Path, dataset: str) -> list[AnnotatedHand]:
    """FreiHAND, OneHand10K and Panoptic: 21 triples (x, y, labelled) in our order."""
    hands = []
    for image, annotation in read_coco(root, dataset):
        triples = np.asarray(annotation["keypoints"], float).reshape(21, 3)
        keypoints = np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)
        name = image["file_name"]
        is_left = name in ONEHAND10K_LEFT or (dataset == "panoptic" and Path(name).stem.endswith("_l"))
        hands.append(AnnotatedHand(dataset, name, read_image(root / f"mmpose_{dataset}" / name), keypoints, is_left))
    return hands


def read_rhd(root: Path) -> list[AnnotatedHand]:
    """RHD, the renders: left and right hands with all 21 points."""
    hands = []
    for image, annotation in read_coco(root, "rhd"):
        keypoints = np.asarray(annotation["keypoints"], float)[RHD_TO_JOINTS, :2]
        picture = read_image(root / "mmpose_rhd" / image["file_name"])
        hands.append(AnnotatedHand("rhd", image["file_name"], picture, keypoints, annotation["hand_type"] == "left"))
    return hands


def read_interhand(root: Path) -> list[AnnotatedHand]:
    """InterHand2.6M: 42 world joints in mm (right hand first), projected: X_cam = R (W - campos)."""
    folder = root / "mmpose_interhand2.6m"
    content = json.loads((folder / "test_interhand2.6m_data.json").read_text())
    cameras = json.loads((folder / "test_interhand2.6m_camera.json").read_text())
    joints = json.loads((folder / "test_interhand2.6m_joint_3d.json").read_text())
    annotations = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    hands = []
    for image in content["images"]:
        capture, key = str(image["capture"]), image["camera"]
        camera = {name: np.asarray(cameras[capture][name][key]) for name in ("campos", "camrot", "focal", "princpt")}
        world = np.asarray(joints[capture][str(image["frame_idx"])]["world_coord"])  # (42, 3) mm
        points = (world - camera["campos"]) @ camera["camrot"].T
        pixels = points[:, :2] / points[:, 2:] * camera["focal"] + camera["princpt"]
        valid = np.asarray(annotations[image["id"]]["joint_valid"], bool).reshape(42, 1)
        pixels = np.where(valid, pixels, np.nan)
        kind = annotations[image["id"]]["hand_type"]
        picture = read_image(folder / image["file_name"])
        for is_left, first in ((False, 0), (True, 21)):
            if kind in ("interacting", "left" if is_left else "right"):
                keypoints = pixels[first : first + 21][INTERHAND_TO_JOINTS]
                hands.append(AnnotatedHand("interhand2.6m", image["file_name"], picture, keypoints, is_left))
    return hands


def read_freihand_eval(root: Path) -> list[AnnotatedHand]:
    """FreiHAND's evaluation images with MediaPipe's own answer (its full pipeline) as the label."""
    folder = root / "freihand_eval200"
    keypoints = np.load(folder / "mediapipe_full.npz")["uv"]  # (200, 21, 2) px, NaN: nothing found
    paths = sorted((folder / "evaluation" / "rgb").glob("*.jpg"))
    return [
        AnnotatedHand("mediapipe on freihand_eval200", path.name, read_image(path), points, False)
        for path, points in zip(paths, keypoints, strict=True)
        if np.isfinite(points).all()
    ]


def read_hands(root: Path) -> list[AnnotatedHand]:
    """Every annotated hand below root; sets that are absent are skipped."""
    hands: list[AnnotatedHand] = []
    for dataset in ("freihand", "onehand10k", "panoptic"):
        if (root / f"mmpose_{dataset}").is_dir():
            hands += read_plain(root, dataset)
    if (root / "mmpose_rhd").is_dir():
        hands += read_rhd(root)
    if (root / "mmpose_interhand2.6m").is_dir():
        hands += read_interhand(root)
    if (root / "freihand_eval200" / "mediapipe_full.npz").is_file():
        hands += read_freihand_eval(root)
    if not hands:
        raise SystemExit(f"--root: found none of the expected test sets in {root}")
    return hands


def make_crop(hand: AnnotatedHand, size: int) -> tuple[torch.Tensor, np.ndarray]:
    """The hand's crop as a right hand: (3, size, size) in 0..1, and its keypoints (21, 2) in crop units."""
    image, keypoints = hand.image, hand.keypoints
    if hand.is_left:
        image = np.ascontiguousarray(image[:, ::-1])
        keypoints = np.stack([image.shape[1] - keypoints[:, 0], keypoints[:, 1]], axis=1)
    box = np.concatenate([np.nanmin(keypoints, axis=0), np.nanmax(keypoints, axis=0)])
    crop = crop_of_box(box)
    centre, side = crop[:2], crop[2]
    return crop_image(image, crop, size), (keypoints - centre) / side + 0.5


@torch.no_grad()
def encode(model: HandImageEncoder, crops: torch.Tensor, second_look: bool = True, batch_size: int = 32):
    """Refined and initial keypoints (B, 21, 2) in crop units, scores (B, 21), hand scores (B,), as pipelines do."""
    outputs = []
    for part in crops.split(batch_size):
        first = model(part)
        outputs.append(look_again(model, part, first) if second_look else first)
    fields = ("keypoints", "initial_keypoints", "keypoint_scores", "hand_logit")
    values = [torch.cat([getattr(output, field) for output in outputs]).numpy() for field in fields]
    return values[0], values[1], values[2], 1 / (1 + np.exp(-values[3]))


def print_errors(title: str, hands: list[AnnotatedHand], error: np.ndarray) -> None:
    """error (B, 21) in crop units, NaN where unlabelled. All labelled keypoints count alike."""
    print(title)
    groups = list(dict.fromkeys(hand.dataset for hand in hands))
    labelled = [group for group in groups if not group.startswith("mediapipe")]
    rows = [(group, [group]) for group in groups]
    if len(labelled) > 1:
        rows.insert(len(labelled), ("all annotated", labelled))
    for name, members in rows:
        chosen = np.asarray([hand.dataset in members for hand in hands])
        values = error[chosen][np.isfinite(error[chosen])]
        print(
            f"  {name:30s} {chosen.sum():3d} hands  mean {256 * values.mean():5.2f}  median "
            f"{256 * np.median(values):5.2f} px of 256, {100 * BOX_MARGIN * values.mean():5.2f} % of the box"
        )


def print_mapped(
    hands: list[AnnotatedHand], truth: np.ndarray, refined: np.ndarray, definitions: DefinitionMap
) -> None:
    """`print_errors` against MediaPipe's points, brought to this hand's joints."""
    chosen = [i for i, hand in enumerate(hands) if hand.dataset.startswith("mediapipe")]
    if chosen:
        mapped = definitions(torch.from_numpy(truth[chosen]).float()).numpy()
        distance = np.linalg.norm(refined[chosen] - mapped, axis=-1)
        print_errors(
            "refined keypoints, MediaPipe's brought to this hand's joints", [hands[i] for i in chosen], distance
        )


def draw_sheet(crops, truth, estimates, captions, columns: int = 7, tile: int = 224) -> Image.Image:
    """Crops with the truth (green) and the estimate (red; MediaPipe's own answer counts as truth)."""
    rows = -(-len(crops) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * tile))
    for index, crop in enumerate(crops):
        pixels = (crop.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        picture = Image.fromarray(pixels).resize((tile, tile))
        draw = ImageDraw.Draw(picture)
        for points, colour in ((truth[index], (0, 255, 0)), (estimates[index], (255, 40, 40))):
            for start, end in BONES:
                if np.isfinite(points[[start, end]]).all():
                    draw.line([tuple(tile * points[start]), tuple(tile * points[end])], fill=colour)
        draw.text((3, 3), captions[index], fill=(255, 255, 0))
        sheet.paste(picture, (index % columns * tile, index // columns * tile))
    return sheet


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", help="folders or Hub ids of image encoders")
    parser.add_argument("--root", type=Path, required=True, help="folder with the test sets")
    parser.add_argument("--one-look", action="store_true", help="without the second look of pipelines")
    parser.add_argument("--landmark-network", type=Path, help="of scripts/convert_hand_landmark.py")
    parser.add_argument("--renders", help="corpus whose validation split the joints' definitions are fitted on")
    parser.add_argument("--sheet", type=Path, help="PNG to write: annotated hands and some evaluation images")
    args = parser.parse_args()
    if (args.landmark_network is None) != (args.renders is None):
        parser.error("--landmark-network, --renders: expected both or neither")

    hands = read_hands(args.root)
    definitions = None
    if args.landmark_network:
        teacher = HandImageEncoder.from_pretrained(args.landmark_network).eval()
        definitions = fit_definitions(teacher, CorpusBatches(args.renders, "validation", flag="--renders")).plane
    for checkpoint in args.checkpoints:
        model = HandImageEncoder.from_pretrained(checkpoint).eval()
        pairs = [make_crop(hand, model.config.image_size) for hand in hands]
        crops, truth = torch.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
        refined, initial, scores, hand_scores = encode(model, crops, second_look=not args.one_look)
        print(f"{checkpoint}: mean hand score {hand_scores.mean():.3f}, mean keypoint score {scores.mean():.3f}")
        for title, estimate in (("landmark head alone", initial), ("refined keypoints", refined)):
            print_errors(title, hands, np.linalg.norm(estimate - truth, axis=-1))
        if definitions:
            print_mapped(hands, truth, refined, definitions)
    if args.sheet:
        annotated = [i for i, hand in enumerate(hands) if not hand.dataset.startswith("mediapipe")]
        others = [i for i in range(len(hands)) if i not in set(annotated)]
        chosen = annotated + others[:: max(1, len(others) // 24)][:24]
        captions = [f"{hands[i].name[:20]} {'L' if hands[i].is_left else 'R'} {hand_scores[i]:.2f}" for i in chosen]
        draw_sheet(crops[chosen], truth[chosen], refined[chosen], captions).save(args.sheet)


if __name__ == "__main__":
    main()
