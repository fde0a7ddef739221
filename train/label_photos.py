"""Label photos of hands with what networks say of them, as a corpus to train the image encoder on.

    python train/label_photos.py PHOTOS --renders CORPUS --landmark_network runs/landmark_network --out corpora/photos

PHOTOS holds cut-outs in one folder a source, and `mediapipe.jsonl`: a line a cut-out with `file`, `side` and
`keypoints_px` (21, 2).  The points only say where the hand is: six turned and scaled squares round them are shown to
the landmark network and to the image encoder.  A label is the mean of what they say, the landmark network's points
first brought to the open hand's joints (`joint_definitions.py`, fitted on the renders); its weight falls with their
disagreement.  Depth is the landmark network's 3D points, known up to scale.  Nobody measured these hands: they are for
training, not for evaluation.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Sequence, Value
from handdiff_training.flags import BUNDLED, FlagParser, load_model, run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.joint_definitions import Definitions, fit_definitions, hand_sizes
from PIL import Image
from tqdm.auto import tqdm

from hf_handdiff.camera import default_intrinsics, fit_translation
from hf_handdiff.data.annotated_rows import annotated_row
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.data.shards import shard_name
from hf_handdiff.errors import InputError
from hf_handdiff.models.hand_framing import HandFrame, frame_around_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoder

SIDE_PX = 256
SQUARES = (
    (0, 1, 0, 0),
    (12, 1.05, 0.03, 0),
    (-12, 0.95, -0.03, 0),
    (20, 1.15, 0, 0.04),
    (-20, 1.1, 0, -0.04),
    (0, 0.88, 0, 0),
)
"""Turn in degrees, factor on the side, and shift in sides of the squares that a photo is shown in."""
AGREEMENT = 0.06
"""Difference of two labels of a joint, over the hand's size, at which its weight has halved."""
PHOTO_FEATURES = Features(
    {
        **CORPUS_FEATURES,
        "keypoint_weight": Sequence(Value("float32"), length=21),  # 0..1: how far the networks agree
        "source": Value("string"),
    }
)


