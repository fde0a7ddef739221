"""Fine-tune the image encoder's landmark pass on renders and on labelled photos, from the converted landmark network.

    python scripts/convert_hand_landmark.py mediapipe-0.10.21-*.whl --out checkpoints/image_encoder_initial
    accelerate launch train/image_encoder.py --config train/configs/image_encoder.yaml --corpus CORPUS \
        --initial checkpoints/image_encoder_initial

`--backbone` makes a new encoder on any backbone of transformers instead, whose framing pass is trained after it:

    accelerate launch train/image_encoder.py --config train/configs/image_encoder.yaml --corpus CORPUS \
        --backbone facebook/dinov2-small --backbone_levels 3 6 9 12 --pretrained_lr_factor 0.1

A share of every batch are photos (`--photos`, a corpus of label_photos.py), no source of them more than its cap. With
`--mirrored_share` a share of the hands is mirrored, and a head learns to tell their side.

The converted part learns at `--pretrained_lr_factor` times the learning rate.  Every validation also leaves
the averaged model in `output_dir/validation/model`, for `scripts/check_real_keypoints.py`: watch that photos
are not forgotten. Without a flag it trains shortly, from the bundled encoder on a small corpus.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from handdiff_training.backbones import encoder_on_backbone, use_gradient_checkpointing
from handdiff_training.cpu_depthwise import use_quick_backward
from handdiff_training.encoder_loss import LossWeights, encoder_loss, view_joints
from handdiff_training.encoding import with_new_head
from handdiff_training.flags import argument_parser, load_model, needed, or_none, parse, run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import save_aside, train
from handdiff_training.photos import Photos, add_photo_flags, joined
from handdiff_training.small_corpus import corpus_source
from PIL import Image, ImageDraw

from hf_handdiff.data.augmentation import FRAMED, augment_batch, centre_crop_batch
from hf_handdiff.devices import to_device
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.hand.topology import BONES
from hf_handdiff.models.hand_landmark_backbone import BACKBONE_STAGES
from hf_handdiff.models.image_encoder import HandImageEncoder

_HEAD_BATCHES = 8
_STAGES = ("stem", "stem_depthwise", "stem_project", *BACKBONE_STAGES)


class ImageEncoderTask:
    """2D keypoints, their visibility, presence of a hand and encoder's 3D points, from augmented renders."""

    real_training = (
        "accelerate launch train/image_encoder.py --config train/configs/image_encoder.yaml --corpus CORPUS "
        "--initial LANDMARK_NETWORK"
    )

    def __init__(self, args):
        self.args = args
        self.weights = LossWeights()
        if args.backbone:
            self.model = encoder_on_backbone(args.backbone, args.backbone_levels, args.image_size)
        else:
            self.model = load_model(HandImageEncoder, args.initial, "initial")  # its filters lie as it computes fastest
        self.may_leave_parameters_unused = self.model.config.backbone_config is not None
        self.augmentation = dataclasses.replace(FRAMED, size=self.model.config.image_size)
        corpus = corpus_source(args.corpus)
        self.corpus = CorpusBatches(corpus, "train")
        self.unseen = CorpusBatches(corpus, args.validation_split, limit=args.num_validation_images)
        self.photos = Photos(args.photos, args.photo_source_cap) if args.photos else None
        if args.mirrored_share and self.model.side_head is None:
            self.model = self._with_side_head(self.model)
        if args.gradient_checkpointing:
            use_gradient_checkpointing(self.model)
        self.model.framing.requires_grad_(False)  # the framing pass is trained by itself: hand_framing.py
        if args.frozen and self.model.config.backbone_config is not None:
            raise InputError(f"--frozen: expected an --initial on the built-in backbone, {args.initial} is on another")
        for stage in args.frozen:
            self.model.backbone.get_submodule(stage).requires_grad_(False)
        if args.quick_cpu_backward:
            use_quick_backward(self.model)

    def _with_side_head(self, model):
        """The same encoder with a new head, whose inputs are normalised by what they are on some batches."""
        model = with_new_head(model, side_hidden_size=self.args.side_hidden_size)
        generator = torch.Generator().manual_seed(self.args.seed)
        with torch.no_grad():
            seen = [self._see(model, self.batch(self.args.train_batch_size, generator)) for _ in range(_HEAD_BATCHES)]
        model.side_head.set_input_statistics(torch.cat([output.keypoint_descriptors for output in seen]))
        return model

    @staticmethod
    def _see(model, batch):
        device = next(model.parameters()).device
        pixels = batch["pixel_values"].to(device).contiguous(memory_format=torch.channels_last)
        return model(pixels, framed=True)

    def parameter_groups(self, learning_rate):
        """A small rate for what was converted, the full one for what is new."""
        return [
            {"params": [p for p in self.model.new_parameters() if p.requires_grad], "lr": learning_rate},
            {
                "params": [p for p in self.model.pretrained_parameters() if p.requires_grad],
                "lr": learning_rate * self.args.pretrained_lr_factor,
            },
        ]

    def batch(self, batch_size, generator):
        """Rows of renders and photos, drawn with replacement, augmented."""
        num_photos = round(batch_size * self.args.photo_share) if self.photos else 0
        index = torch.randint(len(self.corpus), (batch_size - num_photos,), generator=generator)
        renders = augment_batch(self.corpus.rows(index), generator, self.augmentation)
        if num_photos:
            renders = joined(renders, self.photos.draw(num_photos, generator, self.augmentation))
        return _some_mirrored(renders, self.args.mirrored_share, generator) if self.args.mirrored_share else renders

    def loss(self, model, batch, generator):
        """See `encoder_loss`."""
        device = next(model.parameters()).device
        batch = to_device(batch, device)
        pixels = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        return encoder_loss(model(pixels, framed=True), batch, self.weights)

    def validate(self, model):
        """Figures on upright crops and on crops at any angle of images that are never trained on."""
        figures = {}
        size = self.augmentation.size
        upright = [centre_crop_batch(rows, size, upright=True) for rows in self.unseen.in_order()]
        generator = torch.Generator().manual_seed(20240607)
        augmented = [augment_batch(rows, generator, self.augmentation) for rows in self.unseen.in_order()]
        for name, batches in (("plain", upright), ("augmented", augmented)):
            outputs = [self._answer(model, batch) for batch in batches]
            truth = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0] if key != "pixel_values"}
            truth["joints"] = torch.cat([view_joints(batch) for batch in batches])
            answer = {key: torch.cat([output[key] for output in outputs]) for key in outputs[0]}
            figures |= {f"{name}_{key}": value for key, value in keypoint_figures(answer, truth).items()}
            if model.side_head is not None:
                figures |= {f"{name}_{key}": value for key, value in self._sides(model, batches, outputs).items()}
            picture = keypoint_sheet(batches[0], outputs[0]["keypoints"])
        if self.photos:
            generator = torch.Generator().manual_seed(20240607)
            batches = self.photos.unseen(generator, self.augmentation)
            answers = [self._answer(model, batch) for batch in batches]
            figures |= photo_figures(batches, [answer["keypoints"] for answer in answers])
            if model.side_head is not None:
                figures |= {f"photos_{key}": value for key, value in self._sides(model, batches, answers).items()}
        folder = Path(self.args.output_dir) / "validation" / "model"
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_aside(folder, model.save_pretrained)
        return figures, picture

    def save(self, model, folder):
        """Weights and config."""
        model.save_pretrained(folder)

    def _answer(self, model, batch):
        output = self._see(model, batch)
        names = ("keypoints", "initial_keypoints", "keypoint_scores", "hand_logit", "joints", "side_logit")
        return {name: output[name].float().cpu() for name in names if output.get(name) is not None}

    def _sides(self, model, batches, answers) -> dict[str, float]:
        """`side_figures` of what was answered, and of the mirror images."""
        hands = [batch["has_hand"].bool() for batch in batches]
        flipped = [{"pixel_values": batch["pixel_values"].flip(-1)} for batch in batches]
        logits = [[self._answer(model, batch)["side_logit"] for batch in flipped], [x["side_logit"] for x in answers]]
        mirrored, right = (torch.cat([x[hand] for x, hand in zip(part, hands, strict=True)]) for part in logits)
        return side_figures(right, mirrored)