def read_photo(folder: Path, row: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """A cut-out as a right hand in a square: (3, S, S) in 0..1, and its points (21, 2) in crop units."""
    image, points = Image.open(folder / row["file"]).convert("RGB"), np.array(row["keypoints_px"])
    if row["side"] == "left":
        image, points = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), points * [-1, 1] + [image.size[0], 0]
    zoom = SIDE_PX / max(image.size)
    width, height = (max(round(side * zoom), 1) for side in image.size)
    corner = np.array([(SIDE_PX - width) // 2, (SIDE_PX - height) // 2])
    square = Image.new("RGB", (SIDE_PX, SIDE_PX))
    square.paste(image.resize((width, height), Image.Resampling.BICUBIC), tuple(corner.tolist()))
    pixels = torch.from_numpy(np.asarray(square, dtype=np.float32).transpose(2, 0, 1) / 255.0)
    return pixels, torch.tensor((points * zoom + corner) / SIDE_PX, dtype=torch.float32)


@torch.no_grad()
def look(model: HandImageEncoder, images: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network says in each of `SQUARES` round points (B, 21, 2): (6, B, 21, 2) crop units, (6, B, 21, 3) m."""
    keypoints, joints = [], []
    frame = frame_around_keypoints(points)
    for turn, scale, right, down in SQUARES:
        shift = frame.side[:, None] * torch.tensor([right, down])
        square = HandFrame(frame.centre + shift, frame.side * scale, frame.angle + np.radians(turn))
        output = model(square.crop(images, model.config.image_size), framed=True)
        keypoints.append(square.from_square(output.keypoints))
        back = torch.cat([output.joints[..., :2] @ square.turn, output.joints[..., 2:]], -1)
        joints.append(back)
    return torch.stack(keypoints), torch.stack(joints)


@dataclass
class Labels:
    """Keypoints (B, 21, 2) crop units, their weights (B, 21) 0..1, and joints (B, 21, 3), wrist at 0, scale unknown."""

    keypoints: torch.Tensor
    weights: torch.Tensor
    joints: torch.Tensor


def label(
    teacher: HandImageEncoder, encoder: HandImageEncoder, maps: Definitions, images: torch.Tensor, points: torch.Tensor
) -> Labels:
    """The mean of the two networks over the squares; where they disagree, the landmark network with a low weight."""
    taught, space = look(teacher, images, points)
    ours, _ = look(encoder, images, points)
    spread = taught.std(0).norm(dim=-1)
    taught, ours = maps.plane(taught.mean(0)), ours.mean(0)
    size = hand_sizes(taught)[:, None]
    apart = (taught - ours).norm(dim=-1) / size
    share = 0.5 * torch.exp(-(apart / AGREEMENT).square())[..., None]
    weights = 1 / (1 + (apart / AGREEMENT).square() + (spread / size / AGREEMENT).square())
    joints = maps.space(space.mean(0))
    return Labels(taught + share * (ours - taught), weights, joints - joints[:, :1])


def corpus_rows(names: list[str], images: torch.Tensor, labels: Labels):
    """Rows of `PHOTO_FEATURES`: each hand is put where its joints meet its keypoints, before the default camera."""
    pixels = SIDE_PX * labels.keypoints
    camera = default_intrinsics(torch.tensor([[SIDE_PX / 2, SIDE_PX / 2, SIDE_PX]])).float()
    joints = labels.joints + fit_translation(labels.joints, pixels, camera, labels.weights)[:, None]
    for index, name in enumerate(names):
        file = io.BytesIO()
        array = (255 * images[index]).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(array).save(file, "JPEG", quality=95)
        row = annotated_row(name, file.getvalue(), (SIDE_PX, SIDE_PX), camera[0].numpy(), joints[index].numpy())
        row["keypoints_2d_px"] = pixels[index].numpy()
        inside = ((pixels[index] >= 0) & (pixels[index] <= SIDE_PX)).all(-1)
        row["keypoints_visible"] = inside.tolist()
        yield {**row, "keypoint_weight": labels.weights[index].tolist(), "source": name.split("/")[0]}


def main(argv=None) -> None:
    """Parse the flags, label, write."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("photos", type=Path, help="folder with mediapipe.jsonl")
    add("--renders", required=True, help="corpus whose validation split the joints' definitions are fitted on")
    add("--landmark_network", required=True, help="see scripts/convert_hand_landmark.py")
    add("--image_encoder", default=BUNDLED, help="folder, Hub id or bundled")
    add("--out", type=Path, required=True, help="folder for the corpus")
    add("--validation_sources", nargs="*", default=[], help="sources that are the validation split, never trained on")
    args = parser.parse_args(argv)
    teacher = load_model(HandImageEncoder, args.landmark_network, "landmark_network").eval()
    encoder = load_model(HandImageEncoder, args.image_encoder, "image_encoder").eval()
    maps = fit_definitions(teacher, CorpusBatches(args.renders, "validation", flag="--renders"))
    if not (args.photos / "mediapipe.jsonl").is_file():
        raise InputError(f"photos: expected a folder with mediapipe.jsonl, got {args.photos}")
    lines = [json.loads(line) for line in (args.photos / "mediapipe.jsonl").read_text().splitlines()]
    splits = {"train": [], "validation": []}
    for line in lines:
        held_back = line["file"].split("/")[0] in args.validation_sources
        splits["validation" if held_back else "train"].append(line)
    args.out.mkdir(parents=True, exist_ok=True)
    for split, chosen in splits.items():
        rows = []
        for start in tqdm(range(0, len(chosen), 32), desc=split):
            part = chosen[start : start + 32]
            images, points = (torch.stack(x) for x in zip(*(read_photo(args.photos, r) for r in part), strict=True))
            labels = label(teacher, encoder, maps, images, points)
            rows += corpus_rows([r["file"] for r in part], images, labels)
        if rows:
            Dataset.from_list(rows, features=PHOTO_FEATURES).to_parquet(args.out / shard_name(split, 0, 1))


if __name__ == "__main__":
    run(main)