def _some_mirrored(batch: dict[str, torch.Tensor], share: float, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A batch of which a share of the crops is mirrored, and told to be; their labels stay as they were."""
    mirrored = torch.rand(len(batch["has_hand"]), generator=generator) < share
    pixels = torch.where(mirrored[:, None, None, None], batch["pixel_values"].flip(-1), batch["pixel_values"])
    return {**batch, "pixel_values": pixels, "is_mirrored": mirrored}


def side_figures(right: torch.Tensor, mirrored: torch.Tensor) -> dict[str, float]:
    """Of logits (N,) of right hands and of their mirror images: % of these that are noticed, and of those that are
    taken for left ones; and % noticed where 3 % of the others are."""
    strict = right.quantile(0.03)
    return {
        "side_noticed_%": 100 * (mirrored < 0).float().mean().item(),
        "side_false_%": 100 * (right < 0).float().mean().item(),
        "side_noticed_at_3_%": 100 * (mirrored < strict).float().mean().item(),
    }


def photo_figures(batches: list[dict], answers: list[torch.Tensor]) -> dict[str, float]:
    """Mean and median distance from the labels of photos, in % of the hand's box, where the networks agree on them."""
    values = []
    for batch, found in zip(batches, answers, strict=True):
        truth = batch["keypoints"]
        box = (truth.amax(1) - truth.amin(1)).amax(-1)[:, None]
        sure = (batch["keypoint_weight"] > 0.5) & batch["has_hand"][:, None]
        values.append((100 * (found - truth).norm(dim=-1) / box)[sure])
    values = torch.cat(values)
    return {"photos_%": values.mean().item(), "photos_median_%": values.median().item()}


def keypoint_figures(answer: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> dict[str, float]:
    """2D error in % of the hand's box, accuracy of both scores, and the 3D error in mm after Procrustes."""
    hand = truth["has_hand"]
    points, visible = truth["keypoints"][hand], truth["keypoints_visible"][hand]
    box = (points.amax(1) - points.amin(1)).amax(-1)[:, None]

    def percent(name):
        return 100 * (answer[name][hand] - points).norm(dim=-1) / box

    refined = percent("keypoints")
    scores = answer["keypoint_scores"][hand]
    return {
        "keypoints_%": refined.mean().item(),
        "visible_%": refined[visible].mean().item(),
        "hidden_%": refined[~visible].mean().item(),
        "initial_%": percent("initial_keypoints").mean().item(),
        "visibility_accuracy": ((scores > 0.5) == visible).float().mean().item(),
        "hand_accuracy": ((answer["hand_logit"] > 0) == hand).float().mean().item(),
        "joints_pa_mm": 1000 * pa_error(answer["joints"][hand], truth["joints"][hand]).mean().item(),
    }


def keypoint_sheet(batch: dict[str, torch.Tensor], estimate: torch.Tensor, columns: int = 8, rows: int = 4):
    """Crops with the truth (green; hidden joints dark) and the estimate (red)."""
    pixels = (batch["pixel_values"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    size = pixels.shape[1]
    sheet = Image.new("RGB", (columns * size, rows * size))
    for index in range(min(len(pixels), columns * rows)):
        picture = Image.fromarray(np.ascontiguousarray(pixels[index]))
        draw = ImageDraw.Draw(picture)
        if batch["has_hand"][index]:
            truth, found = size * batch["keypoints"][index].numpy(), size * estimate[index].numpy()
            for parent, child in BONES:
                seen = bool(batch["keypoints_visible"][index, child])
                draw.line([tuple(truth[parent]), tuple(truth[child])], fill=(0, 255 if seen else 110, 0))
                draw.line([tuple(found[parent]), tuple(found[child])], fill=(255, 40, 40))
        sheet.paste(picture, (index % columns * size, index // columns * size))
    return sheet


def _check_start(args, parser) -> None:
    """One start alone, and what belongs to a new encoder with it alone."""
    if args.backbone and args.initial:
        parser.error("--backbone: makes a new encoder in place of --initial; give --initial none with it")
    if not (args.backbone or args.initial):
        parser.error("--initial or --backbone is needed, on the command line or in the file of --config")
    for flag in ("backbone_levels", "image_size"):
        if getattr(args, flag) is not None and not args.backbone:
            parser.error(f"--{flag}: expected with --backbone; the encoder of --initial has its own")
    args.image_size = args.image_size or 224
    if args.frozen and args.backbone:
        parser.error("--frozen: expected with --initial alone; it names stages of the built-in backbone")


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "image_encoder")
    add = parser.add_argument
    add("--corpus", help="folder of Parquet shards, Hub id, or small")
    add(
        "--initial",
        type=or_none,
        help="encoder to start from: folder (see scripts/convert_hand_landmark.py), Hub id or bundled; or --backbone",
    )
    add(
        "--backbone",
        type=or_none,
        help="new encoder on a backbone of transformers: folder, of a config.json alone for random weights, or Hub id",
    )
    add("--backbone_levels", nargs="+", metavar="LEVEL", help="its feature maps that are fused, fine to coarse: names "
        "or numbers; default: those of its configuration")  # fmt: skip
    add("--image_size", type=int, help="side of the crops of a new encoder in px; default: 224")
    add("--gradient_checkpointing", action="store_true", help="of such a backbone: less memory, more time")
    add_photo_flags(parser)
    add(
        "--mirrored_share", type=float, default=0.0, help="share of the crops that are mirrored, to learn the side from"
    )
    add("--side_hidden_size", type=int, default=64, help="of a new head of the side")
    add("--validation_split", default="validation", help="split of the corpus that is never trained on")
    add("--num_validation_images", type=int, default=512)
    add(
        "--pretrained_lr_factor",
        type=float,
        default=0.1,
        help="rate of the converted part over that of the new part",
    )
    add("--frozen", nargs="+", choices=_STAGES, default=[], metavar="STAGE", help="stages of the built-in backbone "
        f"that are not trained, for quicker steps: {', '.join(_STAGES)}")  # fmt: skip
    add(
        "--quick_cpu_backward",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="see cpu_depthwise.py; for CPUs with bfloat16 units",
    )
    args = parse(parser, argv)
    needed(args, parser, "corpus")
    _check_start(args, parser)
    torch.manual_seed(args.seed)
    return train(ImageEncoderTask(args), args)


if __name__ == "__main__":
    run(main)
